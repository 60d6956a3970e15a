package session

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/gateway/edge"
	"switchboard/internal/auth"
	"switchboard/internal/chat"
)

// A gateway that cannot serve a newcomer says so before the upgrade, with the time to
// come again; to one that is upgraded already, after its `connect`, with 4008. Who is
// connected is served on, and when the trouble is over so are newcomers.
func TestOverload(t *testing.T) {
	var gate chan struct{} // closed when tokens are verified again
	stuck := func(cfg *Config) {
		cfg.Verify = func(token string) (auth.Identity, error) {
			if token == "stuck" {
				<-gate
			}
			return verify(token)
		}
	}
	for name, test := range map[string]struct {
		begin, end func(w *world)
		reason     string
	}{
		"the directory takes nothing": {
			begin: func(w *world) {
				w.directory.do(func() { w.directory.away = true })
				w.open(0, edge.Request{Authorization: "Bearer carol"}) // Who finds out.
				time.Sleep(presencePatience + time.Second)
			},
			end: func(w *world) {
				w.directory.do(func() { w.directory.away = false })
				time.Sleep(2 * presenceLast)
			},
			reason: "presence_silent",
		},
		"the directory hangs": {
			begin: func(w *world) {
				w.directory.do(func() { w.directory.away, w.directory.hangs = true, 2*time.Second })
				w.open(0, edge.Request{Authorization: "Bearer carol"})
				time.Sleep(presencePatience + time.Second/10) // Not from the end of the first try on.
			},
			end: func(w *world) {
				w.directory.do(func() { w.directory.away = false })
				time.Sleep(2*time.Second + 2*presenceLast)
			},
			reason: "presence_silent",
		},
		"the log takes nothing": {
			begin:  func(w *world) { w.stall(true) },
			end:    func(w *world) { w.stall(false) },
			reason: "log_stalled",
		},
		"too many tokens wait": {
			begin: func(w *world) {
				gate = make(chan struct{})
				for w.keeper.verifier.add(job{conn: edge.Conn{Slot: 1 << 20}, token: "stuck"}) || !w.keeper.verifier.full() {
					synctest.Wait()
				}
			},
			end: func(*world) {
				close(gate)
				synctest.Wait()
			},
			reason: "verifier_full",
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 1, stuck, func(w *world) {
				here, early := w.connect(0, "alice", ""), w.open(0, edge.Request{})
				test.begin(w)
				w.turnsAway(early, test.reason)
				w.send(here, heartbeatFrame)
				w.want(here, "heartbeat_ack")
				test.end(w)
				w.connect(0, "bob", "")
			})
		})
	}
}

// turnsAway checks that newcomers are, and one who came early and says who it is.
func (w *world) turnsAway(early edge.Conn, reason string) {
	w.t.Helper()
	late := w.open(0, edge.Request{Authorization: "Bearer bob"})
	if e := w.seen(late); len(e) != 1 || e[0].Status != 503 || e[0].Retry < time.Second {
		w.t.Errorf("a newcomer saw %+v, want 503 and when to come again", e)
	}
	nameless := w.open(0, edge.Request{})
	if e := w.seen(nameless); len(e) != 1 || e[0].Status != 503 {
		w.t.Errorf("a newcomer without a token saw %+v, want 503", e)
	}
	w.send(early, `{"type":"connect","id":"c","data":{"token":"bob"}}`)
	e := w.want(early, "error unavailable", "overloaded")[0]
	if e.ID != "c" || e.Data["temporary"] != true || told(w.t, e) < time.Second {
		w.t.Errorf("the error is %+v", e)
	}
	if n := w.keeper.count.refused[reason].Get(); n != 3 {
		w.t.Errorf("%d were counted as %s, want 3", n, reason)
	}
}

func (w *world) stall(stalled bool) {
	w.uplink.mu.Lock()
	defer w.uplink.mu.Unlock()
	w.uplink.stalled = stalled
}

// What is wrong with a request is said first: waiting would not help.
func TestAWrongRequestIsNoOverload(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		w.stall(true)
		for status, r := range map[int]edge.Request{
			404: {Path: "/"},
			403: {Origin: "https://evil.example"},
			426: {Protocols: []string{"mqtt"}},
			400: {DeviceID: strings.Repeat("d", chat.DeviceIDBytes+1)},
			401: {Authorization: "Basic YTpi"},
		} {
			if e := w.seen(w.open(0, r)); len(e) != 1 || e[0].Status != status {
				t.Errorf("the client saw %+v, want %d", e, status)
			}
		}
	})
}
