package edge

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"golang.org/x/sys/unix"

	"switchboard/internal/chat"
	"switchboard/internal/socket"
)

// readBytes is the size of a loop's read buffer, the only one for input that
// arrives whole. A connection whose output waits gets blockedReadBytes at a
// time, since its input may have to wait too.
const (
	readBytes        = 64 << 10
	blockedReadBytes = 4 << 10
)

// loop serves the connections of one goroutine.
//
// # Descriptors and stale events
//
// epoll names a descriptor, and a descriptor that is closed can be another
// connection's a moment later. Two rules keep an event from the wrong one. New
// connections are registered by the doorbell only, which the poller runs after
// the events of a batch: what is still in a batch when its descriptor is closed
// finds no slot. And an event is a hint: only what read and write answer counts,
// so one too many does nothing.
//
// # The doorbell
//
// What others have for a loop is its mail, and an eventfd among the sockets says that
// there is some. It is answered after the sockets of a batch, once, however much comes
// in meanwhile: who posts a task in each task does not have the loop for himself.
type loop struct {
	// Fixed after construction.
	number  uint16
	server  *Server
	handler Handler
	poller  *netpoll.Poller
	epoll   int // the poller's descriptor
	bell    int // an eventfd, the doorbell

	// Owned by the loop's goroutine.
	slots    slab
	extras   extras
	requests line // who has not sent its request
	partials line // who is inside a message
	closes   line // who is closing or leaving
	now      uint32
	swept    uint64 // slots owed to the hand of Visit, times ticks
	hand     uint32
	buf      []byte
	scratch  inbound
	cork     cork
	small    [2 + maxControl]byte
	vec      [][]byte
	doomed   []ending
	spare    mail
	counts   counts
	over     bool // the doorbell ends the loop

	live atomic.Int64 // connections, read by the acceptor

	mu     sync.Mutex
	mail   mail
	rung   bool // the doorbell is on its way, or being answered
	closed bool // nobody reads mail any more
}

// mail is what others have for a loop.
type mail struct {
	accepted []accepted
	tasks    []task
	tick     bool
}

// accepted is a socket on its way from the acceptor to its loop.
type accepted struct {
	fd      int32
	refuse  bool
	proxied bool
}

type task struct {
	run func(any)
	arg any
}

// ending is a connection that ends when the handler's call that is running
// returns: what broke inside a Write must not call back into its caller.
type ending struct {
	slot  uint32
	gen   uint32
	code  chat.CloseCode
	local bool
}

func newLoop(server *Server, number int) (*loop, error) {
	poller, err := netpoll.OpenPoller()
	if err != nil {
		return nil, fmt.Errorf("open poller %d: %w", number, err)
	}
	l := &loop{
		number: uint16(number), server: server, handler: server.handler, poller: poller,
		buf: make([]byte, readBytes), vec: make([][]byte, 16),
	}
	l.cork.b = make([]byte, 0, corkBytes)
	l.extras.pool = &server.extras
	l.requests.wait = server.ticks(server.cfg.HandshakeTimeout)
	l.partials.wait = server.ticks(server.cfg.PartialTimeout)
	l.closes.wait = server.ticks(closeTimeout)
	if l.epoll, err = descriptor(poller); err != nil {
		return nil, errors.Join(err, poller.Close())
	}
	if l.bell, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return nil, errors.Join(fmt.Errorf("open doorbell %d: %w", number, err), poller.Close())
	}
	if err := poller.AddRead(&netpoll.PollAttachment{FD: l.bell}, true); err != nil {
		return nil, errors.Join(fmt.Errorf("register doorbell %d: %w", number, err), l.closePoller())
	}
	return l, nil
}

// closePoller gives the loop's own descriptors back.
func (l *loop) closePoller() error {
	return errors.Join(l.poller.Close(), unix.Close(l.bell))
}

// run is the loop. It ends when end was posted.
func (l *loop) run() error {
	err := l.poll()
	l.mu.Lock()
	l.closed = true
	left := l.mail
	l.mail = mail{}
	l.mu.Unlock()
	for _, a := range left.accepted {
		_ = unix.Close(int(a.fd))
		l.release1()
	}
	l.endAll()
	if err = errors.Join(err, l.closePoller()); err != nil {
		return fmt.Errorf("event loop %d: %w", l.number, err)
	}
	return nil
}

// deliver changes the mail under the lock and rings, unless somebody has rung.
func (l *loop) deliver(change func(*mail)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	change(&l.mail)
	l.wake()
	return true
}

// post is deliver for a task, without a closure.
func (l *loop) post(run func(any), arg any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.mail.tasks = append(l.mail.tasks, task{run, arg})
		l.wake()
	}
}

// one is what an eventfd is told, in the host's order.
var one = binary.NativeEndian.AppendUint64(nil, 1)

