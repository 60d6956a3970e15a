package edge

import (
	"errors"
	"os"
	"reflect"
	"runtime"
	"time"

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
			runtime.Gosched()
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

// listen makes the poller report what want says, of reads and writes, for the
// connection. The poller's package has no call for "writes only" of a registered
// descriptor, so that takes two.
func (l *loop) listen(s *slot, want uint8) {
	have := s.flags & (reads | writes)
	want &= reads | writes
	if have == want || s.flags&broken != 0 {
		return
	}
	s.flags = s.flags&^(reads|writes) | want
	l.attachment.FD = int(s.fd)
	var err error
	if have != 0 && (want == 0 || want == writes) {
		err = l.poller.Delete(int(s.fd))
		have = 0
	}
	switch {
	case err != nil || want == 0:
	case have == 0:
		err = add(l.poller, &l.attachment, want)
	case want == reads:
		err = l.poller.ModRead(&l.attachment, false)
	default:
		err = l.poller.ModReadWrite(&l.attachment, false)
	}
	if err != nil {
		// Out of memory or of max_user_watches: the connection would hang.
		l.server.log.Warn("the poller refused a connection", "error", err)
		l.doom(l.server.fds.get(int(s.fd))-1, s, closeAbnormal, false)
	}
}

func add(p *netpoll.Poller, a *netpoll.PollAttachment, want uint8) error {
	switch want {
	case reads:
		return p.AddRead(a, false)
	case writes:
		return p.AddWrite(a, false)
	}
	return p.AddReadWrite(a, false)
}
