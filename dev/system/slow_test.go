package system

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// sluggard is a connection that reads `connected`, and then nothing for as long as
// it can.
type sluggard struct {
	conn net.Conn
	in   io.Reader
	code atomic.Int32 // with which it was closed
}

// dawdle opens a connection with little room in the kernel.
func (c *crowd) dawdle(n int) *sluggard {
	c.t.Helper()
	token, err := c.site.Keys.Mint(c.user(n), time.Hour)
	if err != nil {
		c.t.Fatal(err)
	}
	room := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var refused error
		if err := raw.Control(func(fd uintptr) {
			refused = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
		}); err != nil {
			return err
		}
		return refused
	}}
	dialer := ws.Dialer{
		NetDial: room.DialContext,
		Header:  ws.HandshakeHeaderHTTP(http.Header{"Authorization": {"Bearer " + token}}),
	}
	conn, buffered, _, err := dialer.Dial(c.t.Context(), c.site.WS[0])
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = conn.Close() })
	s := &sluggard{conn: conn, in: conn}
	if buffered != nil {
		s.in = io.MultiReader(io.LimitReader(buffered, int64(buffered.Buffered())), conn)
	}
	if _, err := s.frame(); err != nil {
		c.t.Fatal(err)
	}
	return s
}

// frame reads one frame; of a close frame it keeps the code.
func (s *sluggard) frame() (ws.OpCode, error) {
	header, err := ws.ReadHeader(s.in)
	if err != nil {
		return 0, err
	}
	payload := make([]byte, header.Length)
	if _, err := io.ReadFull(s.in, payload); err != nil {
		return 0, err
	}
	if header.OpCode == ws.OpClose && len(payload) >= 2 {
		s.code.Store(int32(payload[0])<<8 | int32(payload[1]))
	}
	return header.OpCode, nil
}

// wake reads on, but slowly, until the connection ends: a queue that empties would
// be forgiven.
func (s *sluggard) wake() {
	s.in = &slowly{s.conn}
	for op := ws.OpText; op != ws.OpClose; {
		var err error
		if op, err = s.frame(); err != nil {
			return
		}
	}
}

type slowly struct{ net.Conn }

func (s *slowly) Read(p []byte) (int, error) {
	time.Sleep(50 * time.Millisecond)
	return s.Conn.Read(p[:min(len(p), 1024)])
}

// unsent returns how many bytes the kernel holds for the connections of a local
// port, for their other ends have not read them.
func unsent(t *testing.T, port string) (bytes int64) {
	t.Helper()
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	table, err := os.Open("/proc/net/tcp")
	if err != nil {
		t.Skip("no /proc/net/tcp: ", err)
	}
	defer table.Close()
	suffix := fmt.Sprintf(":%04X", n)
	for lines := bufio.NewScanner(table); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 || !strings.HasSuffix(fields[1], suffix) {
			continue
		}
		out, _, _ := strings.Cut(fields[4], ":")
		if queued, err := strconv.ParseInt(out, 16, 64); err == nil {
			bytes += queued
		}
	}
	return bytes
}

// The metrics of what is looked at, and the bounds: of a queue, and of what a socket
// takes.
const (
	closedSlow  = `switchboard_gateway_closes_total{code="4003",side="server"}`
	queuedBytes = "switchboard_gateway_queued_bytes"
	perQueue    = 64 << 10
	perSocket   = 24 << 10
)

// 50 members of a busy conversation stop reading. What waits for them is bounded;
// after 30 seconds they are closed with 4003, and what they held is free again; the
// others have every message, and so has one of the 50 who comes back.
func TestReadersThatDoNotReadHoldUpNobody(t *testing.T) {
	t.Parallel()
	const sluggards, others = 50, 10
	h := newHouse(t)
	c := &crowd{t: t, site: h.watched()}
	_, port, err := net.SplitHostPort(h.args[5])
	if err != nil {
		t.Fatal(err)
	}
	c.gather(others + sluggards)
	living, end := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer end()
	listeners := make([]*listener, others)
	for n := range listeners {
		listeners[n] = new(listener)
		running.Go(func() { c.listen(living, n, 0, listeners[n]) })
	}
	for _, l := range listeners {
		c.check(l, []chat.Seq{1})
	}
	slow := make([]*sluggard, sluggards)
	for i := range slow {
		slow[i] = c.dawdle(others + i)
	}
	// Half of them read on when the first is closed. The rest are not waited for.
	c.floodUntilClosed(others, port, slow, slow[:sluggards/2])
	c.eventually("what was queued for the readers is given back", func() bool {
		return counted(t, c.site, queuedBytes) == 0 && unsent(t, port) == 0
	})
	seen := 0
	for _, s := range slow[:sluggards/2] {
		switch code := chat.CloseCode(s.code.Load()); code {
		case chat.CloseSlowConsumer:
			seen++
		case 0: // It read too slowly even for that.
		default:
			t.Errorf("a reader was closed with %d, want 4003", code)
		}
	}
	// How many are quick enough is the machine's affair; the gateway counted them all.
	t.Logf("%d of %d who read again saw that they were closed with 4003", seen, sluggards/2)
	whole := make([]chat.Seq, len(c.history()))
	for i := range whole {
		whole[i] = chat.Seq(i + 1)
	}
	returned := new(listener)
	running.Go(func() { c.listen(living, others, 0, returned) })
	for _, l := range append(listeners, returned) {
		c.check(l, whole)
	}
}

// floodUntilClosed says enough to fill everything at once, then a little all the
// time until the slow are closed, and looks meanwhile at what is kept for them. The
// witnesses read on when the first is closed.
func (c *crowd) floodUntilClosed(speakers int, port string, slow, witnesses []*sluggard) {
	c.t.Helper()
	const content, flood = 8000, 40
	var mostQueued, mostUnsent int
	var woken sync.WaitGroup
	defer woken.Wait()
	awake := false
	for n, late := 0, time.Now().Add(patience); ; n++ {
		closed := counted(c.t, c.site, closedSlow)
		if closed > 0 && !awake {
			awake = true
			for _, s := range witnesses {
				woken.Go(s.wake)
			}
		}
		if int(closed) == len(slow) {
			break
		}
		if time.Now().After(late) {
			c.t.Fatalf("%v readers that do not read were closed with 4003, want %d", closed, len(slow))
		}
		id := chat.NewRequestID()
		c.insist(c.t.Context(), n%speakers, http.MethodPost, "/messages", wire.SendMessage{
			Content: strings.Repeat("x", content), Type: "text", ClientMessageID: &id,
		})
		mostQueued = max(mostQueued, int(counted(c.t, c.site, queuedBytes)))
		mostUnsent = max(mostUnsent, int(unsent(c.t, port)))
		if n > flood {
			rest(c.t.Context(), 250*time.Millisecond)
		}
	}
	c.t.Logf("at most %d bytes in queues and %d unsent in the kernel", mostQueued, mostUnsent)
	if most := len(slow) * perQueue; mostQueued > most || mostQueued < most/2 {
		c.t.Errorf("%d bytes waited in queues, want at most %d and not much less", mostQueued, most)
	}
	if most := len(slow) * perSocket; mostUnsent > most {
		c.t.Errorf("%d bytes waited in the kernel, want %d at most", mostUnsent, most)
	}
}

// eventually waits until something holds.
func (c *crowd) eventually(what string, holds func() bool) {
	c.t.Helper()
	for late := time.Now().Add(patience); !holds(); rest(c.t.Context(), 100*time.Millisecond) {
		if time.Now().After(late) {
			c.t.Fatalf("waited in vain until %s", what)
		}
	}
}
