package wire

import (
	"encoding/json"
	"fmt"

	"switchboard/internal/chat"
)

// Envelope is a server frame with its data still in JSON. `/sync` answers with
// a list of the same.
type Envelope struct {
	Type string          `json:"type"`
	ID   string          `json:"id,omitempty"`
	Data json.RawMessage `json:"data"`
}

// Stamp is the data of heartbeat_ack.
type Stamp struct {
	Time int64 `json:"time"`
}

// Expiry is the data of token_refreshed and token_expiring.
type Expiry struct {
	ExpiresAt int64 `json:"expires_at"`
}

// ServerEvent is one decoded server frame. The pointer that goes with Type is
// set, and no other; for a type that this version does not know none is, since
// a client ignores what it does not know.
type ServerEvent struct {
	Type string
	ID   string

	Connected   *Connected           // connected
	MessageSent *MessageSent         // message_sent
	Message     *Message             // new_message
	Updated     *ConversationUpdated // conversation_updated
	Status      *MessageStatus       // message_status
	Typing      *Typing              // typing
	Presence    *Presence            // presence_update
	Error       *Error               // error
	Behind      *Behind              // behind
	Reconnect   *Reconnect           // reconnect
	Stamp       *Stamp               // heartbeat_ack
	Expiry      *Expiry              // token_refreshed, token_expiring
}

// DecodeServer reads a server frame, for clients written in Go.
func DecodeServer(frame []byte) (ServerEvent, error) {
	var e Envelope
	if err := json.Unmarshal(frame, &e); err != nil {
		return ServerEvent{}, fmt.Errorf("decode a server frame: %w", err)
	}
	return e.Decode()
}

// Decode reads the data.
func (e *Envelope) Decode() (ServerEvent, error) {
	ev := ServerEvent{Type: e.Type, ID: e.ID}
	data := ev.target()
	if data == nil {
		return ev, nil
	}
	if err := json.Unmarshal(e.Data, data); err != nil {
		return ServerEvent{}, fmt.Errorf("decode the data of %s: %w", e.Type, err)
	}
	return ev, nil
}

// target makes room for the data of the event's type and returns it.
func (ev *ServerEvent) target() any {
	switch ev.Type {
	case "connected":
		ev.Connected = new(Connected)
		return ev.Connected
	case "message_sent":
		ev.MessageSent = new(MessageSent)
		return ev.MessageSent
	case "new_message":
		ev.Message = new(Message)
		return ev.Message
	case "conversation_updated":
		ev.Updated = new(ConversationUpdated)
		return ev.Updated
	case "message_status":
		ev.Status = new(MessageStatus)
		return ev.Status
	case "typing":
		ev.Typing = new(Typing)
		return ev.Typing
	case "presence_update":
		ev.Presence = new(Presence)
		return ev.Presence
	case "error":
		ev.Error = new(Error)
		return ev.Error
	case "behind":
		ev.Behind = new(Behind)
		return ev.Behind
	case "reconnect":
		ev.Reconnect = new(Reconnect)
		return ev.Reconnect
	case "heartbeat_ack":
		ev.Stamp = new(Stamp)
		return ev.Stamp
	case "token_refreshed", "token_expiring":
		ev.Expiry = new(Expiry)
		return ev.Expiry
	}
	return nil
}

// Refusal returns what an `error` frame says in the words of package chat.
func (e *Error) Refusal() *chat.Error {
	return &chat.Error{Code: e.Code, Message: e.Message, RetryAfter: milliseconds(e.RetryAfterMS)}
}
