package contract

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"switchboard/dev/single"
)

// The table of what refuses an upgrade, in "The socket".

// upgrade is a request that is granted, line by line; more are fields of it.
func upgrade(more ...string) []string {
	return append([]string{
		"GET /api/v1/ws HTTP/1.1", "Host: chat.example.com", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
	}, more...)
}

// without leaves out the field of a name.
func without(name string, lines []string) (rest []string) {
	for _, line := range lines {
		if !strings.HasPrefix(line, name+":") {
			rest = append(rest, line)
		}
	}
	return rest
}

// plug connects to the gateway and says nothing.
func (s *site) plug(t *testing.T) net.Conn {
	t.Helper()
	at, err := url.Parse(s.WS[0])
	if err != nil {
		t.Fatal(err)
	}
	if at.Scheme != "ws" {
		t.Skip("what is refused before a WebSocket is tested without TLS")
	}
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", at.Host)
	if err == nil {
		t.Cleanup(func() { _ = conn.Close() }) // it may be closed already
		err = conn.SetDeadline(time.Now().Add(patience))
	}
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// write sends text as it is.
func write(t *testing.T, to net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(to, text); err != nil {
		t.Fatal(err)
	}
}

// answered reads the answer to a request, of which the head is enough, and compares
// it with the status that it must have.
func answered(t *testing.T, status int, in *bufio.Reader) http.Header {
	t.Helper()
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() // reads none of a socket that is open
	compare(t, "the status", response.StatusCode, status)
	return response.Header
}

// ask sends a request and returns what the answer says beside its status.
func (s *site) ask(t *testing.T, status int, lines []string) http.Header {
	t.Helper()
	conn := s.plug(t)
	write(t, conn, strings.Join(lines, "\r\n")+"\r\n\r\n")
	return answered(t, status, bufio.NewReader(conn))
}

// early opens a socket by a request with a token, with frames right behind it.
func (s *site) early(t *testing.T, token string, frames ...string) *socket {
	t.Helper()
	var all bytes.Buffer
	fmt.Fprintf(&all, "%s\r\n\r\n", strings.Join(upgrade("Authorization: Bearer "+token), "\r\n"))
	for _, text := range frames {
		if err := ws.WriteFrame(&all, ws.MaskFrame(ws.NewTextFrame([]byte(text)))); err != nil {
			t.Fatal(err)
		}
	}
	conn := s.plug(t)
	if _, err := conn.Write(all.Bytes()); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	answered(t, http.StatusSwitchingProtocols, in)
	return &socket{t: t, net: conn, in: in}
}

// dialSmall connects with a receive buffer as small as the kernel makes it.
func (s *site) dialSmall(t *testing.T, token string) *socket {
	t.Helper()
	small := s.early(t, token)
	if err := small.net.(*net.TCPConn).SetReadBuffer(1); err != nil {
		t.Fatal(err)
	}
	compare(t, "the first frame", small.next().Type, "connected")
	return small
}

func TestRefusal400(t *testing.T) {
	s := here(t)
	for _, lines := range [][]string{
		without("Host", upgrade()),
		without("Sec-WebSocket-Key", upgrade()),
		upgrade("Content-Length: 1"),
		upgrade("X-Device-Id: " + strings.Repeat("x", 65)),
		append([]string{"GET /api/v1/ws HTTP/1.0"}, upgrade()[1:]...),
		append([]string{"POST /api/v1/ws HTTP/1.1"}, upgrade()[1:]...),
	} {
		s.ask(t, 400, lines)
	}
}

func TestRefusal401(t *testing.T) {
	alice := newcomer(t)
	for _, value := range []string{"Bearer none", "Basic YWxpY2U6eA==", "Bearer " + alice.mint(-2*time.Minute)} {
		header := alice.site.ask(t, 401, upgrade("Authorization: "+value))
		compare(t, "WWW-Authenticate", header.Get("WWW-Authenticate"), "Bearer")
	}
}

func TestRefusal403(t *testing.T) {
	s := embedded(t)
	s.ask(t, 403, upgrade("Origin: https://evil.example.com"))
	s.ask(t, 403, upgrade("Origin: "+page+".evil.example.com"))
	s.ask(t, 101, upgrade("Origin: "+page))
}

func TestRefusal404(t *testing.T) {
	here(t).ask(t, 404, append([]string{"GET /ws HTTP/1.1"}, upgrade()[1:]...))
}

func TestRefusal408(t *testing.T) {
	t.Parallel() // It takes five seconds.
	conn := here(t).plug(t)
	write(t, conn, "GET /api/v1/ws HTTP/1.1\r\n")
	answered(t, 408, bufio.NewReader(conn))
}

func TestRefusal426(t *testing.T) {
	s := here(t)
	for _, lines := range [][]string{
		upgrade("Sec-WebSocket-Protocol: chat.v2.json, soap"),
		append(without("Sec-WebSocket-Version", upgrade()), "Sec-WebSocket-Version: 8"),
		without("Upgrade", upgrade()),
	} {
		compare(t, "Upgrade", s.ask(t, 426, lines).Get("Upgrade"), "websocket")
	}
}

// open asks for a socket in the name of p, and leaves at once.
func (p *person) open() (status int, header http.Header) {
	p.t.Helper()
	conn := p.site.plug(p.t)
	write(p.t, conn, strings.Join(upgrade("Authorization: Bearer "+p.token), "\r\n")+"\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err == nil {
		err = errors.Join(response.Body.Close(), conn.Close())
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return response.StatusCode, response.Header
}

func TestRefusal429(t *testing.T) {
	alice := newcomer(t)
	for range 1000 {
		if status, header := alice.open(); status == http.StatusTooManyRequests {
			compare(t, "Retry-After", header.Get("Retry-After"), match("seconds", `^[1-9][0-9]*$`))
			return
		}
	}
	t.Error("nobody minds")
}

func TestRefusal431(t *testing.T) {
	here(t).ask(t, 431, upgrade("Cookie: "+strings.Repeat("x", 8<<10)))
}

func TestRefusal503(t *testing.T) {
	system := alone(t, func(*single.Config) {})
	s := system.person(t).connect("")
	late := system.plug(t) // It knocked before the door was closed.
	ended := make(chan error, 1)
	go func() { ended <- system.stop() }()
	s.await("reconnect")
	write(t, late, strings.Join(upgrade(), "\r\n")+"\r\n\r\n")
	header := answered(t, 503, bufio.NewReader(late))
	compare(t, "Retry-After", header.Get("Retry-After"), match("seconds", `^[1-9][0-9]*$`))
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
