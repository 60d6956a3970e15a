package rest

import (
	"context"
	"fmt"
	"net/http"

	"golang.org/x/sync/errgroup"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// membership is a caller who is in a conversation.
type membership struct {
	user         chat.UserID
	conversation chat.ConversationID
	stays        []archive.Stay // all, ascending; the last one is open
}

// current is the stay in which the caller is now.
func (m *membership) current() archive.Stay { return m.stays[len(m.stays)-1] }

// inside is the authorization of every route that names a conversation: one
// read of the archive, whatever the refusal.
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

// reread is how often an answer is made anew because its reader came or went
// meanwhile.
const reread = 3

// shown is inside for what is read.
func (s *Server) shown(h func(*http.Request, *membership) (reply, error)) handler {
	return s.inside(func(r *http.Request, m *membership) (reply, error) { return s.settled(r, m, h) })
}

// settled answers with what h reads of a conversation.
func (s *Server) settled(r *http.Request, m *membership, h func(*http.Request, *membership) (reply, error)) (reply, error) {
	return settle(r.Context(), s, m, func(m *membership) (reply, error) { return h(r, m) })
}

// settle returns what is read of a conversation; everything that shows some of one
// comes from here. The authorization is asked for again when it is ready: a reading
// that began before a removal and ended after it would show what was sent to those
// who were left, since an open stay has no end. read may be called several times.
func settle[T any](ctx context.Context, s *Server, m *membership, read func(*membership) (T, error)) (shown T, err error) {
	var none T
	for range reread {
		if shown, err = read(m); err != nil {
			return none, err
		}
		now, err := s.membership(ctx, m.user, m.conversation)
		if err != nil {
			return none, err
		}
		if now.current().Joined == m.current().Joined {
			return shown, nil
		}
		m = now
	}
	return none, unavailable("memberships change faster than they can be read")
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
