package rest

import (
	"context"
	"fmt"
	"net/http"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// createConversation makes a conversation, or finds the one that was made by the
// same request or for the same pair.
func (s *Server) createConversation(r *http.Request, who chat.UserID) (reply, error) {
	body, err := readBody(r, LargeBodyBytes, false)
	if err != nil {
		return reply{}, err
	}
	var asked wire.CreateConversation
	if err := decode(body, &asked); err != nil {
		return reply{}, err
	}
	var own chat.RequestID
	if asked.ClientConversationID != nil {
		if own = *asked.ClientConversationID; own.IsZero() {
			return reply{}, badRequest("client_conversation_id is an id of zeros")
		}
	}
	request, err := requestIDOf(r, own)
	if err != nil {
		return reply{}, err
	}
	in, err := s.creation(who, request, &asked)
	if err != nil {
		return reply{}, err
	}
	if err := s.roomFor(r.Context(), in); err != nil {
		return reply{}, err
	}
	answer, err := s.calls.do(r.Context(), in)
	if err != nil {
		return reply{}, err
	}
	m, err := s.membership(r.Context(), who, in.Conversation)
	if err != nil {
		return reply{}, err
	}
	view, err := s.settled(r, m, s.getConversation)
	view.status = created(answer)
	return view, err
}

// creation turns what was asked for into a record. The conversation's id follows
// from it, so that asking again finds the same one.
func (s *Server) creation(who chat.UserID, request chat.RequestID, asked *wire.CreateConversation) (*bus.Inbound, error) {
	members, err := membersOf(who, asked.MemberIDs)
	if err != nil {
		return nil, err
	}
	if err := checkName(asked.Name); err != nil {
		return nil, err
	}
	in := &bus.Inbound{Sender: who, Request: request, Create: &bus.Create{Members: members, Limit: s.Members}}
	switch asked.Type {
	case chat.Direct.String():
		if len(members) != 2 {
			return nil, badRequest("a direct conversation has exactly one other member")
		}
		// It has no name: each of the two sees the other's.
		in.Create.Type = chat.Direct
		in.Conversation = chat.DirectConversation(members[0], members[1])
	case chat.Group.String():
		if len(members) > s.Members {
			return nil, chat.Errorf(chat.ConversationFull, "a group has at most %d members", s.Members)
		}
		in.Create.Type, in.Create.Name = chat.Group, asked.Name
		in.Conversation = chat.GroupConversation(who, request)
	default:
		return nil, badRequest("type must be direct or group")
	}
	return in, nil
}

// membersOf returns the caller and the others, nobody twice.
func membersOf(who chat.UserID, others []chat.UserID) ([]chat.UserID, error) {
	members := []chat.UserID{who}
	named := map[chat.UserID]bool{who: true}
	for _, u := range others {
		if u.IsZero() {
			return nil, badRequest("member_ids has an id of zeros")
		}
		if !named[u] {
			named[u] = true
			members = append(members, u)
		}
	}
	return members, nil
}

// roomFor refuses a new conversation for whoever is in as many as the limit
// allows. Two creations at once may both find room for the last one: the limit
// bounds the index, it does not count it. A conversation that the caller is in
// already needs no room.
func (s *Server) roomFor(ctx context.Context, in *bus.Inbound) error {
	if _, err := s.membership(ctx, in.Sender, in.Conversation); err == nil {
		return nil
	}
	return together(ctx, len(in.Create.Members), func(ctx context.Context, i int) error {
		return s.roomOf(ctx, in.Create.Members[i])
	})
}

// roomOf refuses a user who is in as many conversations as the limit allows.
func (s *Server) roomOf(ctx context.Context, u chat.UserID) error {
	stays, err := s.Store.Stays(ctx, u)
	if err != nil {
		return fmt.Errorf("count conversations: %w", err)
	}
	open := 0
	for _, stay := range stays {
		if stay.Left == 0 {
			open++
		}
	}
	if open >= s.Conversations {
		return chat.Errorf(chat.TooManyConversations, "user %s is in %d conversations, the limit", u, s.Conversations)
	}
	return nil
}
