package contract

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"switchboard/internal/chat"
)

// "What you can rely on", while nothing fails. What holds of it when everything
// does is tested in dev/system, on the same page's word.

// ascend compares ids by the time in them.
func ascend(t *testing.T, a, b any) bool {
	t.Helper()
	var ids [2]chat.MessageID
	for i, v := range []any{a, b} {
		if err := ids[i].UnmarshalText([]byte(v.(string))); err != nil {
			t.Fatal(err)
		}
	}
	return chat.CompareMessageIDs(ids[0], ids[1]) < 0
}

func TestGuarantee1Order(t *testing.T) {
	people := newcomers(t, 3)
	var sockets []*socket
	for _, p := range people {
		sockets = append(sockets, p.connect("talks"))
	}
	var listeners []*socket
	for _, p := range people {
		listeners = append(listeners, p.connect("listens"))
	}
	group := people[0].group("Friday", ids(people[1:]...)...)
	const each = 10
	for i := range each {
		for _, s := range sockets {
			s.write("send_message", "", message(group, fmt.Sprint(i)))
		}
	}
	people[0].call("PATCH", conversations+"/"+group, object{"name": "Saturday"}).good()
	const all = 2 + 3*each // And its creation.
	var order []any
	for i, s := range listeners {
		var heard []any
		for want := range all {
			e := s.durable()
			compare(t, "seq", e.seq(), want+1)
			if e.Type == "new_message" {
				heard = append(heard, e.Data["message_id"])
			}
		}
		if i == 0 {
			order = heard
		} else if !slices.Equal(heard, order) {
			t.Errorf("%v and %v are two orders", heard, order)
		}
	}
	var stored []any
	before := any(chat.MessageID{}.String())
	for i, m := range people[2].history(group, "limit=200").good()["messages"].([]any) {
		m := m.(object)
		compare(t, "seq in history", m["seq"], i+1)
		if !ascend(t, before, m["message_id"]) {
			t.Errorf("%v does not ascend from %v", m["message_id"], before)
		}
		if before = m["message_id"]; m["type"] != "event" {
			stored = append(stored, before)
		}
	}
	if !slices.Equal(stored, order) {
		t.Errorf("history has %v, members heard %v", stored, order)
	}
}

func TestGuarantee2TheGapRule(t *testing.T) {
	alice, bob, carol := newcomer(t), newcomer(t), newcomer(t)
	s, other := alice.connect(""), carol.connect("")
	group := alice.group("Friday", bob.id)
	compare(t, "it begins", s.durable().seq(), 1)
	compare(t, "message_sent is the next", s.say(group, "mine").seq(), 2)
	bob.post(group, "his")
	compare(t, "and goes on", s.durable().seq(), 3)
	compare(t, "what is above", seqs(t, alice.history(group, "after_seq=1").good()["messages"]), []int{2, 3})

	alice.call("PUT", conversations+"/"+group+"/members/"+carol.id, nil).good()
	joined := other.durable()
	compare(t, "what she begins with", joined.Data["user_id"], carol.id)
	compare(t, "where", joined.seq(), 4)
	carol.history(group, "after_seq=0").is(200, shape{"first_seq": 4, "last_seq": 4, "has_more": false, "messages": []shape{
		entry(group, alice.id, 4, "").with(shape{"type": "event", "event": shape{
			"change": "member_added", "user_id": carol.id, "role": "member", "members_version": 4,
		}}),
	}})
}

func TestGuarantee3MessageSent(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	pair := alice.direct(bob)
	s, other := alice.connect(""), bob.connect("")
	for range 10 {
		sent := s.say(pair, "hello")
		stored := bob.history(pair, "limit=1").good()["messages"].([]any)[0].(object)
		compare(t, "what is stored", stored["message_id"], sent.Data["message_id"])
		compare(t, "and pushed", other.await("new_message").Data["message_id"], sent.Data["message_id"])
	}
}

