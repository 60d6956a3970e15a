package edge

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/coder/websocket"
)

// TestIndependentClient talks with a client that somebody else wrote.
func TestIndependentClient(t *testing.T) {
	s := start(t, &echo{}, func(c *Config) { c.MaxMessage = 1 << 20; c.OutboundBytes = 3 << 20 })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	conn, _, err := websocket.Dial(ctx, fmt.Sprintf("ws://%s/anything", s.Addr()), nil) //nolint:bodyclose // the library has closed it
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(1 << 21)
	for _, size := range []int{0, 1, 125, 126, 127, 4096, 65535, 65536, 70000, 1 << 20} {
		want := make([]byte, size)
		for i := range want {
			want[i] = byte('a' + rand.IntN(26))
		}
		for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
			if err := conn.Write(ctx, kind, want); err != nil {
				t.Fatal(err)
			}
			gotKind, got, err := conn.Read(ctx)
			if err != nil || gotKind != kind || !bytes.Equal(got, want) {
				t.Fatalf("%v of %d bytes: got %v of %d bytes, %v", kind, size, gotKind, len(got), err)
			}
		}
	}
	conn.CloseRead(ctx)
	if err := conn.Ping(ctx); err != nil {
		t.Error(err)
	}
	if err := conn.Close(websocket.StatusNormalClosure, "bye"); err != nil {
		t.Error(err)
	}
}
