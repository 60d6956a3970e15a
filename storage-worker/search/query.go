package search

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"switchboard/internal/chat"
)

// The limits of a query. One beyond them is refused by name.
const (
	// QueryBytes bounds the text of a query.
	QueryBytes = 1 << 10
	// QueryTerms bounds its words and phrases together.
	QueryTerms = 16
	// TermWords bounds the words of one phrase, which is a character each in some
	// scripts.
	TermWords = 64
	// SoughtWords is how many words of a phrase a store looks for.
	SoughtWords = 8
	// QueryNames bounds the users, and the conversations, that it names.
	QueryNames = 16
)

// Query is what is looked for. A message must answer to all of it.
type Query struct {
	Terms  []Term
	From   []chat.UserID         // one of them sent it; empty: anybody
	In     []chat.ConversationID // it is in one of them; empty: in any
	Has    []Thing               // all of them
	After  chat.Clock            // not before; 0: no matter
	Before chat.Clock            // 0: no matter
}

// Term is words that stand one after the other, the last of them perhaps only begun.
type Term struct {
	Words  []string // folded, one at least
	Prefix bool
}

// Sought returns what a store looks for: of long phrases only the beginning, and nothing
// twice. That finds too much, seldom, and whoever gets the answer looks again; but to
// look for a word after itself 64 times is dear in a message that has no other.
func (q *Query) Sought() (terms []Term) {
	for _, t := range q.Terms {
		if len(t.Words) > SoughtWords {
			t = Term{Words: t.Words[:SoughtWords]}
		}
		if !slices.ContainsFunc(terms, t.equals) {
			terms = append(terms, t)
		}
	}
	return terms
}

func (t *Term) equals(other Term) bool {
	return t.Prefix == other.Prefix && slices.Equal(t.Words, other.Words)
}

// Thing is what a message may have beside its text.
type Thing string

// The things.
const (
	Media Thing = "media" // an image, a file, whatever
	Image Thing = "image"
	File  Thing = "file"
)

// Parse reads what a user typed:
//
//	query  = item { space item }
//	item   = word [ "*" ] | '"' words '"' [ "*" ] | filter
//	filter = "from:" ( user | "me" ) | "in:" conversation | "has:" ( "media" | "image" | "file" )
//	       | ( "before:" | "after:" ) ( year-month-day, in UTC | RFC 3339 time | Unix seconds )
//
// All words must be there, in any order; those in quotes side by side, and so what
// has no space between them, such as an address. * asks for words that begin so. What
// was asked for already counts no more. Several from: or in: are alternatives. before: is
// older than the moment, after: is not. What looks like a filter and is none of these
// is words. The error is `bad_request` and says what to mend.
func Parse(text string, caller chat.UserID) (*Query, error) {
	q, err := parse(text, caller)
	if err != nil {
		return nil, err
	}
	return q, q.check()
}

// parse does it for a query that may still be empty.
func parse(text string, caller chat.UserID) (*Query, error) {
	if len(text) > QueryBytes {
		return nil, chat.Errorf(chat.BadRequest, "the query is longer than %d bytes", QueryBytes)
	}
	if !utf8.ValidString(text) {
		return nil, chat.Errorf(chat.BadRequest, "the query is not UTF-8")
	}
	q := &Query{}
	for rest := quotes.Replace(text); ; {
		item, after, quoted := nextItem(rest)
		if item == "" && after == "" && !quoted {
			break
		}
		rest = after
		if filtered, err := q.filter(item, quoted, caller); filtered || err != nil {
			if err != nil {
				return nil, err
			}
			continue
		}
		body, prefix := strings.CutSuffix(item, "*")
		if err := q.addTerm(body, prefix); err != nil {
			return nil, err
		}
	}
	return q, nil
}

// quotes are those of other keyboards.
var quotes = strings.NewReplacer("“", `"`, "”", `"`, "„", `"`, "«", `"`, "»", `"`)

// nextItem cuts the first item off; that of a phrase is without its quotes.
func nextItem(text string) (item, rest string, quoted bool) {
	text = strings.TrimLeftFunc(text, unicode.IsSpace)
	if inside, found := strings.CutPrefix(text, `"`); found {
		item, rest, _ = strings.Cut(inside, `"`)
		if after, begun := strings.CutPrefix(rest, "*"); begun {
			return item + "*", after, true
		}
		return strings.TrimSuffix(item, "*"), rest, true
	}
	end := strings.IndexFunc(text, func(r rune) bool { return unicode.IsSpace(r) || r == '"' })
	if end < 0 {
		end = len(text)
	}
	return text[:end], text[end:], false
}

