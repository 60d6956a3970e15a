package bus

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"

	"switchboard/internal/chat"
)

// framesPerDelivery bounds the frames of one delivery. A router writes a handful;
// the limit keeps a forged record from asking for memory by the gigabyte.
const framesPerDelivery = 1024

// Append appends the record's bytes, which records.proto describes, to dst.
func (r *Delivery) Append(dst []byte) []byte {
	dst = appendUint(dst, 1, Codec)
	dst = appendUint(dst, 2, uint64(r.Class))
	dst = appendUint(dst, 3, uint64(r.Position.Generation))
	dst = appendUint(dst, 4, uint64(r.Partition))
	dst = appendUint(dst, 5, uint64(r.Position.Offset))
	for i := range r.Frames {
		dst = r.Frames[i].append(dst, 6)
	}
	if r.Answer != nil {
		dst = r.Answer.append(dst, 7)
	}
	for i := range r.Closes {
		dst = r.Closes[i].append(dst, 8)
	}
	return dst
}

func (c *Close) append(dst []byte, num protowire.Number) []byte {
	dst, body := open(dst, num)
	dst = appendID(dst, 1, c.User)
	dst = appendFixed(dst, 2, c.Boot)
	dst = appendFixed(dst, 3, c.Session)
	return shut(dst, body)
}

func (f *Frame) append(dst []byte, num protowire.Number) []byte {
	dst, body := open(dst, num)
	dst = appendUint(dst, 1, Codec)
	dst = appendBytes(dst, 2, f.Payload)
	dst = appendUsers(dst, 3, f.Recipients)
	dst = appendFixed(dst, 4, f.ExceptBoot)
	dst = appendFixed(dst, 5, f.ExceptSession)
	dst = appendBytes(dst, 6, f.Key)
	dst = appendUint(dst, 7, uint64(f.Order))
	return shut(dst, body)
}

func (a *Answer) append(dst []byte, num protowire.Number) []byte {
	dst, body := open(dst, num)
	dst = appendFixed(dst, 1, a.Boot)
	dst = appendFixed(dst, 2, a.Session)
	dst = appendBytes(dst, 3, a.Payload)
	dst = appendUint(dst, 4, uint64(a.Outcome))
	dst = appendUint(dst, 5, uint64(a.Seq))
	dst = appendID(dst, 6, a.ID)
	dst = appendBytes(dst, 7, string(a.Code))
	dst = appendBytes(dst, 8, a.Message)
	return shut(dst, body)
}

// ParseDelivery reads what [Delivery.Append] wrote, in place: every byte slice,
// string and list of recipients in r is a view of b, which must not change for
// as long as r is used. Frames, Answer and Closes of r are reused; nothing else is
// allocated. The error wraps [ErrMalformed]; r is then half filled.
func ParseDelivery(b []byte, r *Delivery) error {
	spare := r.Answer
	*r = Delivery{Frames: r.Frames[:0], Closes: r.Closes[:0]}
	var codec, answered bool
	s := scanner{rest: b}
	for s.next() {
		switch s.num {
		case 1:
			s.codec(&codec)
		case 2:
			r.Class = Class(s.uint8())
		case 3:
			r.Position.Generation = s.uint32()
		case 4:
			r.Partition = partition(&s)
		case 5:
			r.Position.Offset = s.natural()
		case 6:
			r.parseFrame(&s)
		case 7:
			if spare == nil {
				spare = new(Answer)
			}
			r.Answer = spare
			*spare = Answer{}
			s.err = spare.parse(s.once(&answered))
		case 8:
			r.parseClose(&s)
		}
	}
	if s.err == nil && (r.Class < Durable || r.Class > Signal) {
		s.num = 2
		s.fail("unknown class")
	}
	return s.end("delivery", codec)
}

// parseFrame reads one more frame. The first one makes room for all.
func (r *Delivery) parseFrame(s *scanner) {
	if len(r.Frames) == framesPerDelivery {
		s.fail("too many frames")
		return
	}
	if len(r.Frames) == cap(r.Frames) {
		room := make([]Frame, len(r.Frames), min(len(r.Frames)+s.count(), framesPerDelivery))
		copy(room, r.Frames)
		r.Frames = room
	}
	r.Frames = append(r.Frames, Frame{})
	s.err = r.Frames[len(r.Frames)-1].parse(s.body())
}

// parseClose reads one more session to be closed.
func (r *Delivery) parseClose(s *scanner) {
	if len(r.Closes) == ClosesPerDelivery {
		s.fail("too many closes")
		return
	}
	r.Closes = append(r.Closes, Close{})
	s.err = r.Closes[len(r.Closes)-1].parse(s.body())
}

func (c *Close) parse(s scanner) error {
	for s.next() {
		switch s.num {
		case 1:
			c.User = s.id()
		case 2:
			c.Boot = s.fixed()
		case 3:
			c.Session = s.fixed()
		}
	}
	return s.err
}

func (f *Frame) parse(s scanner) error {
	var codec bool
	for s.next() {
		switch s.num {
		case 1:
			s.codec(&codec)
		case 2:
			f.Payload = s.bytes()
		case 3:
			f.Recipients = s.users()
		case 4:
			f.ExceptBoot = s.fixed()
		case 5:
			f.ExceptSession = s.fixed()
		case 6:
			f.Key = s.bytes()
		case 7:
			f.Order = s.natural()
		}
	}
	if s.err != nil {
		return s.err
	}
	return s.end("frame of a delivery", codec)
}

func (a *Answer) parse(s scanner) error {
	for s.next() {
		switch s.num {
		case 1:
			a.Boot = s.fixed()
		case 2:
			a.Session = s.fixed()
		case 3:
			a.Payload = s.bytes()
		case 4:
			a.Outcome = Outcome(s.uint8())
		case 5:
			a.Seq = seq(&s)
		case 6:
			a.ID = s.id()
		case 7:
			a.Code = chat.Code(s.textView())
		case 8:
			a.Message = s.textView()
		}
	}
	return s.err
}

func partition(s *scanner) int32 { return int32(s.upTo(math.MaxInt32)) }

// Append appends the record's bytes, which records.proto describes, to dst.
func (r *Push) Append(dst []byte) []byte {
	dst = appendUint(dst, 1, Codec)
	dst = appendID(dst, 2, r.User)
	dst = appendUint(dst, 3, uint64(r.Position.Generation))
	dst = appendUint(dst, 4, uint64(r.Partition))
	dst = appendUint(dst, 5, uint64(r.Position.Offset))
	dst = appendID(dst, 6, r.Conversation)
	dst = appendID(dst, 7, r.ID)
	dst = appendUint(dst, 8, uint64(r.Seq))
	dst = appendID(dst, 9, r.Sender)
	return appendUint(dst, 10, uint64(r.Kind))
}

// ParsePush reads what [Push.Append] wrote. Nothing in r points into b. The
// error wraps [ErrMalformed]; r is then half filled.
func ParsePush(b []byte, r *Push) error {
	*r = Push{}
	var codec bool
	s := scanner{rest: b}
	for s.next() {
		switch s.num {
		case 1:
			s.codec(&codec)
		case 2:
			r.User = s.id()
		case 3:
			r.Position.Generation = s.uint32()
		case 4:
			r.Partition = partition(&s)
		case 5:
			r.Position.Offset = s.natural()
		case 6:
			r.Conversation = s.id()
		case 7:
			r.ID = s.id()
		case 8:
			r.Seq = seq(&s)
		case 9:
			r.Sender = s.id()
		case 10:
			r.Kind = kind(&s)
		}
	}
	return s.end("push", codec)
}
