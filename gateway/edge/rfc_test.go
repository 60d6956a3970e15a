package edge

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"switchboard/internal/chat"
)

// frame builds a client's frame: first byte, then a masked payload.
func frame[T string | []byte](first byte, payload T) string {
	mask := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	p := []byte(payload)
	ws.Cipher(p, mask, 0)
	head := appendFrame(nil, 0, p)
	head = head[:len(head)-len(p)]
	head[0], head[1] = first, head[1]|maskBit
	return string(head) + string(mask[:]) + string(p)
}

// promise is a header with an explicit length field and no payload.
func promise(first byte, length string) string { return string([]byte{first}) + length + "mask" }

func closing2(code chat.CloseCode, reason string) string {
	return frame(0x88, string([]byte{byte(code >> 8), byte(code)})+reason)
}

// What the server says.
func text(p string) string                { return string(AppendText(nil, []byte(p))) }
func bin(p string) string                 { return string(AppendBinary(nil, []byte(p))) }
func pong(p string) string                { return string(appendFrame(nil, ws.OpPong, []byte(p))) }
func closes(code chat.CloseCode) string   { return string(appendClose(nil, code)) }
func echoes(code chat.CloseCode) string   { return string([]byte{0x88, 2, byte(code >> 8), byte(code)}) }
func bye() string                         { return closing2(1000, "") }
func repeated(p string, times int) string { return strings.Repeat(p, times) }

type rfcCase struct {
	name string
	send string
	want string // everything that the server says until it ends
}

// rfcCases are the law for MaxMessage 4096. A case that the server does not end
// ends with bye.
func rfcCases() []rfcCase { return append(writtenCases(), sweptCases()...) }

