package socket_test

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"switchboard/internal/socket"
)

// pair is two ends of a connection; neither blocks on its own account.
func pair(t *testing.T) (near, far int32) {
	t.Helper()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, fd := range ends {
			_ = unix.Close(fd) // Some are closed already.
		}
	})
	return int32(ends[0]), int32(ends[1])
}

// calls are the two ways, with and without the scheduler's knowledge.
type calls struct {
	send, receive func(fd int32, p []byte) (int, error)
}

func both(t *testing.T, test func(t *testing.T, c calls)) {
	t.Helper()
	t.Run("told", func(t *testing.T) { test(t, calls{socket.Send, socket.Receive}) })
	t.Run("raw", func(t *testing.T) { test(t, calls{socket.RawSend, socket.RawReceive}) })
}

func TestWhatIsSentIsReceived(t *testing.T) {
	both(t, func(t *testing.T, c calls) {
		near, far := pair(t)
		in := make([]byte, 16)
		if n, err := c.receive(far, in); n != -1 || !errors.Is(err, unix.EAGAIN) {
			t.Fatalf("nothing has arrived: got %d, %v", n, err)
		}
		for range 2 { // The second after an error.
			if n, err := c.send(near, []byte("a frame")); n != 7 || err != nil {
				t.Fatalf("send: got %d, %v", n, err)
			}
			if n, err := c.receive(far, in); err != nil || string(in[:n]) != "a frame" {
				t.Fatalf("receive: got %q, %v", in[:max(n, 0)], err)
			}
		}
	})
}

// A socket that is full says so, though the descriptor itself would block.
func TestAFullSocketTakesWhatFits(t *testing.T) {
	both(t, func(t *testing.T, c calls) {
		near, far := pair(t)
		sent, chunk := 0, make([]byte, 64<<10)
		for {
			n, err := c.send(near, chunk)
			if errors.Is(err, unix.EAGAIN) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			sent += n
		}
		for sent > 0 {
			n, err := c.receive(far, chunk)
			if err != nil {
				t.Fatalf("%d bytes are missing: %v", sent, err)
			}
			sent -= n
		}
	})
}

func TestAnEndIsToldByBoth(t *testing.T) {
	both(t, func(t *testing.T, c calls) {
		near, far := pair(t)
		if err := unix.Close(int(far)); err != nil {
			t.Fatal(err)
		}
		if n, err := c.receive(near, make([]byte, 1)); n != 0 || err != nil {
			t.Errorf("receive: got %d, %v, want the end", n, err)
		}
		if n, err := c.send(near, []byte("x")); n != -1 || !errors.Is(err, unix.EPIPE) {
			t.Errorf("send: got %d, %v, want EPIPE and to be alive", n, err)
		}
	})
}

// Errors of every turn of an event loop allocate nothing.
func TestNothingIsAllocated(t *testing.T) {
	both(t, func(t *testing.T, c calls) {
		near, far := pair(t)
		in, out := make([]byte, 16), []byte("x")
		if n := testing.AllocsPerRun(100, func() {
			_, _ = c.receive(far, in)
			_, _ = c.send(near, out)
			_, _ = c.receive(far, in)
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

func TestReadyTellsOfWhatIsThere(t *testing.T) {
	near, far := pair(t)
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(epoll)
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, int(far), &unix.EpollEvent{Events: unix.EPOLLIN, Fd: far}); err != nil {
		t.Fatal(err)
	}
	events := make([]unix.EpollEvent, 2)
	if n, err := socket.RawReady(epoll, events); n != 0 || err != nil {
		t.Fatalf("nothing is there: got %d, %v", n, err)
	}
	if _, err := socket.RawSend(near, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if n, err := socket.RawReady(epoll, events); n != 1 || err != nil || events[0].Fd != far {
		t.Fatalf("got %d, %v, %v", n, events[0], err)
	}
	if n, err := socket.RawReady(-1, events); n != -1 || !errors.Is(err, unix.EBADF) {
		t.Errorf("no epoll: got %d, %v", n, err)
	}
}
