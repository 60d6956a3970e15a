package bus

import (
	"google.golang.org/protobuf/encoding/protowire"

	"switchboard/internal/chat"
)

// marksPerReceipt bounds the marks of one receipt. A gateway writes at most eight;
// the limit keeps a forged record from asking for memory by the gigabyte.
const marksPerReceipt = 64

// Append appends the record's bytes, which records.proto describes, to dst.
func (r *Receipt) Append(dst []byte) []byte {
	dst = appendUint(dst, 1, Codec)
	dst = appendID(dst, 2, r.Conversation)
	dst = appendID(dst, 3, r.User)
	dst = appendReplyTo(dst, 4, &r.ReplyTo)
	if r.Answer {
		dst = appendUint(dst, 5, 1)
	}
	for i := range r.Marks {
		dst = r.Marks[i].append(dst, 6)
	}
	return dst
}

func (m *Mark) append(dst []byte, num protowire.Number) []byte {
	dst, body := open(dst, num)
	dst = appendUint(dst, 1, uint64(m.Status))
	dst = appendUint(dst, 2, uint64(m.Seq))
	dst = appendID(dst, 3, m.Message)
	dst = appendBytes(dst, 4, m.ID)
	return shut(dst, body)
}

// ParseReceipt reads what [Receipt.Append] wrote. The marks of r are reused, so
// whoever keeps them parses the next receipt into another one; nothing in r
// points into b. The error wraps [ErrMalformed]; r is then half filled.
func ParseReceipt(b []byte, r *Receipt) error {
	*r = Receipt{Marks: r.Marks[:0]}
	var codec, replyTo bool
	s := scanner{rest: b}
	for s.next() {
		switch s.num {
		case 1:
			s.codec(&codec)
		case 2:
			r.Conversation = s.id()
		case 3:
			r.User = s.id()
		case 4:
			s.err = parseReplyTo(s.once(&replyTo), &r.ReplyTo)
		case 5:
			r.Answer = s.flag()
		case 6:
			if len(r.Marks) == marksPerReceipt {
				s.fail("too many marks")
				break
			}
			r.Marks = append(r.Marks, Mark{})
			s.err = r.Marks[len(r.Marks)-1].parse(s.body())
		}
	}
	return s.end("receipt", codec)
}

func (m *Mark) parse(s scanner) error {
	for s.next() {
		switch s.num {
		case 1:
			m.Status = chat.Status(s.uint8())
		case 2:
			m.Seq = seq(&s)
		case 3:
			m.Message = s.id()
		case 4:
			m.ID = s.text()
		}
	}
	return s.err
}

// Append appends the record's bytes, which records.proto describes, to dst.
func (r *Status) Append(dst []byte) []byte {
	dst = appendUint(dst, 1, Codec)
	dst = appendID(dst, 2, r.Conversation)
	dst = appendID(dst, 3, r.User)
	dst = appendUint(dst, 4, uint64(r.Status))
	dst = appendUint(dst, 5, uint64(r.Seq))
	dst = appendID(dst, 6, r.Message)
	dst = appendUint(dst, 7, uint64(r.Millis))
	dst = appendUsers(dst, 8, r.Recipients)
	dst = appendReplyTo(dst, 9, &r.ReplyTo)
	dst = appendUint(dst, 10, uint64(r.Outcome))
	dst = appendBytes(dst, 11, string(r.Code))
	return appendBytes(dst, 12, r.Text)
}

// ParseStatus reads what [Status.Append] wrote. The recipients of r are reused;
// nothing in r points into b. The error wraps [ErrMalformed]; r is then half
// filled.
func ParseStatus(b []byte, r *Status) error {
	*r = Status{Recipients: r.Recipients[:0]}
	var codec, replyTo bool
	s := scanner{rest: b}
	for s.next() {
		if s.num == 1 {
			s.codec(&codec)
			continue
		}
		r.parseField(&s, &replyTo)
	}
	return s.end("status", codec)
}

func (r *Status) parseField(s *scanner, replyTo *bool) {
	switch s.num {
	case 2:
		r.Conversation = s.id()
	case 3:
		r.User = s.id()
	case 4:
		r.Status = chat.Status(s.uint8())
	case 5:
		r.Seq = seq(s)
	case 6:
		r.Message = s.id()
	case 7:
		r.Millis = s.natural()
	case 8:
		r.Recipients = append(r.Recipients[:0], s.users()...)
	case 9:
		s.err = parseReplyTo(s.once(replyTo), &r.ReplyTo)
	case 10:
		r.Outcome = Outcome(s.uint8())
	case 11:
		r.Code = chat.Code(s.text())
	case 12:
		r.Text = s.text()
	}
}
