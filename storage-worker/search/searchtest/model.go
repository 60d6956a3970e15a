package searchtest

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"unicode/utf16"

	"switchboard/internal/chat"
	"switchboard/storage-worker/search"
)

func equal(a, b any) bool { return reflect.DeepEqual(a, b) }

func encode(text string) []uint16   { return utf16.Encode([]rune(text)) }
func decode(units []uint16) string  { return string(utf16.Decode(units)) }
func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, seed)) }

// lexicon is few words, so that they meet often.
var lexicon = strings.Fields("red green blue redder greenhouse ёлка елка Ёлка 東京 京都 the The a x")

func phrase(r *rand.Rand, most int) string {
	var words []string
	for range 1 + r.IntN(most) {
		words = append(words, lexicon[r.IntN(len(lexicon))])
	}
	return strings.Join(words, " ")
}

// world is messages in some conversations, of the suite's two people.
func (s *suite) world(r *rand.Rand, conversations, messages int) (docs []search.Document, names []chat.ConversationID) {
	for range conversations {
		names = append(names, newConversation())
	}
	seqs := make([]chat.Seq, conversations)
	for n := range messages {
		c := r.IntN(conversations)
		seqs[c]++
		d := s.document(n+1, phrase(r, 6))
		d.Conversation, d.Seq = names[c], seqs[c]
		if r.IntN(4) == 0 {
			d.Kind, d.Media = chat.KindImage, true
		}
		if r.IntN(3) == 0 {
			d.Sender = s.me
		}
		docs = append(docs, d)
	}
	return docs, names
}

// answers is what a query means, for those who read everything.
func answers(q *search.Query, scope search.Scope, d *search.Document) bool {
	in := func(t search.Term) bool {
		words := search.Words(d.Content)
		for i := range words {
			k := 0
			for ; k < len(t.Words) && i+k < len(words); k++ {
				have, last := words[i+k].Text, k == len(t.Words)-1
				if have != t.Words[k] && (!last || !t.Prefix || !strings.HasPrefix(have, t.Words[k])) {
					break
				}
			}
			if k == len(t.Words) {
				return true
			}
		}
		return false
	}
	for _, t := range q.Terms {
		if !in(t) {
			return false
		}
	}
	for _, thing := range q.Has {
		if !slices.Contains(d.Has(), thing) {
			return false
		}
	}
	at := chat.ClockOf(d.ID)
	return scope.Covers(d.Conversation, d.Seq) && at >= q.After && (q.Before == 0 || at < q.Before) &&
		(len(q.From) == 0 || slices.Contains(q.From, d.Sender)) && (len(q.In) == 0 || slices.Contains(q.In, d.Conversation))
}

// expect compares all that is found with what reading everything finds.
func (s *suite) expect(query string, scope search.Scope, limit int, docs []search.Document) {
	s.Helper()
	q, want := s.parse(query), []chat.MessageID{}
	for i := range docs {
		if answers(q, scope, &docs[i]) {
			want = append(want, docs[i].ID)
		}
	}
	got := []chat.MessageID{}
	for _, h := range s.all(s.store, query, scope, limit) {
		got = append(got, h.ID)
	}
	slices.SortFunc(got, chat.CompareMessageIDs)
	if !slices.Equal(got, want) {
		s.Errorf("query %q finds %d messages, reading everything %d", query, len(got), len(want))
	}
}

func (s *suite) anyQuery() {
	r := seeded(1)
	docs, names := s.world(r, 6, 300)
	s.apply(docs...)
	for range 120 {
		var items []string
		for range 1 + r.IntN(3) {
			items = append(items, s.item(r, names))
		}
		scope := make(search.Scope)
		for _, c := range names {
			switch r.IntN(3) {
			case 0:
				scope[c] = []search.Span{{From: 1}}
			case 1:
				from := chat.Seq(1 + r.IntN(20))
				to := from + chat.Seq(r.IntN(20))
				scope[c] = []search.Span{{From: from, To: to}, {From: to + 3}}
			}
		}
		s.expect(strings.Join(items, " "), scope, 5+r.IntN(30), docs)
	}
}

// item is a random part of a query.
func (s *suite) item(r *rand.Rand, names []chat.ConversationID) string {
	switch r.IntN(9) {
	case 0:
		return `"` + phrase(r, 2) + `"`
	case 1:
		return string([]rune(lexicon[r.IntN(len(lexicon))])[:1]) + "*"
	case 2:
		return "from:me"
	case 3:
		return "in:" + names[r.IntN(len(names))].String()
	case 4:
		return "has:media"
	case 5:
		return fmt.Sprintf("after:%d", chat.ClockOf(s.idAt(r.IntN(300))).Unix())
	case 6:
		return fmt.Sprintf("before:%d", chat.ClockOf(s.idAt(r.IntN(300))).Unix())
	}
	return lexicon[r.IntN(len(lexicon))]
}

