package edge

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"switchboard/internal/chat"
)

// onLoop runs f on the connection's loop and waits for it.
func onLoop(s *Server, c Conn, f func()) {
	done := make(chan struct{})
	s.Post(int(c.Loop), func(any) { f(); close(done) }, nil)
	<-done
}

// openOne returns a connection and its name.
func openOne(t *testing.T, h *echo, change func(*Config)) (*Server, *net.TCPConn, Conn) {
	t.Helper()
	names := make(chan Conn, 1)
	h.opened = func(c Conn) { names <- c }
	s := start(t, h, change)
	conn := upgrade(t, s)
	return s, conn, <-names
}

// fill writes frames until one is refused, and returns how many were taken.
func fill(s *Server, c Conn, frame []byte) (taken int) {
	onLoop(s, c, func() {
		for s.Write(c, frame) {
			taken++
		}
	})
	return taken
}

func TestSlowReaderIsBoundedAndToldDrained(t *testing.T) {
	drained := make(chan Conn, 10)
	h := &echo{drained: func(c Conn) { drained <- c }}
	s, conn, c := openOne(t, h, nil)
	if err := conn.SetReadBuffer(32 << 10); err != nil {
		t.Fatal(err)
	}
	one := AppendBinary(nil, make([]byte, 1000))
	taken := fill(s, c, one)
	var queued int
	onLoop(s, c, func() { queued = s.Queued(c) })
	if bound := s.cfg.OutboundBytes; queued > bound || queued < bound-len(one) {
		t.Errorf("%d bytes are queued, want nearly %d", queued, bound)
	}
	if got := s.chunks.queued.Load(); got != int64(queued) {
		t.Errorf("the gauge says %d, want %d", got, queued)
	}
	if n, err := io.CopyN(io.Discard, conn, int64(taken*len(one))); err != nil {
		t.Fatalf("after %d bytes: %v", n, err)
	}
	if got := <-drained; got != c {
		t.Errorf("drained %v, want %v", got, c)
	}
	onLoop(s, c, func() {
		if s.Queued(c) != 0 || s.loops[c.Loop].slots.at(c.Slot).extra != 0 {
			t.Error("something is kept after the queue has drained")
		}
		if !s.Write(c, one) {
			t.Error("refused after the queue has drained")
		}
	})
	expect(t, conn, one)
	if len(drained) != 0 {
		t.Error("drained more than once")
	}
}

// TestSendingBeforeReading is a client that writes all before it reads, more
// than the queue can hold: its input has to wait, and nothing is lost.
func TestSendingBeforeReading(t *testing.T) {
	const frames, size = 3000, 1000
	s, conn, c := openOne(t, &echo{}, func(cfg *Config) { cfg.OutboundBytes = 2*4096 + 64<<10 })
	one := frame(0x82, strings.Repeat("e", size)) + frame(0x89, "ping")
	sent := make(chan error, 1)
	go func() {
		_, err := io.Copy(conn, strings.NewReader(strings.Repeat(one, frames)))
		sent <- err
	}()
	worst := 0
	eventually(t, "the queue is high", func() bool {
		onLoop(s, c, func() { worst = max(worst, s.Queued(c)) })
		return worst >= s.cfg.OutboundBytes/2
	})
	want := strings.Repeat(bin(strings.Repeat("e", size))+pong("ping"), frames)
	got := make([]byte, len(want))
	if n, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Fatalf("got %d of %d bytes, %v, equal %v", n, len(want), err, string(got) == want)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if worst > s.cfg.OutboundBytes {
		t.Errorf("%d bytes were queued, bound %d", worst, s.cfg.OutboundBytes)
	}
}

func TestNeverReadingDoesNotGrow(t *testing.T) {
	s := start(t, &echo{}, func(cfg *Config) { cfg.OutboundBytes = 2*4096 + 64<<10; cfg.Loops = 1 })
	conn := upgrade(t, s)
	if err := conn.SetWriteDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	flood := strings.Repeat(frame(0x82, strings.Repeat("e", 1000))+frame(0x89, "p"), 100)
	var err error
	for err == nil {
		_, err = io.WriteString(conn, flood)
	}
	if queued, lent := s.chunks.queued.Load(), s.buffers.lent.Load(); queued > int64(s.cfg.OutboundBytes) || lent > readBytes {
		t.Errorf("%d bytes are queued, %d bytes of input wait", queued, lent)
	}
	conn.Close()
	eventually(t, "all is given back", func() bool { return s.live.Load() == 0 && s.buffers.lent.Load() == 0 })
}

