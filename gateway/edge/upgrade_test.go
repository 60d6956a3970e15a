package edge

import (
	"bytes"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// edit replaces a part of the good request.
func edit(from, to string) string { return strings.Replace(goodRequest, from, to, 1) }

func TestRequestsThatAreRefused(t *testing.T) {
	s := start(t, &echo{}, func(c *Config) { c.Loops = 1 })
	for _, tt := range []struct {
		name   string
		send   string
		status string // "" = closed without a word
	}{
		{"HTTP/1.0", edit("HTTP/1.1", "HTTP/1.0"), "400"},
		{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400"},
		{"POST", edit("GET", "POST"), "400"},
		{"lower-case method", edit("GET", "get"), ""},
		{"no path", edit("/api/v1/ws?x=1", "*"), "400"},
		{"target without a scheme", edit("GET /", "GET ://chat.example/"), "400"},
		{"target with a bad scheme", edit("GET /", "GET 1s://chat.example/"), "400"},
		{"target without a path", edit("/api/v1/ws?x=1", "http://chat.example"), "400"},
		{"two spaces", edit("GET ", "GET  "), "400"},
		{"byte in the path", edit("x=1", "x=\x01"), "400"},
		{"no Host", edit("Host: chat.example\r\n", ""), "400"},
		{"empty Host", edit("chat.example", ""), "400"},
		{"two Hosts", edit("Host", "Host: a\r\nHost"), "400"},
		{"folded line", edit("Upgrade: web", "Upgrade:\r\n web"), "400"},
		{"space before the colon", edit("Host:", "Host :"), "400"},
		{"no colon", edit("Host: chat.example", "Host"), "400"},
		{"NUL in a value", edit("chat.example", "chat\x00"), "400"},
		{"bare LF", edit("Host: chat.example\r\n", "Host: chat.example\n"), "400"},
		{"bare CR", edit("Host: chat.example\r\n", "Host: chat\rexample\r\n"), "400"},
		{"LF only", strings.ReplaceAll(goodRequest, "\r\n", "\n"), "400"},
		{"no Upgrade", edit("Upgrade: websocket\r\n", ""), "426"},
		{"Upgrade to h2c", edit("websocket", "h2c"), "426"},
		{"no Connection", edit("Connection: keep-alive, Upgrade\r\n", ""), "426"},
		{"Connection: keep-alive", edit("keep-alive, Upgrade", "keep-alive"), "426"},
		{"plain GET", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "426"},
		{"version 8", edit("Version: 13", "Version: 8"), "426"},
		{"no version", edit("Sec-WebSocket-Version: 13\r\n", ""), "426"},
		{"two versions", edit("Sec-WebSocket-Version", "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version"), "400"},
		{"no key", edit("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""), "400"},
		{"short key", edit("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ=="), "400"},
		{"long key", edit("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZSEhIQ=="), "400"},
		{"key that is no base64", edit("dGhl", "d*hl"), "400"},
		{"two keys", edit("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key"), "400"},
		{"body", edit("Host", "Content-Length: 4\r\nHost") + "body", "400"},
		{"chunked body", edit("Host", "Transfer-Encoding: chunked\r\nHost"), "400"},
		{"bad subprotocol", edit("Host", "Sec-WebSocket-Protocol: a b\r\nHost"), "400"},
		{"too long", edit("Host", "X-Long: "+strings.Repeat("x", maxRequest)+"\r\nHost"), "431"},
		{"endless", "GET /" + strings.Repeat("x", maxRequest), "431"},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", ""},
		{"noise", "\x00\xff\x00\xff", ""},
		{"frames without a request", frame(0x81, "hello"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, size := range []int{len(tt.send), 1, 700} {
				if size == 1 && len(tt.send) > 1000 {
					continue
				}
				conn := dial(t, s)
				for piece := range slices.Chunk([]byte(tt.send), size) {
					if _, err := conn.Write(piece); err != nil {
						break // refused already
					}
				}
				got, err := io.ReadAll(conn)
				if err != nil && tt.status != "" {
					t.Fatal(err) // who is told nothing may be reset
				}
				checkRefusal(t, string(got), tt.status)
				conn.Close()
			}
		})
	}
}

func checkRefusal(t *testing.T, got, status string) {
	t.Helper()
	if status == "" {
		if got != "" {
			t.Errorf("got %q, want nothing", got)
		}
		return
	}
	head, body, _ := strings.Cut(got, "\r\n\r\n")
	if !strings.HasPrefix(head, "HTTP/1.1 "+status+" ") || !strings.Contains(head, "\r\nConnection: close") {
		t.Errorf("got %q, want %s", got, status)
	}
	if strings.Count(body, "\n") != 1 || !strings.HasSuffix(body, "\n") {
		t.Errorf("got body %q, want one line", body)
	}
	if status == "426" && !strings.Contains(head, "\r\nSec-WebSocket-Version: 13") {
		t.Errorf("got %q, want it to name version 13", head)
	}
}

func TestHandlerSeesTheRequest(t *testing.T) {
	requests := make(chan Request, 1)
	h := &echo{}
	h.handshake = func(c Conn, r *Request) {
		requests <- *r
		go h.server.Accept(c, "chat.v1.json") // from another goroutine
	}
	s := start(t, h, nil)
	conn := dial(t, s)
	send(t, conn, "GET http://chat.example/api/v1/ws?a=b&c HTTP/1.1\r\nhost: chat.example\r\nUPGRADE: foo, WebSocket\r\nConnection: upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nOrigin: https://chat.example\r\nAuthorization: Bearer t.o.k\r\n"+
		"X-Device-Id: phone\r\nSec-WebSocket-Protocol: chat.v2, chat.v1.json\r\nSec-WebSocket-Protocol: x\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n")
	expect(t, conn, strings.Replace(goodResponse, "\r\n\r\n", "\r\nSec-WebSocket-Protocol: chat.v1.json\r\n\r\n", 1))
	got := <-requests
	if got.Path != "/api/v1/ws" || got.Query != "a=b&c" || got.Host != "chat.example" || got.Origin != "https://chat.example" ||
		got.Authorization != "Bearer t.o.k" || got.DeviceID != "phone" || !slices.Equal(got.Protocols, []string{"chat.v2", "chat.v1.json", "x"}) {
		t.Errorf("got %+v", got)
	}
	if want := netip.MustParseAddrPort(conn.LocalAddr().String()); got.Peer != want {
		t.Errorf("peer: got %v, want %v", got.Peer, want)
	}
}

func TestReject(t *testing.T) {
	h := &echo{}
	h.handshake = func(c Conn, _ *Request) {
		h.server.Reject(c, http.StatusTooManyRequests, 1500*time.Millisecond, "later")
	}
	s := start(t, h, nil)
	conn := dial(t, s)
	send(t, conn, goodRequest+frame(0x81, "early"))
	got, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 429 Too Many Requests\r\n") || !strings.Contains(string(got), "\r\nRetry-After: 2\r\n") || !strings.HasSuffix(string(got), "\r\n\r\nlater\n") {
		t.Errorf("got %q, %v", got, err)
	}
	if calls := h.calls(); len(calls) != 1 || calls[0] != (closedCall{0, true}) {
		t.Errorf("got %v, want one Closed with code 0", calls)
	}
}

func TestUnauthorizedNamesTheScheme(t *testing.T) {
	if got := string(appendRefusal(nil, &refusal{401, "no"}, 0)); !strings.Contains(got, "\r\nWWW-Authenticate: Bearer\r\n") || strings.Contains(got, "Retry-After") {
		t.Errorf("got %q", got)
	}
}

func TestRequestTimeout(t *testing.T) {
	s := start(t, &echo{}, func(c *Config) { c.HandshakeTimeout = 30 * time.Millisecond; c.VisitEvery = 64 * time.Millisecond })
	silent, slow := dial(t, s), dial(t, s)
	send(t, slow, goodRequest[:20])
	if got, err := io.ReadAll(silent); len(got) != 0 || err != nil {
		t.Errorf("silent: got %q, %v", got, err)
	}
	if got, err := io.ReadAll(slow); !bytes.HasPrefix(got, []byte("HTTP/1.1 408 ")) || err != nil {
		t.Errorf("slow: got %q, %v", got, err)
	}
}

// FuzzRequest: the end of a request is found in the same place however the
// bytes are cut, and no request crashes the parser.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(goodRequest), uint16(7))
	f.Add([]byte("GET / HTTP/1.1\r\nA:b\nC:d\r\n\r\n"), uint16(1))
	f.Add([]byte("GET /"+strings.Repeat("x", maxRequest)), uint16(1000))
	f.Fuzz(func(t *testing.T, data []byte, step uint16) {
		end, no := requestEnd(data, 0)
		have := 0
		for have < len(data) {
			from := have
			have = min(have+int(step)%9000+1, len(data))
			cutEnd, cutNo := requestEnd(data[:have], from)
			if cutNo != nil || cutEnd != 0 {
				if cutEnd != end || cutNo != no {
					t.Fatalf("whole %d %v, cut %d %v", end, no, cutEnd, cutNo)
				}
				break
			}
		}
		if end > 0 {
			r, key, no := parseRequest(data[:end])
			if no == nil && (r.Host == "" || r.Path[0] != '/' || len(key) != 24) {
				t.Fatalf("accepted %q as %+v", data[:end], r)
			}
		}
	})
}
