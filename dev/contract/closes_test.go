package contract

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"switchboard/dev/single"
)

// The tables "Close codes".

func TestClose4001Draining(t *testing.T) {
	system := alone(t, func(*single.Config) {})
	s := system.person(t).connect("")
	ended := make(chan error, 1)
	go func() { ended <- system.stop() }()
	s.closes(4001, "draining")
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestClose4004HeartbeatTimeout(t *testing.T) {
	alice := alone(t, func(cfg *single.Config) { cfg.Heartbeat = time.Second }).person(t)
	compare(t, "heartbeat_ms", alice.connect("").connected["heartbeat_ms"], 1000)
	s := alice.connect("")
	s.deaf = true
	s.closes(4004, "heartbeat_timeout")
}

func TestClose4005RateLimited(t *testing.T) {
	s := newcomer(t).connect("")
	nowhere := fresh()
	go func() { // Until it is closed: the answers are read meanwhile.
		for {
			f := ws.NewTextFrame(fmt.Appendf(nil, `{"type":"mark_read","data":{"conversation_id":%q,"seq":1}}`, nowhere))
			if ws.WriteFrame(s.net, ws.MaskFrame(f)) != nil {
				return
			}
		}
	}()
	s.closes(4005, "rate_limited")
}

func TestClose4006TokenExpired(t *testing.T) {
	alice := newcomer(t)
	s := alice.connectBy(alice.mint(2*time.Second), "")
	s.await("token_expiring")
	s.closes(4006, "token_expired")
}

func TestClose4008Overloaded(t *testing.T) {
	alice := newcomer(t)
	s := alice.site.early(t, alice.token, slices.Repeat([]string{`{"type":"heartbeat"}`}, 17)...)
	s.closes(4008, "overloaded")
}

func TestClose4009AuthTimeout(t *testing.T) {
	t.Parallel() // It takes ten seconds.
	s := here(t).dial(t, nil)
	s.closes(4009, "auth_timeout")
}

func TestClose4500BadFrame(t *testing.T) {
	s := newcomer(t).connect("")
	s.put(ws.NewBinaryFrame([]byte(`{"type":"heartbeat"}`)))
	s.closes(4500, "bad_frame")
}

func TestClose4501AuthFailed(t *testing.T) {
	alice := newcomer(t)
	s := alice.site.dial(t, nil)
	s.write("heartbeat", "c1", nil) // It is no connect.
	s.next().is("error", "c1", problem("unauthorized"))
	s.closes(4501, "auth_failed")
}

func TestClose4504SessionReplaced(t *testing.T) {
	alice := newcomer(t)
	first := alice.connect("phone")
	second := alice.connect("phone")
	first.closes(4504, "session_replaced")
	second.alive()
}

func TestClose4509TooManyErrors(t *testing.T) {
	s := newcomer(t).connect("")
	for range 9 {
		s.send("no JSON")
	}
	s.alive() // Nine in a row are forgiven.
	for range 10 {
		s.send("no JSON")
	}
	s.closes(4509, "too_many_errors")
}

func TestClose1002ProtocolError(t *testing.T) {
	s := newcomer(t).connect("")
	f := ws.NewTextFrame([]byte(`{"type":"heartbeat"}`))
	f.Header.Rsv = ws.Rsv(true, false, false) // As if compression had been agreed upon.
	s.put(f)
	s.closes(1002, "protocol_error")
}

func TestClose1007InvalidUTF8(t *testing.T) {
	s := newcomer(t).connect("")
	s.send("{\"type\":\"\xff\"}")
	s.closes(1007, "invalid_utf8")
}

func TestClose1009TooBig(t *testing.T) {
	s := newcomer(t).connect("")
	s.send(`{"type":"heartbeat"` + strings.Repeat(" ", 16<<10) + "}")
	s.closes(1009, "too_big")
}
