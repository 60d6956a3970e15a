package contract

import (
	"testing"
	"time"

	"switchboard/dev/single"
)

// The table "What you get".

func TestPushConnected(t *testing.T) {
	alice := newcomer(t)
	s := alice.site.dial(t, map[string][]string{"Authorization": {"Bearer " + alice.token}, "X-Device-Id": {"phone"}})
	s.next().is("connected", "", shape{
		"session_id": text, "user_id": alice.id, "device_id": "phone", "heartbeat_ms": whole,
		"token_expires_at": after(time.Hour), "time": recent, "server": text,
		"limits": shape{
			"frame_bytes": 16384, "content_bytes": 8192, "device_id_bytes": 64, "connections": 10, "members": whole,
			"sends_per_second": 20, "send_burst": 40, "typing_interval_ms": 3000,
		},
	})
	compare(t, "the device that has no name", alice.connect("").connected["device_id"], text)
}

func TestPushMessageSent(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	pair := alice.direct(bob)
	s := alice.connect("")
	hello := message(pair, "hello")
	want := shape{
		"client_message_id": hello["client_message_id"], "conversation_id": pair,
		"message_id": tuid, "seq": 2, "timestamp": recent, "duplicate": false,
	}
	s.write("send_message", "c1", hello)
	sent := s.reply("c1")
	sent.is("message_sent", "c1", want)
	s.write("send_message", "c2", hello)
	s.reply("c2").is("message_sent", "c2", want.with(shape{"message_id": sent.Data["message_id"], "duplicate": true}))
}

func TestPushNewMessage(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	pair := alice.direct(bob)
	desk, phone, other := alice.connect("desk"), alice.connect("phone"), bob.connect("")
	first := other.say(pair, "first")
	hello := message(pair, "hello")
	hello["reply_to"] = first.Data["message_id"]
	desk.write("send_message", "c1", hello)
	sent := desk.reply("c1")
	want := shape{
		"message_id": sent.Data["message_id"], "conversation_id": pair, "seq": 3, "sender_id": alice.id,
		"content": "hello", "type": "text", "reply_to": first.Data["message_id"], "timestamp": sent.Data["timestamp"],
	}
	other.await("new_message").is("new_message", "", want)
	phone.await("new_message") // The first.
	phone.await("new_message").is("new_message", "", want.with(shape{"client_message_id": hello["client_message_id"]}))
	other.say(pair, "and you?")
	compare(t, "what the sending device hears next", desk.await("new_message").seq(), 4)
}

func TestPushConversationUpdated(t *testing.T) {
	alice, bob, carol := newcomer(t), newcomer(t), newcomer(t)
	s, new := bob.connect(""), carol.connect("")
	group := alice.group("Friday", bob.id)
	at := conversations + "/" + group
	add := shape{"conversation_id": group, "user_id": carol.id}
	s.durable().is("conversation_updated", "", shape{
		"conversation_id": group, "seq": 1, "change": "created", "name": "Friday", "members_version": 1,
	})
	alice.call("PUT", at+"/members/"+carol.id, nil).good()
	added := add.with(shape{"seq": 2, "change": "member_added", "role": "member", "members_version": 2})
	s.durable().is("conversation_updated", "", added)
	new.durable().is("conversation_updated", "", added)
	alice.call("PUT", at+"/members/"+carol.id, object{"role": "admin"}).good()
	s.durable().is("conversation_updated", "", add.with(shape{"seq": 3, "change": "role_changed", "role": "admin", "members_version": 3}))
	alice.call("PATCH", at, object{"name": "Saturday"}).good()
	s.durable().is("conversation_updated", "", shape{
		"conversation_id": group, "seq": 4, "change": "renamed", "name": "Saturday", "members_version": 3,
	})
	alice.call("DELETE", at+"/members/"+carol.id, nil).good()
	s.durable().is("conversation_updated", "", add.with(shape{"seq": 5, "change": "member_removed", "members_version": 5}))
	for _, want := range []int{3, 4, 5} {
		compare(t, "what carol hears, her removal included", new.durable().seq(), want)
	}
}

func TestPushConversationUpdatedWithChangeHead(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	s := bob.connect("")
	group := alice.group("crowd", append(strangers(99), bob.id)...)
	compare(t, "the event that concerns bob", s.durable().Data["change"], "created")
	sent := alice.post(group, "the one thing that is new")
	s.durable().is("conversation_updated", "", shape{
		"conversation_id": group, "change": "head", "head_seq": 2, "message": shape{
			"message_id": sent["message_id"], "conversation_id": group, "seq": 2, "sender_id": alice.id,
			"content": "the one thing that is new", "type": "text", "timestamp": sent["timestamp"],
		},
	})
	alice.post(group, "and one")
	alice.post(group, "and another")
	head := s.durable()
	for number(t, head.Data["head_seq"]) < 4 {
		head = s.durable()
	}
	compare(t, "change", head.Data["change"], "head")
}

