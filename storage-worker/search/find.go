package search

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/metrics"
)

// The limits of what one question costs.
const (
	// Window is how many matches are ranked among themselves.
	Window = 400
	// LimitDefault is how many messages are on a page that does not say so, LimitMax
	// how many may be.
	LimitDefault = 20
	LimitMax     = 100
	// QuestionsPerPage is how often the store is asked for one page, whatever its cursor
	// says. A page that is not full by then is answered as it is, with a cursor.
	QuestionsPerPage = 3
	// FindsAtOnce is for how many pages a finder works at once, FindsPerCaller how many
	// of them are of one caller. Others wait.
	FindsAtOnce    = 16
	FindsPerCaller = 2
	// FindTimeout bounds all of it, the wait included.
	FindTimeout = 10 * time.Second
)

// Request asks for a page.
type Request struct {
	Caller chat.UserID // who waits for it
	Query  *Query
	Scope  Scope
	Limit  int    // 0 = LimitDefault; at most LimitMax
	Cursor string // of the page before; empty for the first
	Now    time.Time
}

// Page is some of the messages that were found, the best first.
type Page struct {
	Hits []Hit
	// Cursor finds the next page; empty when there is none. A page may have one and be
	// short, even empty.
	Cursor string
}

// Finder answers requests. It is safe for concurrent use.
type Finder struct {
	store   Store
	places  *places
	seconds *metrics.Histogram
	short   *metrics.Counter
	errors  *metrics.Counter
}

// NewFinder returns a finder of what is in the store.
func NewFinder(store Store, set *metrics.Set) *Finder {
	return &Finder{
		store:   store,
		places:  newPlaces(),
		seconds: set.Histogram(`switchboard_search_find_seconds`),
		short:   set.Counter(`switchboard_search_short_pages_total`),
		errors:  set.Counter(`switchboard_search_find_errors_total`),
	}
}

// Find returns a page. An error is `bad_request` for a cursor that is of another query
// or none at all, context.DeadlineExceeded beyond [FindTimeout], or the store's.
func (f *Finder) Find(ctx context.Context, r *Request) (Page, error) {
	began := time.Now()
	defer f.seconds.UpdateDuration(began)
	ctx, cancel := context.WithTimeout(ctx, FindTimeout)
	defer cancel()
	at, err := placeOf(r)
	if err != nil {
		return Page{}, err
	}
	limit := LimitDefault
	if r.Limit > 0 {
		limit = min(r.Limit, LimitMax)
	}
	page, err := f.placed(ctx, r, at, limit)
	if err != nil {
		f.errors.Inc()
	}
	return page, err
}

// placed finds as soon as there is a place to.
func (f *Finder) placed(ctx context.Context, r *Request, at place, limit int) (Page, error) {
	leave, err := f.places.enter(ctx, r.Caller)
	if err != nil {
		return Page{}, fmt.Errorf("wait for other searches: %w", err)
	}
	defer leave()
	return f.find(ctx, r, at, limit)
}

func (f *Finder) find(ctx context.Context, r *Request, at place, limit int) (page Page, err error) {
	scope := r.Scope.within(r.Query.In)
	if len(scope) == 0 {
		return Page{}, nil
	}
	for left := QuestionsPerPage; ; {
		if left == 0 {
			f.short.Inc()
			page.Cursor = at.cursor(r.Query)
			return page, nil
		}
		w, err := f.window(ctx, r.Query, scope, at, &left)
		if err != nil {
			return Page{}, err
		}
		hits := w.after(at)
		if room := limit - len(page.Hits); len(hits) > room {
			page.Hits = append(page.Hits, hits[:room]...)
			at.top, at.bottom, at.last = w.top, w.bottom, gradeOf(&hits[room-1], at.now)
			page.Cursor = at.cursor(r.Query)
			return page, nil
		}
		page.Hits = append(page.Hits, hits...)
		if w.next.IsZero() {
			return page, nil
		}
		at = place{now: at.now, top: w.next}
		if len(page.Hits) == limit {
			page.Cursor = at.cursor(r.Query)
			return page, nil
		}
	}
}

// window is matches that are ranked among themselves.
type window struct {
	hits        []Hit          // the best first
	top, bottom chat.MessageID // what bounds it, for the next page to see the same
	next        chat.MessageID // where the next window begins; zero: there is none
}

