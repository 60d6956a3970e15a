package edge

import (
	"errors"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"switchboard/internal/socket"
)

// chunkBytes makes a chunk fill one 4 KiB size class.
const chunkBytes = 4096 - 16

// chunk is a piece of an outbound queue.
type chunk struct {
	next     *chunk
	from, to int32
	b        [chunkBytes]byte
}

// outbound is the queue of a connection whose socket takes no more.
type outbound struct {
	first, last *chunk
	bytes       int
	refused     bool // a Write was refused: the handler waits for Drained
	high        bool // the queue was half full: likewise
}

// chunks lends out the memory of queues and counts it.
type chunks struct {
	pool   sync.Pool
	queued atomic.Int64 // bytes in all queues
}

func (c *chunks) push(o *outbound, p []byte) {
	o.bytes += len(p)
	c.queued.Add(int64(len(p)))
	for len(p) > 0 {
		if o.last == nil || o.last.to == chunkBytes {
			k, _ := c.pool.Get().(*chunk)
			if k == nil {
				k = new(chunk)
			}
			if o.last == nil {
				o.first = k
			} else {
				o.last.next = k
			}
			o.last = k
		}
		n := copy(o.last.b[o.last.to:], p)
		o.last.to += int32(n)
		p = p[n:]
	}
}

// sent removes n bytes from the front.
func (c *chunks) sent(o *outbound, n int) {
	o.bytes -= n
	c.queued.Add(int64(-n))
	for n > 0 {
		k := o.first
		step := min(n, int(k.to-k.from))
		k.from += int32(step)
		n -= step
		if k.from < k.to {
			return
		}
		if o.first = k.next; o.first == nil {
			o.last = nil
		}
		k.next, k.from, k.to = nil, 0, 0
		c.pool.Put(k)
	}
}

// vector fills vec with the front of the queue.
func (o *outbound) vector(vec [][]byte) [][]byte {
	vec = vec[:0]
	for k := o.first; k != nil && len(vec) < cap(vec); k = k.next {
		vec = append(vec, k.b[k.from:k.to])
	}
	return vec
}

// controlReserve is what control frames and the 101 may take beyond
// Config.OutboundBytes. Input stops at half of the bound, so that few pongs can
// come after it.
const controlReserve = 4 << 10

// corkBytes is how much a connection can write during one read before it has to
// go to the socket.
const corkBytes = 16 << 10

// cork gathers what is written to one connection while its input is handled, so
// that twenty answers to one segment leave in one segment.
type cork struct {
	slot uint32 // plus 1; 0 = none
	b    []byte
}

// send writes p to slot i, or queues what the socket does not take. It reports
// false, and takes nothing, if p would pass the bound plus reserve.
func (l *loop) send(i uint32, s *slot, p []byte, reserve int) bool {
	if s.flags&broken != 0 || s.state < waiting {
		return false
	}
	if bound := l.server.cfg.OutboundBytes + reserve; l.queued(i, s)+len(p) > bound {
		if l.cork.slot == i+1 {
			l.uncork(i, s)
		}
		e := l.extras.of(s)
		waits := e != nil && e.out.bytes > 0
		if waits && e.out.bytes+len(p) > bound {
			e.out.refused = e.out.refused || reserve == 0 // who writes control frames does not wait
			return false
		}
		if len(p) > bound {
			return false
		}
	}
	if l.cork.slot == i+1 {
		if len(l.cork.b)+len(p) <= corkBytes {
			l.cork.b = append(l.cork.b, p...)
			return true
		}
		l.uncork(i, s)
	}
	return l.transmit(i, s, p)
}

// queued returns what waits for the socket, the cork included.
func (l *loop) queued(i uint32, s *slot) int {
	n := 0
	if e := l.extras.of(s); e != nil {
		n = e.out.bytes
	}
	if l.cork.slot == i+1 {
		n += len(l.cork.b)
	}
	return n
}

// uncork sends what the cork holds. The cork stays on the connection.
func (l *loop) uncork(i uint32, s *slot) {
	if len(l.cork.b) == 0 {
		return
	}
	l.transmit(i, s, l.cork.b)
	l.cork.b = l.cork.b[:0]
}

// transmit writes p to the socket and queues the rest, whatever the bound.
func (l *loop) transmit(i uint32, s *slot, p []byte) bool {
	if s.flags&broken != 0 {
		return false
	}
	l.counts.bytesOut += len(p)
	if e := l.extras.of(s); e == nil || e.out.bytes == 0 {
		n, err := socket.Send(s.fd, p)
		if n == len(p) {
			return true
		}
		if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			l.doom(i, s, closeAbnormal, false)
			return false
		}
		p = p[max(n, 0):]
	}
	e := l.extras.give(i, s)
	l.server.chunks.push(&e.out, p)
	if e.out.bytes >= l.server.cfg.OutboundBytes/2 {
		e.out.high = true
	}
	l.listen(s, s.flags|writes)
	return true
}

// flush writes from the queue of slot i until it is empty or the socket full.
func (l *loop) flush(i uint32, s *slot, e *extra) {
	for e.out.bytes > 0 {
		vec := e.out.vector(l.vec)
		n, err := unix.Writev(int(s.fd), vec)
		clear(vec)
		if err == unix.EAGAIN || err == unix.EINTR {
			return
		}
		if err != nil {
			l.doom(i, s, closeAbnormal, false)
			return
		}
		l.server.chunks.sent(&e.out, n)
		if s.state >= closing {
			l.closes.add(e, l.now) // it moves: the second begins again
		}
	}
	l.drained(i, s, e)
}

// drained goes on with what had to wait for the queue of slot i.
func (l *loop) drained(i uint32, s *slot, e *extra) {
	tell := e.out.refused || e.out.high
	e.out.refused, e.out.high = false, false
	l.listen(s, s.flags&^writes|reads)
	if s.state == leaving {
		l.finish(i, s)
		return
	}
	gen := s.gen
	if tell && s.state == open {
		l.handler.Drained(l.conn(i, s))
	}
	if s.gen == gen && s.flags&broken == 0 {
		l.unstash(i, s)
	}
}

// unstash parses what was read and had to wait.
func (l *loop) unstash(i uint32, s *slot) {
	if e := l.extras.of(s); e != nil && e.stash != nil {
		stash := e.stash
		e.stash = nil
		l.feed(i, s, stash.b)
		l.server.buffers.put(stash)
		return
	}
	l.trim(s)
}

// stash keeps input for later; false says that there is no room.
func (l *loop) stash(i uint32, s *slot, data []byte) bool {
	e := l.extras.give(i, s)
	var ok bool
	e.stash, ok = l.server.buffers.extend(e.stash, data)
	return ok
}
