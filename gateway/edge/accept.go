package edge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"switchboard/gateway/edge/room"
	"switchboard/gateway/gather"
)

// The pauses of the listener when the kernel has no room for a connection.
const (
	shortestPause = 100 * time.Millisecond
	longestPause  = time.Second
)

// acceptEvery is how long connections wait for each other: to wake up for each costs as
// much as to accept it. The first of a quiet time does not wait.
const acceptEvery = 2 * time.Millisecond

// The kernel's buffer for output, and how much of it may wait to be sent. The first
// bounds what is under way to a peer that reads, the second what is kept for one that
// does not. A socket inherits them from the listener, which saves three calls each.
//
// TCP_USER_TIMEOUT is left alone until a connection ends. It also ends those whose
// peer is alive and has closed its window, by a clock that the kernel does not always
// reset when the window opens again: readers with small buffers then lose their
// connection in the first moment of a later stall, instead of after the 30 seconds
// that they have. A dead peer is found by its missing pongs.
const (
	sendBufferBytes = 16 << 10
	unsentBytes     = 8 << 10
)

// acceptor takes connections from the listener and gives them to the loops.
type acceptor struct {
	server *Server
	file   *os.File // the listener, where the runtime lets us call accept4 ourselves
	raw    syscall.RawConn
	each   bool // sockets do not inherit options from this listener

	// Owned by run.
	next   int // loop that is asked first
	gather gather.Interval
}

// Listen opens a listener for a Server. Go's own are Multipath TCP by default,
// whose sockets cost more and inherit less.
func Listen(ctx context.Context, address string) (*net.TCPListener, error) {
	return listen(ctx, address, net.ListenConfig{})
}

// ListenShared opens a listener at an address where others, of this user and opened
// likewise, listen too (SO_REUSEPORT). The kernel gives each new connection to one
// of them.
func ListenShared(ctx context.Context, address string) (*net.TCPListener, error) {
	return listen(ctx, address, net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		controlErr := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		})
		return errors.Join(controlErr, err)
	}})
}

func listen(ctx context.Context, address string, config net.ListenConfig) (*net.TCPListener, error) {
	config.SetMultipathTCP(false)
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for WebSockets: %w", err)
	}
	return listener.(*net.TCPListener), nil
}

// newAcceptor takes over the listener.
func newAcceptor(s *Server, listener *net.TCPListener) (*acceptor, error) {
	control, err := listener.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("reach the listening socket: %w", err)
	}
	inherit := false
	err = control.Control(func(fd uintptr) {
		// Multipath TCP takes options that its sockets then do not have.
		protocol, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PROTOCOL)
		inherit = setOptions(int(fd)) == nil && err == nil && protocol == unix.IPPROTO_TCP
	})
	if err != nil {
		return nil, fmt.Errorf("reach the listening socket: %w", err)
	}
	file, err := listener.File()
	if err != nil {
		return nil, fmt.Errorf("duplicate the listening socket: %w", err)
	}
	raw, err := file.SyscallConn()
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("reach the listening socket: %w", err)
	}
	_ = listener.Close() // its duplicate listens on
	return &acceptor{server: s, file: file, raw: raw, each: !inherit, gather: gather.Interval{Every: acceptEvery}}, nil
}

func setOptions(fd int) error {
	return errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBufferBytes),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentBytes))
}

// run accepts until the listener is closed. No error of accept4 ends it: what
// the kernel lacks, it may have again in a moment.
func (a *acceptor) run(ctx context.Context) {
	pause := time.Duration(0)
	for {
		fd, peer, err := a.accept(ctx)
		switch {
		case err == nil:
			pause = 0
			a.hand(fd, peer)
			continue
		case a.ended():
			return
		}
		a.server.meter.acceptError(errnoName(err))
		if !starved(err) {
			continue
		}
		if pause == 0 {
			a.server.log.Warn("the listener pauses", "error", err)
		}
		pause = min(max(2*pause, shortestPause), longestPause)
		if !a.sleep(ctx, pause) {
			return
		}
	}
}

func (a *acceptor) accept(ctx context.Context) (fd int, peer unix.Sockaddr, err error) {
	waited := false
	waitErr := a.raw.Read(func(listener uintptr) bool {
		if waited {
			a.gather.Wait(ctx)
		}
		waited = true
		fd, peer, err = unix.Accept4(int(listener), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		return err != unix.EAGAIN
	})
	if waitErr != nil {
		return -1, nil, fmt.Errorf("wait for a connection: %w", waitErr)
	}
	return fd, peer, err
}

// starved reports whether trying again at once would fail again. The errors that
// would not are those of the one connection that was gone before it was taken.
func starved(err error) bool {
	switch {
	case errors.Is(err, unix.ECONNABORTED), errors.Is(err, unix.EINTR), errors.Is(err, unix.EPERM),
		errors.Is(err, unix.EPROTO), errors.Is(err, unix.ENETDOWN), errors.Is(err, unix.ENETUNREACH),
		errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.EHOSTDOWN), errors.Is(err, unix.ETIMEDOUT):
		return false
	}
	return true
}

func errnoName(err error) string {
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		return unix.ErrnoName(errno)
	}
	return "other"
}

// ended reports whether StopAccepting was called, which is what fails accept
// then; the error itself is one that package os does not export.
func (a *acceptor) ended() bool {
	select {
	case <-a.server.stopped:
		return true
	default:
		return false
	}
}

// sleep waits out a pause; false says that the server ends.
func (a *acceptor) sleep(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-a.server.stopped:
		return false
	case <-ctx.Done():
		return false
	}
}

// hand gives a socket to the loop with the fewest.
func (a *acceptor) hand(fd int, peer unix.Sockaddr) {
	s := a.server
	live := int(s.live.Add(1))
	if live > s.maxConnections+room.Refusals || !s.fds.reserve(fd) {
		s.live.Add(-1)
		s.meter.failed("503")
		_, _ = unix.Write(fd, appendRefusal(nil, full, retryFull))
		_ = unix.Close(fd)
		return
	}
	if a.each {
		if err := setOptions(fd); err != nil {
			s.log.Debug("a socket took no options", "error", err) // the peer may have reset it
		}
	}
	l := s.loops[a.next%len(s.loops)]
	for i := range s.loops {
		if other := s.loops[(a.next+i)%len(s.loops)]; other.live.Load() < l.live.Load() {
			l = other
		}
	}
	a.next++
	l.live.Add(1)
	taken := accepted{fd: int32(fd), refuse: live > s.maxConnections, proxied: s.cfg.Proxies.Contains(addrPortOf(peer).Addr())}
	if !l.deliver(func(m *mail) { m.accepted = append(m.accepted, taken) }) {
		_ = unix.Close(fd)
		l.release1()
	}
}