// window reads the one at a place: a new one, or the one that a page ended in. What
// was indexed since then may be in it, but what was in it still is. If that became
// too much, or more than may be asked for, the window ends before its bottom, and
// the rest is one of its own: what was shown of it is shown again, but nothing is
// left out. left is how often the store may be asked, once at least.
func (f *Finder) window(ctx context.Context, q *Query, scope Scope, at place, left *int) (w window, err error) {
	w.top, w.bottom = at.top, at.bottom
	ask := Question{Query: q, Scope: scope, Top: at.top, Bottom: at.bottom, Limit: Window}
	for {
		*left--
		found, err := f.store.Match(ctx, &ask)
		if err != nil {
			return w, fmt.Errorf("ask the index: %w", err)
		}
		for i := range found.Documents {
			if err := ctx.Err(); err != nil {
				return w, fmt.Errorf("rank what was found: %w", err)
			}
			d := &found.Documents[i]
			if h, ok := judge(q, d); ok && scope.Covers(d.Conversation, d.Seq) {
				w.hits = append(w.hits, h)
			}
		}
		if found.Next.IsZero() {
			w.next = at.bottom
			break
		}
		if at.bottom.IsZero() || *left == 0 || len(w.hits) >= 2*Window {
			w.next, w.bottom = found.Next, found.Next
			break
		}
		ask.Top = found.Next
	}
	if at.top.IsZero() && len(w.hits) > 0 {
		w.top = above(w.hits[0].ID)
	}
	slices.SortFunc(w.hits, func(a, b Hit) int { return gradeOf(&a, at.now).compare(gradeOf(&b, at.now)) })
	return w, nil
}

// above returns the next id after this one.
func above(id chat.MessageID) chat.MessageID {
	for i := len(id) - 1; i >= 8; i-- {
		if id[i]++; id[i] != 0 {
			break
		}
	}
	return id
}

// after returns the hits that were not shown yet.
func (w *window) after(at place) []Hit {
	if at.last.id.IsZero() {
		return w.hits
	}
	return slices.DeleteFunc(w.hits, func(h Hit) bool { return gradeOf(&h, at.now).compare(at.last) <= 0 })
}

// place is where a page begins: in which window, and after which hit of it. It is
// also what a cursor says, to anybody who decodes it. Its top and bottom may be the id
// of a message outside of the scope, where a store stopped looking: so a cursor can
// tell when a message was sent that has the words, and in which partition, but nothing
// else of it. What is believed of a cursor is where to go on: the scope is the
// caller's of now.
type place struct {
	now         chat.Clock // as of which ages are
	top, bottom chat.MessageID
	last        grade
}

// cursorBytes is the size of a cursor: a digest of the query, and a place.
const cursorBytes = 8 + 8 + 16 + 16 + 8 + 16

func (p *place) cursor(q *Query) string {
	b := make([]byte, 0, cursorBytes)
	b = append(b, digest(q)...)
	b = binary.BigEndian.AppendUint64(b, uint64(p.now))
	b = append(b, p.top[:]...)
	b = append(b, p.bottom[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(p.last.score))
	b = append(b, p.last.id[:]...)
	return base64.RawURLEncoding.EncodeToString(b)
}

func placeOf(r *Request) (p place, err error) {
	if r.Cursor == "" {
		return place{now: chat.Clock(r.Now.UnixMicro())}, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(r.Cursor)
	if err != nil || len(b) != cursorBytes || string(b[:8]) != string(digest(r.Query)) {
		return p, chat.Errorf(chat.BadRequest, "the cursor is not one of this search")
	}
	p.now = chat.Clock(binary.BigEndian.Uint64(b[8:]))
	copy(p.top[:], b[16:])
	copy(p.bottom[:], b[32:])
	p.last.score = int64(binary.BigEndian.Uint64(b[48:]))
	copy(p.last.id[:], b[56:])
	return p, nil
}

// digest tells queries apart.
func digest(q *Query) []byte {
	text, err := json.Marshal(q)
	if err != nil {
		panic(err) // It has only strings and numbers.
	}
	sum := sha256.Sum256(text)
	return sum[:8]
}
