// Package searchtest is the suite that every search.Store passes: what is found and
// by whom, that repeating changes nothing, and that going on finds everything. What
// a store answers is compared with what reading all messages one by one finds.
package searchtest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/storage-worker/search"
)

// Run runs the suite; open is called for each test and returns a store that may hold
// what others wrote: all ids of a test are its own. A second time in a test it must
// be another one. Closing it is open's business.
func Run(t *testing.T, open func(t *testing.T) search.Store) {
	tests := []struct {
		name string
		run  func(s *suite)
	}{
		{"an empty index finds nothing", (*suite).empty},
		{"every field of a message comes back", (*suite).roundTrip},
		{"words are found however they are written", (*suite).spellings},
		{"a query finds what answers to all of it", (*suite).language},
		{"highlights are the words of the content", (*suite).highlights},
		{"nothing is found that lies outside of the spans", (*suite).spans},
		{"nothing is found in conversations of others", (*suite).foreign},
		{"an older version does not replace a newer", (*suite).versions},
		{"progress never moves back", (*suite).progress},
		{"how far conversations are never moves back", (*suite).reached},
		{"better matches and younger ones come first", (*suite).ranking},
		{"going on finds everything once", (*suite).pages},
		{"what comes meanwhile does not disturb the pages", (*suite).comingMeanwhile},
		{"whoever is in many conversations finds the same", (*suite).manyConversations},
		{"whoever came and went often finds the same", (*suite).manySpans},
		{"any query finds what reading everything finds", (*suite).anyQuery},
		{"another order of the same writes gives the same answers", (*suite).anyOrder},
		{"an ended context is an error", (*suite).cancelled},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.run(&suite{T: t, store: open(t), open: open, partition: partitions.Add(1), me: newUser(), other: newUser(), conversation: newConversation()})
		})
	}
}

// suite is one test with people and a conversation of its own.
type suite struct {
	*testing.T
	store        search.Store
	open         func(t *testing.T) search.Store
	partition    uint32 // that writes all its messages
	me, other    chat.UserID
	conversation chat.ConversationID
	written      int // documents of say
}

func newConversation() chat.ConversationID { return chat.ConversationID(chat.NewRequestID()) }
func newUser() chat.UserID                 { return chat.UserID(chat.NewRequestID()) }

// now is when the suite searches; messages are written in the minutes before.
var now = time.Unix(1_700_000_000, 0)

// partitions counts those that write: each test has one, so its ids are its own.
var partitions atomic.Uint32

// idAt returns the id of the n-th message: an hour before now, a second apart.
func (s *suite) idAt(n int) chat.MessageID {
	return chat.NewMessageID(chat.ClockAt(now.Unix()-3600)+chat.ClockAt(int64(n)), 1, s.partition)
}

// document makes the n-th message, of the other one.
func (s *suite) document(n int, content string) search.Document {
	d, _ := search.NewDocument(&chat.Entry{
		Conversation: s.conversation, Seq: chat.Seq(n), ID: s.idAt(n), Sender: s.other, Kind: chat.KindText, Content: content,
	})
	return d
}

// say writes messages, one after the other.
func (s *suite) say(contents ...string) {
	var docs []search.Document
	for _, content := range contents {
		s.written++
		docs = append(docs, s.document(s.written, content))
	}
	s.apply(docs...)
}

func (s *suite) apply(docs ...search.Document) {
	s.Helper()
	if err := s.store.Apply(s.Context(), &search.Batch{Documents: docs}); err != nil {
		s.Fatal(err)
	}
	if err := refresh(s.Context(), s.store); err != nil {
		s.Fatal(err)
	}
}

// refresh has a store that shows late what was written show it now.
func refresh(ctx context.Context, store search.Store) error {
	if late, ok := store.(interface{ Refresh(context.Context) error }); ok {
		return late.Refresh(ctx)
	}
	return nil
}

// mine is the scope of somebody who sees all of the conversation.
func (s *suite) mine() search.Scope {
	return search.Scope{s.conversation: {{From: 1}}}
}

