package search

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"switchboard/internal/chat"
)

var (
	me    = chat.DemoUser("me")
	other = chat.DemoUser("other")
	group = chat.GroupConversation(me, chat.RequestID{1})
)

func word(text string) Term              { return Term{Words: strings.Fields(text)} }
func begin(text string) Term             { return Term{Words: strings.Fields(text), Prefix: true} }
func terms(all ...Term) (q Query)        { q.Terms = all; return q }
func with(q Query, f func(*Query)) Query { f(&q); return q }

func TestQueriesAreRead(t *testing.T) {
	for text, want := range map[string]Query{
		"one two":                       terms(word("one"), word("two")),
		"  One\t\u00a0TWO ":             terms(word("one"), word("two")),
		`"one two" three`:               terms(word("one two"), word("three")),
		`say "one two`:                  terms(word("say"), word("one two")),
		`„one two“ «three four»`:        terms(word("one two"), word("three four")),
		"sear*":                         terms(begin("sear")),
		`"one tw"* x`:                   terms(begin("one tw"), word("x")),
		`"one tw*"`:                     terms(word("one tw")),
		"don't":                         terms(word("don t")),
		"東京":                            terms(word("東 京")),
		"a.b@example.org":               terms(word("a b example org")),
		"http://x note:y":               terms(word("http x"), word("note y")),
		`"from:me"`:                     terms(word("from me")),
		"... word , *":                  terms(word("word")),
		`one ONE "one" one* two one*`:   terms(word("one"), begin("one"), word("two")),
		strings.Repeat("x ", 17):        terms(word("x")),
		"AND OR NOT":                    terms(word("and"), word("or"), word("not")),
		"from:me":                       {From: []chat.UserID{me}},
		"FROM:" + other.String() + " x": with(terms(word("x")), func(q *Query) { q.From = []chat.UserID{other} }),
		"in:" + group.String():          {In: []chat.ConversationID{group}},
		"has:media has:Image has:media": {Has: []Thing{Media, Image}},
		"after:2026-01-31":              {After: chat.ClockAt(1769817600)},
		"before:2026-01-31T01:00:00+01:00 before:2027-01-01": {Before: chat.ClockAt(1769817600)},
		"after:5 after:7 before:9":                           {After: chat.ClockAt(7), Before: chat.ClockAt(9)},
	} {
		got, err := Parse(text, me)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if !reflect.DeepEqual(*got, want) {
			t.Errorf("%q: got %+v, want %+v", text, *got, want)
		}
	}
}

func TestQueriesThatCannotBeMeantAreRefused(t *testing.T) {
	for text, why := range map[string]string{
		"":                        "no words",
		` "" ... * `:              "no words",
		"from:alice":              "user's id",
		"from:":                   "user's id",
		"in:general":              "conversation's id",
		"has:link":                "media, image or file",
		"before:yesterday":        "2026-01-31",
		"after:0":                 "2026-01-31",
		"after:1769817600000":     "2026-01-31", // Milliseconds.
		"x\xff":                   "UTF-8",
		strings.Repeat("x", 1025): "1024 bytes",
		strings.Repeat("東", 65):   "64 words",
		strings.Join(strings.Split("abcdefghijklmnopq", ""), " "): "16 words",
		strings.Repeat("from:"+other.String()+" ", 17):            "16 users",
	} {
		_, err := Parse(text, me)
		var refusal *chat.Error
		if !errors.As(err, &refusal) || refusal.Code != chat.BadRequest || !strings.Contains(refusal.Message, why) {
			t.Errorf("%.40q: error %v, want a bad_request with %q", text, err, why)
		}
	}
}

func TestOfLongPhrasesTheBeginningIsSought(t *testing.T) {
	q := terms(word("a b c d e f g h i j"), begin("a b c d e f g h k"), word("a b c d e f g h"), begin("a b c d e f g h"), begin("x"))
	if got, want := q.Sought(), terms(word("a b c d e f g h"), begin("a b c d e f g h"), begin("x")); !reflect.DeepEqual(got, want.Terms) {
		t.Errorf("got %v, want %v", got, want.Terms)
	}
}

func TestParametersNarrowAQuery(t *testing.T) {
	read := func(parameters string) (*Request, error) { return ReadRequest(parameters, me) }
	for parameters, want := range map[string]Request{
		"q=x":                               {Query: new(terms(word("x")))},
		"q=x&limit=100&cursor=abc":          {Query: new(terms(word("x"))), Limit: 100, Cursor: "abc"},
		"from=me":                           {Query: &Query{From: []chat.UserID{me}}},
		`q="x&from=` + other.String():       {Query: new(with(terms(word("x")), func(q *Query) { q.From = []chat.UserID{other} }))},
		"conversation_id=" + group.String(): {Query: &Query{In: []chat.ConversationID{group}}},
		"q=from:me%20from:" + other.String() + "&from=" + other.String(): {Query: &Query{From: []chat.UserID{other}}},
	} {
		got, err := read(parameters)
		if err != nil {
			t.Errorf("%s: %v", parameters, err)
			continue
		}
		want.Now, want.Caller = got.Now, me
		if !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: got %+v, want %+v", parameters, *got, want)
		}
	}
	for parameters, why := range map[string]string{
		"": "no words", "q=": "no words", "limit=5": "no words", "q=a&q=b": "q is given more than once",
		"q=x&limit=0": "1 to 100", "q=x&limit=101": "1 to 100", "q=x&limit=many": "1 to 100",
		"q=x&limit=": "1 to 100", "q=x&from=": "user's id", "q=x&conversation_id=": "conversation's id",
		"q=x&from=alice": "user's id", "q=x&conversation_id=1": "conversation's id",
		"q=from:me&from=" + other.String():                                               "another from",
		"q=in:" + group.String() + "&conversation_id=" + chat.ConversationID{9}.String(): "another in",
	} {
		_, err := read(parameters)
		var refusal *chat.Error
		if !errors.As(err, &refusal) || refusal.Code != chat.BadRequest || !strings.Contains(refusal.Message, why) {
			t.Errorf("%s: error %v, want a bad_request with %q", parameters, err, why)
		}
	}
}

// FuzzParse: whatever is typed is a query within the limits or a bad_request.
func FuzzParse(f *testing.F) {
	for _, text := range []string{`a "b c"* from:me`, "has:media after:2026-01-01", `"`, "*", "in:x", "a:b:c"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		q, err := Parse(text, me)
		var refusal *chat.Error
		if err != nil {
			if !errors.As(err, &refusal) || refusal.Code != chat.BadRequest {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if len(q.Terms) > QueryTerms || len(q.From) > QueryNames || len(q.In) > QueryNames {
			t.Fatalf("%q: %+v is beyond the limits", text, q)
		}
		for _, term := range q.Terms {
			if len(term.Words) == 0 || len(term.Words) > TermWords {
				t.Fatalf("%q: a term of %d words", text, len(term.Words))
			}
		}
	})
}
