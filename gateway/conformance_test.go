package main

import (
	"bufio"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"go.uber.org/goleak"
)

// TestConformanceEchoes starts the command as main would and talks to it.
func TestConformanceEchoes(t *testing.T) {
	defer goleak.VerifyNone(t)
	ctx, cancel := context.WithCancel(t.Context())
	out, stdout := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- runConformance(ctx, []string{"-listen", "127.0.0.1:0", "-log-level", "error"}, stdout)
		stdout.Close()
	}()
	lines := bufio.NewReader(out)
	url, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if ready, err := lines.ReadString('\n'); err != nil || ready != "ready\n" {
		t.Fatalf("got %q, %v, want ready", ready, err)
	}
	conn, _, err := websocket.Dial(ctx, strings.TrimSpace(url)+"any/path?and=query", nil) //nolint:bodyclose // the library has closed it
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(1 << 20)
	for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
		want := strings.Repeat("grüße ", 8000)
		if err := conn.Write(ctx, kind, []byte(want)); err != nil {
			t.Fatal(err)
		}
		gotKind, got, err := conn.Read(ctx)
		if err != nil || gotKind != kind || string(got) != want {
			t.Errorf("got %v of %d bytes, %v, want %v of %d", gotKind, len(got), err, kind, len(want))
		}
	}
	if err := conn.Write(ctx, websocket.MessageBinary, make([]byte, 64<<10+1)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.Read(ctx); websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
		t.Errorf("over -max-message: got %v, want 1009", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("ended with %v, want nil", err)
	}
}

func TestConformanceFlags(t *testing.T) {
	for _, args := range [][]string{{"-max-message", "0"}, {"-max-message", "33554433"}, {"-nope"}, {"-listen", "nowhere:99999"}} {
		if err := runConformance(t.Context(), args, io.Discard); err == nil {
			t.Errorf("%q: got no error", args)
		}
	}
}
