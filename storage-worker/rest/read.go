package rest

import (
	"net/http"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// postRead does what mark_read does on a socket, and answers when it is in force:
// what is unread is counted from there.
func (s *Server) postRead(r *http.Request, m *membership) (reply, error) {
	body, err := readBody(r, SmallBodyBytes, false)
	if err != nil {
		return reply{}, err
	}
	var asked wire.MarkRead
	if err := decode(body, &asked); err != nil {
		return reply{}, err
	}
	if asked.Seq < 1 {
		return reply{}, badRequest("seq must be an integer from 1")
	}
	err = s.calls.mark(r.Context(), &bus.Receipt{
		Conversation: m.conversation, User: m.user, Marks: []bus.Mark{{Status: chat.Read, Seq: asked.Seq}},
	})
	return reply{http.StatusNoContent, nil}, err
}
