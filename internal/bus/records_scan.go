package bus

import (
	"fmt"
	"math"
	"unicode/utf8"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"

	"switchboard/internal/chat"
)

// idBytes is the length of every id on the log.
const idBytes = 16

// scanner walks over the fields of one protobuf message, in place. It is
// stricter than the official library: a known field of another wire type, an id
// that is not 16 bytes, a number out of its range and text that is not UTF-8
// are errors, since a record with one was not written by a program of ours. The
// first error ends the walk and stays.
type scanner struct {
	rest []byte
	num  protowire.Number
	typ  protowire.Type
	n    uint64 // of a varint or a fixed64
	data []byte // of a length-delimited field: a view of the record
	err  error
}

// next goes to the next field; it returns false at the end and after an error.
func (s *scanner) next() bool {
	if s.err != nil || len(s.rest) == 0 {
		return false
	}
	num, typ, n := protowire.ConsumeTag(s.rest)
	if n < 0 || num > protowire.MaxValidNumber {
		return s.fail("no field tag")
	}
	s.num, s.typ, s.rest = num, typ, s.rest[n:]
	switch typ {
	case protowire.VarintType:
		s.n, n = protowire.ConsumeVarint(s.rest)
	case protowire.Fixed64Type:
		s.n, n = protowire.ConsumeFixed64(s.rest)
	case protowire.BytesType:
		s.data, n = protowire.ConsumeBytes(s.rest)
	default: // No field of ours; the others stand for fields of the future.
		n = protowire.ConsumeFieldValue(num, typ, s.rest)
	}
	if n < 0 {
		return s.fail("cut short")
	}
	s.rest = s.rest[n:]
	return true
}

// fail notes the first error and returns false.
func (s *scanner) fail(what string) bool {
	if s.err == nil {
		s.err = fmt.Errorf("%w: field %d: %s", ErrMalformed, s.num, what)
	}
	return false
}

// is checks the wire type of the field at hand.
func (s *scanner) is(typ protowire.Type) bool {
	return s.typ == typ || s.fail("another wire type")
}

// upTo returns a number that may not exceed limit.
func (s *scanner) upTo(limit uint64) uint64 {
	if !s.is(protowire.VarintType) {
		return 0
	}
	if s.n > limit {
		s.fail("number out of range")
		return 0
	}
	return s.n
}

func (s *scanner) uint8() uint8   { return uint8(s.upTo(math.MaxUint8)) }
func (s *scanner) uint32() uint32 { return uint32(s.upTo(math.MaxUint32)) }

// natural returns an int64 that is never negative: an offset, a seq.
func (s *scanner) natural() int64 { return int64(s.upTo(math.MaxInt64)) }

// int returns any int64.
func (s *scanner) int() int64 { return int64(s.upTo(math.MaxUint64)) }

func (s *scanner) flag() bool { return s.upTo(1) == 1 }

// codec checks that the body is of the only version there is.
func (s *scanner) codec(seen *bool) {
	*seen = true
	if s.upTo(math.MaxUint32) != Codec {
		s.fail("unknown codec")
	}
}

func (s *scanner) fixed() uint64 {
	if !s.is(protowire.Fixed64Type) {
		return 0
	}
	return s.n
}

// bytes returns a view of the record.
func (s *scanner) bytes() []byte {
	if !s.is(protowire.BytesType) {
		return nil
	}
	return s.data
}

// text returns a copy.
func (s *scanner) text() string { return string(s.utf8()) }

// textView returns a string that is a view of the record. It is right only where
// the record outlives the string and nobody writes to it.
func (s *scanner) textView() string {
	b := s.utf8()
	return unsafe.String(unsafe.SliceData(b), len(b))
}

func (s *scanner) utf8() []byte {
	b := s.bytes()
	if !utf8.Valid(b) {
		s.fail("not UTF-8")
		return nil
	}
	return b
}

func (s *scanner) id() (id [16]byte) {
	b := s.bytes()
	if s.err != nil {
		return id
	}
	if len(b) != idBytes {
		s.fail("an id is not 16 bytes")
		return id
	}
	return [16]byte(b)
}

// users returns ids that stand one behind the other, as a view of the record.
func (s *scanner) users() []chat.UserID {
	b := s.bytes()
	if len(b)%idBytes != 0 {
		s.fail("an id is not 16 bytes")
		return nil
	}
	return viewUsers(b)
}

// viewUsers returns the ids in b without copying them: one delivery may name
// hundreds. It is safe because a UserID is an array of bytes, of alignment 1,
// and len(b) is a multiple of its size.
func viewUsers(b []byte) []chat.UserID {
	if len(b) == 0 {
		return nil
	}
	return unsafe.Slice((*chat.UserID)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/idBytes)
}

// once returns the body of a message that may not stand twice in its parent,
// where the official library would merge the two.
func (s *scanner) once(seen *bool) scanner {
	if *seen {
		s.fail("the message stands there twice")
	}
	*seen = true
	return s.body()
}

// body returns a scanner of the message that is the field at hand.
func (s *scanner) body() scanner { return scanner{rest: s.bytes(), err: s.err} }

// count returns how many fields of that number and of bytes are ahead, the one
// at hand included, so that a slice is made once and only as long as it must.
func (s *scanner) count() int {
	ahead := scanner{rest: s.rest}
	total := 1
	for ahead.next() {
		if ahead.num == s.num {
			total++
		}
	}
	return total
}

// end returns the error of a walk, if any, with what was walked over.
func (s *scanner) end(what string, codec bool) error {
	if s.err == nil && !codec {
		s.num = 1
		s.fail("no codec")
	}
	if s.err != nil {
		return fmt.Errorf("%s record: %w", what, s.err)
	}
	return nil
}
