package rest

import (
	"encoding/json"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// The bodies of answers, as docs/protocol.md has them.
type (
	gatewayBody struct {
		URL         string   `json:"url"`
		Protocols   []string `json:"protocols"`
		HeartbeatMS int64    `json:"heartbeat_ms"`
	}

	// conversationBody is a conversation as its member sees it.
	conversationBody struct {
		ID           chat.ConversationID `json:"id"`
		Type         string              `json:"type"`
		Name         string              `json:"name"`
		MembersCount int                 `json:"members_count"`
		Role         string              `json:"role"`
		HeadSeq      chat.Seq            `json:"head_seq"`
		ReadSeq      chat.Seq            `json:"read_seq"`
		Unread       int                 `json:"unread"`                 // at most UnreadMax
		LastMessage  *wire.Message       `json:"last_message,omitempty"` // none before the first
		UpdatedAt    int64               `json:"updated_at"`             // Unix seconds
	}

	conversationsBody struct {
		Conversations []conversationBody `json:"conversations"`
		Cursor        string             `json:"cursor,omitempty"` // of the next page, if there is one
	}

	memberBody struct {
		UserID       chat.UserID `json:"user_id"`
		Role         string      `json:"role"`
		JoinedAt     int64       `json:"joined_at"`
		ReadSeq      chat.Seq    `json:"read_seq"`
		DeliveredSeq chat.Seq    `json:"delivered_seq"`
	}

	membersBody struct {
		Members        []memberBody `json:"members"`
		MembersVersion chat.Seq     `json:"members_version"`
	}

	// pageBody is a page of history. An empty page has no seqs.
	pageBody struct {
		Messages []wire.Message `json:"messages"`
		FirstSeq chat.Seq       `json:"first_seq"`
		LastSeq  chat.Seq       `json:"last_seq"`
		HasMore  bool           `json:"has_more"`
	}

	headBody struct {
		ConversationID chat.ConversationID `json:"conversation_id"`
		HeadSeq        chat.Seq            `json:"head_seq"`
		ReadSeq        chat.Seq            `json:"read_seq"`
		Large          bool                `json:"large"`
	}

	syncBody struct {
		Events  []json.RawMessage `json:"events"` // envelopes, as they are pushed
		Heads   []headBody        `json:"heads"`
		HasMore bool              `json:"has_more"`
	}
)
