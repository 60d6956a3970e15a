package contract

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"switchboard/dev/single"
)

// The table of rules in "The socket".

func TestSocketOneObjectAFrame(t *testing.T) {
	s := newcomer(t).connect("")
	for _, bad := range []string{`[]`, `"heartbeat"`, `{"type":"heartbeat"}{"type":"heartbeat"}`, `{"type":"heartbeat"`, ``} {
		s.send(bad)
		compare(t, bad, s.await("error").Data["code"], "bad_request")
	}
	s.alive()
}

func TestSocketSubprotocol(t *testing.T) {
	s := here(t)
	for offer, want := range map[string]string{"": "", "chat.v1.json": "chat.v1.json", "chat.v2.json, chat.v1.json": "chat.v1.json"} {
		lines := upgrade()
		if offer != "" {
			lines = upgrade("Sec-WebSocket-Protocol: " + offer)
		}
		compare(t, "agreed upon", s.ask(t, 101, lines).Get("Sec-WebSocket-Protocol"), want)
	}
}

func TestSocketCompression(t *testing.T) {
	header := here(t).ask(t, 101, upgrade("Sec-WebSocket-Extensions: permessage-deflate"))
	compare(t, "extensions", header.Get("Sec-WebSocket-Extensions"), "")
}

func TestSocketTokenByHeader(t *testing.T) {
	alice := newcomer(t)
	first := alice.connect("phone").connected
	compare(t, "user_id", first["user_id"], alice.id)
	compare(t, "device_id", first["device_id"], "phone")
}

func TestSocketTokenByFrame(t *testing.T) {
	alice := newcomer(t)
	s := alice.site.dial(t, nil)
	s.write("connect", "", object{"token": alice.token})
	first := s.next()
	compare(t, "type", first.Type, "connected")
	compare(t, "user_id", first.Data["user_id"], alice.id)
	s.write("connect", "c2", object{"token": alice.token})
	compare(t, "a second connect", s.reply("c2").Data["code"], "bad_request")
}

func TestSocketTokenInTheURL(t *testing.T) {
	alice := newcomer(t)
	lines := upgrade()
	lines[0] = "GET /api/v1/ws?token=" + alice.token + "&access_token=" + alice.token + " HTTP/1.1"
	alice.site.ask(t, 101, lines) // Nobody looked at it: who it is has to be said still.
	at := *alice.site
	at.WS = []string{at.WS[0] + "?token=" + alice.token}
	s := at.dial(t, nil)
	s.write("heartbeat", "c1", nil)
	s.next().is("error", "c1", problem("unauthorized"))
}

func TestSocketEarlyFrames(t *testing.T) {
	alice := newcomer(t)
	s := alice.site.early(t, alice.token, slices.Repeat([]string{`{"type":"heartbeat","id":"early"}`}, 16)...)
	compare(t, "the first frame", s.next().Type, "connected")
	for range 16 {
		s.next().is("heartbeat_ack", "early", shape{"time": recent})
	}
}

func TestSocketPings(t *testing.T) {
	alice := alone(t, func(cfg *single.Config) { cfg.Heartbeat = time.Second }).person(t)
	s := alice.connect("")
	for range 3 { // More than the two that may go unanswered.
		f := s.any()
		compare(t, "opcode", f.Header.OpCode, ws.OpPing)
		s.put(ws.NewPongFrame(f.Payload))
	}
	s.alive()
}

