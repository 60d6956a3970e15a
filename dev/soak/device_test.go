package soak

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"switchboard/dev/audit"
	"switchboard/internal/auth"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// watched is a device on a connection that is open.
func watched(t *testing.T) *device {
	t.Helper()
	site := &Site{REST: []string{"http://127.0.0.1:1"}, WS: []string{"ws://127.0.0.1:1"}, Keys: new(auth.Keys)}
	d := newDevice(site, chat.DemoUser("anna"), "phone")
	if n := d.open(); n != 1 {
		t.Fatalf("the first connection is number %d", n)
	}
	return d
}

func frame(kind, data string) wire.Envelope { return wire.Envelope{Type: kind, Data: []byte(data)} }

const somewhere = `"conversation_id":"39701582-1926-51b6-b08b-e53c2dcdadce"`

// What comes and goes on the wire is in the evidence, each in its place.
func TestDeviceNotesWhatIsSaidAndTold(t *testing.T) {
	d := watched(t)
	d.received(1, frame("connected", `{}`))
	d.received(1, frame("conversation_updated", `{`+somewhere+`,"change":"head","head_seq":7,"message":{`+somewhere+`,"seq":7,"content":"seven","type":"text"}}`))
	d.received(1, frame("conversation_updated", `{`+somewhere+`,"change":"head","head_seq":9}`))
	d.received(1, frame("new_message", `{`+somewhere+`,"seq":10,"content":"ten","type":"text"}`))
	d.received(1, frame("message_status", `{`+somewhere+`,"status":"read","seq":7}`))
	d.received(1, frame("typing", `{`+somewhere+`,"is_typing":true}`))
	d.received(1, frame("presence_update", `{"status":"online"}`))
	d.sent(frame("mark_read", `{`+somewhere+`,"seq":7}`))
	d.sent(frame("typing", `{`+somewhere+`,"is_typing":true}`))
	d.received(1, frame("error", `{"code":"not_member","message":"left"}`))
	e := d.evidence(nil)
	if len(e.Seen) != 2 || e.Seen[0].Way != audit.Carried || e.Seen[0].Message.Seq != 7 || e.Seen[1].Way != audit.Live {
		t.Errorf("saw %+v", e.Seen)
	}
	var heads, others int
	for _, h := range e.Hints {
		if h.Head != nil {
			heads++
		} else if h.Status != nil || h.Typing != nil || h.Presence != nil {
			others++
		}
	}
	if heads != 2 || others != 3 {
		t.Errorf("%d heads and %d other hints, want 2 and 3", heads, others)
	}
	if len(d.marks) != 1 || d.marks[0].Seq != 7 || d.marks[0].Status != chat.Read || len(d.words) != 1 || !d.words[0].IsTyping {
		t.Errorf("marked %+v, typed %+v", d.marks, d.words)
	}
	if _, broken := d.tally(); len(broken) != 0 {
		t.Errorf("broken: %v", broken)
	}
	if e.Last.Number != 1 || e.Last.Connected.IsZero() || e.Links[0].Connected.IsZero() {
		t.Errorf("the last connection is %+v, all are %+v", e.Last, e.Links)
	}
	d.closed(1)
	if e := d.evidence(nil); e.Last.Number != 0 || e.Links[0].Closed.IsZero() {
		t.Errorf("after its end the last connection is %+v, all are %+v", e.Last, e.Links)
	}
}

// A device marks what it has seen: a refusal for any other reason than having left
// is a fault of the system.
func TestRefusedMarkIsAFault(t *testing.T) {
	d := watched(t)
	d.received(1, frame("error", `{"code":"bad_request","message":"the mark is beyond the newest event"}`))
	if _, broken := d.tally(); len(broken) != 1 {
		t.Errorf("broken: %v", broken)
	}
}

func TestWhoIsAwayHasNoNetwork(t *testing.T) {
	d := watched(t)
	d.network.leave(true)
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://anywhere/", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer := func() error {
		response, err := d.network.RoundTrip(request)
		if err == nil {
			_ = response.Body.Close()
		}
		return err
	}
	if err := answer(); !errors.Is(err, errAway) {
		t.Errorf("away: %v", err)
	}
	d.network.leave(false)
	if err := answer(); err == nil || errors.Is(err, errAway) {
		t.Errorf("back, where nobody listens: %v", err)
	}
}

func TestAConnectionIsKeptUntilItIsClosed(t *testing.T) {
	at := func(second int) time.Time { return time.Unix(int64(second), 0) }
	d := &device{
		opened: []time.Time{at(10), at(30)},
		links:  []audit.Link{{Closed: at(20)}, {}},
	}
	for _, c := range []struct {
		from, to int
		want     bool
	}{
		{5, 15, false}, // It was not there yet.
		{11, 19, true},
		{11, 21, false},
		{25, 29, false},
		{15, 35, false}, // Not one and the same.
		{31, 99, true},
	} {
		if got := d.kept(at(c.from), at(c.to)); got != c.want {
			t.Errorf("kept from %d to %d: %v, want %v", c.from, c.to, got, c.want)
		}
	}
}