func writtenCases() []rfcCase {
	const kosme = "κόσμε"
	long := repeated("x", 126)
	return []rfcCase{
		{"empty text", frame(0x81, "") + bye(), text("") + echoes(1000)},
		{"text", frame(0x81, "hello") + bye(), text("hello") + echoes(1000)},
		{"binary", frame(0x82, "\x00\xff\xfe") + bye(), bin("\x00\xff\xfe") + echoes(1000)},
		{"125 bytes", frame(0x81, long[:125]) + bye(), text(long[:125]) + echoes(1000)},
		{"126 bytes", frame(0x81, long) + bye(), text(long) + echoes(1000)},
		{"largest", frame(0x82, repeated("y", 4096)) + bye(), bin(repeated("y", 4096)) + echoes(1000)},
		{"many in one", repeated(frame(0x81, "a")+frame(0x82, "b"), 30) + bye(), repeated(text("a")+bin("b"), 30) + echoes(1000)},

		{"ping", frame(0x89, "") + frame(0x89, "payload") + bye(), pong("") + pong("payload") + echoes(1000)},
		{"longest ping", frame(0x89, long[:125]) + bye(), pong(long[:125]) + echoes(1000)},
		{"ping of bytes", frame(0x89, "\x00\xff\xfe\xfd") + bye(), pong("\x00\xff\xfe\xfd") + echoes(1000)},
		{"ping too long", frame(0x89, long), closes(1002)},
		{"pong unasked", frame(0x8a, "") + frame(0x8a, "x") + bye(), echoes(1000)},
		{"pong too long", frame(0x8a, long), closes(1002)},
		{"ten pings", repeated(frame(0x89, "p"), 10) + bye(), repeated(pong("p"), 10) + echoes(1000)},

		{"fragments", frame(0x01, "one ") + frame(0x00, "two ") + frame(0x80, "three") + bye(), text("one two three") + echoes(1000)},
		{"empty fragments", frame(0x01, "") + frame(0x00, "") + frame(0x80, "") + bye(), text("") + echoes(1000)},
		{"empty ends", frame(0x02, "") + frame(0x00, "mid") + frame(0x80, "") + bye(), bin("mid") + echoes(1000)},
		{"ping between fragments", frame(0x01, "a") + frame(0x89, "!") + frame(0x00, "b") + frame(0x89, "?") + frame(0x80, "c") + bye(), pong("!") + pong("?") + text("abc") + echoes(1000)},
		{"close between fragments", frame(0x01, "a") + bye() + frame(0x80, "b"), echoes(1000)},
		{"fragmented then whole", frame(0x01, "a") + frame(0x80, "b") + frame(0x81, "c") + bye(), text("ab") + text("c") + echoes(1000)},
		{"continuation of nothing", frame(0x80, "x"), closes(1002)},
		{"unfinished continuation of nothing", frame(0x00, "x") + frame(0x80, "y"), closes(1002)},
		{"continuation after the end", frame(0x01, "a") + frame(0x80, "b") + frame(0x80, "c"), text("ab") + closes(1002)},
		{"text inside a message", frame(0x01, "a") + frame(0x81, "b"), closes(1002)},
		{"binary inside a message", frame(0x01, "a") + frame(0x02, "b"), closes(1002)},
		{"fragmented ping", frame(0x09, "a") + frame(0x80, "b"), closes(1002)},
		{"fragmented pong", frame(0x0a, ""), closes(1002)},
		{"fragmented close", frame(0x08, "\x03\xe8"), closes(1002)},

		{"unmasked text", "\x81\x01a", closes(1002)},
		{"unmasked ping", "\x89\x00", closes(1002)},
		{"unmasked close", "\x88\x00", closes(1002)},
		{"16 bits for 125", promise(0x82, "\xfe\x00\x7d"), closes(1002)},
		{"64 bits for 125", promise(0x82, "\xff\x00\x00\x00\x00\x00\x00\x00\x7d"), closes(1002)},
		{"64 bits for 65535", promise(0x82, "\xff\x00\x00\x00\x00\x00\x00\xff\xff"), closes(1002)},
		{"length of 64 bits", promise(0x82, "\xff\x80\x00\x00\x00\x00\x00\x00\x00"), closes(1002)},
		{"promise of 2^63-1", promise(0x82, "\xff\x7f\xff\xff\xff\xff\xff\xff\xff"), closes(1009)},
		{"promise of 65536", promise(0x81, "\xff\x00\x00\x00\x00\x00\x01\x00\x00"), closes(1009)},
		{"promise of 4097", promise(0x81, "\xfe\x10\x01"), closes(1009)},
		{"fragments of 4097", frame(0x01, repeated("a", 4000)) + frame(0x00, repeated("b", 96)) + frame(0x80, "c"), closes(1009)},
		{"fragments of 4096", frame(0x01, repeated("a", 4000)) + frame(0x80, repeated("b", 96)) + bye(), text(repeated("a", 4000)+repeated("b", 96)) + echoes(1000)},
		{"good, then bad", frame(0x81, "good") + frame(0x83, "bad") + frame(0x81, "late"), text("good") + closes(1002)},

		{"UTF-8", frame(0x81, kosme) + bye(), text(kosme) + echoes(1000)},
		{"UTF-8 across fragments", frame(0x01, kosme[:3]) + frame(0x00, kosme[3:4]) + frame(0x80, kosme[4:]) + bye(), text(kosme) + echoes(1000)},
		{"U+0000 and U+10FFFF", frame(0x81, "\x00\U0010ffff\uffff") + bye(), text("\x00\U0010ffff\uffff") + echoes(1000)},
		{"fail fast in the second fragment", frame(0x01, kosme) + frame(0x00, "\xf4\x90"), closes(1007)},
		{"fail fast inside a frame", frame(0x81, kosme+"\xed\xa0\x80edited")[:6+len(kosme)+2], closes(1007)},
		{"truncated at the end", frame(0x81, "\xce"), closes(1007)},
		{"truncated at the last fragment", frame(0x01, "\xce") + frame(0x80, ""), closes(1007)},
		{"binary is no text", frame(0x02, "\xff") + frame(0x80, "\xfe") + bye(), bin("\xff\xfe") + echoes(1000)},

		{"close without a code", frame(0x88, ""), "\x88\x00"},
		{"close of one byte", frame(0x88, "\x03"), closes(1002)},
		{"close with a reason", closing2(1000, "until then"), echoes(1000)},
		{"close with the longest reason", closing2(1000, long[:123]), echoes(1000)},
		{"close too long", frame(0x88, "\x03\xe8"+long[:124]), closes(1002)},
		{"close with a bad reason", closing2(1000, "\xce\xba\xed\xa0\x80"), closes(1007)},
		{"data after close", bye() + frame(0x81, "late") + frame(0x89, "late") + bye(), echoes(1000)},
		{"text then close", frame(0x81, "last words") + closing2(4321, ""), text("last words") + echoes(4321)},
	}
}

