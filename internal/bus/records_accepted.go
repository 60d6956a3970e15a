package bus

import (
	"google.golang.org/protobuf/encoding/protowire"

	"switchboard/internal/chat"
)

// eventsPerOutcome bounds the events of one outcome. Today there are at most
// two; the limit keeps a forged record from asking for memory by the gigabyte.
const eventsPerOutcome = 16

// Append appends the record's bytes, which records.proto describes, to dst.
func (r *Accepted) Append(dst []byte) []byte {
	dst = appendUint(dst, 1, Codec)
	dst = appendUint(dst, 2, uint64(r.Outcome))
	dst = appendUint(dst, 3, uint64(r.Position.Generation))
	dst = appendUint(dst, 4, uint64(r.Position.Offset))
	dst = appendUint(dst, 5, uint64(r.Clock))
	dst = appendID(dst, 6, r.Conversation)
	dst = appendID(dst, 7, r.Sender)
	dst = appendID(dst, 8, r.Request)
	dst = appendReplyTo(dst, 9, &r.ReplyTo)
	for i := range r.Events {
		dst = r.Events[i].append(dst, 10)
	}
	dst = appendUsers(dst, 11, r.Recipients)
	if r.Large {
		dst = appendUint(dst, 12, 1)
	}
	dst = appendUint(dst, 13, uint64(r.Seq))
	dst = appendID(dst, 14, r.ID)
	dst = appendBytes(dst, 15, string(r.Code))
	return appendBytes(dst, 16, r.Message)
}

func (e *Event) append(dst []byte, num protowire.Number) []byte {
	dst, body := open(dst, num)
	dst = appendUint(dst, 1, uint64(e.Seq))
	dst = appendID(dst, 2, e.ID)
	dst = appendUint(dst, 3, uint64(e.Kind))
	dst = appendBytes(dst, 4, e.Content)
	dst = appendBytes(dst, 5, e.MediaURL)
	dst = appendID(dst, 6, e.ReplyTo)
	dst = appendUint(dst, 7, uint64(e.Change))
	dst = appendID(dst, 8, e.User)
	dst = appendUint(dst, 9, uint64(e.Role))
	dst = appendBytes(dst, 10, e.Name)
	dst = appendUint(dst, 11, uint64(e.MembersVersion))
	dst = appendUsers(dst, 12, e.Added)
	dst = appendUint(dst, 13, uint64(e.Type))
	return shut(dst, body)
}

// ParseAccepted reads what [Accepted.Append] wrote. The slices of r are reused,
// so whoever keeps an outcome parses the next into another one; nothing in r
// points into b. Each event gets conversation, sender and request of the
// outcome. The error wraps [ErrMalformed]; r is then half filled.
func ParseAccepted(b []byte, r *Accepted) error {
	*r = Accepted{Events: r.Events[:0], Recipients: r.Recipients[:0]}
	var codec, replyTo bool
	s := scanner{rest: b}
	for s.next() {
		if s.num == 1 {
			s.codec(&codec)
			continue
		}
		r.parseField(&s, &replyTo)
	}
	if s.err == nil && (r.Outcome < Stored || r.Outcome > Refused) {
		s.num = 2
		s.fail("unknown outcome")
	}
	for i := range r.Events {
		e := &r.Events[i]
		e.Conversation, e.Sender, e.Request = r.Conversation, r.Sender, r.Request
	}
	return s.end("accepted", codec)
}

func (r *Accepted) parseField(s *scanner, replyTo *bool) {
	switch s.num {
	case 2:
		r.Outcome = Outcome(s.uint8())
	case 3:
		r.Position.Generation = s.uint32()
	case 4:
		r.Position.Offset = s.natural()
	case 5:
		r.Clock = clock(s)
	case 6:
		r.Conversation = s.id()
	case 7:
		r.Sender = s.id()
	case 8:
		r.Request = s.id()
	case 9:
		s.err = parseReplyTo(s.once(replyTo), &r.ReplyTo)
	case 10:
		r.parseEvent(s)
	case 11:
		r.Recipients = append(r.Recipients[:0], s.users()...)
	case 12:
		r.Large = s.flag()
	case 13:
		r.Seq = seq(s)
	case 14:
		r.ID = s.id()
	case 15:
		r.Code = chat.Code(s.text())
	case 16:
		r.Message = s.text()
	}
}

// parseEvent reads one more event, into the room of an earlier one if there is.
func (r *Accepted) parseEvent(s *scanner) {
	n := len(r.Events)
	switch {
	case n == eventsPerOutcome:
		s.fail("too many events")
		return
	case n < cap(r.Events):
		r.Events = r.Events[:n+1]
	default:
		r.Events = append(r.Events, Event{})
	}
	e := &r.Events[n]
	*e = Event{Added: e.Added[:0]}
	s.err = e.parse(s.body())
}

func (e *Event) parse(s scanner) error {
	for s.next() {
		switch s.num {
		case 1:
			e.Seq = seq(&s)
		case 2:
			e.ID = s.id()
		case 3:
			e.Kind = kind(&s)
		case 4:
			e.Content = s.text()
		case 5:
			e.MediaURL = s.text()
		case 6:
			e.ReplyTo = s.id()
		case 7:
			e.Change = chat.Change(s.uint8())
		case 8:
			e.User = s.id()
		case 9:
			e.Role = role(&s)
		case 10:
			e.Name = s.text()
		case 11:
			e.MembersVersion = seq(&s)
		case 12:
			e.Added = append(e.Added[:0], s.users()...)
		case 13:
			e.Type = conversationType(&s)
		}
	}
	return s.err
}

// The chat words that are small numbers on the log. One beyond eight bits is no
// word of any version; one that this version does not know is for its reader to
// judge.

func kind(s *scanner) chat.Kind             { return chat.Kind(s.uint8()) }
func role(s *scanner) chat.Role             { return chat.Role(s.uint8()) }
func conversationType(s *scanner) chat.Type { return chat.Type(s.uint8()) }
func seq(s *scanner) chat.Seq               { return chat.Seq(s.natural()) }
func clock(s *scanner) chat.Clock           { return chat.Clock(s.int()) }
