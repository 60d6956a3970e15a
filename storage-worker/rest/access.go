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
// user's stays.
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

// older returns the newest events with from ≤ seq ≤ to, at most limit,
// ascending.
func (h *history) older(ctx context.Context, from, to chat.Seq, limit int) ([]archive.Row, error) {
	var parts [][]archive.Row
	left := limit
	for i := len(h.stays) - 1; i >= 0 && left > 0; i-- {
		low, high := max(from, h.stays[i].Joined), min(to, end(h.stays[i]))
		if low > high {
			continue
		}
		rows, err := h.store.Entries(ctx, h.conversation, low, high, left, true)
		if err != nil {
			return nil, fmt.Errorf("read history: %w", err)
		}
		parts = append(parts, rows)
		left -= len(rows)
	}
	if len(parts) == 1 {
		return parts[0], nil
	}
	rows := make([]archive.Row, 0, limit-left)
	for _, part := range slices.Backward(parts) {
		rows = append(rows, part...)
	}
	return rows, nil
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
	return all, nil
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

// head returns the newest event of a stay. The index row of a large
// conversation does not know it.
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
