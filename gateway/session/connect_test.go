package session

import (
	"strings"
	"testing"
	"time"

	"switchboard/gateway/edge"
	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/presence"
)

func TestUpgradeIsRefused(t *testing.T) {
	const bearer = "Bearer alice"
	for name, test := range map[string]struct {
		request edge.Request
		status  int
	}{
		"at another path":           {edge.Request{Path: "/", Authorization: bearer}, 404},
		"from a foreign page":       {edge.Request{Origin: "https://evil.example", Authorization: bearer}, 403},
		"from a page almost listed": {edge.Request{Origin: "https://chat.example:443", Authorization: bearer}, 403},
		"for unknown protocols":     {edge.Request{Protocols: []string{"chat.v1.bin", "mqtt"}}, 426},
		"with another scheme":       {edge.Request{Authorization: "Basic YTpi"}, 401},
		"with a bad token":          {edge.Request{Authorization: "Bearer bad"}, 401},
		"with an expired token":     {edge.Request{Authorization: "Bearer expired"}, 401},
		"with a long device id":     {edge.Request{Authorization: bearer, DeviceID: strings.Repeat("d", 65)}, 400},
		"with a device id in bytes": {edge.Request{Authorization: bearer, DeviceID: "\xff"}, 400},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 1, nil, func(w *world) {
				c := w.open(0, test.request)
				events := w.seen(c)
				if len(events) != 1 || events[0].Status != test.status {
					t.Errorf("the client saw %v, want status %d", events, test.status)
				}
				if n := w.keeper.Sessions(); n != 0 {
					t.Errorf("%d sessions are left", n)
				}
			})
		})
	}
}

func TestUpgradeIsAccepted(t *testing.T) {
	for name, test := range map[string]struct {
		request  edge.Request
		protocol string
	}{
		"with nothing asked for":       {edge.Request{Authorization: "Bearer alice"}, ""},
		"with our protocol":            {edge.Request{Authorization: "Bearer alice", Protocols: []string{"x", "chat.v1.json"}}, "chat.v1.json"},
		"from a listed page":           {edge.Request{Authorization: "Bearer alice", Origin: "https://chat.example"}, ""},
		"with the scheme in lowercase": {edge.Request{Authorization: "bearer alice"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 1, nil, func(w *world) {
				c := w.open(0, test.request)
				w.want(c, "connected")
				if got := w.socket(c).protocol; got != test.protocol {
					t.Errorf("protocol = %q, want %q", got, test.protocol)
				}
			})
		})
	}
}

func TestConnectedTellsWhoAndWhat(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		c := w.open(0, edge.Request{})
		w.send(c, `{"type":"connect","id":"c1","data":{"token":"alice","device_id":"phone"}}`)
		e := w.want(c, "connected")[0]
		if e.ID != "c1" || e.Data["user_id"] != alice.String() || e.Data["device_id"] != "phone" || e.Data["server"] != "gw-1" {
			t.Errorf("connected = %+v", e)
		}
		if id := e.Data["session_id"]; id != sessionText(7, numberOf(c)) {
			t.Errorf("session_id = %v", id)
		}
		other := w.open(0, edge.Request{Authorization: "Bearer bob"})
		device, _ := w.want(other, "connected")[0].Data["device_id"].(string)
		if _, err := chat.ParseRequestID(device); err != nil {
			t.Errorf("the device that the server named is %q, want a UUID", device)
		}
	})
}

func TestDeviceIDsComeBackAsTheyCame(t *testing.T) {
	for _, device := range []string{
		"p", strings.Repeat("s", 16), strings.Repeat("l", 17), strings.Repeat("l", 64),
		"0198c0de-1234-7abc-8def-0123456789ab", "0198C0DE-1234-7ABC-8DEF-0123456789AB",
	} {
		inWorld(t, 1, nil, func(w *world) {
			c := w.open(0, edge.Request{Authorization: "Bearer alice", DeviceID: device})
			if got := w.want(c, "connected")[0].Data["device_id"]; got != device {
				t.Errorf("device_id = %q, want %q", got, device)
			}
		})
	}
}