func (s *suite) parse(query string) *search.Query {
	s.Helper()
	q, err := search.Parse(query, s.me)
	if err != nil {
		s.Fatalf("query %q: %v", query, err)
	}
	return q
}

func newFinder(store search.Store) *search.Finder { return search.NewFinder(store, metrics.New()) }

// all goes through all pages of a search.
func (s *suite) all(store search.Store, query string, scope search.Scope, limit int) (hits []search.Hit) {
	s.Helper()
	finder := newFinder(store)
	request := search.Request{Query: s.parse(query), Scope: scope, Limit: limit, Now: now}
	for range 10_000 {
		page, err := finder.Find(s.Context(), &request)
		if err != nil {
			s.Fatalf("query %q: %v", query, err)
		}
		if len(page.Hits) > limit {
			s.Fatalf("query %q: a page of %d, asked for %d", query, len(page.Hits), limit)
		}
		hits = append(hits, page.Hits...)
		if request.Cursor = page.Cursor; page.Cursor == "" {
			return hits
		}
	}
	s.Fatalf("query %q has no last page", query)
	return nil
}

// find returns the contents that are found, the best first.
func (s *suite) find(query string, scope search.Scope) []string {
	s.Helper()
	found := []string{}
	for _, h := range s.all(s.store, query, scope, 10) {
		found = append(found, h.Content)
	}
	return found
}

