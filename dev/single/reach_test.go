package single

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"switchboard/internal/chat"
)

// get asks a system as a client does that knows it by a host and a port.
func get(t *testing.T, s *System, host, path, token string) (header http.Header, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URLs().REST+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = net.JoinHostPort(host, port(s.public.Addr()))
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.Header, string(text)
}

// upgrade opens a socket from a page and returns the status of the answer.
func upgrade(t *testing.T, s *System, origin, token string) int {
	t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", near(s.sockets.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "GET /api/v1/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Device-Id: d\r\nOrigin: %s\r\nAuthorization: Bearer %s\r\n\r\n", origin, token)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	return answer.StatusCode
}

// Whoever listens on all addresses is known by more than one, and [::] is none.
func TestPageWorksByEachAddressOfTheMachine(t *testing.T) {
	s := start(t, func(c *Config) { c.Listen, c.GatewayListen = "0.0.0.0:0", "0.0.0.0:0" })
	token, err := s.keys.Mint(chat.DemoUser("alice"), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"localhost", "127.0.0.1", "box.example"} {
		sockets := "ws://" + host + ":" + port(s.sockets.Addr())
		header, _ := get(t, s, host, "/", token)
		if got := header.Get("Content-Security-Policy"); !strings.Contains(got, "connect-src 'self' "+sockets+";") {
			t.Errorf("by %s: the page may connect as %q says, want %s", host, got, sockets)
		}
		_, body := get(t, s, host, "/api/v1/gateway", token)
		var info struct{ URL string }
		if err := json.Unmarshal([]byte(body), &info); err != nil || info.URL != sockets+"/api/v1/ws" {
			t.Errorf("by %s: the gateway is at %q, want %s", host, body, sockets)
		}
		if _, welcome := get(t, s, host, "/dev", token); !strings.Contains(welcome, sockets+"/api/v1/ws") {
			t.Errorf("by %s: /dev does not say %s", host, sockets)
		}
	}
	at := ":" + port(s.public.Addr())
	for origin, want := range map[string]int{
		"http://localhost" + at: 101, "http://127.0.0.1" + at: 101, "http://127.0.0.1": 403, "http://elsewhere.example" + at: 403,
	} {
		if got := upgrade(t, s, origin, token); got != want {
			t.Errorf("a page of %s: got %d, want %d", origin, got, want)
		}
	}
	for _, url := range []string{s.URLs().REST, s.URLs().WebSocket} {
		if !strings.Contains(url, "//127.0.0.1:") {
			t.Errorf("it says that it is at %s", url)
		}
	}
	if got := s.Warning(); got != "" {
		t.Errorf("it warns of %q", got)
	}
}

func TestHalfOpenListenersAreWarnedOf(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.Listen = "0.0.0.0:0"
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := s.Warning(); !strings.Contains(got, "-gateway-listen") || !strings.Contains(got, s.sockets.Addr().String()) {
		t.Errorf("got the warning %q", got)
	}
}

func TestNoHostWritesThePolicy(t *testing.T) {
	for host, want := range map[string]string{
		"box:8080": "box", "[::1]:8080": "::1", "10.0.0.7": "10.0.0.7", "x;script-src:8080": "127.0.0.1", "": "127.0.0.1", "a b": "127.0.0.1", "*:80": "127.0.0.1",
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = host
		if got := askedHost(r); got != want {
			t.Errorf("%q: got %q, want %q", host, got, want)
		}
	}
}
