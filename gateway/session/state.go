package session

import (
	"time"

	"switchboard/gateway/edge"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// stage is how far a connection has come.
type stage uint8

const (
	vacant      stage = iota
	handshaking       // the upgrade request is being judged
	waiting           // upgraded; it has to say who it is
	verifying         // its `connect` is with the verifier
	registering       // known; presence has not acknowledged yet
	connected         // `connected` was written
	closing           // a close frame is on its way; nothing counts any more
)

// flag is one of the yes-or-no facts about a session.
type flag uint16

const (
	subprotocol flag = 1 << iota // the client offered chat.v1.json
	indexed                      // in the loop's user index
	listed                       // presence has an entry, or will have
	slow                         // a write was refused: nothing is pushed until the queue has drained
	repeating                    // a repeated registration is with the registrar
	announce                     // `behind` follows the next repeated registration in any case
	refreshing                   // a refresh_token is with the verifier
	warned                       // token_expiring was sent for the present token
	typed                        // a typing was passed on less than chat.TypingInterval ago
	several                      // the user has or had more sessions here: limits are shared
)

// state is one session. It holds no pointer, so the garbage collector never
// looks at it, and it is reset when its slot is free. Times of 32 bits are
// seconds since the keeper started. Only the session's loop touches it.
type state struct {
	user    chat.UserID
	device  [16]byte // see deviceForm
	expires int64    // the token's exp, Unix seconds

	gen     uint32 // edge's generation of the slot
	next    uint32 // slot + 1 of the user's next session on this loop; 0 ends the list
	serial  uint32 // order of arrival on this gateway; compared as a difference
	bucket  bucket // of messages and new tokens
	light   bucket // of marks, heartbeats and typing that comes too often
	due     uint32 // waiting: when it must have said who it is; slow: when it must have drained
	sweepAt uint32 // when to register again
	checkAt uint32 // when to send behind{check}

	stage    stage
	form     deviceForm
	mistakes uint8 // errors in a row that are the client's own
	refusals uint8 // events over a rate limit, less those that were not
	pings    uint8 // pings since the last byte from the client
	typedAt  uint8 // with typed: when, in quarters of a second, modulo 64 seconds
	flags    flag
}

func (s *state) is(f flag) bool { return s.flags&f != 0 }
func (s *state) set(f flag)     { s.flags |= f }
func (s *state) unset(f flag)   { s.flags &^= f }

// deviceForm says how state.device holds a device id: as so many bytes of text,
// or in one of the two ways below.
type deviceForm uint8

const (
	deviceText  deviceForm = 16  // up to here the form is the length
	deviceUUID  deviceForm = 254 // the text of a UUID in lower case, as most are
	deviceAside deviceForm = 255 // longer: in the loop's map
)

// chunkSlots is how many sessions a slab grows by. Growing by chunks keeps what
// is there where it is: no copy, no moment with twice the memory.
const chunkSlots = 1024

// slotBits and loopBits bound what a session number can hold.
const (
	slotBits = 24
	loopBits = 8
)

// loop is what one event loop knows. Only that loop touches it.
type loop struct {
	keeper *Keeper
	number uint16

	chunks  []*[chunkSlots]state
	users   index
	devices map[uint32]string // of deviceAside, by slot
	early   map[uint32]*held  // frames that came before `connected`, by slot

	event       wire.ClientEvent // being served
	json, frame []byte           // of the frame being written
}

// at returns the state of a slot that is known to exist.
func (l *loop) at(slot uint32) *state { return &l.chunks[slot/chunkSlots][slot%chunkSlots] }

// begin returns the empty state of a slot, new or reused.
func (l *loop) begin(c edge.Conn) *state {
	for int(c.Slot/chunkSlots) >= len(l.chunks) {
		l.chunks = append(l.chunks, new([chunkSlots]state))
	}
	s := l.at(c.Slot)
	*s = state{gen: c.Gen, stage: handshaking}
	return s
}

// find returns the state of c, or nil if c is gone.
func (l *loop) find(c edge.Conn) *state {
	if int(c.Slot/chunkSlots) >= len(l.chunks) {
		return nil
	}
	s := l.at(c.Slot)
	if s.stage == vacant || s.gen != c.Gen {
		return nil
	}
	return s
}

// conn returns the name of the connection in a slot.
func (l *loop) conn(slot uint32, s *state) edge.Conn {
	return edge.Conn{Loop: l.number, Slot: slot, Gen: s.gen}
}

// numberOf returns the number of a session, never 0: generation, loop and slot,
// plus one. It is unique within a boot, since generations are never repeated.
func numberOf(c edge.Conn) uint64 {
	return (uint64(c.Gen)<<(slotBits+loopBits) | uint64(c.Loop)<<slotBits | uint64(c.Slot)) + 1
}

// connOf is the inverse of numberOf. For a number that nobody was given it names
// a connection that does not exist.
func connOf(number uint64) edge.Conn {
	number--
	return edge.Conn{
		Loop: uint16(number >> slotBits & (1<<loopBits - 1)),
		Slot: uint32(number & (1<<slotBits - 1)),
		Gen:  uint32(number >> (slotBits + loopBits)),
	}
}

// keepDevice notes a device id of at most chat.DeviceIDBytes.
func (l *loop) keepDevice(slot uint32, s *state, device string) {
	if id, err := chat.ParseRequestID(device); err == nil && id.String() == device {
		s.form, s.device = deviceUUID, id
		return
	}
	if len(device) <= int(deviceText) {
		s.form = deviceForm(len(device))
		s.device = [16]byte{}
		copy(s.device[:], device)
		return
	}
	s.form = deviceAside
	// The first bytes lie here too, so that most comparisons end early.
	copy(s.device[:], device)
	l.devices[slot] = device
}

// deviceOf returns the device id of a session.
func (l *loop) deviceOf(slot uint32, s *state) string {
	if s.form == deviceUUID {
		return chat.RequestID(s.device).String()
	}
	if s.form == deviceAside {
		return l.devices[slot]
	}
	return string(s.device[:s.form])
}

// sameDevice compares without making a string.
func (l *loop) sameDevice(slot uint32, s *state, form deviceForm, device [16]byte, aside string) bool {
	return s.form == form && s.device == device && (form != deviceAside || l.devices[slot] == aside)
}

// spread returns a number in [0, n) that stays with a session for life: what is
// jittered by it needs no memory of its own.
func (s *state) spread(n uint64) uint64 {
	h := uint64(s.serial+1) * 0x9e3779b97f4a7c15 // Fibonacci hashing: neighbours lie far apart.
	return h >> 32 * n >> 32
}

// bucket limits events to a rate with a burst, in four bytes: it is the time, in
// milliseconds since the keeper started and modulo 2^32, at which it will be full
// again.
type bucket uint32

// pace is what a bucket allows: one event each interval, and a window's worth of
// them at once. Both are milliseconds.
type pace struct{ interval, window uint32 }

const second = uint32(time.Second / time.Millisecond)

// paceOf is the pace of so many events a second, and so many at once.
func paceOf(perSecond, burst uint32) pace {
	return pace{second / perSecond, second / perSecond * burst}
}

func sendPace() pace { return paceOf(chat.SendsPerSecond, chat.SendBurst) }
func markPace() pace { return paceOf(chat.MarksPerSecond, chat.MarkBurst) }

// take takes one event at the time now and returns 0, or returns how long it will
// be, in milliseconds, until there is one to take.
func (b *bucket) take(now uint32, p pace) (wait uint32) {
	if wait = b.wait(now, p); wait == 0 {
		*b = bucket(now + b.ahead(now, p) + p.interval)
	}
	return wait
}

// wait is what take would return.
func (b *bucket) wait(now uint32, p pace) uint32 {
	if needed := b.ahead(now, p) + p.interval; needed > p.window {
		return needed - p.window
	}
	return 0
}

// ahead is how long it takes until the bucket is full.
func (b *bucket) ahead(now uint32, p pace) uint32 {
	ahead := uint32(*b) - now
	if ahead > p.window {
		return 0 // Full since the past; however far, the difference has wrapped.
	}
	return ahead
}

func (b *bucket) full(now uint32, p pace) bool { return b.ahead(now, p) == 0 }
