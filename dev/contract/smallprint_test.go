package contract

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// The table "Small print".

func TestSmallPrintOneConnection(t *testing.T) {
	alice, bob, carol := newcomer(t), newcomer(t), newcomer(t)
	s := carol.connect("")
	group := alice.group("Friday", bob.id, carol.id)
	one, other := alice.connect(""), bob.connect("")
	for range 15 {
		one.write("send_message", "", message(group, "from alice"))
		other.write("send_message", "", message(group, "from bob"))
	}
	for want := 1; want <= 31; want++ {
		compare(t, "the next", s.durable().seq(), want)
	}
}

func TestSmallPrintStrangers(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	left, foreign := bob.group("left", alice.id), bob.group("foreign")
	alice.call("DELETE", conversations+"/"+left+"/members/"+alice.id, nil).good()
	for _, call := range []struct {
		method, path string
		body         any
	}{
		{"GET", "", nil},
		{"PATCH", "", object{"name": "mine"}},
		{"GET", "/members", nil},
		{"PUT", "/members/" + alice.id, nil},
		{"DELETE", "/members/" + bob.id, nil},
		{"GET", "/messages", nil},
		{"POST", "/messages", object{"content": "hello", "type": "text"}},
		{"POST", "/read", object{"seq": 1}},
	} {
		var said []string
		for _, c := range []string{left, foreign, fresh(), "none"} {
			a := alice.call(call.method, conversations+"/"+c+call.path, call.body, "X-Request-Id", "the-same")
			a.refused("not_member")
			said = append(said, string(a.body))
		}
		if slices.Sort(said); said[0] != said[len(said)-1] {
			t.Errorf("%s …%s tells them apart: %q", call.method, call.path, said)
		}
	}
}

func TestSmallPrintLeftConversations(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	group := alice.group("Friday", bob.id)
	alice.post(group, "hello")
	alice.call("DELETE", conversations+"/"+group+"/members/"+bob.id, nil).good()
	alice.post(group, "not for bob")
	bob.history(group, "").refused("not_member")
	named := bob.call("POST", "/api/v1/sync", object{"have": object{group: 1}}).good()
	compare(t, "the events", seqs(t, named["events"]), []int{2, 3})
	compare(t, "the heads", named["heads"], []any{})
	bob.call("POST", "/api/v1/sync", object{"have": object{}}).is(200, shape{
		"events": []shape{}, "heads": []shape{}, "has_more": false,
	})
}

func TestSmallPrintBefore(t *testing.T) {
	alice := newcomer(t)
	group := alice.group("Friday")
	first := number(t, alice.post(group, "hello")["timestamp"])
	last := first
	until(t, func() bool { // Into the next second.
		last = number(t, alice.post(group, "hello")["timestamp"])
		return last > first
	})
	page := alice.history(group, fmt.Sprintf("before=%d&limit=1", last)).good()["messages"].([]any)
	for _, m := range page {
		if at := number(t, m.(object)["timestamp"]); at >= last {
			t.Errorf("before %d is %d", last, at)
		}
	}
	all := alice.history(group, fmt.Sprintf("before=%d&limit=200", last+1)).good()["messages"].([]any)
	compare(t, "how many there are before the end of the last second", len(all), number(t, all[len(all)-1].(object)["seq"]))
	same := 0
	for _, m := range all {
		if m.(object)["timestamp"] == page[0].(object)["timestamp"] {
			same++
		}
	}
	compare(t, "how many of the second are on the page of one", len(page), same)
}

func TestSmallPrintHasMore(t *testing.T) {
	alice := newcomer(t)
	group := alice.group("Friday")
	for range 4 {
		alice.post(group, "hello")
	}
	for query, want := range map[string]bool{
		"limit=2": true, "limit=5": false, "before_seq=3&limit=2": false, "before_seq=3&limit=1": true,
		"after_seq=3&limit=2": false, "after_seq=3&limit=1": true, "around_seq=5&limit=2": true, "around_seq=1&limit=2": false,
	} {
		compare(t, query, alice.history(group, query).good()["has_more"], want)
	}
}

