package search

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"unicode/utf16"

	"switchboard/internal/chat"
)

// What a match is worth, in points. Whatever is twice as old as another message has
// one point less.
const (
	pointsBeside  = 4.0 // all words side by side, in the order of the query
	pointsWhole   = 2.0 // a word that was asked for by its beginning is there as it is
	pointsExact   = 1.0 // capitals and accents are those that were typed, too
	pointsRepeat  = 1.0 // a word is there again; more often counts no more
	pointsDensity = 3.0 // the message is nothing but the words
)

// youth is what all messages of less than this age, in days, have in common: within
// an hour age hardly counts.
const youth = 1.0 / 24

// HighlightsMax bounds the highlights of one message.
const HighlightsMax = 32

// Highlight is a piece of a message's content that answers to the query. Start and
// End count UTF-16 code units, as strings do in browsers and on phones.
type Highlight struct {
	Start, End int
	Text       string
}

// Hit is a message that was found.
type Hit struct {
	Document
	Highlights []Highlight // ascending, apart from each other
	score      int64       // in thousandths of a point, before age
}

// judge returns the document as a hit; ok is false if it does not answer to the
// words of the query, which a store may get wrong only in this direction.
func judge(q *Query, d *Document) (h Hit, ok bool) {
	h = Hit{Document: *d}
	if len(q.Terms) == 0 {
		return h, true
	}
	r := reading{words: Words(d.Content)}
	points, ok := r.match(q.Terms)
	if !ok {
		return h, false
	}
	h.score = int64(math.Round(points * 1000))
	h.Highlights = highlights(d.Content, r.words, r.matched)
	return h, true
}

// reading is the words of a message while a query's are looked for. Whatever they
// are, it takes time in proportion to their number and that of the terms.
type reading struct {
	words   []Word
	matched []bool // by word: it answers to a term
	steps   int    // words, and places of terms, that were looked at
}

// match returns what the words are worth; ok is false if a term is not there.
func (r *reading) match(terms []Term) (points float64, ok bool) {
	r.matched = make([]bool, len(r.words))
	var ends []int // after the terms so far, where they stand side by side
	for i := range terms {
		t := &terms[i]
		at := r.places(t)
		if len(at) == 0 {
			return 0, false
		}
		if len(at) > 1 {
			points += pointsRepeat / float64(len(terms))
		}
		if t.Prefix && t.whole(r.words, at) {
			points += pointsWhole / float64(len(terms))
		}
		r.mark(at, len(t.Words))
		if i > 0 {
			at = r.common(ends, at)
		}
		for k := range at {
			at[k] += len(t.Words)
		}
		ends = at
	}
	if len(ends) > 0 && len(terms) > 1 {
		points += pointsBeside
	}
	count := 0
	for _, m := range r.matched {
		if m {
			count++
		}
	}
	return points + pointsDensity*float64(count)/float64(len(r.words)), true
}

// places returns where the term begins, ascending. It never goes back among the words,
// as Knuth, Morris and Pratt do not: a phrase of one word many times is no reason to.
func (r *reading) places(t *Term) (at []int) {
	last := len(t.Words) - 1
	before := t.Words[:last] // The last may be only begun, and is compared by itself.
	back := borders(before)
	k := 0 // so many of them stand before word i
	for i := range r.words {
		word := r.words[i].Text
		r.steps++
		if k == last && (word == t.Words[last] || t.Prefix && strings.HasPrefix(word, t.Words[last])) {
			at = append(at, i-last)
		}
		for k > 0 && (k == last || before[k] != word) {
			k = back[k-1]
			r.steps++
		}
		if k < last && before[k] == word {
			k++
		}
	}
	return at
}

// borders returns for each beginning of the list, by its length less one, how many
// words at its end are also its first; not all of it.
func borders(list []string) []int {
	back := make([]int, len(list))
	k := 0
	for i := 1; i < len(list); i++ {
		for k > 0 && list[k] != list[i] {
			k = back[k-1]
		}
		if list[k] == list[i] {
			k++
		}
		back[i] = k
	}
	return back
}

// mark notes words that answer to a term of this length.
func (r *reading) mark(at []int, length int) {
	done := 0
	for _, first := range at {
		for done = max(done, first); done < first+length; done++ {
			r.matched[done] = true
			r.steps++
		}
	}
}

// common returns what is in both of two ascending lists, in place of the second.
func (r *reading) common(ends, at []int) []int {
	both := at[:0]
	for _, i := range at {
		r.steps++
		for len(ends) > 0 && ends[0] < i {
			ends = ends[1:]
			r.steps++
		}
		if len(ends) > 0 && ends[0] == i {
			both = append(both, i)
		}
	}
	return both
}

// whole reports whether the last word of a term is there as it is.
func (t *Term) whole(words []Word, at []int) bool {
	last := len(t.Words) - 1
	return slices.ContainsFunc(at, func(i int) bool { return words[i+last].Text == t.Words[last] })
}

// highlights returns the pieces that matched words make; neighbours of a script
// without spaces make one.
func highlights(content string, words []Word, matched []bool) (all []Highlight) {
	at, units := 0, 0 // so many bytes of the content are so many units
	measure := func(to int) int {
		for _, r := range content[at:to] {
			units += max(utf16.RuneLen(r), 1)
		}
		at = to
		return units
	}
	start, end := 0, -1 // of the last piece, in bytes
	for i, w := range words {
		switch {
		case !matched[i]:
		case w.Start == end:
			end = w.End
			all[len(all)-1].End, all[len(all)-1].Text = measure(end), content[start:end]
		case len(all) == HighlightsMax:
			return all
		default:
			start, end = w.Start, w.End
			all = append(all, Highlight{measure(start), measure(end), content[start:end]})
		}
	}
	return all
}

// grade is a hit's place in the ranking of its window: the higher the better, and
// of equal ones the newer.
type grade struct {
	score int64
	id    chat.MessageID
}

// gradeOf takes the age off, as of now.
func gradeOf(h *Hit, now chat.Clock) grade {
	const day = 24 * 3600 * 1000 * chat.TicksPerMillisecond
	age := max(float64(now-chat.ClockOf(h.ID))/day, 0)
	return grade{h.score - int64(math.Round(1000*math.Log2(age+youth))), h.ID}
}

// compare orders grades, the best first.
func (a grade) compare(b grade) int {
	if c := cmp.Compare(b.score, a.score); c != 0 {
		return c
	}
	return chat.CompareMessageIDs(b.id, a.id)
}
