package edge

import (
	"testing"

	"github.com/panjf2000/gnet/v2/pkg/netpoll"
	"golang.org/x/sys/unix"
)

// TestDescriptor waits by the descriptor for what was registered with the poller, as an
// upgrade of gnet may forbid.
func TestDescriptor(t *testing.T) {
	poller, err := netpoll.OpenPoller()
	if err != nil {
		t.Fatal(err)
	}
	defer poller.Close()
	bell, err := unix.Eventfd(1, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(bell)
	if err := poller.AddRead(&netpoll.PollAttachment{FD: bell}, false); err != nil {
		t.Fatal(err)
	}
	fd, err := descriptor(poller)
	if err != nil {
		t.Fatal(err)
	}
	events := make([]unix.EpollEvent, 2)
	if n, err := unix.EpollWait(fd, events, 0); err != nil || n != 1 || int(events[0].Fd) != bell {
		t.Errorf("%d events, of %d, %v; want one of %d", n, events[0].Fd, err, bell)
	}
}
