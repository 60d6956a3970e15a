package edge

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"switchboard/internal/chat"
	"switchboard/internal/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo accepts everybody and sends back what it gets. Tests replace parts of it.
type echo struct {
	server    *Server
	handshake func(c Conn, r *Request)
	opened    func(c Conn)
	message   func(c Conn, text bool, payload []byte)
	visit     func(c Conn, idle time.Duration)
	drained   func(c Conn)

	mu     sync.Mutex
	closed []closedCall
	owed   int // handshakes without their Closed
}

type closedCall struct {
	code  chat.CloseCode
	local bool
}

func (h *echo) Handshake(c Conn, r *Request) {
	h.mu.Lock()
	h.owed++
	h.mu.Unlock()
	if h.handshake != nil {
		h.handshake(c, r)
		return
	}
	h.server.Accept(c, "")
}

func (h *echo) Opened(c Conn) {
	if h.opened != nil {
		h.opened(c)
	}
}

func (h *echo) Message(c Conn, text bool, payload []byte) {
	if h.message != nil {
		h.message(c, text, payload)
		return
	}
	if text {
		h.server.Write(c, AppendText(nil, payload))
	} else {
		h.server.Write(c, AppendBinary(nil, payload))
	}
}

func (h *echo) Visit(c Conn, idle time.Duration) {
	if h.visit != nil {
		h.visit(c, idle)
	}
}

func (h *echo) Drained(c Conn) {
	if h.drained != nil {
		h.drained(c)
	}
}

func (h *echo) Closed(_ Conn, code chat.CloseCode, local bool) {
	h.mu.Lock()
	h.owed--
	h.closed = append(h.closed, closedCall{code, local})
	h.mu.Unlock()
}

func (h *echo) calls() []closedCall {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]closedCall(nil), h.closed...)
}

// start serves h on port 0 until the test ends, when every Handshake must have
// had its Closed and all lent memory must be back.
func start(t testing.TB, h *echo, change func(*Config)) *Server {
	t.Helper()
	listener, err := Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Listener: listener, Loops: 2, MaxMessage: 4096, Metrics: metrics.New()}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg, h)
	if err != nil {
		t.Fatal(err)
	}
	h.server = s
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.owed != 0 {
			t.Errorf("%d handshakes without their Closed", h.owed)
		}
		if live, open, lent, queued := s.live.Load(), s.Open(), s.buffers.lent.Load(), s.chunks.queued.Load(); live != 0 || open != 0 || lent != 0 || queued != 0 {
			t.Errorf("left over: %d sockets, %d open, %d bytes lent, %d bytes queued", live, open, lent, queued)
		}
	})
	return s
}

const goodRequest = "GET /api/v1/ws?x=1 HTTP/1.1\r\nHost: chat.example\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"

const goodResponse = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

// dial connects without a handshake. Reads fail after ten seconds.
func dial(t testing.TB, s *Server) *net.TCPConn {
	t.Helper()
	conn, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(s.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// upgrade connects as far as the 101.
func upgrade(t testing.TB, s *Server) *net.TCPConn {
	t.Helper()
	conn := dial(t, s)
	send(t, conn, goodRequest)
	expect(t, conn, goodResponse)
	return conn
}

func send[T string | []byte](t testing.TB, conn net.Conn, p T) {
	t.Helper()
	if _, err := conn.Write([]byte(p)); err != nil {
		t.Fatalf("send: %v", err)
	}
}

// expect reads exactly want.
func expect[T string | []byte](t testing.TB, conn net.Conn, want T) {
	t.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(conn, got)
	if string(got[:n]) != string(want) {
		t.Fatalf("got %q (%v), want %q", got[:n], err, want)
	}
}

// eventually waits for what a real socket brings about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}
