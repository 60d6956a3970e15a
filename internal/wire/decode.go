package wire

import (
	"bytes"
	"math"
	"unicode/utf8"
	"unsafe"

	"switchboard/internal/chat"
)

// The members of a frame.
const (
	envelopeType = iota
	envelopeID
	envelopeData
	envelopeMembers
)

var envelopeNames = []string{"type", "id", "data"}

// field is a member of the data of some client event.
type field uint8

const (
	fieldToken field = iota
	fieldDevice
	fieldConversation
	fieldRequest
	fieldKind
	fieldContent
	fieldMediaURL
	fieldReplyTo
	fieldMessage
	fieldSeq
	fieldIsTyping
	fields
)

var fieldNames = []string{
	"token", "device_id", "conversation_id", "client_message_id", "type", "content", "media_url",
	"reply_to", "message_id", "seq", "is_typing",
}

// decoder is the work on one frame. The first refusal stays. The event is a
// value, copied out at the end: a pointer beside err would make the caller's
// event escape to the heap.
type decoder struct {
	ev     ClientEvent
	within string // before the name of a field, for refusals
	values [fields]value
	err    *chat.Error
}

// DecodeClient reads one client frame. The error is a [*chat.Error]: bad_request
// with the field in its message, unknown_type, or too_large for content above
// [chat.ContentBytes]. ID and Request of ev are then set if they could be read,
// so that the refusal can say what it answers.
//
// The JSON is judged as encoding/json judges it: members in any order, of two
// with one name the last counts, unknown ones are skipped, null is the same as
// absent. Beyond that, names match in their exact case only, nesting is bounded,
// a string that is used may not hold half a surrogate pair, and an id may not be
// the zero UUID, which would read as none. Text is a copy; an event with text
// and id costs two allocations. Only the ID of a heartbeat may be no copy but frame's
// own bytes, good until those change.
func DecodeClient(frame []byte, ev *ClientEvent) error {
	if id, ok := plainHeartbeat(frame); ok {
		*ev = ClientEvent{Type: TypeHeartbeat, ID: unsafe.String(unsafe.SliceData(id), len(id))}
		return nil
	}
	d := decoder{within: "data."}
	d.frame(frame)
	*ev = d.ev
	if d.err != nil {
		return d.err
	}
	return nil
}

// plainHeartbeat reads what everybody sends who says nothing else, a million idle
// connections 40,000 times a second, if it is written as JSON.stringify and its like
// write it. Whatever else it may be is for the decoder to judge.
func plainHeartbeat(frame []byte) (id []byte, ok bool) {
	rest, ok := bytes.CutPrefix(frame, []byte(`{"type":"heartbeat"`))
	if !ok || string(rest) == "}" {
		return nil, ok
	}
	if id, ok = bytes.CutPrefix(rest, []byte(`,"id":"`)); !ok {
		return nil, false
	}
	if id, ok = bytes.CutSuffix(id, []byte(`"}`)); !ok || len(id) > chat.EnvelopeIDRunes {
		return nil, false
	}
	for _, b := range id {
		if b < ' ' || b == '"' || b == '\\' || b >= utf8.RuneSelf {
			return nil, false
		}
	}
	return id, true
}

// DecodeSend reads the body of POST …/messages, which is the data of a
// send_message, by the same rules. The conversation is named by the path; one in
// the body is read, but may be left out.
func DecodeSend(body []byte, ev *ClientEvent) error {
	d := decoder{ev: ClientEvent{Type: TypeSendMessage}}
	c := cursor{b: body}
	c.space()
	whole := c.object(fieldNames, d.values[:])
	c.space()
	if !whole || c.at != len(body) {
		d.refuse(chat.BadRequest, "the body", "is not one JSON object")
	}
	d.message()
	*ev = d.ev
	if d.err != nil {
		return d.err
	}
	return nil
}

// refuse notes the first refusal.
func (d *decoder) refuse(code chat.Code, what, reason string) {
	if d.err == nil {
		d.err = &chat.Error{Code: code, Message: what + " " + reason}
	}
}

