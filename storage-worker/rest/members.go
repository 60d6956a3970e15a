package rest

import (
	"context"
	"fmt"
	"net/http"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
	"switchboard/storage-worker/archive"
)

// member is someone who is in a conversation now.
type member struct {
	user   chat.UserID
	role   chat.Role
	joined chat.Seq // where the stay began, over all its roles
	at     chat.MessageID
}

// membersOfSpans returns who is in a conversation, ordered by user, and the seq
// of the newest change of membership. Spans are ordered by user and Joined; a
// span that begins where the one before it ended belongs to the same stay.
func membersOfSpans(spans []archive.Span) (members []member, version chat.Seq) {
	var before archive.Span
	var now member
	for _, s := range spans {
		if s.User != before.User || s.Joined != before.Left {
			now = member{user: s.User, joined: s.Joined, at: s.At}
		}
		before = s
		version = max(version, s.Joined, s.Left)
		if s.Left == 0 {
			now.role = s.Role
			members = append(members, now)
		}
	}
	return members, version
}

// listMembers answers with who is in the conversation and how far each has read.
func (s *Server) listMembers(r *http.Request, m *membership) (reply, error) {
	body, err := s.members(r.Context(), m.conversation)
	return reply{http.StatusOK, body}, err
}

func (s *Server) members(ctx context.Context, c chat.ConversationID) (wire.MemberList, error) {
	spans, err := s.Store.Spans(ctx, c)
	if err != nil {
		return wire.MemberList{}, fmt.Errorf("read the members: %w", err)
	}
	marks, err := s.Store.Watermarks(ctx, c)
	if err != nil {
		return wire.MemberList{}, fmt.Errorf("read the watermarks: %w", err)
	}
	type stay struct {
		user   chat.UserID
		joined chat.Seq
	}
	of := make(map[stay]archive.Watermark, len(marks))
	for _, w := range marks {
		of[stay{w.User, w.Joined}] = w
	}
	members, version := membersOfSpans(spans)
	body := wire.MemberList{Members: make([]wire.Member, len(members)), MembersVersion: version}
	for i, m := range members {
		mark := of[stay{m.user, m.joined}]
		body.Members[i] = wire.Member{
			UserID: m.user, Role: m.role.String(), JoinedAt: chat.ClockOf(m.at).Unix(),
			// A new stay begins with both marks at its joining event.
			ReadSeq: max(mark.Read, m.joined), DeliveredSeq: max(mark.Delivered, m.joined),
		}
	}
	return body, nil
}

// userOf reads the member that the path names.
func userOf(r *http.Request) (chat.UserID, error) {
	u, err := chat.ParseUserID(r.PathValue("user"))
	if err != nil || u.IsZero() {
		return chat.UserID{}, badRequest("the user's id is not a UUID")
	}
	return u, nil
}

// putMember adds a user, or gives a member another role. It answers with the
// member: 201 if it was added by this call.
func (s *Server) putMember(r *http.Request, m *membership) (reply, error) {
	user, err := userOf(r)
	if err != nil {
		return reply{}, err
	}
	role, err := roleOf(r)
	if err != nil {
		return reply{}, err
	}
	if err := s.roomInIndex(r.Context(), user, m.conversation); err != nil {
		return reply{}, err
	}
	answer, err := s.calls.do(r.Context(), command(m, bus.Inbound{
		Set: &bus.SetMember{User: user, Role: role, Limit: s.Members},
	}))
	if err != nil {
		return reply{}, err
	}
	view, err := s.settled(r, m, func(r *http.Request, m *membership) (reply, error) {
		return s.member(r.Context(), m.conversation, user, answer)
	})
	if err == nil && view.body == nil {
		// Removed again between the answer and this reading.
		err = chat.Errorf(chat.NotFound, "there is no such member any more")
	}
	return view, err
}

// member reads what putMember answers with; no body: there is no such member.
func (s *Server) member(ctx context.Context, c chat.ConversationID, user chat.UserID, answer bus.Answer) (reply, error) {
	body, err := s.members(ctx, c)
	if err != nil {
		return reply{}, err
	}
	stays, err := s.Store.StaysIn(ctx, user, c)
	if err != nil {
		return reply{}, fmt.Errorf("read the member's stays: %w", err)
	}
	for _, b := range body.Members {
		if b.UserID != user {
			continue
		}
		if n := len(stays); answer.Outcome == bus.Stored && n > 0 && stays[n-1].Joined == answer.Seq {
			return reply{http.StatusCreated, b}, nil
		}
		return reply{http.StatusOK, b}, nil
	}
	return reply{}, nil
}

// roleOf reads the role that the body of a PUT may name.
func roleOf(r *http.Request) (chat.Role, error) {
	body, err := readBody(r, SmallBodyBytes, true)
	if err != nil || body == nil {
		return 0, err
	}
	var put wire.PutMember
	if err := decode(body, &put); err != nil || put.Role == "" {
		return 0, err
	}
	role, ok := chat.ParseRole(put.Role)
	if !ok {
		return 0, badRequest("role must be member or admin")
	}
	return role, nil
}

// roomInIndex refuses to add a user who is in too many conversations.
func (s *Server) roomInIndex(ctx context.Context, u chat.UserID, c chat.ConversationID) error {
	if _, err := s.membership(ctx, u, c); err == nil {
		return nil
	}
	return s.roomOf(ctx, u)
}

// deleteMember takes a user out; members may take out themselves.
func (s *Server) deleteMember(r *http.Request, m *membership) (reply, error) {
	user, err := userOf(r)
	if err != nil {
		return reply{}, err
	}
	_, err = s.calls.do(r.Context(), command(m, bus.Inbound{Remove: &bus.RemoveMember{User: user}}))
	return reply{http.StatusNoContent, nil}, err
}
