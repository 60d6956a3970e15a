package wire

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"switchboard/internal/chat"
)

// appendHead begins a frame, up to and including the opening brace of its data.
func appendHead(dst []byte, name, id string) []byte {
	dst = append(dst, `{"type":"`...)
	dst = append(dst, name...)
	dst = append(dst, '"')
	if id != "" {
		dst = append(dst, `,"id":`...)
		dst = appendString(dst, id)
	}
	return append(dst, `,"data":{`...)
}

// appendTail ends a frame: its data and the envelope.
func appendTail(dst []byte) []byte { return append(dst, "}}"...) }

// AppendConnected appends a `connected` frame.
func AppendConnected(dst []byte, id string, c *Connected) []byte {
	dst = appendHead(dst, "connected", id)
	dst = append(dst, `"session_id":`...)
	dst = appendString(dst, c.SessionID)
	dst = appendID(append(dst, `,"user_id":`...), c.UserID)
	dst = appendString(append(dst, `,"device_id":`...), c.DeviceID)
	dst = appendInt(append(dst, `,"heartbeat_ms":`...), c.HeartbeatMS)
	dst = appendInt(append(dst, `,"token_expires_at":`...), c.TokenExpiresAt)
	dst = appendInt(append(dst, `,"time":`...), c.Time)
	dst = appendString(append(dst, `,"server":`...), c.Server)
	dst = appendLimits(append(dst, `,"limits":`...), &c.Limits)
	return appendTail(dst)
}

func appendLimits(dst []byte, l *Limits) []byte {
	dst = appendInt(append(dst, `{"frame_bytes":`...), l.FrameBytes)
	dst = appendInt(append(dst, `,"content_bytes":`...), l.ContentBytes)
	dst = appendInt(append(dst, `,"device_id_bytes":`...), l.DeviceIDBytes)
	dst = appendInt(append(dst, `,"connections":`...), l.Connections)
	dst = appendInt(append(dst, `,"members":`...), l.Members)
	dst = appendInt(append(dst, `,"sends_per_second":`...), l.SendsPerSecond)
	dst = appendInt(append(dst, `,"send_burst":`...), l.SendBurst)
	dst = appendInt(append(dst, `,"typing_interval_ms":`...), l.TypingIntervalMS)
	return append(dst, '}')
}

// AppendMessageSent appends a `message_sent` frame.
func AppendMessageSent(dst []byte, id string, m *MessageSent) []byte {
	dst = appendHead(dst, "message_sent", id)
	dst = appendID(append(dst, `"client_message_id":`...), m.ClientMessageID)
	dst = appendID(append(dst, `,"conversation_id":`...), m.ConversationID)
	dst = appendID(append(dst, `,"message_id":`...), m.MessageID)
	dst = appendInt(append(dst, `,"seq":`...), m.Seq)
	dst = appendInt(append(dst, `,"timestamp":`...), m.Timestamp)
	dst = appendBool(append(dst, `,"duplicate":`...), m.Duplicate)
	return appendTail(dst)
}

// AppendEntry appends the frame that pushes a durable event: `new_message` for
// a message, `conversation_updated` for the rest. own says that it goes to the
// sender's own other devices and carries client_message_id; an event has none.
func AppendEntry(dst []byte, e *chat.Entry, own bool) []byte {
	if e.Kind == chat.KindEvent {
		return appendUpdated(dst, e)
	}
	return appendTail(appendMessage(appendHead(dst, "new_message", ""), e, own))
}

// AppendConversationHead appends the `conversation_updated` frame that says how
// far a large conversation has come. message is the one message that is new, or
// nil; nobody's client_message_id is in it.
func AppendConversationHead(dst []byte, c chat.ConversationID, head chat.Seq, message *chat.Entry) []byte {
	dst = appendHead(dst, "conversation_updated", "")
	dst = appendID(append(dst, `"conversation_id":`...), c)
	dst = appendInt(append(dst, `,"change":"head","head_seq":`...), head)
	if message != nil {
		dst = append(appendMessage(append(dst, `,"message":{`...), message, false), '}')
	}
	return appendTail(dst)
}