// bad refuses a field of the data.
func (d *decoder) bad(f field, reason string) {
	d.refuse(chat.BadRequest, d.within+fieldNames[f], reason)
}

func (d *decoder) frame(frame []byte) {
	var members [envelopeMembers]value
	c := cursor{b: frame}
	c.space()
	whole := c.object(envelopeNames, members[:])
	c.space()
	if !whole || c.at != len(frame) {
		d.refuse(chat.BadRequest, "the frame", "is not one JSON object")
	}
	d.id(members[envelopeID])
	d.ev.Type = d.clientType(members[envelopeType])
	// A refused frame is looked into all the same, for its client_message_id.
	d.data(members[envelopeData])
	switch d.ev.Type {
	case TypeConnect:
		d.connect()
	case TypeSendMessage:
		d.sendMessage()
	case TypeMarkDelivered, TypeMarkRead:
		d.mark()
	case TypeTyping:
		d.ev.Conversation = d.conversation()
		d.ev.IsTyping = d.flag(fieldIsTyping)
	case TypeRefreshToken:
		d.ev.Token = d.token()
	case TypeUnknown, TypeHeartbeat:
	}
}

// id reads the envelope's id.
func (d *decoder) id(v value) {
	if v.absent() {
		return
	}
	if v[0] != '"' {
		d.refuse(chat.BadRequest, "id", "must be a string")
		return
	}
	text, fault := v.text(chat.EnvelopeIDRunes * utf8.UTFMax)
	switch {
	case fault == notText:
		d.refuse(chat.BadRequest, "id", brokenText)
	case fault == tooLong || utf8.RuneCountInString(text) > chat.EnvelopeIDRunes:
		d.refuse(chat.BadRequest, "id", "is longer than 36 characters")
	default:
		d.ev.ID = text
	}
}

const brokenText = "holds half a surrogate pair or is not UTF-8"

// clientType reads the envelope's type.
func (d *decoder) clientType(v value) ClientType {
	if v.absent() || v[0] != '"' {
		d.refuse(chat.BadRequest, "type", "must be there, a string")
		return TypeUnknown
	}
	if i := indexOf(v, clientNames[TypeConnect:]); i >= 0 {
		return TypeConnect + ClientType(i)
	}
	var room [32]byte
	if _, fault := v.unquote(room[:0], len(room)-utf8.UTFMax); fault == notText {
		d.refuse(chat.BadRequest, "type", brokenText)
		return TypeUnknown
	}
	d.refuse(chat.UnknownType, "type", "is none of this protocol version")
	return TypeUnknown
}

// data notes the fields of the data, if there is any.
func (d *decoder) data(v value) {
	if v.absent() || d.ev.Type == TypeUnknown {
		return
	}
	c := cursor{b: v}
	if !c.object(fieldNames, d.values[:]) {
		d.refuse(chat.BadRequest, "data", "must be an object")
	}
}

func (d *decoder) connect() {
	d.ev.Token = d.token()
	d.ev.Device = d.text(fieldDevice, chat.DeviceIDBytes, chat.BadRequest)
}

// token reads a token, which must be there. What it says is the business of
// package auth.
func (d *decoder) token() string {
	t := d.text(fieldToken, math.MaxInt, chat.BadRequest)
	if t == "" {
		d.bad(fieldToken, "is missing")
	}
	return t
}

func (d *decoder) sendMessage() {
	d.message()
	if d.values[fieldConversation].absent() {
		d.bad(fieldConversation, "is missing")
	}
}

// message reads a message; the conversation may be absent.
func (d *decoder) message() {
	d.ev.Request = d.uuid(fieldRequest)
	d.ev.Conversation = d.uuid(fieldConversation)
	d.ev.Kind = d.kind()
	d.ev.ReplyTo = d.uuid(fieldReplyTo)
	if !d.ev.ReplyTo.IsZero() && !chat.IsMessageID(d.ev.ReplyTo) {
		d.bad(fieldReplyTo, "must be the id of a message")
	}
	d.ev.Content = d.text(fieldContent, chat.ContentBytes, chat.TooLarge)
	d.ev.MediaURL = d.text(fieldMediaURL, chat.MediaURLBytes, chat.BadRequest)
	if d.ev.Content == "" && (d.ev.Kind == chat.KindText || d.ev.MediaURL == "") {
		d.bad(fieldContent, "is missing: only an image or a file with a media_url may have none")
	}
}

