package rest

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"

	"golang.org/x/sync/errgroup"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// forever is the end of a stay that has none.
const forever = chat.Seq(math.MaxInt64)

// membership is a caller who is in a conversation.
type membership struct {
	user         chat.UserID
	conversation chat.ConversationID
	stays        []archive.Stay // all, ascending; the last one is open
}

// current is the stay in which the caller is now.
func (m *membership) current() archive.Stay { return m.stays[len(m.stays)-1] }

// inside is the authorization of every route that names a conversation: one
// read of the archive, whatever the answer.
func (s *Server) inside(h func(*http.Request, *membership) (reply, error)) handler {
	return func(r *http.Request, who chat.UserID) (reply, error) {
		c, err := chat.ParseConversationID(r.PathValue("conversation"))
		if err != nil {
			return reply{}, notMember()
		}
		m, err := s.membership(r.Context(), who, c)
		if err != nil {
			return reply{}, err
		}
		return h(r, m)
	}
}

// membership returns the caller's membership, or notMember.
func (s *Server) membership(ctx context.Context, u chat.UserID, c chat.ConversationID) (*membership, error) {
	stays, err := s.Store.StaysIn(ctx, u, c)
	if err != nil {
		return nil, fmt.Errorf("read the caller's stays: %w", err)
	}
	if len(stays) == 0 || stays[len(stays)-1].Left != 0 {
		return nil, notMember()
	}
	return &membership{user: u, conversation: c, stays: stays}, nil
}

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

// head returns the newest event of a stay, which may not be there yet. The index
// row of a large conversation does not know it.
func (s *Server) head(ctx context.Context, stay archive.Stay) (archive.Tip, error) {
	if !stay.Large || stay.Left != 0 {
		return stay.Head, nil
	}
	tip, err := s.Store.Tip(ctx, stay.Conversation, chat.MessageID{})
	if err != nil {
		return archive.Tip{}, fmt.Errorf("read the head: %w", err)
	}
	return tip, nil
}

// together calls read for 0 … n−1, [ReadsAtOnce] at a time, and returns the
// first error.
func together(ctx context.Context, n int, read func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(ReadsAtOnce)
	for i := range n {
		group.Go(func() error { return read(ctx, i) })
	}
	return group.Wait()
}
