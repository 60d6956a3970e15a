package wire

import (
	"time"

	"switchboard/internal/chat"
)

func milliseconds(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// The bodies of the REST API, encoded and decoded with encoding/json. A list
// that is empty is written as [], so whoever fills one begins with a slice that
// is not nil.

// GatewayInfo answers GET /api/v1/gateway: where to open the WebSocket.
type GatewayInfo struct {
	URL         string   `json:"url"`
	Protocols   []string `json:"protocols"`
	HeartbeatMS int64    `json:"heartbeat_ms"`
}

// Conversation is a conversation as its caller sees it.
type Conversation struct {
	ID           chat.ConversationID `json:"id"`
	Type         string              `json:"type"` // direct or group
	Name         string              `json:"name"`
	MembersCount int                 `json:"members_count"`
	Role         string              `json:"role"` // the caller's
	HeadSeq      chat.Seq            `json:"head_seq"`
	ReadSeq      chat.Seq            `json:"read_seq"`               // the caller's
	Unread       int64               `json:"unread"`                 // messages of others above ReadSeq
	LastMessage  *Message            `json:"last_message,omitempty"` // none before the first
	UpdatedAt    int64               `json:"updated_at"`             // Unix seconds
}

// ConversationList answers GET /api/v1/conversations.
type ConversationList struct {
	Conversations []Conversation `json:"conversations"`
	Cursor        string         `json:"cursor,omitempty"` // of the next page, if there is one
}

// CreateConversation is the body of POST /api/v1/conversations.
type CreateConversation struct {
	Type                 string          `json:"type"`
	Name                 string          `json:"name,omitempty"`
	MemberIDs            []chat.UserID   `json:"member_ids"`
	ClientConversationID *chat.RequestID `json:"client_conversation_id,omitempty"`
}

// PatchConversation is the body of PATCH …/conversations/{id}.
type PatchConversation struct {
	Name *string `json:"name,omitempty"`
}

// PutMember is the body of PUT …/members/{user_id}; it may be left out.
type PutMember struct {
	Role string `json:"role,omitempty"`
}

// Member is a member as the other members see it.
type Member struct {
	UserID       chat.UserID `json:"user_id"`
	Role         string      `json:"role"`
	JoinedAt     int64       `json:"joined_at"` // Unix seconds
	ReadSeq      chat.Seq    `json:"read_seq"`
	DeliveredSeq chat.Seq    `json:"delivered_seq"`
}

// MemberList answers GET …/conversations/{id}/members.
type MemberList struct {
	Members        []Member `json:"members"`
	MembersVersion chat.Seq `json:"members_version"`
}

// Presence is the data of presence_update, and one element of the answer of GET
// /api/v1/presence, a list.
type Presence struct {
	UserID chat.UserID `json:"user_id"`
	Status string      `json:"status"` // online or offline
	// LastSeen is Unix seconds: now for who is online, else when that was last
	// so; left out where that is not known.
	LastSeen int64 `json:"last_seen,omitempty"`
}

// PutPush is the body of PUT /api/v1/devices/{id}/push: Endpoint and Keys for the
// kind web_push, Provider and Token for webhook.
type PutPush struct {
	Kind     string   `json:"kind"`
	Endpoint string   `json:"endpoint,omitempty"`
	Keys     PushKeys `json:"keys,omitzero"`
	Provider string   `json:"provider,omitempty"`
	Token    string   `json:"token,omitempty"`
	Mute     Mute     `json:"mute,omitzero"`
}

// PushKeys are those of a browser's subscription.
type PushKeys struct {
	P256DH string `json:"p256dh"`
	Auth   string `json:"auth"`
}

// Mute says of what a device is not notified.
type Mute struct {
	All             bool                  `json:"all"`
	ConversationIDs []chat.ConversationID `json:"conversation_ids"`
}

// Device is a device that is notified.
type Device struct {
	DeviceID  string `json:"device_id"`
	Kind      string `json:"kind"`
	Provider  string `json:"provider,omitempty"`
	Mute      Mute   `json:"mute"`
	UpdatedAt int64  `json:"updated_at"` // Unix seconds
}

// DeviceList answers GET /api/v1/devices.
type DeviceList struct {
	Devices    []Device `json:"devices"`
	WebPushKey string   `json:"web_push_key,omitempty"` // applicationServerKey of browsers
}

// MessagePage answers GET …/messages, ascending by seq. FirstSeq and LastSeq are
// those of the page, 0 when it is empty.
type MessagePage struct {
	Messages []Message `json:"messages"`
	FirstSeq chat.Seq  `json:"first_seq"`
	LastSeq  chat.Seq  `json:"last_seq"`
	HasMore  bool      `json:"has_more"` // in the direction that was asked for
}

// SearchPage answers GET /api/v1/search, the best first.
type SearchPage struct {
	Results []SearchResult `json:"results"`
	Cursor  string         `json:"cursor,omitempty"` // of the next page, if there may be one
}

// SearchResult is a message that was found, and why.
type SearchResult struct {
	Message    Message     `json:"message"`
	Highlights []Highlight `json:"highlights"`
}

// Highlight is a piece of a message's content that was looked for. Start and End
// count UTF-16 code units.
type Highlight struct {
	Start int    `json:"start"`
	End   int    `json:"end"`
	Text  string `json:"text"`
}

// SendMessage is the body of POST …/messages and the data of send_message. The
// conversation is in the path or in the data.
type SendMessage struct {
	ConversationID  *chat.ConversationID `json:"conversation_id,omitempty"`
	Content         string               `json:"content"`
	Type            string               `json:"type"`
	ClientMessageID *chat.RequestID      `json:"client_message_id,omitempty"`
	MediaURL        string               `json:"media_url,omitempty"`
	ReplyTo         *chat.MessageID      `json:"reply_to,omitempty"`
}

// MarkRead is the body of POST …/read.
type MarkRead struct {
	Seq chat.Seq `json:"seq"`
}

// SyncRequest is the body of POST /api/v1/sync: what the client has. A new
// device sends an empty map.
type SyncRequest struct {
	Have  map[chat.ConversationID]chat.Seq `json:"have"`
	Limit int                              `json:"limit,omitempty"`
}

// SyncResponse is what a client lacks.
type SyncResponse struct {
	Events  []Envelope `json:"events"` // new_message and conversation_updated, as pushed
	Heads   []Head     `json:"heads"`
	HasMore bool       `json:"has_more"`
}

// Head is a conversation that must be paged.
type Head struct {
	ConversationID chat.ConversationID `json:"conversation_id"`
	HeadSeq        chat.Seq            `json:"head_seq"`
	ReadSeq        chat.Seq            `json:"read_seq"`
	Large          bool                `json:"large"`
}
