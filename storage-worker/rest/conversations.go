package rest

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"unicode/utf8"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
	"switchboard/storage-worker/archive"
)

// The limits of what a conversation in the list is made of.
const (
	// UnreadMax bounds the count of unread messages: it costs a read of each.
	UnreadMax = 1000
	// scanEntries is how many of the newest events are read at once, to find
	// the last message and to count.
	scanEntries = 50
)

// spot is a conversation's place in the list: newest activity first.
type spot struct {
	stay archive.Stay
	head archive.Tip
}

// compare orders spots as the list does, by the head's id and, for equal ones,
// by conversation.
func (a spot) compare(b spot) int {
	if c := chat.CompareMessageIDs(b.head.ID, a.head.ID); c != 0 {
		return c
	}
	return bytes.Compare(a.stay.Conversation[:], b.stay.Conversation[:])
}

// listConversations answers with a page of the caller's conversations.
func (s *Server) listConversations(r *http.Request, who chat.UserID) (reply, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return reply{}, badRequest("the query is malformed")
	}
	limit, err := limitOf(query)
	if err != nil {
		return reply{}, err
	}
	after, given, err := spotOf(query)
	if err != nil {
		return reply{}, err
	}
	spots, err := s.spots(r.Context(), who)
	if err != nil {
		return reply{}, err
	}
	if given {
		next, found := slices.BinarySearchFunc(spots, after, spot.compare)
		if found {
			next++
		}
		spots = spots[next:]
	}
	body := wire.ConversationList{}
	if len(spots) > limit {
		spots = spots[:limit]
		body.Cursor = spots[limit-1].cursor()
	}
	body.Conversations, err = s.views(r.Context(), spots)
	return reply{http.StatusOK, body}, err
}

// spots returns all conversations that u is in, in the list's order.
func (s *Server) spots(ctx context.Context, u chat.UserID) ([]spot, error) {
	stays, err := s.Store.Stays(ctx, u)
	if err != nil {
		return nil, fmt.Errorf("read the user index: %w", err)
	}
	stays = slices.DeleteFunc(stays, func(s archive.Stay) bool { return s.Left != 0 })
	spots := make([]spot, len(stays))
	err = together(ctx, len(stays), func(ctx context.Context, i int) error {
		head, err := s.head(ctx, stays[i])
		spots[i] = spot{stays[i], head}
		return err
	})
	slices.SortFunc(spots, spot.compare)
	return spots, err
}

// views reads what the list shows of each spot. A conversation that is being
// created and whose rows are not all there yet is left out, and one that was left
// meanwhile.
func (s *Server) views(ctx context.Context, spots []spot) ([]wire.Conversation, error) {
	bodies := make([]wire.Conversation, len(spots))
	err := together(ctx, len(spots), func(ctx context.Context, i int) (err error) {
		bodies[i], err = s.sure(ctx, spots[i])
		var refusal *chat.Error
		if errors.Is(err, archive.ErrNotFound) || errors.As(err, &refusal) && refusal.Code == chat.NotMember {
			return nil
		}
		return err
	})
	return slices.DeleteFunc(bodies, func(b wire.Conversation) bool { return b.ID.IsZero() }), err
}

// sure settles what the list shows of a spot. That is for small ones, too: how far
// their messages go is said by the index row, but not when they got their name.
func (s *Server) sure(ctx context.Context, a spot) (wire.Conversation, error) {
	first := &membership{user: a.stay.User, conversation: a.stay.Conversation, stays: []archive.Stay{a.stay}}
	return settle(ctx, s, first, func(m *membership) (wire.Conversation, error) {
		if m == first {
			return s.view(ctx, a) // Its head is known.
		}
		return s.see(ctx, m)
	})
}

// cursor returns what finds the place after this spot.
func (a spot) cursor() string {
	return base64.RawURLEncoding.EncodeToString(append(a.head.ID[:], a.stay.Conversation[:]...))
}

// spotOf reads the query's cursor.
func spotOf(query url.Values) (a spot, given bool, err error) {
	text, given, err := single(query, "cursor")
	if err != nil || !given {
		return spot{}, given, err
	}
	place, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(place) != len(a.head.ID)+len(a.stay.Conversation) {
		return spot{}, true, badRequest("the cursor is not one of this list")
	}
	copy(a.head.ID[:], place)
	copy(a.stay.Conversation[:], place[len(a.head.ID):])
	return a, true, nil
}

