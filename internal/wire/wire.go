// Package wire is the client protocol, version 1, in bytes: what a client's
// frame may say, and how the server's frames and REST bodies look. It translates
// between JSON and the words of package chat, checks shapes and sizes, and
// decides nothing.
//
// A frame is one JSON object in a text message:
//
//	{"type":"send_message","id":"c17","data":{…}}
//
// `id` is the client's own and comes back in the reply. Unknown fields are
// ignored; an unknown type is [chat.UnknownType]. The frames in testdata are the
// examples of docs/protocol.md and the golden files of the tests.
//
// Encoders append to a slice and allocate nothing else; the decoder works in
// place on the frame's bytes.
package wire

import (
	"slices"

	"switchboard/internal/chat"
)

// Subprotocol is the WebSocket subprotocol of JSON text frames.
const Subprotocol = "chat.v1.json"

// ClientType is what a client's frame asks for.
type ClientType uint8

// The client events of stage 1.
const (
	TypeUnknown ClientType = iota
	TypeConnect
	TypeSendMessage
	TypeMarkDelivered
	TypeMarkRead
	TypeTyping
	TypeHeartbeat
	TypeRefreshToken
)

// clientNames are the types as frames name them.
var clientNames = [...]string{
	TypeConnect: "connect", TypeSendMessage: "send_message", TypeMarkDelivered: "mark_delivered", TypeMarkRead: "mark_read",
	TypeTyping: "typing", TypeHeartbeat: "heartbeat", TypeRefreshToken: "refresh_token",
}

// ClientEvents lists what a client's frame may have as its type, for tests that must
// leave nothing out.
func ClientEvents() []string { return slices.Clone(clientNames[TypeUnknown+1:]) }

// ClientEvent is one decoded client frame. Only the fields of its Type are set.
type ClientEvent struct {
	Type ClientType
	ID   string // the envelope id, ≤ chat.EnvelopeIDRunes characters

	Token  string // connect, refresh_token
	Device string // connect

	Conversation chat.ConversationID // send_message, mark_*, typing
	Request      chat.RequestID      // send_message: client_message_id, zero when left out
	Kind         chat.Kind           // send_message
	Content      string              // send_message
	MediaURL     string              // send_message
	ReplyTo      chat.MessageID      // send_message

	Message  chat.MessageID // mark_*: one of the two is set
	Seq      chat.Seq       // mark_*
	IsTyping bool           // typing
}

// Limits are told to a client in `connected`.
type Limits struct {
	FrameBytes       int   `json:"frame_bytes"`
	ContentBytes     int   `json:"content_bytes"`
	DeviceIDBytes    int   `json:"device_id_bytes"`
	Connections      int   `json:"connections"`
	Members          int   `json:"members"`
	SendsPerSecond   int   `json:"sends_per_second"`
	SendBurst        int   `json:"send_burst"`
	TypingIntervalMS int64 `json:"typing_interval_ms"`
}

// Connected is the first frame of every connection.
type Connected struct {
	SessionID      string      `json:"session_id"`
	UserID         chat.UserID `json:"user_id"`
	DeviceID       string      `json:"device_id"`
	HeartbeatMS    int64       `json:"heartbeat_ms"`
	TokenExpiresAt int64       `json:"token_expires_at"`
	Time           int64       `json:"time"`
	Server         string      `json:"server"`
	Limits         Limits      `json:"limits"`
}

// MessageSent is the answer to a stored send_message, on the socket and over
// REST.
type MessageSent struct {
	ClientMessageID chat.RequestID      `json:"client_message_id"`
	ConversationID  chat.ConversationID `json:"conversation_id"`
	MessageID       chat.MessageID      `json:"message_id"`
	Seq             chat.Seq            `json:"seq"`
	Timestamp       int64               `json:"timestamp"`
	Duplicate       bool                `json:"duplicate"`
}

// Message is the data of new_message and an entry of history. In history,
// Type may be "event"; then Event is set and Content is empty.
type Message struct {
	MessageID       chat.MessageID      `json:"message_id"`
	ConversationID  chat.ConversationID `json:"conversation_id"`
	Seq             chat.Seq            `json:"seq"`
	SenderID        chat.UserID         `json:"sender_id"`
	Content         string              `json:"content"`
	Type            string              `json:"type"`
	MediaURL        string              `json:"media_url,omitempty"`
	ReplyTo         *chat.MessageID     `json:"reply_to,omitempty"`
	Timestamp       int64               `json:"timestamp"`
	ClientMessageID *chat.RequestID     `json:"client_message_id,omitempty"`
	Event           *Event              `json:"event,omitempty"`
}

// Event is what an entry of type "event" says.
type Event struct {
	Change         string       `json:"change"`
	UserID         *chat.UserID `json:"user_id,omitempty"`
	Name           string       `json:"name,omitempty"`
	Role           string       `json:"role,omitempty"`
	MembersVersion chat.Seq     `json:"members_version"`
}

// ConversationUpdated is the live form of an event, and the head of a large
// conversation.
type ConversationUpdated struct {
	ConversationID chat.ConversationID `json:"conversation_id"`
	Seq            chat.Seq            `json:"seq,omitempty"`
	Change         string              `json:"change"`
	UserID         *chat.UserID        `json:"user_id,omitempty"`
	Name           string              `json:"name,omitempty"`
	Role           string              `json:"role,omitempty"`
	MembersVersion chat.Seq            `json:"members_version,omitempty"`
	HeadSeq        chat.Seq            `json:"head_seq,omitempty"`
	Message        *Message            `json:"message,omitempty"`
}

// MessageStatus says how far a user has received or read: all events up to Seq.
// It never moves back; a reader applies the maximum.
type MessageStatus struct {
	ConversationID chat.ConversationID `json:"conversation_id"`
	UserID         chat.UserID         `json:"user_id"`
	Status         string              `json:"status"` // delivered or read
	MessageID      chat.MessageID      `json:"message_id"`
	Seq            chat.Seq            `json:"seq"`
	Timestamp      int64               `json:"timestamp"`
}

// Typing says that a user types, or does so no more. Who hears nothing for six
// seconds forgets it.
type Typing struct {
	ConversationID chat.ConversationID `json:"conversation_id"`
	UserID         chat.UserID         `json:"user_id"`
	IsTyping       bool                `json:"is_typing"`
}

// Error is the data of an `error` frame.
type Error struct {
	ID              string          `json:"id,omitempty"` // the client's, as in the envelope
	ClientMessageID *chat.RequestID `json:"client_message_id,omitempty"`
	Code            chat.Code       `json:"code"`
	Message         string          `json:"message"`
	Temporary       bool            `json:"temporary"`
	RetryAfterMS    int64           `json:"retry_after_ms,omitempty"`
}

// Problem is a REST error: application/problem+json (RFC 9457) with our code.
type Problem struct {
	Type         string    `json:"type"`
	Title        string    `json:"title"`
	Status       int       `json:"status"`
	Detail       string    `json:"detail,omitempty"`
	Code         chat.Code `json:"code"`
	Temporary    bool      `json:"temporary"`
	RetryAfterMS int64     `json:"retry_after_ms,omitempty"`
	RequestID    string    `json:"request_id,omitempty"`
}

// Behind is sent when pushes may have been missed and are on again.
type Behind struct {
	Reason  string `json:"reason"` // slow, routing or check
	AfterMS int64  `json:"after_ms,omitempty"`
}

// Reconnect asks a client to come back elsewhere.
type Reconnect struct {
	AfterMS  int64  `json:"after_ms"`
	JitterMS int64  `json:"jitter_ms"`
	Reason   string `json:"reason"` // drain or rebalance
}
