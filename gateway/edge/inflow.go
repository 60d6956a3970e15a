package edge

import (
	"github.com/gobwas/ws"

	"switchboard/internal/chat"
)

// feed parses data, which came from slot i, and hands on what is in it. It
// stops, and keeps the rest, while too much output waits for the socket: who
// does not read is not read from.
func (l *loop) feed(i uint32, s *slot, data []byte) {
	in := &l.scratch
	if e := l.extras.of(s); e != nil {
		in = &e.in
	}
	gen, finished := s.gen, false
	l.cork.slot = i + 1
	for len(data) > 0 && s.gen == gen && s.flags&broken == 0 && (s.state == open || s.state == closing) {
		if l.blocked(i, s) {
			if !l.stash(i, s, data) {
				l.fail(i, s, chat.CloseOverloaded)
			}
			break
		}
		used, op, payload, code := l.server.reader.next(in, data)
		data = data[used:]
		if code != 0 {
			l.fail(i, s, code)
			break
		}
		if op == 0 {
			break
		}
		l.counts.framesIn++
		l.frame(i, s, op, payload)
		if op.IsData() {
			l.server.reader.release(in)
			finished = true
		}
	}
	if s.gen == gen {
		l.uncork(i, s)
	}
	l.cork.slot, l.cork.b = 0, l.cork.b[:0]
	l.fed(i, s, in, s.gen == gen, finished)
}

// fed puts the parser's state where it belongs until the next bytes come.
func (l *loop) fed(i uint32, s *slot, in *inbound, same, finished bool) {
	parsing := same && s.flags&broken == 0 && (s.state == open || s.state == closing)
	if !parsing {
		if in == &l.scratch {
			l.server.reader.release(in)
			*in = inbound{}
		}
		return
	}
	l.listenFor(i, s)
	if in == &l.scratch && !in.atRest() {
		l.extras.give(i, s).in = *in
		*in = inbound{}
	}
	e := l.extras.of(s)
	if e == nil {
		return
	}
	if s.state == open {
		switch {
		case e.in.atRest():
			e.unline()
		case e.line == nil || finished:
			l.partials.add(e, l.now)
		}
	}
	l.trim(s)
}

// blocked reports whether so much waits for the socket that input has to wait.
func (l *loop) blocked(i uint32, s *slot) bool {
	e := l.extras.of(s)
	if e == nil || e.out.bytes == 0 {
		return false
	}
	l.uncork(i, s)
	return e.out.bytes >= l.server.cfg.OutboundBytes/2
}

// listenFor asks the poller for what slot i can take now.
func (l *loop) listenFor(i uint32, s *slot) {
	e := l.extras.of(s)
	if e == nil || e.out.bytes == 0 {
		return // flush and adopt have seen to it
	}
	want := reads | writes
	if e.stash != nil || l.blocked(i, s) {
		want = writes
	}
	l.listen(s, want)
}

// frame hands a whole message or control frame on.
func (l *loop) frame(i uint32, s *slot, op ws.OpCode, payload []byte) {
	switch op {
	case ws.OpText, ws.OpBinary:
		if s.state == open {
			l.handler.Message(l.conn(i, s), op == ws.OpText, payload)
		}
	case ws.OpPing:
		if s.state == open {
			l.control(i, s, ws.OpPong, payload)
		}
	case ws.OpClose:
		l.peerClose(i, s, payload)
	case ws.OpPong, ws.OpContinuation: // a sign of life; never a frame of its own
	}
}

// control sends a control frame, if it is not one too many for a peer that does
// not read: it may answer the pings that it likes.
func (l *loop) control(i uint32, s *slot, op ws.OpCode, payload []byte) {
	if l.send(i, s, appendFrame(l.small[:0], op, payload), controlReserve) {
		l.counts.framesOut++
	}
}

// partialTimeout ends a connection that has been inside a message for too long.
func (l *loop) partialTimeout(e *extra) {
	s := l.slots.at(e.slot)
	if s.flags&reads == 0 {
		l.partials.add(e, l.now) // it is we who do not read
		return
	}
	l.fail(e.slot, s, chat.CloseHeartbeatTimeout)
}

// trim gives the extra of s back if nothing is in it.
func (l *loop) trim(s *slot) {
	if e := l.extras.of(s); e != nil && e.idle() {
		l.extras.take(s)
	}
}