// view reads a conversation as the one sees it whose stay it is.
func (s *Server) view(ctx context.Context, a spot) (wire.Conversation, error) {
	c, u := a.stay.Conversation, a.stay.User
	info, err := s.Store.Info(ctx, c)
	if err != nil {
		return wire.Conversation{}, fmt.Errorf("read what the conversation is: %w", err)
	}
	spans, err := s.Store.Spans(ctx, c)
	if err != nil {
		return wire.Conversation{}, fmt.Errorf("read the members: %w", err)
	}
	mark, err := s.Store.Watermark(ctx, c, u, a.stay.Joined)
	if err != nil {
		return wire.Conversation{}, fmt.Errorf("read the watermark: %w", err)
	}
	body := wire.Conversation{
		ID: c, Type: info.Type.String(), Name: info.Name,
		ReadSeq: mark.Read, UpdatedAt: chat.ClockOf(a.head.ID).Unix(),
	}
	for _, span := range spans {
		if span.Left != 0 {
			continue
		}
		body.MembersCount++
		if span.User == u {
			body.Role = span.Role.String()
		}
	}
	return body, s.scan(ctx, a, &body)
}

// scan goes back from the head over the events of the stay, until it has the
// last message and has counted the unread ones. The last message is looked for
// among the newest [UnreadMax] events. What the index has and the archive has
// not yet does not count.
func (s *Server) scan(ctx context.Context, a spot, body *wire.Conversation) error {
	to := a.head.Seq
	for read := 0; read < UnreadMax && to >= a.stay.Joined; read += scanEntries {
		if to <= body.ReadSeq && body.LastMessage != nil {
			return nil
		}
		rows, err := s.Store.Entries(ctx, a.stay.Conversation, a.stay.Joined, to, scanEntries, true)
		if err != nil {
			return fmt.Errorf("read the newest events: %w", err)
		}
		if read == 0 {
			if len(rows) == 0 {
				return archive.ErrNotFound
			}
			body.HeadSeq = rows[len(rows)-1].Seq
			body.ReadSeq = min(body.ReadSeq, body.HeadSeq)
		}
		for i := len(rows) - 1; i >= 0; i-- {
			e := &rows[i].Entry
			if e.Kind == chat.KindEvent {
				continue
			}
			own := e.Sender == a.stay.User
			if body.LastMessage == nil {
				e.MediaURL = s.Links.Signed(e.MediaURL)
				m := wire.EntryMessage(e, own)
				body.LastMessage = &m
			}
			if !own && e.Seq > body.ReadSeq {
				body.Unread++
			}
		}
		if len(rows) < scanEntries {
			return nil
		}
		to = rows[0].Seq - 1
	}
	return nil
}

// see returns the conversation of a membership as in the list.
func (s *Server) see(ctx context.Context, m *membership) (wire.Conversation, error) {
	head, err := s.head(ctx, m.current())
	if err != nil {
		return wire.Conversation{}, err
	}
	return s.view(ctx, spot{m.current(), head})
}

func (s *Server) getConversation(r *http.Request, m *membership) (reply, error) {
	body, err := s.see(r.Context(), m)
	if errors.Is(err, archive.ErrNotFound) {
		return reply{}, notMember()
	}
	return reply{http.StatusOK, body}, err
}

// patchConversation renames a group.
func (s *Server) patchConversation(r *http.Request, m *membership) (reply, error) {
	body, err := readBody(r, SmallBodyBytes, false)
	if err != nil {
		return reply{}, err
	}
	var patch wire.PatchConversation
	if err := decode(body, &patch); err != nil {
		return reply{}, err
	}
	if patch.Name != nil {
		if err := checkName(*patch.Name); err != nil {
			return reply{}, err
		}
		if _, err := s.calls.do(r.Context(), command(m, bus.Inbound{Rename: &bus.Rename{Name: *patch.Name}})); err != nil {
			return reply{}, err
		}
		if m, err = s.membership(r.Context(), m.user, m.conversation); err != nil {
			return reply{}, err
		}
	}
	return s.settled(r, m, s.getConversation)
}

// command fills in who asks for what. Commands have an id like everything on
// the log, but no memory of it: they ask for a state, so asking again is safe.
func command(m *membership, in bus.Inbound) *bus.Inbound {
	in.Conversation, in.Sender, in.Request = m.conversation, m.user, chat.NewRequestID()
	return &in
}

func checkName(name string) error {
	if utf8.RuneCountInString(name) > chat.NameRunes {
		return badRequest("name is longer than %d characters", chat.NameRunes)
	}
	return nil
}
