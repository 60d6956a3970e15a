package edge

import (
	"fmt"
	"os"
	"regexp"
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

// TestUrgentDataWakesNobody looks at what a connection is registered for: no urgent data,
// which can stay announced for as long as the peer likes.
func TestUrgentDataWakesNobody(t *testing.T) {
	s := start(t, &echo{}, func(c *Config) { c.Loops = 1 })
	upgrade(t, s)
	fd, epoll := 0, 0
	onLoop(s, Conn{}, func() { fd, epoll = int(s.loops[0].slots.at(0).fd), s.loops[0].epoll })
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", epoll))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(fmt.Sprintf(`tfd: +%d events: +([0-9a-f]+) `, fd)).FindSubmatch(info)
	if want := fmt.Sprintf("%x", unix.EPOLLIN|unix.EPOLLERR|unix.EPOLLHUP); found == nil || string(found[1]) != want {
		t.Errorf("registered for %q, want %s, in\n%s", found, want, info)
	}
}
