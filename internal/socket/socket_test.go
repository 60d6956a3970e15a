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

func TestWhatIsSentIsReceived(t *testing.T) {
	near, far := pair(t)
	in := make([]byte, 16)
	if n, err := socket.Receive(far, in); n != -1 || !errors.Is(err, unix.EAGAIN) {
		t.Fatalf("nothing has arrived: got %d, %v", n, err)
	}
	for range 2 { // The second after an error.
		if n, err := socket.Send(near, []byte("a frame")); n != 7 || err != nil {
			t.Fatalf("send: got %d, %v", n, err)
		}
		if n, err := socket.Receive(far, in); err != nil || string(in[:n]) != "a frame" {
			t.Fatalf("receive: got %q, %v", in[:max(n, 0)], err)
		}
	}
}

// A socket that is full says so, though the descriptor itself would block.
func TestAFullSocketTakesWhatFits(t *testing.T) {
	near, far := pair(t)
	sent, chunk := 0, make([]byte, 64<<10)
	for {
		n, err := socket.Send(near, chunk)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		sent += n
	}
	for sent > 0 {
		n, err := socket.Receive(far, chunk)
		if err != nil {
			t.Fatalf("%d bytes are missing: %v", sent, err)
		}
		sent -= n
	}
}

func TestAnEndIsToldByBoth(t *testing.T) {
	near, far := pair(t)
	if err := unix.Close(int(far)); err != nil {
		t.Fatal(err)
	}
	if n, err := socket.Receive(near, make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("receive: got %d, %v, want the end", n, err)
	}
	if n, err := socket.Send(near, []byte("x")); n != -1 || !errors.Is(err, unix.EPIPE) {
		t.Errorf("send: got %d, %v, want EPIPE and to be alive", n, err)
	}
}

// Errors of every turn of an event loop allocate nothing.
func TestNothingIsAllocated(t *testing.T) {
	near, far := pair(t)
	in, out := make([]byte, 16), []byte("x")
	if n := testing.AllocsPerRun(100, func() {
		_, _ = socket.Receive(far, in)
		_, _ = socket.Send(near, out)
		_, _ = socket.Receive(far, in)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