func TestGuarantee4Sending(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	pair, group := alice.direct(bob), alice.group("Friday", bob.id)
	hello := message(pair, "hello")
	s := alice.connect("")
	s.write("send_message", "c1", hello)
	first := s.reply("c1").Data
	again := shape(first).with(shape{"duplicate": true})
	s.write("send_message", "c2", hello)
	s.reply("c2").is("message_sent", "c2", again)
	if err := s.net.Close(); err != nil {
		t.Fatal(err)
	}
	s = alice.connect("another")
	s.write("send_message", "c3", hello)
	s.reply("c3").is("message_sent", "c3", again)
	alice.call("POST", conversations+"/"+pair+"/messages", hello).is(200, again)
	hello["content"] = "other content"
	alice.call("POST", conversations+"/"+pair+"/messages", hello).refused("idempotency_conflict")

	// The sender and the conversation are of the key too.
	compare(t, "bob's is new", bob.call("POST", conversations+"/"+pair+"/messages", hello).good()["duplicate"], false)
	hello["conversation_id"] = group
	compare(t, "elsewhere it is new", alice.call("POST", conversations+"/"+group+"/messages", hello).good()["duplicate"], false)
	compare(t, "it was stored once", seqs(t, alice.history(pair, "").good()["messages"]), []int{1, 2, 3})
}

func TestGuarantee5Resuming(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	pair := alice.direct(bob)
	s := bob.connect("phone")
	alice.post(pair, "heard")
	compare(t, "heard", s.durable().seq(), 2)
	if err := s.net.Close(); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		alice.post(pair, "missed")
	}
	bob.post(pair, "his own, of another device")
	s = bob.connect("phone")
	alice.post(pair, "live")
	var missed []int
	have := 2
	for more := true; more; {
		answer := bob.call("POST", "/api/v1/sync", object{"have": object{pair: have}, "limit": 3}).good()
		compare(t, "heads", answer["heads"], []any{})
		for _, e := range answer["events"].([]any) {
			data := e.(object)["data"].(object)
			missed = append(missed, number(t, data["seq"]))
			if data["sender_id"] == bob.id {
				compare(t, "his own", data["client_message_id"], uuid)
			}
		}
		have = missed[len(missed)-1]
		more = answer["has_more"].(bool)
	}
	compare(t, "what was missed, and what came meanwhile", missed, []int{3, 4, 5, 6, 7, 8, 9})
	compare(t, "what is live", s.durable().seq(), 9)
}

func TestGuarantee6Marks(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	pair := alice.direct(bob)
	for range 3 {
		alice.post(pair, "hello")
	}
	read := func(seq int) { bob.call("POST", conversations+"/"+pair+"/read", object{"seq": seq}).good() }
	is := func(p *person, mark, unread int) {
		t.Helper()
		compare(t, "read_seq", p.view(pair)["read_seq"], mark)
		compare(t, "unread", p.view(pair)["unread"], unread)
		for _, m := range p.call("GET", conversations+"/"+pair+"/members", nil).good()["members"].([]any) {
			if m := m.(object); m["user_id"] == p.id {
				compare(t, "what is read", m["read_seq"], mark)
				compare(t, "what is read is delivered", m["delivered_seq"], mark)
			}
		}
	}
	is(bob, 1, 3)
	read(3)
	is(bob, 3, 1)
	read(2) // Marks never move back.
	is(bob, 3, 1)
	bob.post(pair, "what he sends he has read")
	is(bob, 5, 0)
	is(alice, 4, 1)
	bob.call("POST", conversations+"/"+pair+"/read", object{"seq": 6}).refused("bad_request")
	is(bob, 5, 0)
}

func TestGuarantee7Devices(t *testing.T) {
	alice := newcomer(t)
	phone := alice.connect("phone")
	again := alice.connect("phone")
	phone.closes(4504, "session_replaced")
	all := []*socket{again}
	for i := range 9 {
		all = append(all, alice.connect(fmt.Sprint("device ", i)))
	}
	last := alice.connect("one more")
	again.closes(4504, "session_replaced")
	group := alice.group("Friday")
	for _, s := range append(all[1:], last) {
		compare(t, "what the others hear", s.durable().Data["conversation_id"], group)
	}
}