// appendMessage appends the fields of a message's data.
func appendMessage(dst []byte, e *chat.Entry, own bool) []byte {
	dst = appendID(append(dst, `"message_id":`...), e.ID)
	dst = appendID(append(dst, `,"conversation_id":`...), e.Conversation)
	dst = appendInt(append(dst, `,"seq":`...), e.Seq)
	dst = appendID(append(dst, `,"sender_id":`...), e.Sender)
	dst = appendString(append(dst, `,"content":`...), e.Content)
	dst = append(dst, `,"type":"`...)
	dst = append(dst, e.Kind.String()...)
	dst = append(dst, '"')
	if e.MediaURL != "" {
		dst = appendString(append(dst, `,"media_url":`...), e.MediaURL)
	}
	if !e.ReplyTo.IsZero() {
		dst = appendID(append(dst, `,"reply_to":`...), e.ReplyTo)
	}
	dst = appendInt(append(dst, `,"timestamp":`...), chat.ClockOf(e.ID).Unix())
	if own {
		dst = appendID(append(dst, `,"client_message_id":`...), e.Request)
	}
	return dst
}

// appendUpdated appends the `conversation_updated` frame of an event.
func appendUpdated(dst []byte, e *chat.Entry) []byte {
	dst = appendHead(dst, "conversation_updated", "")
	dst = appendID(append(dst, `"conversation_id":`...), e.Conversation)
	dst = appendInt(append(dst, `,"seq":`...), e.Seq)
	dst = append(dst, `,"change":"`...)
	dst = append(dst, e.Change.String()...)
	dst = append(dst, '"')
	if !e.User.IsZero() {
		dst = appendID(append(dst, `,"user_id":`...), e.User)
	}
	if e.Name != "" {
		dst = appendString(append(dst, `,"name":`...), e.Name)
	}
	if e.Role != 0 {
		dst = append(dst, `,"role":"`...)
		dst = append(dst, e.Role.String()...)
		dst = append(dst, '"')
	}
	if e.MembersVersion != 0 {
		dst = appendInt(append(dst, `,"members_version":`...), e.MembersVersion)
	}
	return appendTail(dst)
}

// AppendMessageStatus appends a `message_status` frame.
func AppendMessageStatus(dst []byte, m *MessageStatus) []byte {
	dst = appendHead(dst, "message_status", "")
	dst = appendID(append(dst, `"conversation_id":`...), m.ConversationID)
	dst = appendID(append(dst, `,"user_id":`...), m.UserID)
	dst = appendString(append(dst, `,"status":`...), m.Status)
	dst = appendID(append(dst, `,"message_id":`...), m.MessageID)
	dst = appendInt(append(dst, `,"seq":`...), m.Seq)
	dst = appendInt(append(dst, `,"timestamp":`...), m.Timestamp)
	return appendTail(dst)
}

// AppendTyping appends a `typing` frame.
func AppendTyping(dst []byte, m *Typing) []byte {
	dst = appendHead(dst, "typing", "")
	dst = appendID(append(dst, `"conversation_id":`...), m.ConversationID)
	dst = appendID(append(dst, `,"user_id":`...), m.UserID)
	dst = strconv.AppendBool(append(dst, `,"is_typing":`...), m.IsTyping)
	return appendTail(dst)
}

// AppendPresenceUpdate appends a `presence_update` frame.
func AppendPresenceUpdate(dst []byte, m *Presence) []byte {
	dst = appendHead(dst, "presence_update", "")
	dst = appendID(append(dst, `"user_id":`...), m.UserID)
	dst = appendString(append(dst, `,"status":`...), m.Status)
	if m.LastSeen != 0 {
		dst = appendInt(append(dst, `,"last_seen":`...), m.LastSeen)
	}
	return appendTail(dst)
}

// EntryMessage returns the entry as it stands in history. own says that the
// caller is its sender and may see client_message_id.
func EntryMessage(e *chat.Entry, own bool) Message {
	m := Message{
		MessageID: e.ID, ConversationID: e.Conversation, Seq: e.Seq, SenderID: e.Sender,
		Content: e.Content, Type: e.Kind.String(), MediaURL: e.MediaURL,
		ReplyTo: optional(e.ReplyTo), Timestamp: chat.ClockOf(e.ID).Unix(),
	}
	if e.Kind == chat.KindEvent {
		m.Event = &Event{
			Change: e.Change.String(), UserID: optional(e.User), Name: e.Name,
			MembersVersion: e.MembersVersion,
		}
		if e.Role != 0 {
			m.Event.Role = e.Role.String()
		}
		return m
	}
	if own {
		m.ClientMessageID = optional(e.Request)
	}
	return m
}