func TestSmallPrintTwoCursors(t *testing.T) {
	alice := newcomer(t)
	group := alice.group("Friday")
	id := alice.post(group, "hello")["message_id"]
	all := []string{"before=1", fmt.Sprint("before_id=", id), "before_seq=2", fmt.Sprint("after_id=", id), "after_seq=1", "around_seq=1"}
	for i, one := range all {
		for _, other := range all[i+1:] {
			alice.history(group, one+"&"+other).refused("bad_request")
		}
	}
}

func TestSmallPrintMarksOfAStay(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	group := alice.group("Friday", bob.id)
	at := conversations + "/" + group + "/members/" + bob.id
	alice.post(group, "hello")
	bob.call("POST", conversations+"/"+group+"/read", object{"seq": 2}).good()
	alice.call("DELETE", at, nil).good()
	alice.post(group, "while bob is away")
	alice.call("PUT", at, nil).is(201, shape{
		"user_id": bob.id, "role": "member", "joined_at": recent, "read_seq": 5, "delivered_seq": 5,
	})
}

func TestSmallPrintStatuses(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	pair := alice.direct(bob)
	s, other := alice.connect(""), bob.connect("")
	for range 5 {
		s.say(pair, "hello")
	}
	last := 0
	for _, seq := range []int{4, 2, 5, 3, 6} {
		other.write("mark_read", "", object{"conversation_id": pair, "seq": seq})
		bob.call("POST", conversations+"/"+pair+"/read", object{"seq": seq}).good() // Until it is in force.
	}
	for last < 6 {
		told := s.await("message_status")
		if told.seq() < last {
			t.Errorf("%d after %d", told.seq(), last)
		}
		last = told.seq()
	}
}

func TestSmallPrintExpiredToken(t *testing.T) {
	alice := newcomer(t)
	s := alice.site.dial(t, nil)
	s.write("connect", "c1", object{"token": alice.mint(-2 * time.Minute)})
	s.next().is("error", "c1", problem("token_expired"))
	s.closes(4501, "auth_failed")
}

func TestSmallPrintLeeway(t *testing.T) {
	alice := newcomer(t)
	alice.token = alice.mint(-30 * time.Second)
	alice.call("GET", conversations, nil).good()
	alice.connect("").alive()
	alice.token = alice.mint(-61 * time.Second)
	alice.call("GET", conversations, nil).refused("token_expired")
}

func TestSmallPrintRepeatedMembershipCalls(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	at := conversations + "/" + alice.group("Friday") + "/members/" + bob.id
	for _, status := range []int{201, 200, 200} {
		compare(t, "PUT", alice.call("PUT", at, nil).status, status)
	}
	alice.call("DELETE", at, nil).is(204, nil)
	alice.call("DELETE", at, nil).refused("not_found")
}

func TestSmallPrintYourOwnID(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	with := object{"type": "group", "name": "g", "member_ids": ids(alice, bob), "client_conversation_id": fresh()}
	first := alice.call("POST", conversations, with).is(201, newGroup("g", 2))
	with["member_ids"] = ids(bob)
	alice.call("POST", conversations, with).is(200, first)
}

func TestSmallPrintHeadsOfEvents(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	s := bob.connect("")
	group := alice.group("crowd", append(strangers(99), bob.id)...)
	s.durable() // His own joining.
	alice.call("PATCH", conversations+"/"+group, object{"name": "Saturday"}).good()
	s.durable().is("conversation_updated", "", shape{"conversation_id": group, "change": "head", "head_seq": 2})
}

func TestSmallPrintLimitOfASync(t *testing.T) {
	alice := newcomer(t)
	for limit, code := range map[int]string{-1: "bad_request", 501: "bad_request", 1: "", 500: ""} {
		a := alice.call("POST", "/api/v1/sync", object{"have": object{}, "limit": limit})
		if code == "" {
			a.good()
		} else {
			a.refused(code)
		}
	}
	group := alice.group("Friday")
	for range 201 {
		alice.post(group, "hello")
	}
	some := alice.call("POST", "/api/v1/sync", object{"have": object{group: 1}}).good()
	compare(t, "how many there are unless one says", len(some["events"].([]any)), 200)
	compare(t, "has_more", some["has_more"], true)
}