func TestGuarantee8SlowReaders(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	pair := alice.direct(bob)
	s := bob.site.dialSmall(t, bob.token)
	content := strings.Repeat("x", 8000)
	// Until all that lies between the two is full, and more.
	const stored = 101
	for range stored - 1 {
		alice.post(pair, content)
	}
	last := 1
	for {
		f := s.await("new_message", "behind")
		if f.Type == "behind" {
			f.is("behind", "", shape{"reason": "slow", "after_ms?": whole})
			break
		}
		last++
		if f.seq() != last {
			t.Fatalf("got %d, want %d, for nothing is left out without a word", f.seq(), last)
		}
	}
	missed := seqs(t, bob.call("POST", "/api/v1/sync", object{"have": object{pair: last}, "limit": 500}).good()["events"])
	for i, seq := range missed {
		compare(t, "missed", seq, last+1+i)
	}
	compare(t, "how far it is now", last+len(missed), stored)
	alice.post(pair, "pushed again")
	next := s.durable()
	for next.seq() <= stored { // It was on its way still, and is in the sync as well.
		next = s.durable()
	}
	compare(t, "seq", next.seq(), stored+1)
}

func TestGuarantee9Membership(t *testing.T) {
	alice, bob, carol := newcomer(t), newcomer(t), newcomer(t)
	s := carol.connect("")
	group := alice.group("Friday", bob.id)
	at := conversations + "/" + group + "/members/" + carol.id
	alice.post(group, "before") // 2
	alice.call("PUT", at, nil).good()
	alice.post(group, "hello, carol") // 4
	alice.call("DELETE", at, nil).good()
	alice.post(group, "after") // 6
	alice.call("PUT", at, nil).good()
	alice.post(group, "hello again") // 8
	for _, want := range []int{3, 4, 5, 7, 8} {
		compare(t, "what carol hears", s.durable().seq(), want)
	}
	want := []int{3, 4, 5, 7, 8}
	compare(t, "what she finds in history", seqs(t, carol.history(group, "").good()["messages"]), want)
	compare(t, "what she syncs", seqs(t, carol.call("POST", "/api/v1/sync", object{"have": object{group: 0}}).good()["events"]), want)
	compare(t, "what bob finds", seqs(t, bob.history(group, "").good()["messages"]), []int{1, 2, 3, 4, 5, 6, 7, 8})
}

func TestGuarantee10Typing(t *testing.T) {
	alice, bob, carol := newcomer(t), newcomer(t), newcomer(t)
	small, large := alice.direct(bob), alice.group("crowd", append(strangers(49), bob.id)...)
	hears(t, alice, bob, small)
	s := bob.connect("listens")
	// None of these is told: one has 51 members, and carol is in neither.
	for _, unheard := range []struct {
		typist *person
		where  string
	}{{alice, large}, {carol, large}, {carol, small}} {
		typist := unheard.typist.connect("")
		typist.write("typing", "", object{"conversation_id": unheard.where, "is_typing": true})
		typist.alive()
	}
	until(t, func() bool {
		alice.connect("").write("typing", "", object{"conversation_id": small, "is_typing": true})
		heard, ok := s.within(200*time.Millisecond, "typing")
		if ok {
			heard.is("typing", "", shape{"conversation_id": small, "user_id": alice.id, "is_typing": true})
		}
		return ok
	})
}

func TestGuarantee11ComingAndGoing(t *testing.T) {
	t.Parallel() // It takes the 15 seconds of grace.
	alice, stranger := newcomer(t), newcomer(t)
	alice.group("with a stranger", stranger.id)
	s := alice.connect("")
	var bob *person
	var device *socket
	until(t, func() bool {
		bob = newcomer(t)
		alice.direct(bob)
		device = bob.connect("")
		_, ok := s.within(200*time.Millisecond, "presence_update")
		return ok
	})
	stranger.connect("") // Who has no direct conversation with alice: nothing is told.
	began := time.Now()
	if err := device.net.Close(); err != nil {
		t.Fatal(err)
	}
	told := s.await("presence_update")
	told.is("presence_update", "", shape{"user_id": bob.id, "status": "offline", "last_seen": recent})
	if passed := time.Since(began); passed < 14*time.Second {
		t.Errorf("it was told after %v", passed)
	}
}