// optional returns nil for an id that is absent, so that JSON leaves it out.
func optional[Kind any](id chat.ID[Kind]) *chat.ID[Kind] {
	if id.IsZero() {
		return nil
	}
	return &id
}

// AppendError appends an `error` frame; r is zero where the error answers no
// send. The client's id stands in the envelope, as in every reply, and in the
// data, where a handler of errors alone finds it.
func AppendError(dst []byte, id string, r chat.RequestID, e *chat.Error) []byte {
	dst = appendHead(dst, "error", id)
	if id != "" {
		dst = appendString(append(dst, `"id":`...), id)
		dst = append(dst, ',')
	}
	if !r.IsZero() {
		dst = appendID(append(dst, `"client_message_id":`...), r)
		dst = append(dst, ',')
	}
	dst = appendString(append(dst, `"code":`...), string(e.Code))
	dst = appendString(append(dst, `,"message":`...), e.Message)
	dst = appendBool(append(dst, `,"temporary":`...), e.Code.Temporary())
	if e.RetryAfter > 0 {
		dst = appendInt(append(dst, `,"retry_after_ms":`...), max(e.RetryAfter.Milliseconds(), 1))
	}
	return appendTail(dst)
}

// AppendHeartbeatAck appends a `heartbeat_ack` frame.
func AppendHeartbeatAck(dst []byte, id string, unix int64) []byte {
	dst = appendHead(dst, "heartbeat_ack", id)
	return appendTail(appendInt(append(dst, `"time":`...), unix))
}

// AppendTokenRefreshed appends a `token_refreshed` frame.
func AppendTokenRefreshed(dst []byte, id string, expires int64) []byte {
	dst = appendHead(dst, "token_refreshed", id)
	return appendTail(appendInt(append(dst, `"expires_at":`...), expires))
}

// AppendTokenExpiring appends a `token_expiring` frame.
func AppendTokenExpiring(dst []byte, expires int64) []byte {
	dst = appendHead(dst, "token_expiring", "")
	return appendTail(appendInt(append(dst, `"expires_at":`...), expires))
}

// AppendBehind appends a `behind` frame.
func AppendBehind(dst []byte, b Behind) []byte {
	dst = appendHead(dst, "behind", "")
	dst = appendString(append(dst, `"reason":`...), b.Reason)
	if b.AfterMS > 0 {
		dst = appendInt(append(dst, `,"after_ms":`...), b.AfterMS)
	}
	return appendTail(dst)
}

// AppendReconnect appends a `reconnect` frame.
func AppendReconnect(dst []byte, r Reconnect) []byte {
	dst = appendHead(dst, "reconnect", "")
	dst = appendInt(append(dst, `"after_ms":`...), r.AfterMS)
	dst = appendInt(append(dst, `,"jitter_ms":`...), r.JitterMS)
	dst = appendString(append(dst, `,"reason":`...), r.Reason)
	return appendTail(dst)
}

func appendInt[T ~int | ~int64](dst []byte, n T) []byte {
	return strconv.AppendInt(dst, int64(n), 10)
}

func appendBool(dst []byte, b bool) []byte { return strconv.AppendBool(dst, b) }

func appendID[Kind any](dst []byte, id chat.ID[Kind]) []byte {
	dst = append(dst, '"')
	dst = id.Append(dst)
	return append(dst, '"')
}

// appendString appends s as a JSON string: only what JSON forbids is escaped,
// all else is raw UTF-8. What is not UTF-8 cannot be said in JSON and would end
// the client's connection; no such text passes the decoder, and one from an
// operator's configuration gets replacement characters.
func appendString(dst []byte, s string) []byte {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	dst = append(dst, '"')
	begin := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[begin:i]...)
		dst = appendEscaped(dst, c)
		begin = i + 1
	}
	dst = append(dst, s[begin:]...)
	return append(dst, '"')
}

func appendEscaped(dst []byte, c byte) []byte {
	const digits = "0123456789abcdef"
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, `\b`...)
	case '\f':
		return append(dst, `\f`...)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	}
	return append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
}
