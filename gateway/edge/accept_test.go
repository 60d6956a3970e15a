package edge

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOverMaxConnectionsIs503(t *testing.T) {
	s := start(t, &echo{}, func(c *Config) { c.MaxConnections = 2 })
	first, second := upgrade(t, s), upgrade(t, s)
	third := dial(t, s)
	send(t, third, goodRequest)
	got, err := io.ReadAll(third)
	if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 503 ") || !strings.Contains(string(got), "\r\nRetry-After: 5\r\n") {
		t.Errorf("got %q, %v", got, err)
	}
	third.Close()
	send(t, first, frame(0x81, "here"))
	expect(t, first, text("here"))
	second.Close()
	eventually(t, "a place is free", func() bool { return s.live.Load() == 1 })
	upgrade(t, s)
}

// TestAcceptSurvivesEMFILE takes all descriptors away and gives them back.
func TestAcceptSurvivesEMFILE(t *testing.T) {
	s := start(t, &echo{}, nil)
	old := upgrade(t, s)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(client)
	low := limit
	low.Cur = 1
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	restored := false
	restore := func() {
		if !restored {
			restored = true
			if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
				t.Error(err)
			}
		}
	}
	defer restore()
	if err := unix.Connect(client, &unix.SockaddrInet4{Port: int(s.Addr().Port()), Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	errors := s.meter.set.Counter(`switchboard_gateway_accept_errors_total{errno="EMFILE"}`)
	eventually(t, "accept fails twice", func() bool { return errors.Get() >= 2 })
	send(t, old, frame(0x81, "alive"))
	expect(t, old, text("alive"))
	restore()
	eventually(t, "the waiting one is taken", func() bool { return s.live.Load() == 2 })
	upgrade(t, s)
}

// TestSocketsInheritTheirOptions looks at an accepted socket itself, of our own
// kind of listener and of Go's default one.
func TestSocketsInheritTheirOptions(t *testing.T) {
	for _, listener := range []string{"ours", "default"} {
		t.Run(listener, func(t *testing.T) {
			names := make(chan Conn, 1)
			h := &echo{opened: func(c Conn) { names <- c }}
			s := start(t, h, func(c *Config) {
				if listener == "default" {
					c.Listener.Close()
					other, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
					if err != nil {
						t.Fatal(err)
					}
					c.Listener = other
				}
			})
			upgrade(t, s)
			c := <-names
			onLoop(s, c, func() { checkOptions(t, int(s.loops[c.Loop].slots.at(c.Slot).fd)) })
		})
	}
}

func checkOptions(t *testing.T, fd int) {
	for _, tt := range []struct {
		name          string
		level, option int
		want          int
	}{
		{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{"TCP_NOTSENT_LOWAT", unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentBytes},
		{"TCP_USER_TIMEOUT", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 0},
		{"SO_SNDBUF", unix.SOL_SOCKET, unix.SO_SNDBUF, 2 * sendBufferBytes}, // the kernel doubles it for its own use
	} {
		if got, err := unix.GetsockoptInt(fd, tt.level, tt.option); err != nil || got != tt.want {
			t.Errorf("%s: got %d, %v, want %d", tt.name, got, err, tt.want)
		}
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("FD_CLOEXEC: got %x, %v", flags, err)
	}
}

// Two servers at one address: both get connections, and when one stops accepting
// the other gets all.
func TestSharedPort(t *testing.T) {
	first, err := ListenShared(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := first.Addr().String()
	second, err := ListenShared(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	if alone, err := Listen(t.Context(), address); err == nil {
		alone.Close()
		t.Error("a third listener that does not share got the address as well")
	}
	servers := make([]*Server, 2)
	for i, listener := range []*net.TCPListener{first, second} {
		servers[i] = start(t, &echo{}, func(c *Config) {
			c.Listener.Close()
			c.Listener = listener
		})
	}
	a, b := servers[0], servers[1]
	for n := 0; a.Open() == 0 || b.Open() == 0; n++ {
		if n == 1000 {
			t.Fatalf("of %d connections one server has %d and the other %d", n, a.Open(), b.Open())
		}
		upgrade(t, a)
	}
	a.StopAccepting()
	eventually(t, "one listens", func() bool { return listeners(t, b.Addr().Port()) == 1 })
	here, there := a.Open(), b.Open()
	for range 20 {
		upgrade(t, b)
	}
	if a.Open() != here || b.Open() != there+20 {
		t.Errorf("after one stopped it has %d, %d before, and the other %d, %d before", a.Open(), here, b.Open(), there)
	}
}

// listeners returns how many sockets listen on a port.
func listeners(t *testing.T, port uint16) int {
	t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(table), fmt.Sprintf(":%04X 00000000:0000 0A ", port))
}

// How many may come is said at start, and which limit binds.
func TestRoomIsToldAtStart(t *testing.T) {
	var logs safeBuffer
	s := start(t, &echo{}, func(c *Config) {
		c.MaxConnections = 7
		c.Log = slog.New(slog.NewTextHandler(&logs, nil))
	})
	if got := logs.String(); !strings.Contains(got, `msg="room for connections" connections=7 bound_by="max connections"`) {
		t.Errorf("the log says %q", got)
	}
	var page strings.Builder
	s.meter.set.Write(&page)
	if got := page.String(); !strings.Contains(got, "switchboard_gateway_room 7\n") {
		t.Errorf("the metrics are %s", got)
	}
}

func TestConnectionsAreSpreadOverLoops(t *testing.T) {
	s := start(t, &echo{}, func(c *Config) { c.Loops = 4 })
	for range 40 {
		upgrade(t, s)
	}
	for i, l := range s.loops {
		if got := l.live.Load(); got != 10 {
			t.Errorf("loop %d has %d, want 10", i, got)
		}
	}
}

func TestConfigNeedsItsLimits(t *testing.T) {
	if _, err := New(Config{MaxMessage: 1}, &echo{}); err == nil {
		t.Error("no listener: got no error")
	}
}

func TestMetricsTellWhatHappened(t *testing.T) {
	s := start(t, &echo{}, nil)
	conn := upgrade(t, s)
	send(t, conn, frame(0x81, "one")+closing2(3333, ""))
	if _, err := io.ReadAll(conn); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	bad := dial(t, s)
	send(t, bad, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := io.ReadAll(bad); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]uint64{
		"switchboard_gateway_opens_total":                            1,
		`switchboard_gateway_closes_total{code="other",side="peer"}`: 1,
		`switchboard_gateway_handshake_failures_total{reason="426"}`: 1,
		`switchboard_gateway_frames_total{direction="in"}`:           2,
		`switchboard_gateway_frames_total{direction="out"}`:          2,
	} {
		eventually(t, fmt.Sprintf("%s is %d", name, want), func() bool { return s.meter.set.Counter(name).Get() == want })
	}
}
