package bus

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Append appends the record's bytes, which records.proto describes, to dst.
func (r *Inbound) Append(dst []byte) []byte {
	dst = appendUint(dst, 1, Codec)
	dst = appendID(dst, 2, r.Conversation)
	dst = appendID(dst, 3, r.Sender)
	dst = appendID(dst, 4, r.Request)
	dst = appendReplyTo(dst, 5, &r.ReplyTo)
	var body int
	switch {
	case r.Send != nil:
		dst, body = open(dst, 6)
		dst = r.Send.append(dst)
	case r.Create != nil:
		dst, body = open(dst, 7)
		dst = r.Create.append(dst)
	case r.Set != nil:
		dst, body = open(dst, 8)
		dst = r.Set.append(dst)
	case r.Remove != nil:
		dst, body = open(dst, 9)
		dst = appendID(dst, 1, r.Remove.User)
	case r.Rename != nil:
		dst, body = open(dst, 10)
		dst = appendBytes(dst, 1, r.Rename.Name)
	case r.Anchor != nil:
		dst, body = open(dst, 11)
		dst = appendUint(dst, 1, uint64(r.Anchor.Clock))
	default:
		return dst // Asks for nothing: no reader accepts it.
	}
	return shut(dst, body)
}

func (s *Send) append(dst []byte) []byte {
	dst = appendUint(dst, 1, uint64(s.Kind))
	dst = appendBytes(dst, 2, s.Content)
	dst = appendBytes(dst, 3, s.MediaURL)
	return appendID(dst, 4, s.ReplyTo)
}

func (c *Create) append(dst []byte) []byte {
	dst = appendUint(dst, 1, uint64(c.Type))
	dst = appendBytes(dst, 2, c.Name)
	dst = appendUsers(dst, 3, c.Members)
	return appendUint(dst, 4, uint64(c.Limit))
}

func (m *SetMember) append(dst []byte) []byte {
	dst = appendID(dst, 1, m.User)
	dst = appendUint(dst, 2, uint64(m.Role))
	return appendUint(dst, 3, uint64(m.Limit))
}

func appendReplyTo(dst []byte, num protowire.Number, r *ReplyTo) []byte {
	if *r == (ReplyTo{}) {
		return dst
	}
	dst, body := open(dst, num)
	dst = appendBytes(dst, 1, r.Server)
	dst = appendFixed(dst, 2, r.Boot)
	dst = appendFixed(dst, 3, r.Session)
	dst = appendBytes(dst, 4, r.ID)
	return shut(dst, body)
}

// ParseInbound reads what [Inbound.Append] wrote. Everything in r is a copy and
// nothing of it is reused, since the fold keeps requests beyond the batch that
// they came in. The error wraps [ErrMalformed]; r is then half filled. Whether
// an id is there and what a number means is the fold's to judge: it can answer
// whoever asked, while nobody can answer what cannot be read.
func ParseInbound(b []byte, r *Inbound) error {
	*r = Inbound{}
	var codec, replyTo, asked bool
	s := scanner{rest: b}
	for s.next() {
		switch s.num {
		case 1:
			s.codec(&codec)
		case 2:
			r.Conversation = s.id()
		case 3:
			r.Sender = s.id()
		case 4:
			r.Request = s.id()
		case 5:
			s.err = parseReplyTo(s.once(&replyTo), &r.ReplyTo)
		case 6, 7, 8, 9, 10, 11:
			what := s.num
			body := s.once(&asked)
			s.err = r.parseWhat(what, body)
		}
	}
	if s.err == nil && !asked {
		s.num = 6
		s.fail("asks for nothing")
	}
	return s.end("inbound", codec)
}

// parseWhat reads the body of one of the things that may be asked for.
func (r *Inbound) parseWhat(what protowire.Number, s scanner) error {
	switch what {
	case 6:
		r.Send = new(Send)
		return r.Send.parse(s)
	case 7:
		r.Create = new(Create)
		return r.Create.parse(s)
	case 8:
		r.Set = new(SetMember)
		return r.Set.parse(s)
	case 9:
		r.Remove = new(RemoveMember)
		for s.next() {
			if s.num == 1 {
				r.Remove.User = s.id()
			}
		}
	case 10:
		r.Rename = new(Rename)
		for s.next() {
			if s.num == 1 {
				r.Rename.Name = s.text()
			}
		}
	case 11:
		r.Anchor = new(Anchor)
		for s.next() {
			if s.num == 1 {
				r.Anchor.Clock = clock(&s)
			}
		}
	}
	return s.err
}

func (s *Send) parse(in scanner) error {
	for in.next() {
		switch in.num {
		case 1:
			s.Kind = kind(&in)
		case 2:
			s.Content = in.text()
		case 3:
			s.MediaURL = in.text()
		case 4:
			s.ReplyTo = in.id()
		}
	}
	return in.err
}

func (c *Create) parse(s scanner) error {
	for s.next() {
		switch s.num {
		case 1:
			c.Type = conversationType(&s)
		case 2:
			c.Name = s.text()
		case 3:
			c.Members = append(c.Members[:0], s.users()...)
		case 4:
			c.Limit = int(s.upTo(math.MaxInt32))
		}
	}
	return s.err
}

func (m *SetMember) parse(s scanner) error {
	for s.next() {
		switch s.num {
		case 1:
			m.User = s.id()
		case 2:
			m.Role = role(&s)
		case 3:
			m.Limit = int(s.upTo(math.MaxInt32))
		}
	}
	return s.err
}

func parseReplyTo(s scanner, r *ReplyTo) error {
	for s.next() {
		switch s.num {
		case 1:
			r.Server = s.text()
		case 2:
			r.Boot = s.fixed()
		case 3:
			r.Session = s.fixed()
		case 4:
			r.ID = s.text()
		}
	}
	return s.err
}
