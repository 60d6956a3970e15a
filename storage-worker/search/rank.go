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
	words := Words(d.Content)
	matched := make([]bool, len(words))
	points, beside := 0.0, true
	var ends []int // of the term before, as indices of words
	for i := range q.Terms {
		t := &q.Terms[i]
		at := t.in(words)
		if len(at) == 0 {
			return h, false
		}
		if len(at) > 1 {
			points += pointsRepeat / float64(len(q.Terms))
		}
		if t.Prefix && t.whole(words, at) {
			points += pointsWhole / float64(len(q.Terms))
		}
		ends, beside = follow(ends, at, len(t.Words), beside, i == 0)
		for _, first := range at {
			for k := range t.Words {
				matched[first+k] = true
			}
		}
	}
	if beside && len(q.Terms) > 1 {
		points += pointsBeside
	}
	count := 0
	for _, m := range matched {
		if m {
			count++
		}
	}
	points += pointsDensity * float64(count) / float64(len(words))
	h.score = int64(math.Round(points * 1000))
	h.Highlights = highlights(d.Content, words, matched)
	return h, true
}

// in returns where the term begins among the words.
func (t *Term) in(words []Word) (at []int) {
	last := len(t.Words) - 1
	for i := range len(words) - last {
		for k, want := range t.Words {
			have := words[i+k].Text
			if have != want && (k != last || !t.Prefix || !strings.HasPrefix(have, want)) {
				break
			}
			if k == last {
				at = append(at, i)
			}
		}
	}
	return at
}

// whole reports whether the last word of a term is there as it is.
func (t *Term) whole(words []Word, at []int) bool {
	last := len(t.Words) - 1
	return slices.ContainsFunc(at, func(i int) bool { return words[i+last].Text == t.Words[last] })
}

// follow carries on the places where all terms so far stand side by side.
func follow(ends, at []int, length int, beside, first bool) ([]int, bool) {
	if !beside {
		return nil, false
	}
	var next []int
	for _, i := range at {
		if first || slices.Contains(ends, i) {
			next = append(next, i+length)
		}
	}
	return next, len(next) > 0
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
