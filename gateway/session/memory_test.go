package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"switchboard/gateway/edge"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/internal/presence"
)

// yes is a directory that acknowledges everything and keeps nothing.
type yes struct{ presence.Directory }

func (yes) Apply(_ context.Context, changes []presence.Change) ([]presence.Applied, error) {
	return make([]presence.Applied, len(changes)), nil
}

// mute is an uplink that keeps nothing of who comes.
type mute struct{ *uplink }

func (mute) Presence(chat.UserID, chat.Presence) {}

// What an idle session costs in this process, its socket's slot in edge
// included and the kernel's share not. The clients are bare descriptors, so that
// they cost nothing here but their words in the table of descriptors.
func TestIdleSessionCostsLittle(t *testing.T) {
	if testing.Short() {
		t.Skip("opens thousands of sockets")
	}
	const few, many, margin = 2048, 8192, 8
	bound := ledger(t, "gateway")["session"] + ledger(t, "edge")["descriptor"] + margin
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 2*many+200 {
		t.Skipf("needs %d descriptors: limit %d, %v", 2*many+200, limit.Cur, err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	keeper := New(Config{
		Server: "gw-1", Boot: 7, Verify: verify, Uplink: mute{new(uplink)}, Directory: yes{},
		Logger: quiet, Metrics: metrics.New(), Heartbeat: time.Hour,
	})
	server, err := edge.New(edge.Config{
		Listener: listener.(*net.TCPListener), MaxMessage: chat.FrameBytes, Log: quiet, Metrics: metrics.New(),
	}, keeper)
	if err != nil {
		t.Fatal(err)
	}
	if err := keeper.Attach(server); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- keeper.Run(ctx) }()
	go func() { ended <- server.Run(ctx) }()
	port := listener.Addr().(*net.TCPAddr).Port

	clients := make([]int, 0, many)
	open := func(n int) (heap, pss int) {
		for len(clients) < n {
			clients = append(clients, openRaw(t, port, len(clients)))
		}
		for keeper.allowed.remembered() > 0 { // That they came is forgotten soon.
			time.Sleep(allowanceSweep / 4)
		}
		return footprint()
	}
	heapFew, pssFew := open(few)
	heapMany, pssMany := open(many)
	slope, pss := (heapMany-heapFew)/(many-few), (pssMany-pssFew)/(many-few)
	t.Logf("an idle session: %d B of heap, %d B of proportional memory, over %d sessions", slope, pss, many-few)
	if slope > bound {
		t.Errorf("an idle session costs %d B of heap, want at most %d, as docs/capacity.md has it", slope, bound)
	}
	for _, fd := range clients {
		_ = unix.Close(fd)
	}
	cancel()
	if err := errors.Join(<-ended, <-ended); err != nil {
		t.Error(err)
	}
}

// What waits in a storm has no memory before it.
func TestAKeeperWithoutSessionsIsSmall(t *testing.T) {
	cfg := Config{
		Server: "gw-1", Boot: 7, Verify: verify, Uplink: mute{new(uplink)}, Directory: yes{},
		Logger: slog.New(slog.DiscardHandler), Metrics: metrics.New(),
	}
	New(cfg) // Its metrics are made once.
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	keeper := New(cfg)
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 96<<10 {
		t.Errorf("a keeper of %d sessions takes %d bytes, want at most 96 KiB", keeper.Sessions(), got)
	}
}

// footprint returns the bytes in use on the heap and the process's share of
// memory, when garbage is collected.
func footprint() (heap, pss int) {
	runtime.GC() // Pools give up what they hold only at the second time.
	debug.FreeOSMemory()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	rollup, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		return int(stats.HeapAlloc), 0
	}
	for line := range strings.Lines(string(rollup)) {
		if _, err := fmt.Sscanf(line, "Pss: %d kB", &pss); err == nil {
			break
		}
	}
	return int(stats.HeapAlloc), pss << 10
}

// openRaw connects one user's client, reads until it is connected and returns
// the descriptor.
func openRaw(t *testing.T, port, n int) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	request := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer user-%d\r\n\r\n", Path, n)
	if _, err := unix.Write(fd, []byte(request)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 4096)
	for have := 0; !bytes.Contains(buffer[:have], []byte(`"connected"`)); {
		got, err := unix.Read(fd, buffer[have:])
		if err != nil || got == 0 {
			t.Fatalf("client %d read %q: %v", n, buffer[:have], err)
		}
		have += got
	}
	return fd
}
