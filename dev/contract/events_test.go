package contract

import (
	"testing"
	"time"
)

// The table "What you send".

func TestEventConnect(t *testing.T) {
	alice := newcomer(t)
	s := alice.site.dial(t, nil)
	s.write("connect", "c1", object{
		"token": alice.token, "device_id": "phone", "client": object{"name": "contract", "version": "1.0"},
	})
	first := s.next()
	compare(t, "type", first.Type, "connected")
	compare(t, "id", first.ID, "c1")
	compare(t, "user_id", first.Data["user_id"], alice.id)
	compare(t, "device_id", first.Data["device_id"], "phone")

	s = alice.site.dial(t, nil)
	s.write("connect", "c1", object{"token": "no token"})
	s.next().is("error", "c1", shape{"id": "c1", "code": "unauthorized", "message": text, "temporary": false})
	s.closes(4501, "auth_failed")
}

func TestEventSendMessage(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	pair := alice.direct(bob)
	s, other := alice.connect(""), bob.connect("")
	own := fresh()
	s.write("send_message", "c1", object{"conversation_id": pair, "content": "hello", "type": "text", "client_message_id": own})
	sent := s.reply("c1")
	sent.is("message_sent", "c1", shape{
		"client_message_id": own, "conversation_id": pair, "message_id": tuid, "seq": 2, "timestamp": recent, "duplicate": false,
	})
	other.await("new_message")

	s.write("send_message", "c2", object{
		"conversation_id": pair, "content": "so do I", "type": "text", "reply_to": sent.Data["message_id"],
	})
	compare(t, "an id of the server's making", s.reply("c2").Data["client_message_id"], uuid)
	compare(t, "reply_to", other.await("new_message").Data["reply_to"], sent.Data["message_id"])

	for _, kind := range []string{"image", "file"} {
		picture := object{
			"conversation_id": pair, "content": "", "type": kind, "client_message_id": own, "media_url": "https://example.com/of-mine",
		}
		s.write("send_message", "c3", picture)
		s.reply("c3").is("error", "c3", shape{
			"id": "c3", "client_message_id": own, "code": "bad_request", "message": text, "temporary": false,
		})
	}
	s.alive()
}

func TestEventHeartbeat(t *testing.T) {
	s := newcomer(t).connect("")
	s.write("heartbeat", "c20", nil)
	s.next().is("heartbeat_ack", "c20", shape{"time": recent})
	s.write("heartbeat", "", nil)
	s.next().is("heartbeat_ack", "", shape{"time": recent})
}

func TestEventRefreshToken(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	s := alice.connect("")
	s.write("refresh_token", "c1", object{"token": alice.mint(2 * time.Hour)})
	s.reply("c1").is("token_refreshed", "c1", shape{"expires_at": after(2 * time.Hour)})
	for name, token := range map[string]string{"of somebody else": bob.token, "that is none": "x"} {
		s.write("refresh_token", "c2", object{"token": token})
		compare(t, "a token "+name, s.reply("c2").Data["code"], "unauthorized")
	}
	s.alive()
}

func TestEventMarkDelivered(t *testing.T) { marks(t, "delivered") }

func TestEventMarkRead(t *testing.T) { marks(t, "read") }

// marks is what the two events have in common.
func marks(t *testing.T, status string) {
	alice, bob := newcomer(t), newcomer(t)
	pair := alice.direct(bob)
	s, other := alice.connect(""), bob.connect("")
	var last frame
	for range 3 {
		last = s.say(pair, "hello")
	}
	other.write("mark_"+status, "c1", object{"conversation_id": pair, "seq": 3})
	told := s.await("message_status")
	compare(t, "all up to", told.Data["seq"], 3)
	compare(t, "status", told.Data["status"], status)
	other.write("mark_"+status, "c2", object{"conversation_id": pair, "message_id": last.Data["message_id"]})
	compare(t, "all up to a message", s.await("message_status").Data["seq"], 4)
	other.alive() // Neither was answered.

	members := bob.call("GET", conversations+"/"+pair+"/members", nil).good()["members"].([]any)
	for _, m := range members {
		if m.(object)["user_id"] == bob.id {
			compare(t, "the mark of who marked", m.(object)[status+"_seq"], 4)
		}
	}
	for _, beyond := range []object{
		{"conversation_id": pair, "seq": 99},
		{"conversation_id": pair, "message_id": "98fc001e-b5c6-11f1-8001-010000000007"},
	} {
		other.write("mark_"+status, "c3", beyond)
		compare(t, "a mark of what is not there", other.reply("c3").Data["code"], "bad_request")
	}
	other.write("mark_"+status, "c4", object{"conversation_id": fresh(), "seq": 1})
	compare(t, "a mark elsewhere", other.reply("c4").Data["code"], "not_member")
}

func TestEventTyping(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	pair := alice.direct(bob)
	hears(t, alice, bob, pair)
	other := bob.connect("listener")
	s := alice.connect("one")
	s.write("typing", "c1", object{"conversation_id": pair, "is_typing": true})
	s.write("typing", "c2", object{"conversation_id": pair, "is_typing": false}) // Too early: nobody hears it.
	s.alive()                                                                    // And there was no reply.
	heard := 0
	until(t, func() bool {
		alice.connect("").write("typing", "", object{"conversation_id": pair, "is_typing": true})
		if told, ok := other.within(200*time.Millisecond, "typing"); ok {
			compare(t, "is_typing", told.Data["is_typing"], true)
			heard++
		}
		return heard == 2
	})
}

// hears waits until what alice types reaches bob: the router begins to pass on
// what is fleeting when it has found its place, and makes up for nothing.
func hears(t *testing.T, alice, bob *person, conversation string) (heard frame) {
	t.Helper()
	listener := bob.connect("")
	until(t, func() (ok bool) {
		alice.connect("").write("typing", "", object{"conversation_id": conversation, "is_typing": true})
		heard, ok = listener.within(200*time.Millisecond, "typing")
		return ok
	})
	return heard
}