// wake rings, unless somebody has. The caller has the lock.
func (l *loop) wake() {
	if l.rung {
		return
	}
	// Nobody reads the counter, since epoll tells of each change. After 2^64 it is
	// full, which is never.
	if _, err := unix.Write(l.bell, one); err != nil {
		l.server.log.Error("an event loop could not be woken", "loop", l.number, "error", err)
		return // The next one tries again.
	}
	l.rung = true
}

// keptMail is how many tasks an emptied mailbox keeps room for.
const keptMail = 4096

// answerDoor takes the mail.
func (l *loop) answerDoor() {
	l.mu.Lock()
	m := l.mail
	l.mail, l.spare = l.spare, mail{}
	l.mu.Unlock()
	for _, a := range m.accepted {
		l.adopt(a)
	}
	if m.tick {
		l.tick()
	}
	for _, t := range m.tasks {
		t.run(t.arg)
	}
	l.settle()
	if cap(m.tasks) <= keptMail && cap(m.accepted) <= keptMail {
		clear(m.tasks)
		l.spare = mail{accepted: m.accepted[:0], tasks: m.tasks[:0]}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rung = false
	if len(l.mail.accepted) > 0 || len(l.mail.tasks) > 0 || l.mail.tick {
		l.wake() // after the sockets' next turn
	}
}

// lookup returns the slot that c names, or nil if its connection is gone.
func (l *loop) lookup(c Conn) *slot {
	if c.Slot >= l.slots.used {
		return nil
	}
	if s := l.slots.at(c.Slot); s.gen == c.Gen && s.state != free && s.flags&broken == 0 {
		return s
	}
	return nil
}

func (l *loop) conn(i uint32, s *slot) Conn { return Conn{Loop: l.number, Slot: i, Gen: s.gen} }

// event handles what epoll said of a descriptor.
func (l *loop) event(fd int, event netpoll.IOEvent) {
	number := l.server.fds.get(fd)
	if number == 0 || number > l.slots.used {
		return
	}
	i := number - 1
	s := l.slots.at(i)
	if s.fd != int32(fd) || s.state == free {
		return
	}
	gen := s.gen
	failed := netpoll.IsErrorEvent(event, 0)
	if failed || netpoll.IsWriteEvent(event) {
		if e := l.extras.of(s); e != nil && e.out.bytes > 0 {
			l.flush(i, s, e)
		}
	}
	if s.gen == gen && s.flags&broken == 0 && s.flags&reads != 0 && (failed || netpoll.IsReadEvent(event)) {
		l.read(i, s)
	}
	l.settle()
}

// read takes what has arrived, once: the poller is level-triggered and will say
// if there is more.
func (l *loop) read(i uint32, s *slot) {
	buf := l.buf
	if e := l.extras.of(s); e != nil && e.out.bytes > 0 {
		buf = buf[:blockedReadBytes]
	}
	n, err := socket.Receive(s.fd, buf)
	switch {
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
	case err != nil:
		l.doom(i, s, closeAbnormal, false)
	case n == 0:
		l.eof(i, s)
	default:
		s.seen = l.now
		l.counts.bytesIn += n
		l.input(i, s, buf[:n])
	}
}

func (l *loop) input(i uint32, s *slot, data []byte) {
	switch s.state {
	case asking:
		l.request(i, s, data)
	case waiting:
		l.early(i, s, data)
	case open, closing:
		l.feed(i, s, data)
	case leaving, free:
	}
}

// tick moves the loop's clock, ends what is overdue and visits the next slots.
func (l *loop) tick() {
	now := l.server.clock()
	passed := now - l.now
	l.now = now
	for e := l.requests.expired(now); e != nil; e = l.requests.expired(now) {
		l.requestTimeout(e.slot, l.slots.at(e.slot))
	}
	for e := l.partials.expired(now); e != nil; e = l.partials.expired(now) {
		l.partialTimeout(e)
	}
	for e := l.closes.expired(now); e != nil; e = l.closes.expired(now) {
		l.closeTimeout(e)
	}
	l.visit(passed)
	l.settle()
	l.report()
}

// visit moves the hand on by as many slots as the time that passed is of
// VisitEvery.
func (l *loop) visit(passed uint32) {
	every := uint64(l.server.visitTicks)
	l.swept = min(l.swept+uint64(passed)*uint64(l.slots.used), uint64(l.slots.used)*every)
	l.visitSome()
}

// visitBurst is how many visits are made before the sockets have their turn.
const visitBurst = 2048

// visitSome makes the visits that are owed, or the first of them.
func (l *loop) visitSome() {
	every := uint64(l.server.visitTicks)
	for n := 0; l.swept >= every; l.swept -= every {
		if n++; n > visitBurst {
			l.post(func(arg any) { arg.(*loop).visitSome() }, l)
			return
		}
		if l.hand >= l.slots.used {
			l.hand = 0
		}
		i := l.hand
		l.hand++
		if s := l.slots.at(i); s.state == open && s.flags&broken == 0 {
			idle := time.Duration(l.now-s.seen) * l.server.tick
			l.handler.Visit(l.conn(i, s), idle)
		}
	}
}