func TestPushError(t *testing.T) {
	alice := newcomer(t)
	s := alice.connect("")
	lost := message(fresh(), "hello")
	s.write("send_message", "c17", lost)
	s.reply("c17").is("error", "c17", shape{
		"id": "c17", "client_message_id": lost["client_message_id"], "code": "not_member", "message": text, "temporary": false,
	})
	s.write("send_message", "", lost)
	s.await("error").is("error", "", shape{
		"client_message_id": lost["client_message_id"], "code": "not_member", "message": text, "temporary": false,
	})
	tooFast(s).is("error", "fast", shape{
		"id": "fast", "code": "rate_limited", "message": text, "temporary": true, "retry_after_ms": whole,
	})
}

// tooFast sends until that is refused.
func tooFast(s *socket) frame {
	s.t.Helper()
	nowhere := fresh()
	for range 80 {
		s.write("send_message", "fast", object{"conversation_id": nowhere, "content": "quick", "type": "text"})
	}
	for {
		f := s.reply("fast")
		if f.Data["code"] != "not_member" {
			delete(f.Data, "client_message_id") // The server made it.
			return f
		}
	}
}

func TestPushHeartbeatAck(t *testing.T) {
	s := newcomer(t).connect("")
	s.write("heartbeat", "c20", nil)
	s.next().is("heartbeat_ack", "c20", shape{"time": recent})
}

func TestPushTokenRefreshed(t *testing.T) {
	alice := newcomer(t)
	s := alice.connect("")
	s.write("refresh_token", "c21", object{"token": alice.mint(3 * time.Hour)})
	s.reply("c21").is("token_refreshed", "c21", shape{"expires_at": after(3 * time.Hour)})
}

func TestPushTokenExpiring(t *testing.T) {
	alice := newcomer(t)
	s := alice.connectBy(alice.mint(50*time.Second), "")
	s.await("token_expiring").is("token_expiring", "", shape{"expires_at": s.connected["token_expires_at"]})
}

func TestPushBehind(t *testing.T) {
	alice := alone(t, func(cfg *single.Config) { cfg.Recheck = time.Second }).person(t)
	s := alice.connect("")
	for range 2 {
		s.await("behind").is("behind", "", shape{"reason": "check", "after_ms?": whole})
	}
	s.alive() // It asks for a sync, not for another connection.
}

func TestPushReconnect(t *testing.T) {
	system := alone(t, func(*single.Config) {})
	s := system.person(t).connect("")
	ended := make(chan error, 1)
	go func() { ended <- system.stop() }()
	s.await("reconnect").is("reconnect", "", shape{"after_ms": 0, "jitter_ms": whole, "reason": "drain"})
	s.alive()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestPushMessageStatus(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	pair := alice.direct(bob)
	desk, phone, other := alice.connect("desk"), alice.connect("phone"), bob.connect("")
	sent := other.say(pair, "hello")
	want := shape{
		"conversation_id": pair, "user_id": alice.id, "status": "delivered",
		"message_id": sent.Data["message_id"], "seq": 2, "timestamp": recent,
	}
	desk.write("mark_delivered", "", object{"conversation_id": pair, "seq": 2})
	other.await("message_status").is("message_status", "", want)
	for {
		// Her own other device hears of bob's mark by sending, too.
		if told := phone.await("message_status"); told.Data["user_id"] == alice.id {
			told.is("message_status", "", want)
			break
		}
	}
	desk.write("mark_read", "", object{"conversation_id": pair, "seq": 2})
	other.await("message_status").is("message_status", "", want.with(shape{"status": "read"}))
}

func TestPushTyping(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	pair := alice.direct(bob)
	hears(t, alice, bob, pair).is("typing", "", shape{"conversation_id": pair, "user_id": alice.id, "is_typing": true})
}

func TestPushPresenceUpdate(t *testing.T) {
	alice := newcomer(t)
	s := alice.connect("")
	until(t, func() bool { // See hears.
		bob := newcomer(t)
		alice.direct(bob)
		bob.connect("")
		told, ok := s.within(200*time.Millisecond, "presence_update")
		if !ok {
			return false
		}
		told.is("presence_update", "", shape{"user_id": uuid, "status": "online", "last_seen": recent})
		return true
	})
}
