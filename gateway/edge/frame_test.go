package edge

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"switchboard/internal/chat"
)

// parse feeds pieces to a parser and returns what came out, up to the first
// violation.
func parse(t testing.TB, pieces [][]byte) (got []string) {
	t.Helper()
	shared := &buffers{bound: 1 << 20}
	r := reader{buffers: shared, maxMessage: 1000}
	var in inbound
	defer func() {
		r.release(&in)
		if n := shared.lent.Load(); n != 0 {
			t.Errorf("%d bytes are still lent", n)
		}
	}()
	for _, piece := range pieces {
		for len(piece) > 0 {
			used, op, payload, code := r.next(&in, piece)
			piece = piece[used:]
			if code != 0 {
				return append(got, fmt.Sprint("violation ", code))
			}
			if op == 0 {
				if len(piece) > 0 {
					t.Fatalf("stopped %d bytes before the end", len(piece))
				}
				break
			}
			if op == ws.OpText && !utf8.Valid(payload) {
				t.Fatalf("invalid text %q handed on", payload)
			}
			if len(payload) > 1000 {
				t.Fatalf("%d bytes handed on", len(payload))
			}
			got = append(got, fmt.Sprintf("%d %q", op, payload))
			if op.IsData() {
				r.release(&in)
			}
		}
	}
	return got
}

// FuzzFrames: the same bytes mean the same however they are cut.
func FuzzFrames(f *testing.F) {
	for _, c := range rfcCases() {
		if len(c.send) < 2000 {
			f.Add([]byte(c.send), uint16(3))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, cuts uint16) {
		if len(data) == 0 {
			return
		}
		whole := parse(t, [][]byte{slices.Clone(data)})
		if single := parse(t, slices.Collect(slices.Chunk(slices.Clone(data), 1))); !slices.Equal(whole, single) {
			t.Fatalf("whole %q, byte by byte %q", whole, single)
		}
		size := int(cuts)%len(data) + 1
		if cut := parse(t, slices.Collect(slices.Chunk(slices.Clone(data), size))); !slices.Equal(whole, cut) {
			t.Fatalf("whole %q, by %d bytes %q", whole, size, cut)
		}
	})
}

// TestEveryCut cuts the long cases, too, at every octet.
func TestEveryCut(t *testing.T) {
	for _, c := range rfcCases() {
		want := parse(t, [][]byte{[]byte(c.send)})
		for cut := 1; cut < len(c.send); cut++ {
			if got := parse(t, [][]byte{[]byte(c.send[:cut]), []byte(c.send[cut:])}); !slices.Equal(got, want) {
				t.Fatalf("%s, cut at %d: got %.200q, want %.200q", c.name, cut, got, want)
			}
		}
	}
}

// TestUTF8PrefixFailsAtTheFirstHopelessByte compares with the slow definition:
// a prefix is hopeful if some continuation makes it valid.
func TestUTF8PrefixFailsAtTheFirstHopelessByte(t *testing.T) {
	endings := []string{"", "\x80", "\xbf", "\x80\x80", "\xbf\xbf", "\x90\x80", "\x80\x80\x80", "\x90\x80\x80", "\xbf\xbf\xbf", "\x8f\xbf\xbf", "\x9f\xbf", "\xa0\x80"}
	hopeful := func(p string) bool {
		return slices.ContainsFunc(endings, func(e string) bool { return utf8.ValidString(p + e) })
	}
	for a := range 0x100 {
		for b := range 0x100 {
			for _, p := range []string{string([]byte{byte(a)}), string([]byte{byte(a), byte(b)}), string([]byte{byte(a), byte(b), 0x80}), string([]byte{'x', byte(a), byte(b), 0xbf})} {
				n, ok := utf8Prefix([]byte(p))
				if want := hopeful(p); ok != want {
					t.Fatalf("%x: got %v, want %v", p, ok, want)
				}
				if ok && !utf8.ValidString(p[:n]) {
					t.Fatalf("%x: the first %d bytes are not whole runes", p, n)
				}
			}
		}
	}
}

func TestAppendFramesAreWhatGobwasReads(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 65535, 65536} {
		payload := strings.Repeat("z", size)
		for _, tt := range []struct {
			frame []byte
			op    ws.OpCode
		}{{AppendText(nil, []byte(payload)), ws.OpText}, {AppendBinary([]byte{}, []byte(payload)), ws.OpBinary}} {
			rest := strings.NewReader(string(tt.frame))
			got, err := ws.ReadHeader(rest)
			if err != nil || got.OpCode != tt.op || !got.Fin || got.Masked || got.Length != int64(size) || rest.Len() != size {
				t.Errorf("%v of %d bytes: got %+v, %v", tt.op, size, got, err)
			}
		}
	}
}

func TestBuffersAreBounded(t *testing.T) {
	p := &buffers{bound: 4096}
	buf, ok := p.extend(nil, make([]byte, 1000))
	if !ok || p.lent.Load() != 1024 {
		t.Fatalf("got %v, %d lent, want 1024", ok, p.lent.Load())
	}
	if _, ok = p.extend(buf, make([]byte, 4000)); ok || len(buf.b) != 1000 {
		t.Errorf("over the bound: got %v, %d bytes, want false and the 1000 from before", ok, len(buf.b))
	}
	p.put(buf)
	if got := p.lent.Load(); got != 0 {
		t.Errorf("%d bytes are still lent", got)
	}
}

func TestCloseFramesCarryTheWord(t *testing.T) {
	if got, want := string(appendClose(nil, chat.CloseDraining)), "\x88\x0a\x0f\xa1draining"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