// pages has more matches than two windows.
func (s *suite) pages() {
	r := seeded(2)
	docs, names := s.world(r, 3, 2*search.Window+50)
	for i := range docs {
		docs[i].Content = "common " + docs[i].Content
	}
	s.apply(docs...)
	scope := search.Scope{names[0]: {{From: 1}}, names[1]: {{From: 5, To: 200}}, names[2]: {{From: 1}}}
	for _, limit := range []int{33, search.LimitMax} {
		s.expect("common", scope, limit, docs)
		s.expect("from:me", scope, limit, docs)
	}
	q := search.Question{Query: s.parse("common"), Scope: scope, Limit: 10}
	first, err := s.store.Match(s.Context(), &q)
	if err != nil || len(first.Documents) != 10 || first.Next.IsZero() {
		s.Fatalf("%d documents, next %v, error %v", len(first.Documents), first.Next, err)
	}
	if !slices.IsSortedFunc(first.Documents, newestFirst) {
		s.Error("a store's answer is not the newest first")
	}
	q.Bottom, q.Limit = first.Next, search.Window
	again, err := s.store.Match(s.Context(), &q)
	s.same("what lies above the bottom", again.Documents, first.Documents)
	if err != nil || !again.Next.IsZero() {
		s.Errorf("there is more above the bottom: %v, error %v", again.Next, err)
	}
}

func newestFirst(a, b search.Document) int { return chat.CompareMessageIDs(b.ID, a.ID) }

// comingMeanwhile indexes messages above and between those that are being paged through.
func (s *suite) comingMeanwhile() {
	var docs, late []search.Document
	for n := 1; n <= search.Window+100; n++ {
		d := s.document(n, fmt.Sprintf("common number%d", n))
		if n%5 == 0 || n > search.Window+50 {
			late = append(late, d)
		} else {
			docs = append(docs, d)
		}
	}
	s.apply(docs...)
	finder := newFinder(s.store)
	request := search.Request{Query: s.parse("common"), Scope: s.mine(), Limit: 50, Now: now}
	times := make(map[chat.MessageID]int)
	for {
		page, err := finder.Find(s.Context(), &request)
		if err != nil {
			s.Fatal(err)
		}
		for _, h := range page.Hits {
			times[h.ID]++
		}
		s.apply(late...)
		if request.Cursor = page.Cursor; page.Cursor == "" {
			break
		}
	}
	for _, d := range docs {
		if times[d.ID] != 1 {
			s.Errorf("%q was found %d times", d.Content, times[d.ID])
		}
	}
	for _, d := range late {
		if times[d.ID] > 1 {
			s.Errorf("%q came late and was found %d times", d.Content, times[d.ID])
		}
	}
}

func (s *suite) manyConversations() {
	r := seeded(3)
	docs, names := s.world(r, 120, 600)
	s.apply(docs...)
	scope := make(search.Scope)
	for _, c := range names[:100] {
		scope[c] = []search.Span{{From: 1, To: 3}, {From: 5}}
	}
	for _, query := range []string{"red", "the x", "re*", "has:media blue", "in:" + names[0].String(), "from:me", "before:2030-01-01"} {
		s.expect(query, scope, 25, docs)
	}
}

// manySpans is somebody whom others let in and put out again and again, and who asks
// for as much as a query may.
func (s *suite) manySpans() {
	r := seeded(6)
	docs, names := s.world(r, 250, 1000)
	letters := strings.Split("abcdefghijklmnop", "")
	for i := range docs {
		docs[i].Content += " " + strings.Join(letters, " ")
	}
	s.apply(docs...)
	scope := make(search.Scope)
	for _, c := range names {
		for n := range chat.Seq(16) {
			scope[c] = append(scope[c], search.Span{From: 1 + 3*n, To: 2 + 3*n})
		}
	}
	last := len(letters) - 1
	for _, query := range []string{"red", "from:me", strings.Join(letters, " "), strings.Join(letters[:last], "* ") + `* "o ` + letters[last] + `"*`} {
		s.expect(query, scope, search.LimitMax, docs)
	}
}

// anyOrder builds the index of the same messages twice.
func (s *suite) anyOrder() {
	r := seeded(4)
	docs, names := s.world(r, 4, 400)
	scope := search.Scope{names[0]: {{From: 1}}, names[1]: {{From: 10, To: 50}}, names[3]: {{From: 1}}}
	s.apply(docs...)
	queries := []string{"red", "the a", "gre*", `"red green"`, "has:image", "елка", "from:me 京都"}
	var before [][]search.Hit
	for _, query := range queries {
		before = append(before, s.all(s.store, query, scope, 30))
	}
	s.store = s.open(s.T)
	mixed := slices.Clone(docs)
	r.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
	for part := range slices.Chunk(mixed, 37) {
		s.apply(part...)
	}
	for part := range slices.Chunk(docs, 100) {
		s.apply(part...) // Once more: a replay.
	}
	for i, query := range queries {
		s.same(query, s.all(s.store, query, scope, 30), before[i])
		s.same("number of answers to "+query, cmp.Compare(len(before[i]), 0), 1)
	}
}
