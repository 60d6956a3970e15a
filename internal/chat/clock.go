package chat

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"time"
)

// Clock is the time of one partition of the inbound log: a count of 100 ns
// ticks since the Unix epoch that every record advances by at least one tick,
// whatever the hosts' clocks do. It is the time that ids, retention and write
// timestamps are made of. The zero value is "before the first record".
type Clock int64

// TicksPerMillisecond is how many ticks of a [Clock] make a millisecond, the
// resolution of a record's time on the log.
const TicksPerMillisecond = 10_000

// Next returns the clock after one more record, which the log stamped with
// millis (Unix milliseconds): its time, or one tick on if that is later.
func (c Clock) Next(millis int64) Clock {
	return max(Clock(millis)*TicksPerMillisecond, c+1)
}

// Unix returns whole seconds since the Unix epoch, what clients are shown.
func (c Clock) Unix() int64 { return int64(c) / (TicksPerMillisecond * 1000) }

// Time returns the clock as a wall-clock time in UTC.
func (c Clock) Time() time.Time {
	const perSecond = TicksPerMillisecond * 1000
	return time.Unix(int64(c)/perSecond, int64(c)%perSecond*100).UTC()
}

// Micros returns microseconds since the Unix epoch: the write timestamp of
// whatever the record caused in the archive.
func (c Clock) Micros() int64 { return int64(c) / 10 }

// ClockAt returns the first tick of a Unix second.
func ClockAt(seconds int64) Clock { return Clock(seconds) * TicksPerMillisecond * 1000 }

// gregorian is the Unix epoch in ticks since 1582-10-15, where the timestamps
// of version 1 UUIDs begin.
const gregorian = 0x01b21dd213814000

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
	ticks := uint64(c) + gregorian
	binary.BigEndian.PutUint32(id[0:], uint32(ticks))
	binary.BigEndian.PutUint16(id[4:], uint16(ticks>>32))
	binary.BigEndian.PutUint16(id[6:], uint16(ticks>>48)&0x0fff|0x1000)
	binary.BigEndian.PutUint16(id[8:], uint16(generation)&0x3fff|0x8000)
	id[10] = 0x01
	binary.BigEndian.PutUint32(id[12:], partition)
	return id
}

// ClockOf returns the clock inside a message's id. For a UUID of another
// version the answer has no meaning, but is always the same.
func ClockOf(id MessageID) Clock { return Clock(ticksOf(id) - gregorian) }

func ticksOf(id MessageID) uint64 {
	return uint64(binary.BigEndian.Uint32(id[0:])) |
		uint64(binary.BigEndian.Uint16(id[4:]))<<32 |
		uint64(binary.BigEndian.Uint16(id[6:])&0x0fff)<<48
}

// CompareMessageIDs orders ids as the archive does: by time, then by bytes.
// The plain byte order of a TIMEUUID is not its time order.
func CompareMessageIDs(a, b MessageID) int {
	if c := cmp.Compare(ticksOf(a), ticksOf(b)); c != 0 {
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
