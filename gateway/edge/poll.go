package edge

import (
	"errors"
	"os"
	"reflect"
	"time"
	_ "unsafe" // for go:linkname

	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"golang.org/x/sys/unix"
)

// fewEvents and manyEvents are how many events a loop takes at a time: it asks for more
// when it got as many as it asked for.
const (
	fewEvents  = 128
	manyEvents = 1024
)

// yieldEvery is how long a loop goes on before it yields: the runtime takes the place of
// who seems to run for 10 ms, in each wait from then on.
const yieldEvery = 4 * time.Millisecond

// goyield is runtime.Gosched but that the goroutine stays at its place, in the local
// queue: Gosched puts it into the global one and wakes a thread to look for it there.
//
//go:linkname goyield runtime.goyield
func goyield()

// descriptor returns the epoll instance of the poller, which no method tells.
func descriptor(p *netpoll.Poller) (int, error) {
	fd := reflect.ValueOf(p).Elem().FieldByName("fd")
	if fd.Kind() != reflect.Int {
		return 0, errors.New("this version of gnet's poller has no descriptor fd")
	}
	return int(fd.Int()), nil
}

// poll waits for events and handles them until the loop is over. The poller's own
// Polling asks twice before it waits, and yields to Go's scheduler between: that wakes
// a thread that looks for work whenever a processor is free, after every frame of a
// quiet connection. See docs/adr/0031-waiting.md.
func (l *loop) poll() error {
	events := make([]unix.EpollEvent, fewEvents)
	for yielded := time.Duration(0); !l.over; {
		if now := time.Since(l.server.start); now-yielded >= yieldEvery { // Now reads a second clock.
			yielded = now
			goyield()
		}
		n, err := unix.EpollWait(l.epoll, events, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("epoll_wait", err)
		}
		rung := false
		for i := range max(n, 0) {
			if fd := int(events[i].Fd); fd == l.bell {
				rung = true
			} else {
				l.event(fd, events[i].Events)
			}
		}
		if rung {
			l.answerDoor()
		}
		if n == len(events) && n < manyEvents {
			events = make([]unix.EpollEvent, manyEvents)
		}
	}
	return nil
}

// listen makes epoll report what want says, of reads and writes, for the connection. The
// poller's own calls would have it report urgent data, too: a peer that announces some
// and never sends what comes before it would have the loop turn without a pause.
func (l *loop) listen(s *slot, want uint8) {
	have := s.flags & (reads | writes)
	want &= reads | writes
	if have == want || s.flags&broken != 0 {
		return
	}
	s.flags = s.flags&^(reads|writes) | want
	change, event := unix.EPOLL_CTL_MOD, unix.EpollEvent{Fd: s.fd}
	switch {
	case have == 0:
		change = unix.EPOLL_CTL_ADD
	case want == 0:
		change = unix.EPOLL_CTL_DEL
	}
	if want&reads != 0 {
		event.Events |= unix.EPOLLIN
	}
	if want&writes != 0 {
		event.Events |= unix.EPOLLOUT
	}
	if err := unix.EpollCtl(l.epoll, change, int(s.fd), &event); err != nil {
		// Out of memory or of max_user_watches: the connection would hang.
		l.server.log.Warn("epoll refused a connection", "error", err)
		l.doom(l.server.fds.get(int(s.fd))-1, s, closeAbnormal, false)
	}
}