func (q *Query) addTerm(text string, prefix bool) error {
	words := Words(text)
	if len(words) == 0 {
		return nil // Punctuation asks for nothing.
	}
	if len(words) > TermWords {
		return chat.Errorf(chat.BadRequest, "a phrase has more than %d words", TermWords)
	}
	t := Term{Prefix: prefix}
	for _, w := range words {
		t.Words = append(t.Words, w.Text)
	}
	if slices.ContainsFunc(q.Terms, t.equals) {
		return nil // It asks for nothing more.
	}
	if len(q.Terms) == QueryTerms {
		return chat.Errorf(chat.BadRequest, "the query has more than %d words and phrases", QueryTerms)
	}
	q.Terms = append(q.Terms, t)
	return nil
}

// filter takes the item if it is one.
func (q *Query) filter(item string, quoted bool, caller chat.UserID) (taken bool, err error) {
	key, value, found := strings.Cut(item, ":")
	if quoted || !found {
		return false, nil
	}
	switch strings.ToLower(key) {
	case "from":
		user, err := chat.ParseUserID(value)
		if value == "me" {
			user, err = caller, nil
		}
		if err != nil {
			return true, chat.Errorf(chat.BadRequest, "from: wants a user's id, or me")
		}
		q.From = append(q.From, user)
	case "in":
		c, err := chat.ParseConversationID(value)
		if err != nil {
			return true, chat.Errorf(chat.BadRequest, "in: wants a conversation's id")
		}
		q.In = append(q.In, c)
	case "has":
		thing := Thing(strings.ToLower(value))
		if !slices.Contains([]Thing{Media, Image, File}, thing) {
			return true, chat.Errorf(chat.BadRequest, "has: wants media, image or file")
		}
		if !slices.Contains(q.Has, thing) {
			q.Has = append(q.Has, thing)
		}
	case "before", "after":
		at, err := parseMoment(value)
		if err != nil {
			return true, chat.Errorf(chat.BadRequest, "%s: wants a day as 2026-01-31, a time of RFC 3339, or Unix seconds", strings.ToLower(key))
		}
		if strings.EqualFold(key, "after") {
			q.After = max(q.After, at)
		} else if q.Before == 0 || at < q.Before {
			q.Before = at
		}
	default:
		return false, nil
	}
	return true, nil
}

// lastSecond is the last that a message's id can have, in the year 5138.
const lastSecond = 100_000_000_000

// parseMoment reads a moment after 1970 began.
func parseMoment(text string) (chat.Clock, error) {
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		var t time.Time
		if t, err = time.Parse(time.DateOnly, text); err != nil {
			t, err = time.Parse(time.RFC3339, text)
		}
		seconds = t.Unix()
	}
	if err == nil && (seconds < 1 || seconds > lastSecond) {
		err = strconv.ErrRange
	}
	return chat.ClockAt(seconds), err
}

func (q *Query) check() error {
	switch {
	case len(q.From) > QueryNames || len(q.In) > QueryNames:
		return chat.Errorf(chat.BadRequest, "the query names more than %d users or conversations", QueryNames)
	case len(q.Terms)+len(q.From)+len(q.In)+len(q.Has) == 0 && q.After == 0 && q.Before == 0:
		return chat.Errorf(chat.BadRequest, "the query has no words and no filter")
	}
	return nil
}

// only narrows the query by one more filter: as if it were written there alone.
func (q *Query) only(key, value string, caller chat.UserID) error {
	narrow := &Query{}
	if _, err := narrow.filter(key+":"+value, false, caller); err != nil {
		return err
	}
	if !common(&q.From, narrow.From) || !common(&q.In, narrow.In) {
		return chat.Errorf(chat.BadRequest, "the query has another %s: than %s", key, value)
	}
	return nil
}

// common reduces a list of alternatives to one of them.
func common[T comparable](list *[]T, to []T) bool {
	if len(to) == 0 {
		return true
	}
	if len(*list) > 0 && !slices.Contains(*list, to[0]) {
		return false
	}
	*list = to
	return true
}
