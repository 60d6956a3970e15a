package search_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/storage-worker/search"
)

// scripted is a store that answers questions with a function.
type scripted struct {
	search.Store
	match func(q *search.Question) (search.Matches, error)
}

func (s scripted) Match(_ context.Context, q *search.Question) (search.Matches, error) {
	return s.match(q)
}

func find(t *testing.T, match func(q *search.Question) (search.Matches, error), query, cursor string) (search.Page, error) {
	t.Helper()
	q, err := search.Parse(query, alice)
	if err != nil {
		t.Fatal(err)
	}
	r := search.Request{Query: q, Scope: everything(kitchen), Cursor: cursor, Now: time.Unix(2_000_000_000, 0)}
	return search.NewFinder(scripted{match: match}, metrics.New()).Find(t.Context(), &r)
}

func document(n int, content string) search.Document {
	at := chat.ClockAt(1_700_000_000 + int64(n))
	return search.Document{
		ID: chat.NewMessageID(at, 1, 0), Conversation: kitchen, Seq: chat.Seq(n), Kind: chat.KindText, Content: content, Version: at,
	}
}

func TestACursorIsOfItsSearchAlone(t *testing.T) {
	match := func(*search.Question) (m search.Matches, err error) {
		for n := range search.Window {
			m.Documents = append(m.Documents, document(search.Window-n, "word"))
		}
		return m, nil
	}
	page, err := find(t, match, "word", "")
	if err != nil || page.Cursor == "" || len(page.Hits) != search.LimitDefault {
		t.Fatalf("%d hits, cursor %q, error %v", len(page.Hits), page.Cursor, err)
	}
	if _, err := find(t, match, "WORD", page.Cursor); err != nil {
		t.Errorf("the same search in other letters: %v", err)
	}
	for name, cursor := range map[string]string{
		"of another search": page.Cursor, "cut": page.Cursor[:20], "rubbish": "%%", "empty": base64.RawURLEncoding.EncodeToString(nil),
	} {
		query := "word"
		if name == "of another search" {
			query = "other"
		}
		if cursor == "" {
			continue // The first page.
		}
		var refusal *chat.Error
		if _, err := find(t, match, query, cursor); !errors.As(err, &refusal) || refusal.Code != chat.BadRequest {
			t.Errorf("a cursor that is %s: error %v, want bad_request", name, err)
		}
	}
}

// TestAPageCostsAFewQuestions has a store that finds nothing, but always knows more.
func TestAPageCostsAFewQuestions(t *testing.T) {
	asked := 0
	match := func(*search.Question) (search.Matches, error) {
		asked++
		return search.Matches{Next: document(1_000_000-asked, "").ID}, nil
	}
	page, err := find(t, match, "word", "")
	if err != nil || asked != search.QuestionsPerPage || page.Cursor == "" || len(page.Hits) != 0 {
		t.Fatalf("%d questions, %d hits, cursor %q, error %v", asked, len(page.Hits), page.Cursor, err)
	}
	var top chat.MessageID
	if _, err := find(t, func(q *search.Question) (search.Matches, error) {
		top = q.Top
		return search.Matches{}, nil
	}, "word", page.Cursor); err != nil {
		t.Fatal(err)
	}
	if want := document(1_000_000-asked, "").ID; top != want {
		t.Errorf("the next page begins below %s, want %s", top, want)
	}
}

// TestACursorOfOnesOwnMakingCostsNoMore says that the page before ended in a window of
// all that there is.
func TestACursorOfOnesOwnMakingCostsNoMore(t *testing.T) {
	var tops []chat.MessageID // of the questions
	match := func(q *search.Question) (m search.Matches, err error) {
		d := document(1_000_000-len(tops), "word")
		tops = append(tops, q.Top)
		return search.Matches{Documents: []search.Document{d}, Next: d.ID}, nil
	}
	page, err := find(t, match, "word", "")
	if err != nil {
		t.Fatal(err)
	}
	cursor, err := base64.RawURLEncoding.DecodeString(page.Cursor)
	if err != nil {
		t.Fatal(err)
	}
	bottom := document(1, "").ID
	copy(cursor[32:48], bottom[:])
	tops = nil
	page, err = find(t, match, "word", base64.RawURLEncoding.EncodeToString(cursor))
	if err != nil || len(tops) != search.QuestionsPerPage || page.Cursor == "" {
		t.Fatalf("%d questions, cursor %q, error %v", len(tops), page.Cursor, err)
	}
	tops = nil
	if _, err := find(t, match, "word", page.Cursor); err != nil {
		t.Fatal(err)
	}
	if want := document(1_000_000-search.QuestionsPerPage+1, "").ID; tops[0] != want {
		t.Errorf("the next page begins below %s, want %s", tops[0], want)
	}
}