func TestFrameOverTheBoundIsNeverTaken(t *testing.T) {
	s, _, c := openOne(t, &echo{}, nil)
	onLoop(s, c, func() {
		if s.Write(c, AppendBinary(nil, make([]byte, s.cfg.OutboundBytes))) {
			t.Error("taken")
		}
		if s.loops[c.Loop].slots.at(c.Slot).extra != 0 {
			t.Error("something is kept for it")
		}
	})
}

func TestCloseWaitsBehindTheQueueAndForTheEcho(t *testing.T) {
	h := &echo{}
	s, conn, c := openOne(t, h, nil)
	one := AppendText(nil, bytes.Repeat([]byte("q"), 1000))
	var taken int
	onLoop(s, c, func() {
		for s.Write(c, one) {
			taken++
		}
		s.Close(c, chat.CloseDraining)
		s.Close(c, chat.CloseNormal) // changes nothing
		if s.Write(c, one) {
			t.Error("written after Close")
		}
	})
	if len(h.calls()) != 0 {
		t.Error("Closed before the peer has answered")
	}
	expect(t, conn, bytes.Repeat(one, taken))
	expect(t, conn, closes(chat.CloseDraining))
	send(t, conn, frame(0x81, "not for the handler")+closing2(4001, ""))
	if rest, err := io.ReadAll(conn); len(rest) > 0 || err != nil {
		t.Errorf("got %q, %v", rest, err)
	}
	if calls := h.calls(); len(calls) != 1 || calls[0] != (closedCall{chat.CloseDraining, true}) {
		t.Errorf("got %v, want one Closed, 4001, local", calls)
	}
}

