package load

import (
	"bytes"
	"container/heap"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"switchboard/internal/chat"
	"switchboard/internal/socket"
)

// state of a connection.
type state uint8

const (
	closed     state = iota
	connecting       // the kernel is at it
	upgrading        // the request is sent, `connected` has not come
	open
)

// conn is one slot: a connection, or the place of one.
type conn struct {
	fd      int32 // −1: none
	gateway int32 // where it is, or was last
	state   state
	tries   uint8 // that failed since it was open
	upped   bool  // 101 came
	asked   bool  // to connect elsewhere
	hung    bool  // the server sends no more; see hungUp
	began   int64 // Unix nanoseconds: the opening
	lost    int64 // when it was lost; 0: it is the first opening
	owed    int64 // the number of the echo that comes next; −1: none
	sent    int64 // Unix nanoseconds: the last echo; before it is open, the request
	got     int64 // the number of the last delivery; 0: none
	rest    []byte
}

// dial begins an opening.
func (w *worker) dial(slot int) {
	c := &w.conns[slot]
	w.now = w.clock()
	fd, err := dial(w.source(w.number(slot)), w.gateways[c.gateway])
	c.began, c.upped, c.rest, c.owed, c.asked, c.got = w.now.UnixNano(), false, nil, -1, false, 0
	w.unfree++
	c.fd, c.state = int32(fd), connecting
	if err == nil {
		err = unix.EpollCtl(w.poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLOUT | unix.EPOLLIN, Fd: int32(slot)})
	}
	if err != nil {
		w.fail(slot, causeOf(err))
	}
}

// ready does what a socket is ready for.
func (w *worker) ready(slot int, events uint32) {
	c := &w.conns[slot]
	if c.fd < 0 {
		return // It ended in this very round.
	}
	if c.state == connecting {
		if events&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) == 0 {
			return
		}
		code, err := unix.GetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			err = unix.Errno(code)
		}
		if err == nil {
			err = w.upgrade(slot)
		}
		if err != nil {
			w.fail(slot, causeOf(err))
		}
		return
	}
	if c.state == open && events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		w.hungUp(slot)
		return
	}
	w.read(slot)
}

// hungUp puts a connection aside whose server sends no more. To read its last words and to
// close it costs more than an echo, and thousands come at once when a server dies: what
// the others' echoes take is not to be the time that these take.
func (w *worker) hungUp(slot int) {
	c := &w.conns[slot]
	c.lost, c.hung = w.now.UnixNano(), true
	_ = unix.EpollCtl(w.poll, unix.EPOLL_CTL_DEL, int(c.fd), nil) // It is registered.
	w.gone = append(w.gone, slot)
}

// bury reads to its end a connection that was put aside, unless a write has ended it since.
func (w *worker) bury(slot int) {
	for w.conns[slot].hung {
		w.read(slot)
	}
}

// upgrade sends the request of RFC 6455.
func (w *worker) upgrade(slot int) error {
	c := &w.conns[slot]
	w.now = w.clock()
	c.state, c.sent = upgrading, w.now.UnixNano()
	w.record(TimeTCP, time.Duration(c.sent-c.began))
	w.frame = append(w.frame[:0], "GET "+w.plan.Path+" HTTP/1.1\r\nHost: "+w.plan.Gateways[c.gateway]+
		"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"...)
	if !w.plain {
		token, err := w.token(slot)
		if err != nil {
			return err
		}
		w.frame = append(append(append(w.frame, "Authorization: Bearer "...), token...), "\r\n"...)
	}
	w.frame = append(w.frame, "\r\n"...)
	if err := unix.EpollCtl(w.poll, unix.EPOLL_CTL_MOD, int(c.fd), &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(slot)}); err != nil {
		return err
	}
	return w.write(c, w.frame)
}

// token is that of the user who connects on a slot.
func (w *worker) token(slot int) (string, error) {
	if w.keys == nil {
		return w.plan.Tokens[slot], nil
	}
	return w.keys.Mint(UserOf(w.plan.Run, w.number(slot)), tokenLife)
}

// UserOf is the user of a numbered connection of a run.
func UserOf(run string, number int) chat.UserID {
	return chat.DemoUser("load-" + run + "-" + strconv.Itoa(number))
}

// write writes all or fails: what a client sends here is small, and a full buffer
// says that the server does not read.
func (w *worker) write(c *conn, p []byte) error {
	n, err := socket.RawSend(c.fd, p)
	w.counts[CountBytesOut] += max(n, 0)
	if err == nil && n < len(p) {
		err = unix.EAGAIN
	}
	return err
}