func TestFirstFrameMustBeConnect(t *testing.T) {
	for name, test := range map[string]struct{ frame, id, want string }{
		"a message":      {`{"type":"send_message","id":"m","data":{"conversation_id":"0198c0de-1234-7abc-8def-0123456789ab","content":"x","type":"text"}}`, "m", "error unauthorized"},
		"a heartbeat":    {`{"type":"heartbeat","id":"h"}`, "h", "error unauthorized"},
		"no JSON":        {`hello`, "", "error unauthorized"},
		"unknown":        {`{"type":"hello","id":"u"}`, "u", "error unauthorized"},
		"bad token":      {`{"type":"connect","id":"c","data":{"token":"bad"}}`, "c", "error unauthorized"},
		"expired token":  {`{"type":"connect","id":"c","data":{"token":"expired"}}`, "c", "error token_expired"},
		"no token":       {`{"type":"connect","id":"c"}`, "c", "error bad_request"},
		"long device id": {`{"type":"connect","id":"c","data":{"token":"alice","device_id":"` + strings.Repeat("d", 65) + `"}}`, "c", "error bad_request"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 1, nil, func(w *world) {
				c := w.open(0, edge.Request{})
				w.send(c, test.frame)
				if e := w.want(c, test.want, "auth_failed")[0]; e.ID != test.id {
					t.Errorf("the error answers %q, want %q", e.ID, test.id)
				}
				if w.uplink.count() != 0 {
					t.Error("something reached the log")
				}
			})
		})
	}
}

func TestSilentNewcomerIsClosed(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		c := w.open(0, edge.Request{})
		w.want(c)
		time.Sleep(chat.AuthTimeout - time.Second)
		w.visit(c, 0)
		w.want(c)
		time.Sleep(time.Second)
		w.visit(c, 0)
		w.want(c, "auth_timeout")
	})
}

// A fake that said `connected` before the acknowledgement is what this catches.
func TestConnectedComesAfterTheRegistrationIsAcknowledged(t *testing.T) {
	inWorld(t, 2, nil, func(w *world) {
		w.directory.do(func() { w.directory.away = true })
		header := w.open(0, edge.Request{Authorization: "Bearer alice"})
		frame := w.open(1, edge.Request{})
		w.send(frame, `{"type":"connect","id":"c1","data":{"token":"bob"}}`)
		for range 20 {
			time.Sleep(time.Second)
			w.want(header)
			w.want(frame)
		}
		w.directory.do(func() {
			w.directory.away = false
			// The two may be registered by one write or by two.
			w.directory.applied = func(changes []presence.Change) {
				for _, change := range changes {
					c := map[chat.UserID]edge.Conn{alice: header, bob: frame}[change.User]
					if n := len(w.socket(c).events); n != 0 {
						t.Errorf("the client saw %d frames before the directory answered", n)
					}
				}
			}
		})
		time.Sleep(presenceLast)
		w.want(header, "connected")
		if e := w.want(frame, "connected")[0]; e.ID != "c1" {
			t.Errorf("connected answers %q, want c1", e.ID)
		}
		if n := w.directory.size(); n != 2 {
			t.Errorf("the directory has %d entries, want 2", n)
		}
	})
}

// The router has found the registration and its push is faster than the
// acknowledgement. The push is dropped and `connected` comes first: the event
// was stored before, so the sync that follows `connected` has it.
func TestPushThatOvertakesTheAcknowledgement(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		var c edge.Conn
		w.directory.applied = func([]presence.Change) {
			w.push(alice, `{"type":"new_message","data":{"seq":1}}`)
		}
		c = w.open(0, edge.Request{Authorization: "Bearer alice"})
		w.want(c, "connected")
		w.push(alice, `{"type":"new_message","data":{"seq":2}}`)
		if e := w.want(c, "new_message")[0]; e.Data["seq"] != 2.0 {
			t.Errorf("seq = %v, want 2", e.Data["seq"])
		}
		if n := w.keeper.count.skipped["not_connected"].Get(); n != 1 {
			t.Errorf("%d pushes were skipped, want 1", n)
		}
	})
}

