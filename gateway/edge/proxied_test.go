package edge

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"switchboard/gateway/edge/proxyproto"
)

const (
	proxyLine   = "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"
	proxyBinary = "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\xc6\x33\x64\x01\xdc\x04\x01\xbb"
	proxyLocal  = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
)

// behind starts a server that takes loopback for its balancer. Clients are told to
// the channel.
func behind(t *testing.T, clients chan netip.AddrPort, change func(*Config)) *Server {
	h := &echo{}
	h.handshake = func(c Conn, r *Request) {
		clients <- r.Peer
		h.server.Accept(c, "")
	}
	return start(t, h, func(c *Config) {
		c.Proxies = proxyproto.Trusted{netip.MustParsePrefix("127.0.0.0/8")}
		if change != nil {
			change(c)
		}
	})
}

func TestClientOfAProxyHeader(t *testing.T) {
	clients := make(chan netip.AddrPort, 1)
	s := behind(t, clients, nil)
	named := netip.MustParseAddrPort("192.0.2.7:56324")
	for _, tt := range []struct {
		name, header string
		want         netip.AddrPort // zero: the other end of the socket
	}{
		{"line", proxyLine, named},
		{"binary", proxyBinary, named},
		{"unknown", "PROXY UNKNOWN\r\n", netip.AddrPort{}},
		{"local", proxyLocal, netip.AddrPort{}},
	} {
		conn := dial(t, s)
		send(t, conn, tt.header+goodRequest+frame(0x81, "at once"))
		expect(t, conn, goodResponse+text("at once"))
		want := tt.want
		if !want.IsValid() {
			want = netip.MustParseAddrPort(conn.LocalAddr().String())
		}
		if got := <-clients; got != want {
			t.Errorf("%s: the client is %v, want %v", tt.name, got, want)
		}
		conn.Close()
	}
}

// Every cut of header and request, and each byte by itself: the loop sees at least
// the first piece apart, since it has taken it before the second is sent.
func TestProxyHeaderInPieces(t *testing.T) {
	clients := make(chan netip.AddrPort, 1)
	s := behind(t, clients, nil)
	check := func(conn *net.TCPConn, what string, at int) {
		t.Helper()
		expect(t, conn, goodResponse)
		if got := <-clients; got != netip.MustParseAddrPort("192.0.2.7:56324") {
			t.Errorf("%s cut at %d: the client is %v", what, at, got)
		}
		conn.Close()
	}
	for what, header := range map[string]string{"line": proxyLine, "binary": proxyBinary} {
		all := header + goodRequest
		for at := 1; at <= len(header)+1; at++ {
			conn := dial(t, s)
			before := inbox(s)
			send(t, conn, all[:at])
			eventually(t, "the first piece is taken", func() bool { return inbox(s) >= before+at })
			send(t, conn, all[at:])
			check(conn, what, at)
		}
		conn := dial(t, s)
		for i := range len(all) {
			before := inbox(s)
			send(t, conn, all[i:i+1])
			if i < len(all)-1 {
				eventually(t, "a byte is taken", func() bool { return inbox(s) > before })
			}
		}
		check(conn, what, -1)
	}
}

// inbox returns how many bytes a server has read, by asking its loops.
func inbox(s *Server) int {
	sum := int(s.meter.bytesIn.Get())
	for _, l := range s.loops {
		answer := make(chan int, 1)
		s.Post(int(l.number), func(any) { answer <- l.counts.bytesIn }, nil)
		sum += <-answer
	}
	return sum
}

func TestWhatIsNoProxyHeaderEndsTheConnection(t *testing.T) {
	var logs safeBuffer
	s := behind(t, make(chan netip.AddrPort, 1), func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&logs, nil)) })
	bad := []string{goodRequest, "\x16\x03\x01\x02\x00\x01", "PROXY TCP4 1.2.3.4\r\n", proxyBinary[:12] + "\x11", "PROXY UNKNOWN " + strings.Repeat("x", 200)}
	for _, sent := range bad {
		conn := dial(t, s)
		send(t, conn, sent)
		if got, err := io.ReadAll(conn); len(got) > 0 {
			t.Errorf("%q: got %q, %v, want not a word", sent, got, err)
		}
	}
	failures := s.meter.set.Counter(`switchboard_gateway_handshake_failures_total{reason="proxy"}`)
	eventually(t, "all are counted", func() bool { return failures.Get() == uint64(len(bad)) })
	if got := logs.String(); strings.Count(got, "does not speak the PROXY protocol") != 1 || !strings.Contains(got, "balancer=127.0.0.1") || !strings.Contains(got, "no PROXY header") {
		t.Errorf("the log says %q, want one complaint of the balancer", got)
	}
}

func TestProxyHeaderThatDoesNotEnd(t *testing.T) {
	s := behind(t, make(chan netip.AddrPort, 1), func(c *Config) {
		c.HandshakeTimeout, c.VisitEvery = 30*time.Millisecond, 64*time.Millisecond
	})
	for _, sent := range []string{"", proxyLine[:20], proxyBinary[:20], proxyLine} {
		conn := dial(t, s)
		if sent != "" {
			send(t, conn, sent)
		}
		if got, err := io.ReadAll(conn); len(got) > 0 {
			t.Errorf("%q: got %q, %v, want not a word", sent, got, err)
		}
	}
}

// Whoever is not trusted is a client, whatever it says.
func TestProxyHeaderOfAStranger(t *testing.T) {
	peers := make(chan netip.AddrPort, 1)
	s := behind(t, peers, func(c *Config) { c.Proxies = proxyproto.Trusted{netip.MustParsePrefix("192.0.2.0/24")} })
	conn := dial(t, s)
	send(t, conn, goodRequest)
	expect(t, conn, goodResponse)
	if got, want := <-peers, netip.MustParseAddrPort(conn.LocalAddr().String()); got != want {
		t.Errorf("the client is %v, want %v", got, want)
	}
	liar := dial(t, s)
	send(t, liar, proxyLine+goodRequest)
	got, err := io.ReadAll(liar)
	if err != nil || !bytes.HasPrefix(got, []byte("HTTP/1.1 400 ")) || !bytes.HasSuffix(got, []byte("a PROXY header is not taken from this address\n")) {
		t.Errorf("a line: got %q, %v", got, err)
	}
	liar = dial(t, s)
	send(t, liar, proxyBinary+goodRequest)
	if got, _ := io.ReadAll(liar); len(got) > 0 {
		t.Errorf("a binary header: got %q, want not a word", got)
	}
}

func TestProxiedOverMaxConnectionsIs503(t *testing.T) {
	clients := make(chan netip.AddrPort, 1)
	s := behind(t, clients, func(c *Config) { c.MaxConnections = 1 })
	conn := dial(t, s)
	send(t, conn, proxyBinary+goodRequest)
	expect(t, conn, goodResponse)
	<-clients
	second := dial(t, s)
	send(t, second, proxyBinary+goodRequest)
	if got, err := io.ReadAll(second); err != nil || !bytes.HasPrefix(got, []byte("HTTP/1.1 503 ")) {
		t.Errorf("got %q, %v, want 503", got, err)
	}
}

// safeBuffer is a log that several loops write.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