func TestSmallPrintIdempotencyKey(t *testing.T) {
	alice := newcomer(t)
	key, again, other := fresh(), fresh(), fresh()
	group := object{"type": "group", "name": "Friday"}
	made := alice.call("POST", conversations, group, "Idempotency-Key", key).is(201, newGroup("Friday", 1)).(object)
	alice.call("POST", conversations, group, "Idempotency-Key", key).is(200, made)
	at := conversations + "/" + made["id"].(string) + "/messages"
	hello := object{"content": "hello", "type": "text"}
	sent := alice.call("POST", at, hello, "Idempotency-Key", again).good()
	compare(t, "client_message_id", sent["client_message_id"], again)
	compare(t, "repeated", alice.call("POST", at, hello, "Idempotency-Key", again).good()["duplicate"], true)
	alice.call("POST", at, hello, "Idempotency-Key", key).refused("idempotency_conflict") // It made the group.
	hello["client_message_id"] = other                                                    // The body's own goes first.
	compare(t, "client_message_id", alice.call("POST", at, hello, "Idempotency-Key", again).good()["client_message_id"], other)
}

func TestSmallPrintOrigins(t *testing.T) {
	s := embedded(t)
	ask := func(origin string) string {
		a := s.call(t, "OPTIONS", conversations, nil, "Origin", origin, "Access-Control-Request-Method", "POST")
		compare(t, "status", a.status, http.StatusNoContent)
		return a.header.Get("Access-Control-Allow-Origin")
	}
	compare(t, "a page of ours", ask(page), page)
	compare(t, "another page", ask("https://evil.example.com"), "")
}

func TestSmallPrintChangesInHistory(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	group := alice.group("Friday")
	at := conversations + "/" + group
	alice.call("PUT", at+"/members/"+bob.id, nil).good()
	alice.call("PUT", at+"/members/"+bob.id, object{"role": "admin"}).good()
	alice.call("PATCH", at, object{"name": "Saturday"}).good()
	alice.call("DELETE", at+"/members/"+bob.id, nil).good()
	change := func(seq int, event shape) shape {
		return entry(group, alice.id, seq, "").with(shape{"type": "event", "event": event})
	}
	alice.history(group, "").is(200, shape{"first_seq": 1, "last_seq": 5, "has_more": false, "messages": []shape{
		change(1, shape{"change": "created", "name": "Friday", "members_version": 1}),
		change(2, shape{"change": "member_added", "user_id": bob.id, "role": "member", "members_version": 2}),
		change(3, shape{"change": "role_changed", "user_id": bob.id, "role": "admin", "members_version": 3}),
		change(4, shape{"change": "renamed", "name": "Saturday", "members_version": 3}),
		change(5, shape{"change": "member_removed", "user_id": bob.id, "members_version": 5}),
	}})
}

func TestSmallPrintOwnMessages(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	pair := alice.direct(bob)
	sent := alice.post(pair, "hello")
	for p, want := range map[*person]any{alice: sent["client_message_id"], bob: nil} {
		synced := p.call("POST", "/api/v1/sync", object{"have": object{pair: 1}}).good()["events"].([]any)
		compare(t, "in a sync", synced[0].(object)["data"].(object)["client_message_id"], want)
		page := p.history(pair, "limit=1").good()["messages"].([]any)
		compare(t, "in history", page[0].(object)["client_message_id"], want)
	}
}

func TestSmallPrintEmptyMessages(t *testing.T) {
	alice := newcomer(t)
	group := alice.group("Friday")
	s := alice.connect("")
	for _, kind := range []string{"text", "image", "file"} {
		empty := message(group, "")
		empty["type"] = kind
		s.write("send_message", "c1", empty)
		compare(t, kind, s.reply("c1").Data["code"], "bad_request")
	}
	s.say(group, " ")
}

func TestSmallPrintHealth(t *testing.T) {
	system := here(t)
	alice := system.person(t)
	for path := range strings.FieldsSeq("/livez /readyz /metrics /debug/pprof/") {
		alice.call("GET", path, nil).refused("not_found")
		for name, ops := range system.Ops {
			compare(t, path+" of "+name, request(t, "GET", ops+path, nil).status, http.StatusOK)
		}
	}
}