func TestFramesBeforeConnectedAreWorkedOnAfterwards(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		c := w.open(0, edge.Request{})
		w.directory.do(func() { w.directory.away = true })
		w.send(c, `{"type":"connect","data":{"token":"alice"}}`)
		w.send(c, `{"type":"heartbeat","id":"h1"}`)
		w.send(c, sendFrame("m1"))
		w.want(c)
		if w.uplink.count() != 0 {
			t.Error("a message reached the log before the session was connected")
		}
		w.directory.do(func() { w.directory.away = false })
		time.Sleep(presenceLast)
		w.want(c, "connected", "heartbeat_ack")
		if w.uplink.count() != 1 {
			t.Error("the message was lost")
		}
	})
}

func TestTooMuchBeforeConnected(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		w.directory.do(func() { w.directory.away = true })
		c := w.open(0, edge.Request{Authorization: "Bearer alice"})
		for range earlyFrames {
			w.send(c, `{"type":"heartbeat"}`)
		}
		w.want(c)
		w.send(c, `{"type":"heartbeat"}`)
		w.want(c, "overloaded")
	})
}

func TestVerifierIsFull(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		frame := w.open(0, edge.Request{})
		w.stopRun() // Nobody takes jobs any more.
		for range verifyQueue {
			w.keeper.verifier.jobs <- new(verdict)
		}
		header := w.open(0, edge.Request{Authorization: "Bearer alice"})
		if e := w.seen(header); len(e) != 1 || e[0].Status != 503 {
			t.Errorf("the client saw %v, want 503", e)
		}
		w.send(frame, `{"type":"connect","data":{"token":"alice"}}`)
		w.want(frame, "error unavailable", "overloaded")
	})
}

func TestTooManyWaitForTheDirectory(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		w.directory.do(func() { w.directory.away = true })
		before := w.open(0, edge.Request{})
		w.want(before)
		for i := range registerQueue {
			w.keeper.registrar.add(change{kind: register, conn: edge.Conn{Slot: uint32(i + 100)}})
		}
		w.send(before, `{"type":"connect","data":{"token":"alice"}}`)
		w.want(before, "error unavailable", "overloaded")
		after := w.open(0, edge.Request{Authorization: "Bearer alice"})
		if e := w.seen(after); len(e) != 1 || e[0].Status != 503 {
			t.Errorf("the client saw %v, want 503", e)
		}
		w.directory.do(func() { w.directory.away = false })
		time.Sleep(time.Minute)
		w.connect(0, "alice", "")
	})
}

func TestWhoLeavesIsTakenOffTheDirectory(t *testing.T) {
	inWorld(t, 2, nil, func(w *world) {
		a, b := w.connect(0, "alice", ""), w.connect(1, "bob", "")
		w.leave(a)
		w.want(a)
		if n := w.directory.size(); n != 1 {
			t.Errorf("the directory has %d entries, want bob's", n)
		}
		// Who leaves while the directory is away is taken off afterwards, and
		// somebody who came and left meanwhile leaves nothing behind.
		w.directory.do(func() { w.directory.away = true })
		c := w.open(0, edge.Request{Authorization: "Bearer alice"})
		w.want(c)
		w.leave(c)
		w.leave(b)
		w.want(b)
		w.directory.do(func() { w.directory.away = false })
		w.stopRun() // The end writes what is left.
		if n := w.directory.size(); n != 0 {
			t.Errorf("the directory has %d entries, want none", n)
		}
		if n := w.keeper.Sessions(); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
	})
}

// push delivers one durable frame to a user.
func (w *world) push(u chat.UserID, payload string) { w.pushAs(bus.Durable, u, payload) }

func (w *world) pushAs(class bus.Class, u chat.UserID, payload string) {
	b := NewBatch(func(*Batch) {})
	b.Push(class, []byte(payload), []chat.UserID{u}, 0)
	w.keeper.Deliver(b)
}

func sendFrame(id string) string {
	return `{"type":"send_message","id":"` + id + `","data":{"conversation_id":"0198c0de-1234-7abc-8def-0123456789ab",` +
		`"client_message_id":"0198c0de-1234-7abc-8def-0123456789ac","content":"hello","type":"text"}}`
}