// kind reads the type of a message.
func (d *decoder) kind() chat.Kind {
	v := d.values[fieldKind]
	if v.absent() {
		d.bad(fieldKind, "is missing")
		return 0
	}
	var room [16]byte
	if v[0] == '"' {
		name, fault := v.unquote(room[:0], len(room)-utf8.UTFMax)
		if fault == notText {
			d.bad(fieldKind, brokenText)
			return 0
		}
		if k, ok := chat.ParseKind(string(name)); ok {
			return k
		}
	}
	d.bad(fieldKind, "must be text, image or file")
	return 0
}

// mark reads a watermark: up to which message, by its id or by its seq.
func (d *decoder) mark() {
	d.ev.Conversation = d.conversation()
	d.ev.Message = d.uuid(fieldMessage)
	d.ev.Seq = d.seq()
	if d.values[fieldMessage].absent() == d.values[fieldSeq].absent() {
		d.bad(fieldSeq, "or message_id must be there, one of the two")
	}
}

// conversation reads the conversation's id, which must be there.
func (d *decoder) conversation() chat.ConversationID {
	if d.values[fieldConversation].absent() {
		d.bad(fieldConversation, "is missing")
	}
	return d.uuid(fieldConversation)
}

// uuid reads an id, zero if it is absent. It is of no named type, so that the
// caller says what it names.
func (d *decoder) uuid(f field) (id [16]byte) {
	v := d.values[f]
	if v.absent() {
		return id
	}
	var room [40]byte
	var parsed chat.ID[field]
	if v[0] == '"' {
		text, fault := v.unquote(room[:0], 36)
		if fault == sound && parsed.UnmarshalText(text) == nil && !parsed.IsZero() {
			return parsed
		}
		if fault == notText {
			d.bad(f, brokenText)
			return id
		}
	}
	d.bad(f, "must be a UUID")
	return id
}

// seq reads a seq: an integer from 1, written as such.
func (d *decoder) seq() chat.Seq {
	v := d.values[fieldSeq]
	if v.absent() {
		return 0
	}
	n := chat.Seq(0)
	for _, c := range v {
		digit := chat.Seq(c) - '0'
		if digit < 0 || digit > 9 || n > (math.MaxInt64-digit)/10 {
			d.bad(fieldSeq, "must be an integer from 1")
			return 0
		}
		n = n*10 + digit
	}
	if n == 0 {
		d.bad(fieldSeq, "must be an integer from 1")
	}
	return n
}

// flag reads true or false, which must be there.
func (d *decoder) flag(f field) bool {
	switch string(d.values[f]) {
	case "true":
		return true
	case "false":
		return false
	case "", "null":
		d.bad(f, "is missing")
	default:
		d.bad(f, "must be true or false")
	}
	return false
}

// text reads a string, empty if it is absent; code refuses one above limit.
func (d *decoder) text(f field, limit int, code chat.Code) string {
	v := d.values[f]
	if v.absent() {
		return ""
	}
	if v[0] != '"' {
		d.bad(f, "must be a string")
		return ""
	}
	text, fault := v.text(limit)
	switch fault {
	case tooLong:
		d.refuse(code, d.within+fieldNames[f], "has too many bytes")
	case notText:
		d.bad(f, brokenText)
	case sound:
	}
	return text
}

// text returns what unquote does, in one allocation of its own. Most strings
// hold no escape, and then it is as long as the text.
func (v value) text(limit int) (string, fault) {
	text, fault := v.unquote(make([]byte, 0, min(len(v)-2, limit)), limit)
	return unsafe.String(unsafe.SliceData(text), len(text)), fault
}
