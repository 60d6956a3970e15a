package edge

import (
	"net/netip"
	"sync"

	"switchboard/internal/chat"
)

// extra is what a connection needs only while it is not idle: a deadline, an
// unfinished request, frame or message, bytes that the socket would not take.
// It is pooled and given back as soon as none of these is there.
type extra struct {
	slot uint32

	// The list of its deadline.
	line       *line
	prev, next *extra
	due        uint32 // tick

	in     inbound
	out    outbound
	stash  *buffer // read, and not to be parsed before the answer or the drain
	accept [28]byte
	client netip.AddrPort // of the PROXY header, until the handler is asked
	code   chat.CloseCode // what we closed with
}

func (e *extra) idle() bool {
	return e.line == nil && e.stash == nil && e.out.bytes == 0 && e.in.atRest()
}

// line is a list of extras by deadline. All of one list wait equally long, so
// new ones go to the end and the list is sorted without sorting.
type line struct {
	first, last *extra
	wait        uint32 // ticks
}

// add gives e a deadline from now, instead of the one that it had.
func (l *line) add(e *extra, now uint32) {
	e.unline()
	e.line, e.due, e.prev = l, now+l.wait, l.last
	if l.last != nil {
		l.last.next = e
	} else {
		l.first = e
	}
	l.last = e
}

func (e *extra) unline() {
	l := e.line
	if l == nil {
		return
	}
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		l.first = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		l.last = e.prev
	}
	e.line, e.prev, e.next = nil, nil, nil
}

// expired returns the first extra that is due, or nil.
func (l *line) expired(now uint32) *extra {
	if l.first != nil && int32(now-l.first.due) >= 0 {
		return l.first
	}
	return nil
}

// extras numbers the extras of one loop, so that slots need no pointer.
type extras struct {
	all  []*extra
	free []uint32
	pool *sync.Pool
}

func (x *extras) of(s *slot) *extra {
	if s.extra == 0 {
		return nil
	}
	return x.all[s.extra-1]
}

// give returns the extra of s, which is slot i, making one if need be.
func (x *extras) give(i uint32, s *slot) *extra {
	if s.extra != 0 {
		return x.all[s.extra-1]
	}
	e, _ := x.pool.Get().(*extra)
	if e == nil {
		e = new(extra)
	}
	e.slot = i
	if n := len(x.free); n > 0 {
		s.extra, x.free = x.free[n-1]+1, x.free[:n-1]
		x.all[s.extra-1] = e
		return e
	}
	x.all = append(x.all, e)
	s.extra = uint32(len(x.all))
	return e
}

// keptExtras is how long a table may stay when nobody needs it.
const keptExtras = 1024

// take gives the extra of s back; its buffers must be gone.
func (x *extras) take(s *slot) {
	e := x.all[s.extra-1]
	x.all[s.extra-1] = nil
	x.free = append(x.free, s.extra-1)
	s.extra = 0
	*e = extra{}
	x.pool.Put(e)
	if len(x.free) == len(x.all) && cap(x.all) > keptExtras {
		x.all, x.free = nil, nil
	}
}
