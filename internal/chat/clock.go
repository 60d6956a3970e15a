package chat

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"time"
)

// Clock is the time of one partition of the inbound log: a count of microseconds
// (ticks) since the Unix epoch that every record advances by at least one,
// whatever the hosts' clocks do. It is the time that ids and retention are made
// of, and as it stands the write timestamp of whatever a record leaves in the
// archive: CQL counts in microseconds too, and a finer tick would give two
// records one timestamp. The zero value is "before the first record".
type Clock int64

// TicksPerMillisecond is how many ticks of a [Clock] make a millisecond, the
// resolution of a record's time on the log.
const TicksPerMillisecond = 1000

// Next returns the clock after one more record, which the log stamped with
// millis (Unix milliseconds): its time, or one tick on if that is later.
func (c Clock) Next(millis int64) Clock {
	return max(Clock(millis)*TicksPerMillisecond, c+1)
}

// Unix returns whole seconds since the Unix epoch, what clients are shown.
func (c Clock) Unix() int64 { return int64(c) / (TicksPerMillisecond * 1000) }

// Time returns the clock as a wall-clock time in UTC.
func (c Clock) Time() time.Time {
	return time.UnixMicro(int64(c)).UTC()
}

// ClockAt returns the first tick of a Unix second.
func ClockAt(seconds int64) Clock { return Clock(seconds) * TicksPerMillisecond * 1000 }

// gregorian is the Unix epoch in units of 100 ns since 1582-10-15, in which the
// timestamps of version 1 UUIDs are counted; perTick is how many are a tick.
const (
	gregorian = 0x01b21dd213814000
	perTick   = 10
)

// NewMessageID returns the TIMEUUID of the durable event that a record caused.
//
//	0       4     6     8         10      12            16
//	┌───────┬─────┬─────┬─────────┬───────┬─────────────┐
//	│ time  │time │1,   │10,      │01 00  │ partition   │  time: 60 bits of clock
//	│ low   │mid  │high │gener'n  │       │ big-endian  │  generation: 14 bits
//	└───────┴─────┴─────┴─────────┴───────┴─────────────┘
//
// The node's first octet carries the multicast bit, which RFC 9562 asks of a
// node that is no network card. Within one partition ids ascend strictly,
// since the clock does.
func NewMessageID(c Clock, generation, partition uint32) MessageID {
	var id MessageID
	units := uint64(c)*perTick + gregorian
	binary.BigEndian.PutUint32(id[0:], uint32(units))
	binary.BigEndian.PutUint16(id[4:], uint16(units>>32))
	binary.BigEndian.PutUint16(id[6:], uint16(units>>48)&0x0fff|0x1000)
	binary.BigEndian.PutUint16(id[8:], uint16(generation)&0x3fff|0x8000)
	id[10] = 0x01
	binary.BigEndian.PutUint32(id[12:], partition)
	return id
}

// IsMessageID reports whether an id is a TIMEUUID, as those of all messages are.
func IsMessageID(id MessageID) bool { return id[6]>>4 == 1 && id[8]>>6 == 2 }

// ClockOf returns the clock inside a message's id. For a UUID of another
// version the answer has no meaning, but is always the same.
func ClockOf(id MessageID) Clock { return (Clock(unitsOf(id)) - gregorian) / perTick }

func unitsOf(id MessageID) uint64 {
	return uint64(binary.BigEndian.Uint32(id[0:])) |
		uint64(binary.BigEndian.Uint16(id[4:]))<<32 |
		uint64(binary.BigEndian.Uint16(id[6:])&0x0fff)<<48
}

// CompareMessageIDs orders ids as the archive does: by time, then by bytes.
// The plain byte order of a TIMEUUID is not its time order.
func CompareMessageIDs(a, b MessageID) int {
	if c := cmp.Compare(unitsOf(a), unitsOf(b)); c != 0 {
		return c
	}
	return bytes.Compare(a[8:], b[8:])
}

// FirstMessageID returns an id that is not above any message id of the clock c:
// the border for "everything before c".
func FirstMessageID(c Clock) MessageID {
	id := NewMessageID(c, 0, 0)
	id[8], id[10] = 0x80, 0
	return id
}

// PartitionOf returns the partition of the inbound log that made the id.
func PartitionOf(id MessageID) uint32 { return binary.BigEndian.Uint32(id[12:]) }