// sweptCases go through all first bytes, and through lists of bad texts and of
// close codes.
func sweptCases() (cases []rfcCase) {
	for _, bad := range []string{"\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xf8\x88\x80\x80\x80", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf4\x90\x80\x80", "\xfe", "\xff", "\x80", "\xbf", "\xc1\xbf", "a\xcf\xcfb"} {
		cases = append(cases, rfcCase{"invalid UTF-8", frame(0x81, bad), closes(1007)},
			rfcCase{"invalid UTF-8 in fragments", frame(0x01, "fine"+bad[:1]) + frame(0x80, bad[1:]+"-"), closes(1007)})
	}
	for first := range 0x100 {
		op := first & opBits
		if first&rsvBits != 0 && first&finBit != 0 && op <= 2 || op >= 3 && op <= 7 || op >= 0xb {
			cases = append(cases, rfcCase{"reserved", frame(byte(first), "x"), closes(1002)})
		}
	}
	for _, code := range []chat.CloseCode{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		cases = append(cases, rfcCase{"good code", closing2(code, "why"), echoes(code)})
	}
	for _, code := range []chat.CloseCode{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		cases = append(cases, rfcCase{"bad code", closing2(code, ""), closes(1002)})
	}
	return cases
}

// received returns how many bytes the only loop has read, asking on its thread.
func received(s *Server) int {
	answer := make(chan int, 1)
	s.Post(0, func(any) { answer <- s.loops[0].counts.bytesIn + int(s.meter.bytesIn.Get()) }, nil)
	return <-answer
}

// talk sends the parts, each after the server has read the one before, and
// returns all that the server says.
func talk(t *testing.T, s *Server, parts ...string) string {
	t.Helper()
	conn := dial(t, s)
	defer conn.Close()
	send(t, conn, goodRequest)
	expect(t, conn, goodResponse)
	before := received(s)
	for i, part := range parts {
		if _, err := conn.Write([]byte(part)); err != nil {
			break // the server has seen enough
		}
		before += len(part)
		if i < len(parts)-1 {
			eventually(t, "the server reads", func() bool { return received(s) >= before })
		}
	}
	got, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("got %q, then %v, want a clean end", got, err)
	}
	return string(got)
}

func TestRFC(t *testing.T) {
	s := start(t, &echo{}, func(c *Config) { c.Loops = 1 })
	for _, tt := range rfcCases() {
		t.Run(tt.name, func(t *testing.T) {
			check := func(how, got string) {
				t.Helper()
				if got != tt.want {
					t.Fatalf("%s: sent %.80q, got %.80q, want %.80q", how, tt.send, got, tt.want)
				}
			}
			check("in one", talk(t, s, tt.send))
			if len(tt.send) > 400 {
				return // cut by TestEveryCut
			}
			check("byte by byte", talk(t, s, strings.Split(tt.send, "")...))
			if testing.Short() {
				return
			}
			for cut := 1; cut < len(tt.send); cut++ {
				check("cut", talk(t, s, tt.send[:cut], tt.send[cut:]))
			}
		})
	}
}

func TestFramesBehindTheRequest(t *testing.T) {
	s := start(t, &echo{}, nil)
	for _, tt := range rfcCases() {
		conn := dial(t, s)
		send(t, conn, goodRequest+tt.send)
		got, err := io.ReadAll(conn)
		if string(got) != goodResponse+tt.want || err != nil {
			t.Errorf("%s: got %.200q, %v", tt.name, got, err)
		}
		conn.Close()
	}
}

// TestHalfClose: what was asked before the peer's FIN is answered.
func TestHalfClose(t *testing.T) {
	h := &echo{}
	s := start(t, h, nil)
	conn := upgrade(t, s)
	send(t, conn, frame(0x81, "one")+frame(0x81, "half")[:7])
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); string(got) != text("one") || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	eventually(t, "Closed", func() bool { return len(h.calls()) == 1 })
	if got, want := h.calls()[0], (closedCall{1006, false}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestReset(t *testing.T) {
	h := &echo{}
	s := start(t, h, nil)
	conn := upgrade(t, s)
	if err := errors.Join(conn.SetLinger(0), conn.Close()); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	eventually(t, "Closed", func() bool { return len(h.calls()) == 1 })
	if got, want := h.calls()[0], (closedCall{1006, false}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}