func TestSocketHeartbeat(t *testing.T) {
	alice := alone(t, func(cfg *single.Config) { cfg.Heartbeat = time.Second }).person(t)
	s := alice.connect("")
	s.deaf = true
	for late := time.After(4 * time.Second); ; {
		s.alive()
		select {
		case <-late: // Twice as long as silence may last.
			return
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func TestSocketControlFrames(t *testing.T) {
	s := newcomer(t).connect("")
	s.put(ws.NewPingFrame([]byte("are you there?")))
	f := s.any()
	compare(t, "opcode", f.Header.OpCode, ws.OpPong)
	compare(t, "payload", string(f.Payload), "are you there?")
	s.put(ws.NewCloseFrame(ws.NewCloseFrameBody(1000, "")))
	s.closes(1000, "")
}

func TestSocketFragments(t *testing.T) {
	s := newcomer(t).connect("")
	parts := []string{`{"type":"heart`, `beat","i`, `d":"c1"}`}
	for i, part := range parts {
		f := ws.NewTextFrame([]byte(part))
		if i > 0 {
			f.Header.OpCode = ws.OpContinuation
		}
		f.Header.Fin = i == len(parts)-1
		s.put(f)
	}
	s.next().is("heartbeat_ack", "c1", shape{"time": recent})
}

// The table of rules in "Frames".

func TestFrameID(t *testing.T) {
	s := newcomer(t).connect("")
	for _, id := range []string{"c17", strings.Repeat("ü", 36), `quoted "and" \ escaped`} {
		s.write("heartbeat", id, nil)
		compare(t, "id", s.next().ID, id)
	}
	s.write("heartbeat", "", nil)
	compare(t, "no id", s.next().ID, "")
}

func TestFrameIDs(t *testing.T) {
	alice := newcomer(t)
	group := alice.group("Friday")
	s := alice.connect("")
	hello := message(strings.ToUpper(group), "hello")
	hello["client_message_id"] = strings.ToUpper(hello["client_message_id"].(string))
	s.write("send_message", "c1", hello)
	sent := s.reply("c1")
	compare(t, "conversation_id", sent.Data["conversation_id"], group)
	compare(t, "client_message_id", sent.Data["client_message_id"], uuid)
	compare(t, "message_id", sent.Data["message_id"], tuid)
	for _, none := range []string{"00000000-0000-0000-0000-000000000000", "none", group[1:]} {
		s.write("send_message", "c2", message(none, "hello"))
		compare(t, none, s.reply("c2").Data["code"], "bad_request")
	}
}

func TestFrameTimes(t *testing.T) {
	alice := newcomer(t)
	s := alice.connect("")
	compare(t, "time", s.connected["time"], recent)
	compare(t, "timestamp", s.say(alice.group("Friday"), "hello").Data["timestamp"], recent)
}

func TestFrameMembers(t *testing.T) {
	s := newcomer(t).connect("")
	for text, id := range map[string]string{
		`{"id":"c1","type":"heartbeat"}`:                                 "c1",
		`{"type":"connect","id":"c0","id":"c2","type":"heartbeat"}`:      "c2",
		`{"type":"heartbeat","id":null,"data":null}`:                     "",
		` { "type" : "heartbeat" , "id" : "c3" } `:                       "c3",
		`{"type":"heartbeat","ID":"no","id":"c4","Type":"typing"}`:       "c4",
		`{"type":"heart\u0062eat","id":"c5","data":{"later":[1,{}]}}`:    "c5",
		`{"type":"heartbeat","id":"c6","later":{"and":["so",{"on":1}]}}`: "c6",
	} {
		s.send(text)
		s.next().is("heartbeat_ack", id, shape{"time": recent})
	}
}

func TestFrameUnknownFields(t *testing.T) {
	alice := newcomer(t)
	group := alice.group("Friday")
	s := alice.connect("")
	hello := message(group, "hello")
	hello["later"] = object{"and": "so on"}
	s.write("send_message", "c1", hello)
	compare(t, "type", s.reply("c1").Type, "message_sent")
	alice.call("PATCH", conversations+"/"+group, object{"name": "Saturday", "colour": "red"}).good()
}

func TestFrameUnknownTypes(t *testing.T) {
	s := newcomer(t).connect("")
	s.write("of a later day", "c1", object{})
	s.next().is("error", "c1", problem("unknown_type"))
	s.alive()
}

func TestFrameContent(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	pair := alice.direct(bob)
	s, other := alice.connect(""), bob.connect("")
	for _, content := range []string{
		"\x00 and \x01\u2028\u2029\ufeff", "  untrimmed \r\n\t", "e\u0301 is not \u00e9", `<tag> & "quotes" \ \u0041`, "👋🏽 \U0010ffff", "\x7f",
	} {
		s.say(pair, content)
		compare(t, "pushed", other.await("new_message").Data["content"], content)
		page := alice.history(pair, "limit=1").good()["messages"].([]any)
		compare(t, "in history", page[0].(object)["content"], content)
	}
}

func TestFrameNotUTF8(t *testing.T) {
	s := newcomer(t).connect("")
	s.send("{\"type\":\"heartbeat\",\"id\":\"\xc3\"}")
	s.closes(1007, "invalid_utf8")
}

func TestFrameHalfASurrogatePair(t *testing.T) {
	alice := newcomer(t)
	group := alice.group("Friday")
	s := alice.connect("")
	for _, content := range []string{`\ud83d`, `\ud83d and more`, `\udc4b`, `\ud83d\ud83d`} {
		body := `{"conversation_id":"` + group + `","type":"text","content":"` + content + `"}`
		s.send(`{"type":"send_message","id":"c1","data":` + body + `}`)
		compare(t, content, s.reply("c1").Data["code"], "bad_request")
		alice.call("POST", conversations+"/"+group+"/messages", body).refused("bad_request")
	}
	s.send(`{"type":"send_message","id":"c1","data":{"conversation_id":"` + group + `","type":"text","content":"\ud83d\udc4b"}}`)
	compare(t, "a whole pair", s.reply("c1").Type, "message_sent")
}
