package rest

import (
	"net/http"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// postMessage does what send_message does on a socket.
func (s *Server) postMessage(r *http.Request, m *membership) (reply, error) {
	body, err := readBody(r, SmallBodyBytes, false)
	if err != nil {
		return reply{}, err
	}
	var ev wire.ClientEvent
	if err := wire.DecodeSend(body, &ev); err != nil {
		return reply{}, err
	}
	if !ev.Conversation.IsZero() && ev.Conversation != m.conversation {
		return reply{}, badRequest("conversation_id is not that of the path")
	}
	if ev.MediaURL != "" {
		if ev.MediaURL, err = s.Links.Claim(ev.MediaURL, m.user); err != nil {
			return reply{}, err
		}
	}
	request, err := requestIDOf(r, ev.Request)
	if err != nil {
		return reply{}, err
	}
	answer, err := s.calls.do(r.Context(), &bus.Inbound{
		Conversation: m.conversation, Sender: m.user, Request: request,
		Send: &bus.Send{Kind: ev.Kind, Content: ev.Content, MediaURL: ev.MediaURL, ReplyTo: ev.ReplyTo},
	})
	if err != nil {
		return reply{}, err
	}
	sent := wire.MessageSent{
		ClientMessageID: request, ConversationID: m.conversation,
		MessageID: answer.ID, Seq: answer.Seq, Timestamp: chat.ClockOf(answer.ID).Unix(),
		Duplicate: answer.Outcome == bus.Duplicate,
	}
	return reply{created(answer), sent}, nil
}

// created is 201 for what was made and 200 for what was there.
func created(a bus.Answer) int {
	if a.Outcome == bus.Duplicate {
		return http.StatusOK
	}
	return http.StatusCreated
}
