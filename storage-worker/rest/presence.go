package rest

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
	"switchboard/storage-worker/archive"
)

// PresenceMax bounds how many users one call may ask about: each with whom the
// caller has no direct conversation costs a read of that user's index.
const PresenceMax = 200

// presence tells which of some users are online. Who shares no conversation with
// the caller is left out, as is who does not exist: the answer tells them not
// apart.
func (s *Server) presence(r *http.Request, who chat.UserID) (reply, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return reply{}, badRequest("the query is malformed")
	}
	users, err := usersOf(query)
	if err != nil {
		return reply{}, err
	}
	if s.Sightings == nil {
		return reply{}, without("this server does not know who is online")
	}
	if users, err = s.sharing(r.Context(), who, users); err != nil {
		return reply{}, err
	}
	seen, err := s.Sightings.Seen(r.Context(), users)
	if err != nil {
		s.Logger.Warn("presence does not answer", "error", err)
		return reply{}, unavailable("nobody knows who is online, at the moment")
	}
	body := make([]wire.Presence, len(users))
	for i, u := range users {
		body[i] = wire.Presence{UserID: u, Status: chat.Offline.String()}
		switch {
		case seen[i].Online:
			body[i].Status, body[i].LastSeen = chat.Online.String(), time.Now().Unix()
		case !seen[i].Last.IsZero():
			body[i].LastSeen = seen[i].Last.Unix()
		}
	}
	return reply{http.StatusOK, body}, nil
}

// usersOf reads whom the query asks about, each once.
func usersOf(query url.Values) (users []chat.UserID, err error) {
	for _, list := range query["user_ids"] {
		for text := range strings.SplitSeq(list, ",") {
			u, err := chat.ParseUserID(text)
			if err != nil || u.IsZero() {
				return nil, badRequest("user_ids must be UUIDs with commas between them")
			}
			if slices.Contains(users, u) {
				continue
			}
			if len(users) == PresenceMax {
				return nil, badRequest("user_ids may be %d at most", PresenceMax)
			}
			users = append(users, u)
		}
	}
	if len(users) == 0 {
		return nil, badRequest("user_ids is missing")
	}
	return users, nil
}

// sharing returns those of others who are in some conversation together with the
// caller now, the caller among them, in their order. A direct conversation has
// the members that it has, so the caller's own index knows of those; only for the
// others their index is read.
func (s *Server) sharing(ctx context.Context, who chat.UserID, others []chat.UserID) ([]chat.UserID, error) {
	own, err := s.present(ctx, who)
	if err != nil {
		return nil, err
	}
	shares := make([]bool, len(others))
	err = together(ctx, len(others), func(ctx context.Context, i int) error {
		u := others[i]
		if shares[i] = u == who || own[chat.DirectConversation(who, u)]; shares[i] || len(own) == 0 {
			return nil
		}
		theirs, err := s.present(ctx, u)
		for c := range theirs {
			shares[i] = shares[i] || own[c]
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var users []chat.UserID
	for i, u := range others {
		if shares[i] {
			users = append(users, u)
		}
	}
	return users, nil
}

// present returns the conversations that a user is in now.
func (s *Server) present(ctx context.Context, u chat.UserID) (map[chat.ConversationID]bool, error) {
	stays, err := s.Store.Stays(ctx, u)
	if err != nil {
		return nil, fmt.Errorf("read the user index: %w", err)
	}
	in := make(map[chat.ConversationID]bool)
	for _, stay := range slices.DeleteFunc(stays, func(s archive.Stay) bool { return s.Left != 0 }) {
		in[stay.Conversation] = true
	}
	return in, nil
}
