package contract

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// The table of limits in "The socket": what is just within each is taken, what is
// just beyond it is refused as the table says.

func TestLimitFrameFromAClient(t *testing.T) {
	s := newcomer(t).connect("")
	padded := func(size int) string {
		const begin, end = `{"type":"heartbeat","id":"c1"`, "}"
		return begin + strings.Repeat(" ", size-len(begin)-len(end)) + end
	}
	s.send(padded(16384))
	s.next().is("heartbeat_ack", "c1", shape{"time": recent})
	s.send(padded(16385))
	s.closes(1009, "too_big")
}

func TestLimitContent(t *testing.T) {
	alice := newcomer(t)
	group := alice.group("Friday")
	s := alice.connect("")
	for _, whole := range []string{strings.Repeat("x", 8192), strings.Repeat("ü", 4096), strings.Repeat(`"`, 4000) + strings.Repeat("x", 4192)} {
		s.say(group, whole)
		s.write("send_message", "c1", message(group, whole+"x"))
		compare(t, "one byte more", s.reply("c1").Data["code"], "too_large")
	}
}

func TestLimitMediaURL(t *testing.T) {
	alice := newcomer(t)
	group := alice.group("Friday")
	s := alice.connect("")
	for size, why := range map[int]string{2048: "was not issued to you", 2049: "has too many bytes"} {
		picture := message(group, "a picture")
		picture["type"], picture["media_url"] = "image", "https://"+strings.Repeat("x", size-8)
		s.write("send_message", "c1", picture)
		s.reply("c1").is("error", "c1", problem("bad_request").with(shape{
			"client_message_id": picture["client_message_id"], "message": match(why, why),
		}))
	}
}

func TestLimitDeviceID(t *testing.T) {
	alice := newcomer(t)
	for _, whole := range []string{strings.Repeat("x", 64), strings.Repeat("ü", 32)} {
		compare(t, "device_id", alice.connect(whole).connected["device_id"], whole)
		alice.site.ask(t, 400, upgrade("X-Device-Id: "+whole+"x"))
		s := alice.site.dial(t, nil)
		s.write("connect", "c1", object{"token": alice.token, "device_id": whole + "x"})
		s.next().is("error", "c1", problem("bad_request"))
		s.closes(4501, "auth_failed")
	}
}

func TestLimitIDOfAFrame(t *testing.T) {
	s := newcomer(t).connect("")
	for _, whole := range []string{strings.Repeat("x", 36), strings.Repeat("ü", 36)} {
		s.write("heartbeat", whole, nil)
		s.next().is("heartbeat_ack", whole, shape{"time": recent})
		s.write("heartbeat", whole+"x", nil)
		s.next().is("error", "", shape{"code": "bad_request", "message": text, "temporary": false})
	}
}

func TestLimitNameOfAConversation(t *testing.T) {
	alice := newcomer(t)
	for _, whole := range []string{strings.Repeat("x", 255), strings.Repeat("ü", 255)} {
		group := alice.group(whole)
		alice.call("PATCH", conversations+"/"+group, object{"name": whole + "x"}).refused("bad_request")
		alice.call("POST", conversations, object{"type": "group", "name": whole + "x"}).refused("bad_request")
	}
}

func TestLimitFrameFromTheServer(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	pair := alice.direct(bob)
	s := bob.connect("")
	content := strings.Repeat("\x01", 8192) // What takes most room in JSON: six bytes each.
	alice.post(pair, content)
	for {
		f := s.read()
		if len(f.Payload) > 65536 {
			t.Errorf("got a frame of %d bytes", len(f.Payload))
		}
		if e := s.decode(f.Payload); e.Type == "new_message" {
			compare(t, "content", e.Data["content"], content)
			return
		}
	}
}

func TestLimitConnectionsOfOneUser(t *testing.T) {
	alice := newcomer(t)
	var all []*socket
	for i := range 10 {
		all = append(all, alice.connect(fmt.Sprint("device ", i)))
	}
	for _, s := range all {
		s.alive()
	}
	eleventh := alice.connect("device 10")
	all[0].closes(4504, "session_replaced")
	for _, s := range append(all[1:], eleventh) {
		s.alive()
	}
}

func TestLimitMembersOfAGroup(t *testing.T) {
	alice := embedded(t).person(t)
	compare(t, "what connected says", alice.connect("").connected["limits"].(object)["members"], 500)
	group := alice.group("crowd", strangers(498)...) // And alice.
	at := conversations + "/" + group + "/members/"
	compare(t, "the last place", alice.call("PUT", at+fresh(), nil).status, http.StatusCreated)
	alice.call("PUT", at+fresh(), nil).refused("conversation_full")
	alice.call("PUT", at+alice.id, nil).good() // Who is in already needs none.
}

func TestLimitNewConnectionsOfOneUserToOneServer(t *testing.T) {
	alice := newcomer(t)
	const atOnce, more, aSecond = 200, 30, 5
	began, refused := time.Now(), 0
	for range atOnce + more {
		if status, _ := alice.open(); status == http.StatusTooManyRequests {
			refused++
		}
	}
	rightly(t, refused, more, aSecond, time.Since(began))
	until(t, func() bool { // One that says who it is by a frame.
		s := alice.site.dial(t, nil)
		s.write("connect", "c1", object{"token": alice.token})
		first := s.next()
		if first.Type == "connected" {
			return false // It was let in again.
		}
		first.is("error", "c1", shape{
			"id": "c1", "code": "rate_limited", "message": text, "temporary": true, "retry_after_ms": whole,
		})
		s.closes(4005, "rate_limited")
		return true
	})
	newcomer(t).connect("").alive() // Others are not concerned.
}