// read reads once; epoll tells again when there is more.
func (w *worker) read(slot int) {
	c := &w.conns[slot]
	n, err := socket.RawReceive(c.fd, w.buffer)
	w.now = w.clock() // Up to 512 events come at once: the last waited for all the others.
	switch {
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
		return
	case err == nil && n == 0:
		err = io.EOF
	}
	if err != nil {
		w.end(slot, err)
		return
	}
	w.counts[CountBytesIn] += n
	in := w.buffer[:n]
	if len(c.rest) > 0 {
		in = append(c.rest, in...)
	}
	rest, err := w.digest(slot, in)
	if err != nil {
		w.end(slot, err)
		return
	}
	c.rest = nil
	if len(rest) > 0 {
		c.rest = bytes.Clone(rest)
	}
}

// digest takes what is complete of what was read, and returns the rest.
func (w *worker) digest(slot int, in []byte) ([]byte, error) {
	c := &w.conns[slot]
	if !c.upped {
		head, rest, ok := bytes.Cut(in, []byte("\r\n\r\n"))
		if !ok {
			return in, nil
		}
		status, _, _ := bytes.Cut(head, []byte("\r\n"))
		if fields := bytes.Fields(status); len(fields) < 2 || string(fields[1]) != "101" {
			return nil, fmt.Errorf("answer %.40q", status)
		}
		c.upped, in = true, rest
		switch {
		case w.plain && w.plan.Greeting == "":
			w.opened(slot)
		case w.plain:
			w.frame = appendFrame(w.frame[:0], w.mask(), opText, []byte(w.plan.Greeting))
			if err := w.write(c, w.frame); err != nil {
				return nil, err
			}
		}
	}
	for {
		op, payload, size, err := nextFrame(in)
		if err != nil || size == 0 {
			return in, err
		}
		in = in[size:]
		if err := w.heed(slot, op, payload); err != nil {
			return nil, err
		}
	}
}

// errClose is a close frame of the server.
type errClose int

func (e errClose) Error() string { return "with " + strconv.Itoa(int(e)) }

// heed does what a frame asks for.
func (w *worker) heed(slot int, op byte, payload []byte) error {
	c := &w.conns[slot]
	switch op {
	case opPing:
		w.frame = appendFrame(w.frame[:0], w.mask(), opPong, payload)
		return w.write(c, w.frame)
	case opPong:
		if len(payload) == 8 {
			w.echoed(c, int64(binary.BigEndian.Uint64(payload)))
		}
	case opClose:
		code := 1005
		if len(payload) >= 2 {
			code = int(binary.BigEndian.Uint16(payload))
		}
		return errClose(code)
	case opText:
		return w.hear(slot, payload)
	default:
		return errFrame
	}
	return nil
}

// hear takes an event, or the text of a server that has none.
func (w *worker) hear(slot int, text []byte) error {
	c := &w.conns[slot]
	if w.plain {
		w.hearPlain(slot, text)
		return nil
	}
	rest, ok := bytes.CutPrefix(text, []byte(`{"type":"`))
	kind, rest, found := bytes.Cut(rest, []byte(`"`))
	if !ok || !found {
		return errFrame
	}
	switch string(kind) {
	case "connected":
		w.opened(slot)
	case "heartbeat_ack":
		if id, ok := bytes.CutPrefix(rest, []byte(`,"id":"`)); ok {
			id, _, _ = bytes.Cut(id, []byte(`"`))
			if n, err := strconv.ParseInt(string(id), 10, 64); err == nil {
				w.echoed(c, n)
			}
		}
	case "new_message":
		w.delivered(c, rest)
	case "reconnect":
		w.asked(slot, rest)
	default:
		w.counts[CountSaid+string(kind)]++
	}
	return nil
}

// hearPlain takes what a server without events says: the answer to the greeting, and
// echoes. Some put several answers into a frame, a line each.
func (w *worker) hearPlain(slot int, text []byte) {
	c := &w.conns[slot]
	if c.state == upgrading {
		w.opened(slot)
		return
	}
	var before []byte
	if w.echo != nil {
		before = w.echo.before
	}
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		number, ok := bytes.CutPrefix(line, before)
		digits := len(number) - len(bytes.TrimLeft(number, "0123456789"))
		n, err := strconv.ParseInt(string(number[:digits]), 10, 64)
		switch {
		case ok && err == nil:
			w.echoed(c, n)
		case len(line) > 0:
			w.counts[CountSaid+"another text"]++
		}
	}
}

