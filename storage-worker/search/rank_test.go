package search

import (
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"switchboard/internal/chat"
)

// TestOneWordManyTimesCostsNoMoreThanOthers reads the longest message of one word for
// the queries that meet it most often.
func TestOneWordManyTimesCostsNoMoreThanOthers(t *testing.T) {
	d := Document{Content: strings.Repeat("a ", chat.ContentBytes/2)}
	words := Words(d.Content)
	var same, phrases, nearly []Term
	for n := range QueryTerms {
		same = append(same, word("a"))
		phrases = append(phrases, word(strings.Repeat("a ", TermWords-n)))
		nearly = append(nearly, word(strings.Repeat("a ", TermWords-n-1)+"b"), begin(strings.Repeat("a ", TermWords-n)))
	}
	for name, terms := range map[string][]Term{"words": same, "phrases": phrases, "what is nearly there": nearly} {
		r := reading{words: words}
		if _, ok := r.match(terms); ok != (name != "what is nearly there") {
			t.Errorf("%s: found is %v", name, ok)
		}
		if most := 5 * len(words) * len(terms); r.steps > most || r.steps < len(words) {
			t.Errorf("%s: %d steps, want up to %d", name, r.steps, most)
		}
	}
	q, err := Parse(strings.Repeat("a ", QueryTerms), me)
	if err != nil || len(q.Terms) != 1 {
		t.Errorf("%+v, error %v, want one term", q, err)
	}
}

// stands reports whether a term stands at the beginning of the words.
func stands(term *Term, words []Word) bool {
	last := len(term.Words) - 1
	if len(words) <= last {
		return false
	}
	for k, want := range term.Words[:last] {
		if words[k].Text != want {
			return false
		}
	}
	return words[last].Text == term.Words[last] || term.Prefix && strings.HasPrefix(words[last].Text, term.Words[last])
}

// TestAReadingFindsWhatLookingEverywhereFinds compares places of terms, and whether
// they stand side by side, with what every place that there is says.
func TestAReadingFindsWhatLookingEverywhereFinds(t *testing.T) {
	texts := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "ab"}), 1, 12)
	term := rapid.Custom(func(t *rapid.T) Term {
		return Term{Words: rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "ab"}), 1, 5).Draw(t, "term"), Prefix: rapid.Bool().Draw(t, "prefix")}
	})
	rapid.Check(t, func(t *rapid.T) {
		var words []Word
		for _, text := range texts.Draw(t, "words") {
			words = append(words, Word{Text: text})
		}
		terms := rapid.SliceOfN(term, 1, 3).Draw(t, "terms")
		matched, all, worth := make([]bool, len(words)), true, 0.0
		for i := range terms {
			var want []int
			for at := range words {
				if stands(&terms[i], words[at:]) {
					want = append(want, at)
					for k := range terms[i].Words {
						matched[at+k] = true
					}
				}
			}
			r := reading{words: words}
			if got := r.places(&terms[i]); !slices.Equal(got, want) {
				t.Fatalf("%v stands at %v, want %v", terms[i], got, want)
			}
			all = all && len(want) > 0
			if len(want) > 1 {
				worth += pointsRepeat / float64(len(terms))
			}
			last := len(terms[i].Words) - 1
			if terms[i].Prefix && slices.ContainsFunc(want, func(at int) bool { return words[at+last].Text == terms[i].Words[last] }) {
				worth += pointsWhole / float64(len(terms))
			}
		}
		count, beside := 0, false
		for at, m := range matched {
			if m {
				count++
			}
			i := 0
			for ; i < len(terms) && stands(&terms[i], words[at:]); i++ {
				at += len(terms[i].Words)
			}
			beside = beside || i == len(terms)
		}
		if beside && len(terms) > 1 {
			worth += pointsBeside
		}
		worth += pointsDensity * float64(count) / float64(len(words))
		r := reading{words: words}
		points, ok := r.match(terms)
		if ok != all {
			t.Fatalf("found is %v, want %v", ok, all)
		}
		if ok && (!slices.Equal(r.matched, matched) || math.Abs(points-worth) > 1e-9) {
			t.Fatalf("%v match, want %v; %v points, want %v", r.matched, matched, points, worth)
		}
	})
}