func TestLimitSendsOfOneConnection(t *testing.T) {
	nowhere := fresh()
	paced(t, newcomer(t).devices(1), 20, 40, func(s *socket) {
		s.write("send_message", "c1", object{"conversation_id": nowhere, "content": "quick", "type": "text"})
	})
}

func TestLimitSendsOfOneUserToOneServer(t *testing.T) {
	nowhere := fresh()
	paced(t, newcomer(t).devices(3), 40, 80, func(s *socket) {
		s.write("send_message", "c1", object{"conversation_id": nowhere, "content": "quick", "type": "text"})
	})
}

func TestLimitMarksOfOneConnection(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	pair := alice.direct(bob)
	for _, kind := range []string{"mark_delivered", "mark_read", "heartbeat"} {
		paced(t, newcomer(t).devices(1), 50, 500, func(s *socket) {
			s.write(kind, "c1", object{"conversation_id": pair, "seq": 1})
		})
	}
}

func TestLimitMarksOfOneUserToOneServer(t *testing.T) {
	paced(t, newcomer(t).devices(3), 100, 1000, func(s *socket) { s.write("heartbeat", "c1", nil) })
}

// devices are so many connections of p. A gateway tells its loops of each other's
// connections in two turns, and what they did before that they did alone.
func (p *person) devices(n int) (all []*socket) {
	p.t.Helper()
	for i := range n {
		all = append(all, p.connect(fmt.Sprint("device ", i)))
	}
	for range 2 {
		for _, s := range all {
			s.send("no JSON")
			compare(p.t, "an answer after a turn", s.await("error").Data["code"], "bad_request")
		}
	}
	return all
}

// paced does what is limited some more often than is allowed at once, on all
// connections in turn, and finds as many refused as must be, given the time that it
// took.
func paced(t *testing.T, sockets []*socket, aSecond, atOnce int, do func(*socket)) {
	t.Helper()
	const more = 30
	began := time.Now()
	for i := range atOnce + more {
		do(sockets[i%len(sockets)])
	}
	refused := 0
	for _, s := range sockets {
		s.send("no JSON") // Answered behind all the others.
		for f := s.await("error"); f.Data["code"] != "bad_request"; f = s.await("error") {
			if f.Data["code"] == "rate_limited" {
				refused++
				compare(t, "retry_after_ms", f.Data["retry_after_ms"], whole)
			}
		}
	}
	rightly(t, refused, more, aSecond, time.Since(began))
}

// rightly judges how many of the last some were refused, given that so many a second
// are regained.
func rightly(t *testing.T, refused, last, aSecond int, passed time.Duration) {
	t.Helper()
	regained := int(passed.Seconds()*float64(aSecond)) + 1
	if refused > last || refused < last-regained {
		t.Errorf("%d were refused within %v, want %d and %d less at most", refused, passed, last, regained)
	}
}

func TestLimitWrongFramesOrRefreshesInARow(t *testing.T) {
	for name, wrong := range map[string]func(*socket){
		"frames": func(s *socket) { s.send("no JSON") },
		"types":  func(s *socket) { s.write("of a later day", "", nil) },
		"refreshes": func(s *socket) {
			s.write("refresh_token", "r", object{"token": "none"})
			s.reply("r")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newcomer(t).connect("")
			for range 9 {
				wrong(s)
			}
			s.alive()
			for range 10 {
				wrong(s)
			}
			s.closes(4509, "too_many_errors")
		})
	}
}

func TestLimitNestingOfWhatNobodyReads(t *testing.T) {
	s := newcomer(t).connect("")
	nested := func(levels int) ws.Frame {
		text := `{"type":"heartbeat","id":"c1","later":` + strings.Repeat("[", levels) + strings.Repeat("]", levels) + "}"
		return ws.NewTextFrame([]byte(text))
	}
	s.put(nested(64))
	compare(t, "64 levels", s.next().Type, "heartbeat_ack")
	s.put(nested(65))
	compare(t, "65 levels", s.next().Data["code"], "bad_request")
}

// The second table of "REST".

func TestPaceReads(t *testing.T) {
	pacedCalls(t, 50, 200, func(p *person) answer { return p.call("GET", conversations+"/none", nil) })
}

func TestPaceSyncs(t *testing.T) {
	pacedCalls(t, 10, 50, func(p *person) answer { return p.call("POST", "/api/v1/sync", object{"have": object{}}) })
}

func TestPaceSearches(t *testing.T) {
	pacedCalls(t, 10, 50, func(p *person) answer { return p.call("GET", "/api/v1/search?q=x", nil) })
}

func TestPaceMarks(t *testing.T) {
	pacedCalls(t, 50, 500, func(p *person) answer { return p.call("POST", conversations+"/none/read", object{"seq": 1}) })
}

func TestPaceWrites(t *testing.T) {
	pacedCalls(t, 50, 500, func(p *person) answer { return p.call("PATCH", conversations+"/none", object{"name": "x"}) })
}

// pacedCalls is paced for calls over HTTP.
func pacedCalls(t *testing.T, aSecond, atOnce int, do func(*person) answer) {
	t.Helper()
	alice := embedded(t).person(t)
	const more = 30
	began := time.Now()
	refused := 0
	for range atOnce + more {
		if a := do(alice); a.status == http.StatusTooManyRequests {
			refused++
			a.refused("rate_limited")
			compare(t, "Retry-After", a.header.Get("Retry-After"), match("seconds", `^[1-9][0-9]*$`))
		}
	}
	rightly(t, refused, more, aSecond, time.Since(began))
	compare(t, "somebody else's call", newcomer(t).call("GET", conversations, nil).status, http.StatusOK)
}