func (s *suite) same(what string, got, want any) {
	s.Helper()
	if !equal(got, want) {
		s.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// finds compares what is found, in any order.
func (s *suite) finds(query string, scope search.Scope, want ...string) {
	s.Helper()
	got := s.find(query, scope)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		s.Errorf("query %q finds %q, want %q", query, got, want)
	}
}

func (s *suite) empty() {
	s.finds("word", s.mine())
	s.finds("word", search.Scope{})
	s.finds("has:media", s.mine())
}

func (s *suite) roundTrip() {
	d := search.Document{
		ID: s.idAt(1), Conversation: s.conversation, Seq: 7, Sender: s.other, Kind: chat.KindImage, Media: true,
		Content: "line\r\n\x00 \"quoted\" ключ", Version: chat.ClockOf(s.idAt(1)) + 5,
	}
	s.apply(d)
	hits := s.all(s.store, "quoted", s.mine(), 10)
	if len(hits) != 1 {
		s.Fatalf("%d found, want 1", len(hits))
	}
	s.same("document", hits[0].Document, d)
}

// spellings are pairs of what was written and what finds it, or not.
func (s *suite) spellings() {
	for i, test := range []struct{ content, finds, misses string }{
		{"The Quick Fox", "qUICK", "quic"},
		{"crème brûlée à la carte", "creme BRULEE", "brul"},
		{"Straße nach Łódź", "strasse lodz", "stras"},
		{"ΟΔΥΣΣΕΥΣ", "οδυσσευς", "οδυσσε"},
		{"ещё одна ёлка", "еще елка", "елк"},
		{"Елка без точек", "ёлка", "точк"},
		{"мой дом", "мой", "мои"},
		{"東京都に住んでいます", "京都", "都京"},
		{"カメラを買う", "カメラ", "ガメラ"},
		{"ｆｕｌｌ ｗｉｄｔｈ １２", "full width 12", "1"},
		{"สวัสดีครับ", "สวัส", "ดีสวัส"},
		{"한국어 문장", "한국어", "국어"},
		{"हिन्दी भाषा", "हिन्दी", "हन्द"},
		{"שָׁלוֹם", "שלום", "שלו"},
		{"cafe\u0301 decomposed", "café", "caf"},
		{"party 🎉🎂 tonight", "🎂", "🎈"},
		{"don't e-mail a.b@example.org", "a.b@example.org", "b.a@example.org"},
		{"snake_case and kebab-case", "case", "kebabcase"},
	} {
		s.conversation = newConversation()
		s.apply(s.document(i+1, test.content))
		s.finds(test.finds, s.mine(), test.content)
		s.finds(test.misses, s.mine())
	}
}

func (s *suite) language() {
	s.say("red apple", "green apple", "apple red", "red pineapple", "a red, ripe apple")
	mine := s.mine()
	s.finds("apple red", mine, "red apple", "apple red", "a red, ripe apple")
	s.finds(`"red apple"`, mine, "red apple")
	s.finds(`“apple red”`, mine, "apple red")
	s.finds("pine*", mine, "red pineapple")
	s.finds(`"red pine"*`, mine, "red pineapple")
	s.finds("apple gre*", mine, "green apple")
	s.finds(`red "apple`, mine, "red apple", "apple red", "a red, ripe apple")
	s.finds("absent", mine)
	s.finds("red absent", mine)

	picture := s.document(6, "look, an apple")
	picture.Kind, picture.Media, picture.Sender = chat.KindImage, true, s.me
	file := s.document(7, "")
	file.Kind, file.Media = chat.KindFile, true
	s.apply(picture, file)
	s.finds("has:media", mine, "look, an apple", "")
	s.finds("has:image", mine, "look, an apple")
	s.finds("has:file has:media", mine, "")
	s.finds("apple has:media", mine, "look, an apple")
	s.finds("from:me", mine, "look, an apple")
	s.finds("apple from:"+s.me.String()+" from:"+s.other.String(), mine,
		"red apple", "green apple", "apple red", "a red, ripe apple", "look, an apple")
	s.finds("from:"+newUser().String(), mine)
	s.finds("in:"+s.conversation.String()+" green", mine, "green apple")
	s.finds("in:"+newConversation().String()+" green", mine)
	second := func(n int) string { return chat.ClockOf(s.idAt(n)).Time().Format(time.RFC3339) }
	s.finds("apple before:"+second(3), mine, "red apple", "green apple")
	s.finds("after:"+second(5), mine, "a red, ripe apple", "look, an apple", "")
	s.finds("red after:"+second(3)+" before:"+second(4), mine, "apple red")
	s.finds("before:1971-01-01 apple", mine)
	s.finds("after:5000-01-01 apple", mine)

	const long = "one two three four five six seven eight nine ten"
	s.apply(s.document(8, long), s.document(9, "one two three four five six seven eight ten nine"))
	s.finds(`"`+long+`"`, mine, long)
	s.finds(`"one two three four five six seven eight nine te"*`, mine, long)
	s.finds(`"one two three four five six seven eight nine te"`, mine)
}

func (s *suite) highlights() {
	s.say("🎉 Crème, then crème brûlée; CREME", "東京都の京都")
	pieces := func(query string) []string {
		var all []string
		for _, h := range s.all(s.store, query, s.mine(), 10) {
			units := encode(h.Content)
			for _, piece := range h.Highlights {
				text := decode(units[piece.Start:piece.End])
				s.same("text of a highlight", piece.Text, text)
				all = append(all, text)
			}
		}
		return all
	}
	s.same("highlights of a word", pieces("creme"), []string{"Crème", "crème", "CREME"})
	s.same("highlights of a phrase", pieces(`"creme brulee"`), []string{"crème", "brûlée"})
	s.same("highlights of a beginning", pieces("bru*"), []string{"brûlée"})
	s.same("highlights without spaces", pieces("京都"), []string{"京都", "京都"})
	s.same("highlights of a filter", pieces("from:"+s.other.String()), []string(nil))
}

func (s *suite) spans() {
	s.say("word 1", "word 2", "word 3", "word 4", "word 5", "word 6", "word 7")
	c := s.conversation
	s.finds("word", search.Scope{c: {{From: 2, To: 3}}}, "word 2", "word 3")
	s.finds("word", search.Scope{c: {{From: 2, To: 3}, {From: 6}}}, "word 2", "word 3", "word 6", "word 7")
	s.finds("word", search.Scope{c: {{From: 8}}})
	s.finds("word", search.Scope{c: nil})
	s.finds("word in:"+c.String(), search.Scope{c: {{From: 7}}}, "word 7")
}

func (s *suite) foreign() {
	s.say("secret word")
	s.finds("word", search.Scope{newConversation(): {{From: 1}}})
	s.finds("word in:"+s.conversation.String(), search.Scope{newConversation(): {{From: 1}}})
	s.finds("from:"+s.other.String(), search.Scope{newConversation(): {{From: 1}}})
	s.finds("all", s.mine()) // No word of the index's own is one of the message.
	s.finds("c"+strings.ReplaceAll(s.conversation.String(), "-", ""), s.mine())
}

func (s *suite) versions() {
	old, young := s.document(1, "old words"), s.document(1, "young words")
	young.Version += 10
	s.apply(old)
	s.apply(young)
	s.apply(old)
	s.apply(young)
	s.finds("words", s.mine(), "young words")
	s.finds("old", s.mine())
	s.finds("young", s.mine(), "young words")
}

func (s *suite) progress() {
	ctx := s.Context()
	generation := uint32(time.Now().UnixNano()) | 1
	want := func(next int64, known bool) {
		s.Helper()
		p, ok, err := s.store.Progress(ctx, generation, 5)
		if err != nil || ok != known || known && p != (search.Progress{Generation: generation, Partition: 5, Next: next, Last: next - 1}) {
			s.Errorf("progress %+v, %v, error %v; want next %d, %v", p, ok, err, next, known)
		}
	}
	want(0, false)
	for _, next := range []int64{7, 9, 8} {
		if err := s.store.Apply(ctx, &search.Batch{Progress: search.Progress{Generation: generation, Partition: 5, Next: next, Last: next - 1}}); err != nil {
			s.Fatal(err)
		}
	}
	want(9, true)
	if _, ok, err := s.store.Progress(ctx, generation, 6); ok || err != nil {
		s.Errorf("the progress of another partition: %v, error %v", ok, err)
	}
}

func (s *suite) reached() {
	ctx, unknown := s.Context(), newConversation()
	for _, seq := range []chat.Seq{4, 9, 7} {
		b := search.Batch{Reached: map[chat.ConversationID]chat.Seq{s.conversation: seq}}
		if err := s.store.Apply(ctx, &b); err != nil {
			s.Fatal(err)
		}
	}
	got, err := s.store.Reached(ctx, []chat.ConversationID{unknown, s.conversation})
	if err != nil {
		s.Fatal(err)
	}
	s.same("how far conversations are", got, map[chat.ConversationID]chat.Seq{s.conversation: 9})
	if got, err = s.store.Reached(ctx, nil); err != nil || len(got) != 0 {
		s.Errorf("asked about none: %v, error %v", got, err)
	}
}

func (s *suite) ranking() {
	s.say("cat, then big", "a big cat on the roof of the house of the neighbours", "big cat", "a cat that is not so big")
	s.same("side by side first, then what is shorter", s.find("big cat", s.mine()), []string{
		"big cat", "a big cat on the roof of the house of the neighbours", "cat, then big", "a cat that is not so big",
	})
	s.conversation, s.written = newConversation(), 100
	s.say("same words here", "same words there")
	s.same("the younger of equals first", s.find("same words", s.mine()), []string{"same words there", "same words here"})
	s.same("by time where nothing else counts", s.find("in:"+s.conversation.String(), s.mine()), []string{"same words there", "same words here"})
}

func (s *suite) cancelled() {
	s.say("word")
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	q := search.Question{Query: s.parse("word"), Scope: s.mine(), Limit: 1}
	if _, err := s.store.Match(ctx, &q); !errors.Is(err, context.Canceled) {
		s.Errorf("Match: error %v, want the context's", err)
	}
	if err := s.store.Apply(ctx, &search.Batch{Progress: search.Progress{Generation: 1}}); !errors.Is(err, context.Canceled) {
		s.Errorf("Apply: error %v, want the context's", err)
	}
}
