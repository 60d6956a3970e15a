package soak

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// stream encodes frames as the two ends of a connection do.
func stream(t *testing.T, masked bool, list ...ws.Frame) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, f := range list {
		if masked {
			f = ws.MaskFrame(f)
		}
		if err := ws.WriteFrame(&b, f); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func TestFramesAreCutOutOfAnyStream(t *testing.T) {
	long, longer := strings.Repeat("x", 300), strings.Repeat("y", 70_000)
	list := []ws.Frame{
		ws.NewTextFrame([]byte("one")),
		ws.NewPingFrame([]byte("no message")),
		ws.NewTextFrame([]byte(long)),
		ws.NewFrame(ws.OpText, false, []byte("in ")),
		ws.NewPongFrame(nil),
		ws.NewFrame(ws.OpContinuation, true, []byte("parts")),
		ws.NewTextFrame([]byte(longer)),
		ws.NewTextFrame(nil),
	}
	want := []string{"one", long, "in parts", longer, ""}
	for _, masked := range []bool{false, true} {
		all := stream(t, masked, list...)
		for _, size := range []int{1, 2, 7, 1000, len(all)} {
			var f frames
			var got []string
			for piece := range slices.Chunk(all, size) {
				f.feed(piece, func(text []byte) { got = append(got, string(text)) })
			}
			if !slices.Equal(got, want) {
				t.Errorf("masked %t, pieces of %d: %d messages, want %d", masked, size, len(got), len(want))
			}
		}
	}
}
