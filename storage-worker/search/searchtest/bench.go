package searchtest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"switchboard/internal/chat"
	"switchboard/storage-worker/search"
)

// The size of the benchmark.
const (
	benchMessages      = 100_000
	benchConversations = 200
	benchWords         = 20_000 // of the language that is spoken there
)

// Benchmark fills the store with 100,000 messages of 4 to 40 words in 200 conversations
// and asks for pages. Words are as frequent as in a language: the most frequent is
// in every other message. Each kind of query says what 99 of 100 pages stay below.
func Benchmark(b *testing.B, store search.Store) {
	r := seeded(5)
	language := rand.NewZipf(r, 1.07, 4, benchWords-1)
	names := make([]chat.ConversationID, benchConversations)
	for i := range names {
		names[i] = newConversation()
	}
	fill(b, store, r, language, names)
	everywhere, somewhere := make(search.Scope), make(search.Scope)
	for i, c := range names {
		everywhere[c] = []search.Span{{From: 1}}
		if i%10 == 0 {
			somewhere[c] = []search.Span{{From: 1, To: 300}, {From: 350}}
		}
	}
	one := func() string { return spell(language.Uint64()) }
	queries := []struct {
		name string
		ask  func() string
	}{
		{"two words", func() string { return one() + " " + one() }},
		{"two frequent words", func() string { return spell(uint64(r.IntN(20))) + " " + spell(uint64(r.IntN(20))) }},
		{"one word", one},
		{"the most frequent word", func() string { return spell(0) }},
		{"phrase", func() string { return `"` + spell(uint64(r.IntN(50))) + " " + spell(uint64(r.IntN(50))) + `"` }},
		{"beginning of two letters", func() string { return one()[:2] + "*" }},
		{"from somebody", func() string { return one() + " from:me" }},
		{"no words", func() string { return "from:me has:media" }},
		{"rare words", func() string { return spell(uint64(10_000+r.IntN(10_000))) + " " + one() }},
	}
	for _, scope := range []struct {
		name  string
		scope search.Scope
	}{{"in all conversations", everywhere}, {"in a tenth", somewhere}} {
		for _, q := range queries {
			b.Run(q.name+" "+scope.name, func(b *testing.B) { ask(b, store, scope.scope, q.ask) })
		}
	}
}

// spell returns the n-th most frequent word.
func spell(n uint64) string {
	var word strings.Builder
	for n += 30; n > 0; n /= 30 {
		word.WriteString([]string{
			"ka", "to", "mi", "re", "su", "lo", "ne", "pi", "da", "fu", "ge", "ho", "ja", "ku", "le",
			"ma", "no", "po", "ri", "sa", "te", "vu", "wo", "xi", "ya", "zu", "be", "ci", "du", "fa",
		}[n%30])
	}
	return word.String()
}

// me is who asks in the benchmark, and sends a hundredth of the messages.
var me = chat.DemoUser("me")

func fill(b *testing.B, store search.Store, r *rand.Rand, language *rand.Zipf, names []chat.ConversationID) {
	b.Helper()
	began := time.Now()
	seqs := make(map[chat.ConversationID]chat.Seq)
	var batch search.Batch
	for n := range benchMessages {
		words := make([]string, 4+r.IntN(37))
		for i := range words {
			words[i] = spell(language.Uint64())
		}
		c := names[r.IntN(len(names))]
		seqs[c]++
		d := search.Document{
			ID:           chat.NewMessageID(chat.ClockAt(now.Unix())-chat.ClockAt(int64(benchMessages-n)*60), 1, 3),
			Conversation: c, Seq: seqs[c], Sender: chat.DemoUser(fmt.Sprint(r.IntN(100))), Kind: chat.KindText, Content: strings.Join(words, " "),
		}
		if r.IntN(100) == 0 {
			d.Sender = me
		}
		if r.IntN(20) == 0 {
			d.Kind, d.Media = chat.KindImage, true
		}
		d.Version = chat.ClockOf(d.ID)
		if batch.Documents = append(batch.Documents, d); len(batch.Documents) == 500 {
			if err := store.Apply(b.Context(), &batch); err != nil {
				b.Fatal(err)
			}
			batch.Documents = batch.Documents[:0]
		}
	}
	if err := refresh(b.Context(), store); err != nil {
		b.Fatal(err)
	}
	b.Logf("%d messages indexed in %v", benchMessages, time.Since(began).Round(time.Millisecond))
}

// ask times first pages.
func ask(b *testing.B, store search.Store, scope search.Scope, text func() string) {
	finder := newFinder(store)
	var times []time.Duration
	hits := 0
	for b.Loop() {
		q, err := search.Parse(text(), me)
		if err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		page, err := finder.Find(b.Context(), &search.Request{Query: q, Scope: scope, Now: now})
		times = append(times, time.Since(began))
		if err != nil {
			b.Fatal(err)
		}
		hits += len(page.Hits)
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds())/1000, "p99-ms")
	b.ReportMetric(float64(hits)/float64(len(times)), "hits")
}
