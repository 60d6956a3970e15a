package edge

import (
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"switchboard/internal/chat"
)

// How a connection ends:
//
//	handler's Close     close frame ─▶ closing ─ peer's close frame ─▶ leaving
//	peer's close frame  the same back ─▶ leaving
//	peer's violation    close frame ─▶ leaving: what it sends no longer has a meaning
//	Reject, bad request HTTP response ─▶ leaving
//	leaving             flush ─ FIN ─ peer's FIN ─▶ released
//	reset, end of file  released
//
// The peer's FIN is awaited, and its bytes are read and dropped, because closing
// a socket with unread bytes sends a reset, which may overtake our last words.

// closeTimeout is how long a closing connection may stand still; by the loops' clock, so
// half a second more at most.
const closeTimeout = time.Second

// doom ends a connection as soon as the handler's call that is running returns.
func (l *loop) doom(i uint32, s *slot, code chat.CloseCode, local bool) {
	if s.flags&broken == 0 {
		s.flags |= broken
		l.doomed = append(l.doomed, ending{slot: i, gen: s.gen, code: code, local: local})
	}
}

// settle ends the doomed.
func (l *loop) settle() {
	for len(l.doomed) > 0 {
		d := l.doomed[len(l.doomed)-1]
		l.doomed = l.doomed[:len(l.doomed)-1]
		if s := l.slots.at(d.slot); s.gen == d.gen {
			l.tell(d.slot, s, d.code, d.local)
			l.release(d.slot, s)
		}
	}
}

// close is the handler's Close.
func (l *loop) close(i uint32, s *slot, code chat.CloseCode) {
	switch s.state {
	case asking, waiting:
		l.doom(i, s, code, true)
	case open:
		l.sendClose(i, s, code)
		if s.flags&broken != 0 {
			return
		}
		e := l.extras.give(i, s)
		e.code, s.state = code, closing
		l.closes.add(e, l.now)
	case closing, leaving, free:
	}
}

func (l *loop) sendClose(i uint32, s *slot, code chat.CloseCode) {
	if l.send(i, s, appendClose(l.small[:0], code), controlReserve) {
		l.counts.framesOut++
	}
}

// fail ends a connection because of what its peer sent or did not send.
func (l *loop) fail(i uint32, s *slot, code chat.CloseCode) {
	if s.state == closing {
		code = l.extras.of(s).code
	} else {
		l.sendClose(i, s, code)
	}
	if s.flags&broken == 0 {
		l.tell(i, s, code, true)
		l.leave(i, s)
	}
}

// peerClose answers a close frame, or takes it as the answer to ours.
func (l *loop) peerClose(i uint32, s *slot, payload []byte) {
	code, violation := readClose(payload)
	switch {
	case s.state == closing:
		l.tell(i, s, l.extras.of(s).code, true)
		l.leave(i, s)
	case violation != 0:
		l.fail(i, s, violation)
	default:
		l.control(i, s, ws.OpClose, payload[:min(2, len(payload))])
		if s.flags&broken == 0 {
			l.tell(i, s, code, false)
			l.leave(i, s)
		}
	}
}

// tell calls Closed, once.
func (l *loop) tell(i uint32, s *slot, code chat.CloseCode, local bool) {
	if s.flags&told == 0 {
		return
	}
	s.flags &^= told
	if s.state == open || s.state == closing {
		l.server.opened.Add(-1)
		l.server.meter.close(code, local)
	}
	l.handler.Closed(l.conn(i, s), code, local)
}

// leave says no more than what is queued, and reads without looking.
func (l *loop) leave(i uint32, s *slot) {
	s.state = leaving
	if l.cork.slot == i+1 {
		l.uncork(i, s)
		if s.flags&broken != 0 {
			return
		}
	}
	e := l.extras.give(i, s)
	l.dropInput(e)
	l.closes.add(e, l.now)
	if e.out.bytes > 0 {
		l.listen(s, reads|writes)
		return
	}
	l.finish(i, s)
}

func (l *loop) dropInput(e *extra) {
	l.server.buffers.put(e.stash)
	e.stash = nil
	l.server.reader.release(&e.in)
	e.in = inbound{}
}

// finish sends our FIN when all is written.
func (l *loop) finish(i uint32, s *slot) {
	if s.flags&ended != 0 || unix.Shutdown(int(s.fd), unix.SHUT_WR) != nil {
		l.doom(i, s, closeAbnormal, false)
		return
	}
	l.listen(s, reads)
}

// eof is the peer's FIN.
func (l *loop) eof(i uint32, s *slot) {
	s.flags |= ended
	e := l.extras.of(s)
	code, local := closeAbnormal, false
	if s.state == closing {
		code, local = e.code, true
	}
	if s.state < open || e == nil || e.out.bytes == 0 {
		l.doom(i, s, code, local)
		return
	}
	// It may still read what is queued.
	l.tell(i, s, code, local)
	s.state = leaving
	l.dropInput(e)
	l.closes.add(e, l.now)
	l.listen(s, writes)
}

// lastWordsTimeout is how long the kernel goes on sending what was said to a peer
// that acknowledges none of it, after the descriptor is closed.
const lastWordsTimeout = 30 * time.Second

// closeTimeout ends a connection whose peer does not take part in the ending. What it
// has no room for the kernel would keep for ever: a reset throws it away. Who has room
// may be alive and slow, on a radio link say, and gets the last words later.
func (l *loop) closeTimeout(e *extra) {
	s := l.slots.at(e.slot)
	if fd := int(s.fd); e.out.bytes > 0 || shut(fd) {
		_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}) // or it takes longer
	} else {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(lastWordsTimeout.Milliseconds()))
	}
	l.tell(e.slot, s, e.code, true)
	l.release(e.slot, s)
}

// shut reports whether a peer has been sent more than its window holds. How much is
// unsent tells nothing: after a loss that waits too.
func shut(fd int) bool {
	info, infoErr := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	unread, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	return infoErr == nil && err == nil && unread > int(info.Snd_wnd)
}

// release gives everything of a connection back. The descriptor may be somebody
// else's from here on.
func (l *loop) release(i uint32, s *slot) {
	if e := l.extras.of(s); e != nil {
		l.dropInput(e)
		l.server.chunks.sent(&e.out, e.out.bytes)
		e.unline()
		l.extras.take(s)
	}
	l.server.fds.set(s.fd, 0)
	_ = unix.Close(int(s.fd)) // takes it out of the poller too
	l.slots.put(i)
	l.release1()
}

// release1 counts one connection fewer.
func (l *loop) release1() {
	l.live.Add(-1)
	l.server.live.Add(-1)
}

// drain closes every connection, as the first half of the end.
func (l *loop) drain() {
	for i := range l.slots.used {
		s := l.slots.at(i)
		if s.flags&broken != 0 {
			continue
		}
		if s.state != free && s.state < closing {
			l.close(i, s, chat.CloseGoingAway)
		}
	}
}

// endAll releases what is left.
func (l *loop) endAll() {
	l.settle()
	for i := range l.slots.used {
		if s := l.slots.at(i); s.state != free {
			l.tell(i, s, chat.CloseGoingAway, true)
			l.release(i, s)
		}
	}
	l.report()
}
