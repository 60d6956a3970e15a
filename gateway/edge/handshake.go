package edge

import (
	"net/http"
	"strconv"
	"time"

	"switchboard/internal/chat"
)

// earlyBytes is how much a peer may send between its request and our answer.
const earlyBytes = 16 << 10

// retryFull is what a peer is told who comes when all places are taken.
const retryFull = 5 * time.Second

var full = &refusal{http.StatusServiceUnavailable, "all connections are taken"}

// adopt begins a connection. Its socket is registered after the events of a
// batch, see loop.
func (l *loop) adopt(a accepted) {
	i, s := l.slots.take()
	s.fd, s.seen, s.state = a.fd, l.now, asking
	if a.refuse {
		s.flags |= refused
	}
	if a.proxied {
		s.flags |= proxied
	}
	l.server.fds.set(a.fd, i+1)
	l.requests.add(l.extras.give(i, s), l.now)
	l.listen(s, reads)
}

// request takes bytes of the upgrade request.
func (l *loop) request(i uint32, s *slot, data []byte) {
	e := l.extras.of(s)
	from := 0
	if e.stash != nil {
		from = len(e.stash.b)
		var ok bool
		if e.stash, ok = l.server.buffers.extend(e.stash, data); !ok {
			l.refuse(i, s, full, retryFull)
			return
		}
		data = e.stash.b
	}
	if s.flags&proxied != 0 {
		if data = l.unproxied(i, s, e, data); len(data) == 0 {
			return
		}
		from = 0
	}
	end, no := requestEnd(data, from)
	switch {
	case no != nil:
		l.refuse(i, s, no, 0)
	case end == 0 && e.stash == nil:
		if !l.stash(i, s, data) {
			l.refuse(i, s, full, retryFull)
		}
	case end == 0:
	case s.flags&refused != 0:
		l.refuse(i, s, full, retryFull)
	default:
		l.requested(i, s, e, data, end)
	}
}

// requested asks the handler about a whole request. The bytes behind it wait.
func (l *loop) requested(i uint32, s *slot, e *extra, data []byte, end int) {
	r, key, no := parseRequest(data[:end])
	if no != nil {
		l.refuse(i, s, no, 0)
		return
	}
	rest := data[end:]
	buf := e.stash
	e.stash = nil
	if len(rest) > 0 && !l.stash(i, s, rest) {
		l.server.buffers.put(buf)
		l.refuse(i, s, full, retryFull)
		return
	}
	l.server.buffers.put(buf)
	e.unline()
	e.accept = acceptKey(key)
	if r.Peer = e.client; !r.Peer.IsValid() {
		r.Peer = peerOf(s.fd)
	}
	s.state = waiting
	s.flags |= told
	l.limitEarly(s, e)
	l.handler.Handshake(l.conn(i, s), r)
}

// early takes what a peer sends before it has our answer.
func (l *loop) early(i uint32, s *slot, data []byte) {
	if !l.stash(i, s, data) {
		l.doom(i, s, chat.CloseOverloaded, true)
		return
	}
	l.limitEarly(s, l.extras.of(s))
}

func (l *loop) limitEarly(s *slot, e *extra) {
	if e.stash != nil && len(e.stash.b) >= earlyBytes {
		l.listen(s, 0)
	}
}

// answer is the handler's word on a request, on its way to the loop.
type answer struct {
	loop       *loop
	conn       Conn
	protocol   string
	refusal    *refusal // nil = accept
	retryAfter time.Duration
}

// give runs on the loop.
func give(arg any) {
	a := arg.(*answer)
	l, i := a.loop, a.conn.Slot
	s := l.lookup(a.conn)
	if s == nil || s.state != waiting {
		return
	}
	if a.refusal != nil {
		l.refuse(i, s, a.refusal, a.retryAfter)
		return
	}
	e := l.extras.of(s)
	s.state, s.seen = open, l.now
	l.server.opened.Add(1)
	l.server.meter.opens.Inc()
	if !l.transmit(i, s, appendSwitch(nil, e.accept, a.protocol)) {
		return
	}
	l.handler.Opened(l.conn(i, s))
	if s.flags&broken == 0 && (s.state == open || s.state == closing) {
		l.listen(s, s.flags|reads)
		l.unstash(i, s)
	}
}

// refuse answers a request with no and ends the connection.
func (l *loop) refuse(i uint32, s *slot, no *refusal, retryAfter time.Duration) {
	if no == notHTTP {
		l.server.meter.failed("not_http")
		l.doom(i, s, closeAbnormal, true)
		return
	}
	l.server.meter.failed(strconv.Itoa(no.status))
	if !l.transmit(i, s, appendRefusal(nil, no, retryAfter)) {
		return
	}
	l.tell(i, s, 0, true)
	l.leave(i, s)
}

// requestTimeout ends a connection that has not sent its request in time. One
// that has sent something is told.
func (l *loop) requestTimeout(i uint32, s *slot) {
	e := l.extras.of(s)
	e.unline()
	if e.stash == nil || s.flags&proxied != 0 {
		l.server.meter.failed("timeout")
		l.doom(i, s, closeAbnormal, true)
		return
	}
	l.refuse(i, s, &refusal{http.StatusRequestTimeout, "the request did not end in time"}, 0)
}
