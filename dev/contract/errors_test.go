package contract

import (
	"strings"
	"testing"
	"time"
)

// The table "Errors": each code where a client meets it, on the socket and over
// HTTP where it can be met on both.

// problem is the data of an error about a request without client_message_id.
func problem(code string) shape {
	return shape{"id": "c1", "code": code, "message": text, "temporary": false}
}

func TestErrorBadRequest(t *testing.T) {
	alice := newcomer(t)
	s := alice.connect("")
	s.write("send_message", "c1", object{"content": "hello", "type": "text"})
	s.reply("c1").is("error", "c1", problem("bad_request").with(shape{"message": match("the field", `data\.conversation_id`)}))
	alice.call("POST", conversations, object{"type": "crowd"}).refused("bad_request")
	alice.call("POST", conversations, "no JSON").refused("bad_request")
}

func TestErrorUnknownType(t *testing.T) {
	s := newcomer(t).connect("")
	for _, kind := range []string{"edit_message", "delete_message", "react", "presence_subscribe", "of a later day"} {
		s.write(kind, "c1", object{"conversation_id": fresh(), "message_id": fresh()})
		s.reply("c1").is("error", "c1", problem("unknown_type"))
	}
	s.alive()
}

func TestErrorUnauthorized(t *testing.T) {
	alice := newcomer(t)
	s := alice.connect("")
	s.write("refresh_token", "c1", object{"token": "none"})
	s.reply("c1").is("error", "c1", problem("unauthorized"))
	alice.site.call(t, "GET", conversations, nil).refused("unauthorized")
	alice.site.call(t, "GET", conversations, nil, "Authorization", "Bearer none").refused("unauthorized")
	alice.site.call(t, "GET", conversations+"?access_token="+alice.token, nil).refused("unauthorized")
}

func TestErrorTokenExpired(t *testing.T) {
	alice := newcomer(t)
	s := alice.connect("")
	s.write("refresh_token", "c1", object{"token": alice.mint(-2 * time.Minute)})
	s.reply("c1").is("error", "c1", problem("token_expired"))
	alice.token = alice.mint(-2 * time.Minute)
	alice.call("GET", conversations, nil).refused("token_expired")
}

func TestErrorForbidden(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	at := conversations + "/" + alice.group("Friday", bob.id)
	bob.call("PATCH", at, object{"name": "Saturday"}).refused("forbidden")
	bob.call("PUT", at+"/members/"+fresh(), nil).refused("forbidden")
	bob.call("DELETE", at+"/members/"+alice.id, nil).refused("forbidden")
}

func TestErrorConversationFull(t *testing.T) {
	alice := embedded(t).person(t)
	alice.call("POST", conversations, object{"type": "group", "member_ids": strangers(500)}).refused("conversation_full")
	group := alice.group("crowd", strangers(499)...)
	alice.call("PUT", conversations+"/"+group+"/members/"+fresh(), nil).refused("conversation_full")
}

func TestErrorNotMember(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	group := bob.group("not for alice")
	s := alice.connect("")
	for _, c := range []string{group, fresh()} {
		own := fresh()
		s.write("send_message", "c1", object{"conversation_id": c, "content": "hello", "type": "text", "client_message_id": own})
		s.reply("c1").is("error", "c1", problem("not_member").with(shape{"client_message_id": own}))
		alice.call("GET", conversations+"/"+c, nil).refused("not_member")
	}
}

func TestErrorNotFound(t *testing.T) {
	alice := newcomer(t)
	alice.call("GET", "/api/v1/no-such-route", nil).refused("not_found")
	alice.call("DELETE", conversations+"/"+alice.group("Friday")+"/members/"+fresh(), nil).refused("not_found")
}

func TestErrorIdempotencyConflict(t *testing.T) {
	alice := newcomer(t)
	group := alice.group("Friday")
	s := alice.connect("")
	hello := message(group, "hello")
	s.write("send_message", "c1", hello)
	s.reply("c1")
	hello["content"] = "something else"
	s.write("send_message", "c1", hello)
	s.reply("c1").is("error", "c1", problem("idempotency_conflict").with(shape{"client_message_id": hello["client_message_id"]}))
	alice.call("POST", conversations+"/"+group+"/messages", hello).refused("idempotency_conflict")
}

func TestErrorTooLarge(t *testing.T) {
	alice := newcomer(t)
	group := alice.group("Friday")
	s := alice.connect("")
	long := message(group, strings.Repeat("x", 8193))
	s.write("send_message", "c1", long)
	s.reply("c1").is("error", "c1", problem("too_large").with(shape{"client_message_id": long["client_message_id"]}))
	alice.call("POST", conversations+"/"+group+"/messages", long).refused("too_large")
}

func TestErrorUnsupportedMedia(t *testing.T) {
	newcomer(t).call("POST", conversations, "<conversation/>", "Content-Type", "text/xml").refused("unsupported_media")
}

func TestErrorRateLimited(t *testing.T) {
	s := newcomer(t).connect("")
	refused := tooFast(s)
	refused.is("error", "fast", shape{
		"id": "fast", "code": "rate_limited", "message": text, "temporary": true, "retry_after_ms": whole,
	})
	// What it says of when to come again is true.
	for range 80 {
		if f, more := s.within(time.Duration(number(t, refused.Data["retry_after_ms"]))*time.Millisecond+time.Second, "error"); !more {
			s.write("send_message", "again", object{"conversation_id": fresh(), "content": "slow", "type": "text"})
			compare(t, "the code, later", s.reply("again").Data["code"], "not_member")
			return
		} else if f.ID != "fast" {
			t.Fatalf("got %+v", f)
		}
	}
	t.Error("the server does not come to rest")
}