// opened counts a connection that is open now.
func (w *worker) opened(slot int) {
	c := &w.conns[slot]
	if c.state != upgrading {
		return
	}
	now := w.now.UnixNano()
	c.state, c.tries = open, 0
	w.unfree--
	w.open++
	w.counts[CountOpened]++
	w.record(TimeUpgrade, time.Duration(now-c.sent))
	w.record(TimeOpen, time.Duration(now-c.began))
	if c.lost != 0 {
		w.record(TimeBack, time.Duration(now-c.lost))
		c.lost = 0
	}
}

// drop closes a slot's socket.
func (w *worker) drop(c *conn) {
	if c.fd >= 0 {
		_ = unix.Close(int(c.fd)) // The kernel forgets it all the same, epoll too.
	}
	c.fd, c.state, c.hung, c.rest = -1, closed, false, nil
}

// fail ends an opening that did not succeed, and makes another appointment.
func (w *worker) fail(slot int, cause string) {
	c := &w.conns[slot]
	w.drop(c)
	w.unfree--
	w.counts[CountFailed+cause]++
	if c.tries++; c.tries >= mostTries {
		w.counts[CountGivenUp]++
		return
	}
	w.elsewhere(c)
	w.again(slot, backoff(int(c.tries)-1))
}

// end takes a connection that ended.
func (w *worker) end(slot int, err error) {
	c := &w.conns[slot]
	if c.state != open {
		w.fail(slot, causeOf(err))
		return
	}
	w.counts[CountClosed+causeOf(err)]++
	w.counts[CountLost]++
	w.leave(slot, backoff(0))
}

// leave closes an open connection, and has it come back later if it stays.
func (w *worker) leave(slot int, pause time.Duration) {
	c := &w.conns[slot]
	w.cut(c)
	w.drop(c)
	w.open--
	if c.lost == 0 {
		c.lost = w.now.UnixNano()
	}
	if w.stay {
		w.elsewhere(c)
		w.again(slot, pause)
	}
}

// elsewhere chooses another gateway, if there is one and the connections stay.
func (w *worker) elsewhere(c *conn) {
	if n := int32(len(w.gateways)); w.stay && n > 1 {
		c.gateway = (c.gateway + 1 + rand.N(n-1)) % n
	}
}

// again makes an appointment.
func (w *worker) again(slot int, pause time.Duration) {
	heap.Push(&w.later, appointment{w.now.Add(pause), slot})
}

// asked takes a `reconnect`: the connection serves until its moment.
func (w *worker) asked(slot int, rest []byte) {
	var at struct {
		AfterMS  int64 `json:"after_ms"`
		JitterMS int64 `json:"jitter_ms"`
	}
	w.counts[CountAsked]++
	data, ok := bytes.CutPrefix(rest, []byte(`,"data":`))
	if !ok || json.Unmarshal(bytes.TrimSuffix(data, []byte("}")), &at) != nil || !w.stay {
		return
	}
	w.conns[slot].asked = true
	w.again(slot, time.Duration(at.AfterMS+rand.Int64N(max(at.JitterMS, 0)+1))*time.Millisecond)
}

// keep does what a slot has an appointment for. It may be out of date: a connection
// that was asked to leave may have been closed before, and be open again.
func (w *worker) keep(slot int) {
	c := &w.conns[slot]
	switch {
	case c.state == closed:
		w.dial(slot)
	case c.state == open && c.asked && !c.hung:
		w.counts[CountMoved]++
		w.cut(c)
		w.drop(c)
		w.open--
		c.lost = w.now.UnixNano()
		w.elsewhere(c)
		w.dial(slot)
	}
}

// dropSome resets a share of the open connections, each with the same chance. What the
// shares of many small orders leave over is carried to the next.
func (w *worker) dropSome(share float64) {
	w.dropped += share * float64(w.open)
	for range int(w.dropped) {
		if w.open == 0 {
			break
		}
		slot := rand.IntN(len(w.conns))
		for w.conns[slot].state != open {
			slot = (slot + 1) % len(w.conns)
		}
		_ = unix.SetsockoptLinger(int(w.conns[slot].fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}) // Else it says goodbye.
		w.counts[CountDropped]++
		w.leave(slot, backoff(0))
	}
	w.dropped -= float64(int(w.dropped))
}