func TestPeerThatDoesNotAnswerACloseIsCutAfterASecond(t *testing.T) {
	h := &echo{}
	s, conn, c := openOne(t, h, nil)
	begin := time.Now()
	onLoop(s, c, func() { s.Close(c, chat.CloseRevoked) })
	got, _ := io.ReadAll(conn)
	if took := time.Since(begin); string(got) != closes(chat.CloseRevoked) || took < 900*time.Millisecond || took > 3*time.Second {
		t.Errorf("got %q after %v", got, took)
	}
	eventually(t, "Closed", func() bool { return len(h.calls()) == 1 })
	if got, want := h.calls()[0], (closedCall{chat.CloseRevoked, true}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestPartialMessageHasATimeLimit(t *testing.T) {
	h := &echo{}
	s := start(t, h, func(c *Config) { c.PartialTimeout = 40 * time.Millisecond; c.VisitEvery = 64 * time.Millisecond })
	idle, partial := upgrade(t, s), upgrade(t, s)
	send(t, partial, frame(0x01, "begun"))
	if got, err := io.ReadAll(partial); string(got) != closes(chat.CloseHeartbeatTimeout) || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	send(t, idle, frame(0x81, "still here"))
	expect(t, idle, text("still here"))
}

func TestPartialMessagesHaveATotalBound(t *testing.T) {
	s := start(t, &echo{}, func(c *Config) { c.PartialBytes = 10 << 10 })
	first, second := upgrade(t, s), upgrade(t, s)
	send(t, first, frame(0x01, strings.Repeat("a", 4000)))
	eventually(t, "the first is lent its buffer", func() bool { return s.buffers.lent.Load() == 4096 })
	send(t, second, frame(0x01, strings.Repeat("b", 2000))+frame(0x00, strings.Repeat("b", 2000))+frame(0x00, "b"))
	eventually(t, "the second is lent as much", func() bool { return s.buffers.lent.Load() == 8192 }) // it may be on another loop
	third := upgrade(t, s)
	send(t, third, frame(0x01, strings.Repeat("c", 4000)))
	if got, err := io.ReadAll(third); string(got) != closes(chat.CloseOverloaded) || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	send(t, first, frame(0x80, "!"))
	expect(t, first, text(strings.Repeat("a", 4000)+"!"))
}

func TestVisitComesRoundAndKnowsIdleness(t *testing.T) {
	type visit struct {
		c    Conn
		idle time.Duration
	}
	visits := make(chan visit, 1000)
	h := &echo{visit: func(c Conn, idle time.Duration) {
		select {
		case visits <- visit{c, idle}:
		default:
		}
	}}
	s := start(t, h, func(c *Config) { c.VisitEvery = 64 * time.Millisecond; c.Loops = 1 })
	for range 3 {
		upgrade(t, s)
	}
	seen := map[Conn]int{}
	var longest time.Duration
	for begin := time.Now(); len(seen) < 3 || longest < 200*time.Millisecond; {
		v := <-visits
		seen[v.c]++
		longest = max(longest, v.idle)
		if v.idle > time.Since(begin)+time.Second {
			t.Fatalf("idle for %v within %v", v.idle, time.Since(begin))
		}
	}
	for c, n := range seen {
		if n > 30 {
			t.Errorf("%v was visited %d times in about 5 rounds", c, n)
		}
	}
}

func TestPingAndPongCountAsLife(t *testing.T) {
	s, conn, c := openOne(t, &echo{}, nil)
	onLoop(s, c, func() { s.Ping(c) })
	expect(t, conn, "\x89\x00")
	onLoop(s, c, func() { s.loops[c.Loop].slots.at(c.Slot).seen -= 1000 })
	send(t, conn, frame(0x8a, ""))
	eventually(t, "the pong counts", func() (ok bool) {
		onLoop(s, c, func() { l := s.loops[c.Loop]; ok = l.now-l.slots.at(c.Slot).seen < 1000 })
		return ok
	})
}

// TestPostKeepsOrder: one poster's tasks run in its order, from any goroutine.
func TestPostKeepsOrder(t *testing.T) {
	s := start(t, &echo{}, nil)
	const posters, each = 4, 20_000
	last := [posters]int{}
	done := make(chan struct{}, posters)
	for p := range posters {
		go func() {
			for i := 1; i <= each; i++ {
				s.Post(1, func(any) {
					if last[p] != i-1 {
						t.Errorf("poster %d: %d ran after %d", p, i, last[p])
					}
					if last[p] = i; i == each {
						done <- struct{}{}
					}
				}, nil)
			}
		}()
	}
	for range posters {
		<-done
	}
}

// TestOldNamesNameNobody: a Conn that is kept too long does not reach the next
// owner of its slot and descriptor.
func TestOldNamesNameNobody(t *testing.T) {
	names := make(chan Conn, 2)
	h := &echo{opened: func(c Conn) { names <- c }}
	s := start(t, h, func(c *Config) { c.Loops = 1 })
	upgrade(t, s).Close()
	old := <-names
	eventually(t, "the first is gone", func() bool { return s.live.Load() == 0 })
	conn := upgrade(t, s)
	young := <-names
	if young.Slot != old.Slot || young.Gen == old.Gen {
		t.Fatalf("got %v after %v, want the same slot of another generation", young, old)
	}
	onLoop(s, old, func() {
		if s.Write(old, AppendText(nil, []byte("stray"))) {
			t.Error("written to an old name")
		}
		s.Ping(old)
		s.Close(old, chat.CloseRevoked)
	})
	s.Reject(old, 401, 0, "stray")
	send(t, conn, frame(0x81, "mine"))
	expect(t, conn, text("mine"))
}

// TestStaleEvent: what is left in a batch of events of a closed descriptor
// finds nobody, even when another loop has the descriptor by then.
func TestStaleEvent(t *testing.T) {
	names := make(chan Conn, 2)
	h := &echo{opened: func(c Conn) { names <- c }}
	s := start(t, h, func(c *Config) { c.Loops = 1 })
	conn := upgrade(t, s)
	c := <-names
	onLoop(s, c, func() {
		l := s.loops[0]
		fd := int(l.slots.at(c.Slot).fd)
		l.doom(c.Slot, l.slots.at(c.Slot), 1006, false)
		l.settle()
		l.event(fd, 0xffff)              // nobody's
		s.fds.set(int32(fd), c.Slot+1)   // as another loop would
		l.event(fd, 0xffff)              // not ours
		s.fds.set(int32(fd), c.Slot+999) // a slot that this loop has not got
		l.event(fd, 0xffff)
		s.fds.set(int32(fd), 0)
	})
	if rest, err := io.ReadAll(conn); len(rest) != 0 || err != nil {
		t.Errorf("got %q, %v", rest, err)
	}
}

func TestRunEndsWithGoingAway(t *testing.T) {
	h := &echo{}
	outlives := t // the server
	t.Run("server", func(t *testing.T) {
		s := start(t, h, nil)
		conn := dial(outlives, s)
		send(t, conn, goodRequest)
		expect(t, conn, goodResponse)
		go func() { // answers the close, as a client would
			got, _ := io.ReadAll(io.LimitReader(conn, int64(len(closes(1001)))))
			if string(got) != closes(1001) {
				t.Errorf("got %q", got)
			}
			_, _ = conn.Write([]byte(closing2(1001, "")))
		}()
	})
	if calls := h.calls(); len(calls) != 1 || calls[0] != (closedCall{1001, true}) {
		t.Errorf("got %v", calls)
	}
}

func TestStopAcceptingLeavesConnectionsAlone(t *testing.T) {
	s := start(t, &echo{}, nil)
	conn := upgrade(t, s)
	s.StopAccepting()
	s.StopAccepting()
	eventually(t, "new connections are refused", func() bool {
		other, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(s.Addr()))
		if err == nil {
			other.Close()
		}
		return err != nil
	})
	send(t, conn, frame(0x81, "alive"))
	expect(t, conn, text("alive"))
}

// What a peer does not read is not kept for it, in the kernel either.
func TestPeerThatReadsNothingIsReset(t *testing.T) {
	for name, write := range map[string]func(s *Server, c Conn, frame []byte){
		"queue": func(s *Server, c Conn, frame []byte) { fill(s, c, frame) },
		"kernel": func(s *Server, c Conn, frame []byte) {
			onLoop(s, c, func() {
				for unsent := 0; unsent == 0 && s.Write(c, frame); {
					unsent, _ = unix.IoctlGetInt(int(s.loops[c.Loop].slots.at(c.Slot).fd), unix.SIOCOUTQNSD)
				}
				if n := s.Queued(c); n > 0 {
					t.Errorf("%d bytes are queued, want all in the kernel", n)
				}
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, conn, c := openOne(t, &echo{}, nil)
			if err := conn.SetReadBuffer(4 << 10); err != nil {
				t.Fatal(err)
			}
			write(s, c, AppendBinary(nil, make([]byte, 1000)))
			onLoop(s, c, func() { s.Close(c, chat.CloseSlowConsumer) })
			eventually(t, "it is closed", func() bool { return s.live.Load() == 0 })
			if n, err := io.Copy(io.Discard, conn); !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("got %d bytes and %v, want a reset", n, err)
			}
		})
	}
}

// A peer whose packets are lost for more than a second is told why it was closed
// when they arrive again, and is not waited for without end.
func TestPeerThatIsSlowGetsItsCloseCode(t *testing.T) {
	s, conn, c := openOne(t, &echo{}, nil)
	deafen(t, conn, true)
	frame := AppendBinary(nil, make([]byte, 100))
	var socket int
	onLoop(s, c, func() {
		var err error
		if socket, err = unix.Dup(int(s.loops[c.Loop].slots.at(c.Slot).fd)); err != nil {
			t.Error(err)
		}
		s.Write(c, frame)
	})
	eventually(t, "it is sent again", func() bool {
		info, err := unix.GetsockoptTCPInfo(socket, unix.IPPROTO_TCP, unix.TCP_INFO)
		return err != nil || info.Total_retrans > 1
	})
	onLoop(s, c, func() { s.Close(c, chat.CloseSessionReplaced) }) // is not sent at all before what was lost
	eventually(t, "it is closed", func() bool { return s.live.Load() == 0 })
	limit, err := unix.GetsockoptInt(socket, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
	if want := int(lastWordsTimeout.Milliseconds()); err != nil || limit != want {
		t.Errorf("the kernel goes on for %d ms (%v), want %d", limit, err, want)
	}
	if err := unix.Close(socket); err != nil { // The FIN goes out now.
		t.Error(err)
	}
	deafen(t, conn, false)
	want := string(frame) + closes(chat.CloseSessionReplaced)
	if got, err := io.ReadAll(conn); string(got) != want || err != nil {
		t.Errorf("got %q and %v, want %q", got, err, want)
	}
}

// deafen has the kernel drop all that arrives for a connection, as a network does.
func deafen(t *testing.T, conn *net.TCPConn, deaf bool) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	nothing := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	if controlErr := raw.Control(func(fd uintptr) {
		if deaf {
			err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing})
		} else {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
		}
	}); controlErr != nil || err != nil {
		t.Fatal(controlErr, err)
	}
}
