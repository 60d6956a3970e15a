package rest

import (
	"context"
	"fmt"
	"math"
	"slices"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// forever is the end of a stay that has none.
const forever = chat.Seq(math.MaxInt64)

// SecondEntries bounds by how much a page of `before` may exceed its limit to
// end on a second's border. A second that is longer is continued with
// `before_seq`.
const SecondEntries = 2000

// history reads a conversation as one user may see it: what lies inside the
// user's stays, up to the first event that is not there yet. While a Write is
// under way, a stay may be told before its events, and one reading may have
// missed an event that the next one has; whoever was shown what lies above would
// never ask for it again.
type history struct {
	store        archive.Store
	conversation chat.ConversationID
	stays        []archive.Stay // ascending
}

// end is the last event of a stay.
func end(s archive.Stay) chat.Seq {
	if s.Left == 0 {
		return forever
	}
	return s.Left
}

// dense returns the rows, of which the first should be the lowest visible event
// with seq ≥ from, up to the first that is missing.
func (h *history) dense(from chat.Seq, rows []archive.Row) []archive.Row {
	for i := range rows {
		if rows[i].Seq != h.visible(from) {
			return rows[:i]
		}
		from = rows[i].Seq + 1
	}
	return rows
}

// visible returns the lowest seq ≥ from that lies inside the stays.
func (h *history) visible(from chat.Seq) chat.Seq {
	for _, s := range h.stays {
		if from <= end(s) {
			return max(from, s.Joined)
		}
	}
	return forever
}

// older returns the newest events with seq ≤ to, at most limit, ascending; back
// makes a page of them.
func (h *history) older(ctx context.Context, to chat.Seq, limit int) ([]archive.Row, error) {
	var all []archive.Row
	for i := len(h.stays) - 1; i >= 0 && len(all) < limit; i-- {
		low, high := h.stays[i].Joined, min(to, end(h.stays[i]))
		if low > high {
			continue
		}
		rows, err := h.store.Entries(ctx, h.conversation, low, high, limit-len(all), true)
		if err != nil {
			return nil, fmt.Errorf("read history: %w", err)
		}
		all = append(rows, all...)
	}
	return all, nil
}

// newer returns the oldest events with from ≤ seq ≤ to, at most limit,
// ascending.
func (h *history) newer(ctx context.Context, from, to chat.Seq, limit int) ([]archive.Row, error) {
	var all []archive.Row
	for i := range h.stays {
		low, high := max(from, h.stays[i].Joined), min(to, end(h.stays[i]))
		if low > high || len(all) >= limit {
			continue
		}
		rows, err := h.store.Entries(ctx, h.conversation, low, high, limit-len(all), false)
		if err != nil {
			return nil, fmt.Errorf("read history: %w", err)
		}
		all = append(all, rows...)
	}
	return h.dense(from, all), nil
}

// page is what a reading of history brings.
type page struct {
	rows []archive.Row
	more bool
}

// back returns the page of which `more` speaks of older events.
func (h *history) back(rows []archive.Row) page {
	if len(rows) == 0 {
		return page{}
	}
	return page{h.dense(rows[0].Seq, rows), size(h.stays, 1, rows[0].Seq-1) > 0}
}

// size returns how many events with from ≤ seq ≤ to lie inside the stays, by
// arithmetic: seq is dense.
func size(stays []archive.Stay, from, to chat.Seq) int64 {
	var n int64
	for _, s := range stays {
		if low, high := max(from, s.Joined), min(to, end(s)); low <= high {
			n += int64(high-low) + 1
		}
	}
	return n
}

// lastOf returns the seq at which the last n events with seq ≤ to begin.
func lastOf(stays []archive.Stay, to chat.Seq, n int64) chat.Seq {
	for _, s := range slices.Backward(stays) {
		high := min(to, end(s))
		if here := int64(high-s.Joined) + 1; here >= n {
			return high - chat.Seq(n) + 1
		} else if here > 0 {
			n -= here
		}
	}
	return 1
}

// upTo returns the newest events with seq ≤ to.
func (h *history) upTo(ctx context.Context, to chat.Seq, limit int) (page, error) {
	rows, err := h.older(ctx, to, limit)
	return h.back(rows), err
}

// after returns the oldest events above a seq. One more than the limit is read
// to know whether there is more.
func (h *history) after(ctx context.Context, seq chat.Seq, limit int) (page, error) {
	if seq == forever {
		return page{}, nil
	}
	rows, err := h.newer(ctx, seq+1, forever, limit+1)
	if err != nil {
		return page{}, err
	}
	if len(rows) <= limit {
		return page{rows, false}, nil
	}
	return page{rows[:limit], true}, nil
}

// below returns the seq of the newest event whose id is below the border, be it
// visible or not.
func (h *history) below(ctx context.Context, border chat.MessageID) (chat.Seq, error) {
	tip, err := h.store.Tip(ctx, h.conversation, border)
	if err != nil {
		return 0, fmt.Errorf("find a place in history: %w", err)
	}
	return tip.Seq, nil
}

func (h *history) before(ctx context.Context, id chat.MessageID, limit int) (page, error) {
	to, err := h.below(ctx, id)
	if err != nil {
		return page{}, err
	}
	return h.upTo(ctx, to, limit)
}

// afterID returns the oldest events above an id; the one that has the id is not
// above it.
func (h *history) afterID(ctx context.Context, id chat.MessageID, limit int) (page, error) {
	seq, err := h.below(ctx, id)
	if err != nil {
		return page{}, err
	}
	next, err := h.store.Entries(ctx, h.conversation, seq+1, seq+1, 1, false)
	if err != nil {
		return page{}, fmt.Errorf("find a place in history: %w", err)
	}
	if len(next) == 1 && next[0].ID == id {
		seq++
	}
	return h.after(ctx, seq, limit)
}

// beforeSecond returns the newest events that are strictly older than a Unix
// second. The next page is asked for with the second of this one's oldest
// event, so all events of that second belong to this page.
func (h *history) beforeSecond(ctx context.Context, second int64, limit int) (page, error) {
	p, err := h.before(ctx, chat.FirstMessageID(chat.ClockAt(second)), limit)
	if err != nil || !p.more {
		return p, err
	}
	oldest := p.rows[0]
	border, err := h.below(ctx, chat.FirstMessageID(chat.ClockAt(chat.ClockOf(oldest.ID).Unix())))
	if err != nil {
		return page{}, err
	}
	n := min(size(h.stays, border+1, oldest.Seq-1), SecondEntries)
	rest, err := h.older(ctx, oldest.Seq-1, int(n))
	if err != nil {
		return page{}, err
	}
	return h.back(append(rest, p.rows...)), nil
}

// around returns the events about a seq, as many older as younger ones where
// there are enough; `more` speaks of the older ones.
func (h *history) around(ctx context.Context, seq chat.Seq, limit int) (page, error) {
	older, err := h.older(ctx, seq-1, limit)
	if err != nil {
		return page{}, err
	}
	younger, err := h.newer(ctx, seq, forever, limit)
	if err != nil {
		return page{}, err
	}
	take := min(limit/2, len(older))
	if spare := limit - take - len(younger); spare > 0 {
		take = min(take+spare, len(older))
	}
	younger = younger[:min(limit-take, len(younger))]
	return h.back(append(older[len(older)-take:], younger...)), nil
}
