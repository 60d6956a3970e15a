package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

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
	send, request, err := decodeSend(body, m.conversation)
	if err != nil {
		return reply{}, err
	}
	if request, err = requestIDOf(r, request); err != nil {
		return reply{}, err
	}
	answer, err := s.calls.do(r.Context(), &bus.Inbound{
		Conversation: m.conversation, Sender: m.user, Request: request, Send: send,
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

// decodeSend reads the body of a message with the decoder of the socket's
// send_message, so that both judge alike. The conversation is that of the path;
// a body that names another one contradicts itself.
func decodeSend(body []byte, c chat.ConversationID) (*bus.Send, chat.RequestID, error) {
	data := bytes.TrimLeft(body, " \t\r\n")
	if !json.Valid(body) || data[0] != '{' {
		return nil, chat.RequestID{}, badRequest("the body is not a JSON object")
	}
	frame := append(make([]byte, 0, len(body)+128), `{"type":"send_message","data":{"conversation_id":"`...)
	frame = append(c.Append(frame), '"')
	if data = bytes.TrimLeft(data[1:], " \t\r\n"); data[0] != '}' {
		frame = append(frame, ',')
	}
	frame = append(append(frame, data...), '}')
	var ev wire.ClientEvent
	if err := wire.DecodeClient(frame, &ev); err != nil {
		if refused, ok := errors.AsType[*chat.Error](err); ok {
			refused.Message = strings.TrimPrefix(refused.Message, "data.")
		}
		return nil, chat.RequestID{}, err
	}
	if ev.Conversation != c {
		return nil, chat.RequestID{}, badRequest("conversation_id is not that of the path")
	}
	return &bus.Send{Kind: ev.Kind, Content: ev.Content, MediaURL: ev.MediaURL, ReplyTo: ev.ReplyTo}, ev.Request, nil
}