// TestNothingIsLeftOutOfAWindowThatFills has more messages come between those of a page
// than are ranked among themselves.
func TestNothingIsLeftOutOfAWindowThatFills(t *testing.T) {
	var docs []search.Document // the newest first
	for n := 5 * search.Window; n > 0; n -= 5 {
		docs = append(docs, document(n, fmt.Sprintf("word %d", n)))
	}
	late := false
	match := func(q *search.Question) (m search.Matches, err error) {
		for n := 5 * search.Window; n > 0; n-- {
			if d := document(n, fmt.Sprintf("word %d", n)); (late || n%5 == 0) && (q.Top.IsZero() || chat.CompareMessageIDs(d.ID, q.Top) < 0) && chat.CompareMessageIDs(d.ID, q.Bottom) >= 0 {
				if m.Documents = append(m.Documents, d); len(m.Documents) == q.Limit {
					m.Next = d.ID
					break
				}
			}
		}
		return m, nil
	}
	shown := make(map[chat.MessageID]bool)
	cursor := ""
	for {
		page, err := find(t, match, "word", cursor)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range page.Hits {
			shown[h.ID] = true
		}
		late = true
		if cursor = page.Cursor; cursor == "" {
			break
		}
	}
	for _, d := range docs {
		if !shown[d.ID] {
			t.Errorf("%q was left out", d.Content)
		}
	}
}

// TestWhoGoesAwayIsNotRankedFor ends the context while the store answers.
func TestWhoGoesAwayIsNotRankedFor(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	match := func(*search.Question) (search.Matches, error) {
		cancel()
		return search.Matches{Documents: []search.Document{document(1, "word")}}, nil
	}
	q, err := search.Parse("word", alice)
	if err != nil {
		t.Fatal(err)
	}
	r := search.Request{Query: q, Scope: everything(kitchen), Now: time.Now()}
	if page, err := search.NewFinder(scripted{match: match}, metrics.New()).Find(ctx, &r); !errors.Is(err, context.Canceled) {
		t.Errorf("%d hits, error %v, want the context's", len(page.Hits), err)
	}
}

func TestWhatAStoreGetsWrongIsNotShown(t *testing.T) {
	foreign := document(2, "word")
	foreign.Conversation = garden
	match := func(*search.Question) (search.Matches, error) {
		return search.Matches{Documents: []search.Document{document(3, "other"), foreign, document(1, "a word")}}, nil
	}
	page, err := find(t, match, "word", "")
	if err != nil || len(page.Hits) != 1 || page.Hits[0].Content != "a word" {
		t.Errorf("hits %+v, error %v", page.Hits, err)
	}
}

func TestAStoreThatFailsOrSleeps(t *testing.T) {
	broken := errors.New("broken")
	if _, err := find(t, func(*search.Question) (search.Matches, error) { return search.Matches{}, broken }, "word", ""); !errors.Is(err, broken) {
		t.Errorf("error %v, want the store's", err)
	}
	synctest.Test(t, func(t *testing.T) {
		q, err := search.Parse("word", alice)
		if err != nil {
			t.Fatal(err)
		}
		r := search.Request{Query: q, Scope: everything(kitchen), Now: time.Now()}
		_, err = search.NewFinder(sleeper{}, metrics.New()).Find(t.Context(), &r)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want that the time is over", err)
		}
	})
}

// sleeper answers when it is too late.
type sleeper struct{ search.Store }

func (sleeper) Match(ctx context.Context, _ *search.Question) (search.Matches, error) {
	<-ctx.Done()
	return search.Matches{}, ctx.Err()
}

// TestAgeCountsLessTheOlderSomethingIs ranks messages of a minute to three years.
func TestAgeCountsLessTheOlderSomethingIs(t *testing.T) {
	now := time.Unix(2_000_000_000, 0)
	at := func(age time.Duration, content string) search.Document {
		d := document(1, content)
		d.ID = chat.NewMessageID(chat.Clock(now.Add(-age).UnixMicro()), 1, 0)
		return d
	}
	const day = 24 * time.Hour
	match := func(*search.Question) (search.Matches, error) {
		return search.Matches{Documents: []search.Document{
			at(time.Minute, "fish that were, until Sunday, fried in a pan, and chips"),
			at(2*day, "fish and, later, chips"),
			at(30*day, "fish chips"),
			at(1100*day, "chips, and fish that were fried in a pan"),
			at(1101*day, "fish chips!"),
		}}, nil
	}
	page, err := find(t, match, "fish chips", "")
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, h := range page.Hits {
		order = append(order, fmt.Sprintf("%.5s %d", h.Content, now.Unix()/86400-chat.ClockOf(h.ID).Unix()/86400))
	}
	const want = "fish  0, fish  30, fish  2, fish  1101, chips 1100"
	if got := strings.Join(order, ", "); got != want {
		t.Errorf("order %s, want %s", got, want)
	}
}
