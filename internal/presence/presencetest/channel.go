package presencetest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/presence"
)

// patience bounds every wait for something that must happen.
const patience = 20 * time.Second

// RunChannel runs the suite of a presence.Channel; open is called for each test.
// Servers are made unique, so a shared channel may be used again.
func RunChannel(t *testing.T, open func(t *testing.T) presence.Channel) {
	for name, run := range map[string]func(t *testing.T, c presence.Channel){
		"whoever listens hears in order":        heardInOrder,
		"each server hears its own":             heardApart,
		"two who listen hear both":              heardTwice,
		"nobody needs to listen":                heardByNobody,
		"who has ended listening hears no more": heardNoMore,
		"an ended context publishes nothing":    publishedInEnded,
		"it is known who listens":               whoListens,
	} {
		t.Run(name, func(t *testing.T) { run(t, open(t)) })
	}
}

func newServer() string { return "gw-" + chat.NewRequestID().String()[:13] }

// listener is someone who listens.
type listener struct {
	t      *testing.T
	heard  chan string
	cancel func()
	ended  chan error
}

// listen returns when c listens for the server.
func listen(t *testing.T, c presence.Channel, server string) *listener {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &listener{t: t, heard: make(chan string, 10_000), cancel: cancel, ended: make(chan error, 1)}
	listening := make(chan struct{}, 100)
	go func() {
		l.ended <- c.Listen(ctx, server, func() { listening <- struct{}{} }, func(payload []byte) { l.heard <- string(payload) })
	}()
	t.Cleanup(l.stop)
	select {
	case <-listening:
	case <-time.After(patience):
		t.Fatalf("nobody listens for %s", server)
	}
	return l
}

// stop ends listening; it may be called again.
func (l *listener) stop() {
	l.cancel()
	if err := <-l.ended; err != nil {
		l.t.Errorf("Listen ended with %v", err)
	}
	l.ended <- nil
}

func (l *listener) wants(want ...string) {
	l.t.Helper()
	for _, w := range want {
		select {
		case got := <-l.heard:
			if got != w {
				l.t.Fatalf("heard %q, want %q", got, w)
			}
		case <-time.After(patience):
			l.t.Fatalf("never heard %q", w)
		}
	}
}

func publish(t *testing.T, c presence.Channel, notes ...presence.Note) {
	t.Helper()
	if err := c.Publish(t.Context(), notes); err != nil {
		t.Fatalf("publish: %v", err)
	}
}

func note(server, text string) presence.Note {
	return presence.Note{Server: server, Payload: []byte(text)}
}

func heardInOrder(t *testing.T, c presence.Channel) {
	server := newServer()
	l := listen(t, c, server)
	var notes []presence.Note
	var want []string
	for i := range 1000 {
		text := fmt.Sprintf("\x00\xff %d", i)
		notes, want = append(notes, note(server, text)), append(want, text)
	}
	for some := range slices.Chunk(notes, 100) {
		publish(t, c, some...)
	}
	l.wants(want...)
}

func heardApart(t *testing.T, c presence.Channel) {
	one, other := newServer(), newServer()
	first, second := listen(t, c, one), listen(t, c, other)
	publish(t, c, note(one, "a"), note(other, "b"), note(one, "c"), note(other, "d"))
	first.wants("a", "c")
	second.wants("b", "d")
}

func heardTwice(t *testing.T, c presence.Channel) {
	server := newServer()
	first, second := listen(t, c, server), listen(t, c, server)
	publish(t, c, note(server, "a"))
	first.wants("a")
	second.wants("a")
}

func heardByNobody(t *testing.T, c presence.Channel) {
	server := newServer()
	publish(t, c, note(server, "a"))
	publish(t, c)
	l := listen(t, c, server)
	publish(t, c, note(server, "b")) // There is no memory of a.
	l.wants("b")
}

func heardNoMore(t *testing.T, c presence.Channel) {
	server := newServer()
	gone, stays := listen(t, c, server), listen(t, c, server)
	gone.stop()
	publish(t, c, note(server, "a"))
	stays.wants("a")
	if len(gone.heard) != 0 {
		t.Error("heard after the end")
	}
}

func publishedInEnded(t *testing.T, c presence.Channel) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Publish(ctx, []presence.Note{note(newServer(), "a")}); err == nil {
		t.Error("published in an ended context")
	}
}

func whoListens(t *testing.T, c presence.Channel) {
	here, twice, gone, never := newServer(), newServer(), newServer(), newServer()
	listen(t, c, here)
	listen(t, c, twice)
	listen(t, c, twice)
	listen(t, c, gone).stop()
	asked, want := []string{never, here, gone, twice, here}, []bool{false, true, false, true, true}
	deadline := time.Now().Add(patience) // A server may notice the end of a connection late.
	for {
		got, err := c.Listening(t.Context(), asked)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Equal(got, want) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %v, want %v", got, want)
		}
		time.Sleep(time.Millisecond)
	}
	if got, err := c.Listening(t.Context(), nil); err != nil || len(got) != 0 {
		t.Errorf("nobody was asked about: got %v, %v", got, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Listening(ended, asked); err == nil {
		t.Error("got an answer in an ended context")
	}
}
