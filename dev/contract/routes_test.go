package contract

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// The table of "REST".

func TestRouteGetGateway(t *testing.T) {
	newcomer(t).call("GET", "/api/v1/gateway", nil).is(200, shape{
		"url": match("where the WebSocket is", `^wss?://.+/api/v1/ws$`), "protocols": []string{"chat.v1.json"}, "heartbeat_ms": whole,
	})
}

// group is how its maker sees a new one.
func newGroup(name string, members int) shape {
	return shape{
		"id": uuid, "type": "group", "name": name, "members_count": members, "role": "admin",
		"head_seq": 1, "read_seq": 1, "unread": 0, "updated_at": recent,
	}
}

func TestRouteGetConversations(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	alice.call("GET", conversations, nil).is(200, shape{"conversations": []shape{}})
	first, second := alice.group("one", bob.id), alice.group("two", bob.id)
	sent := bob.post(first, "the newest activity")
	list := alice.call("GET", conversations+"?limit=1", nil).is(200, shape{
		"conversations": []shape{newGroup("one", 2).with(shape{
			"id": first, "head_seq": 2, "unread": 1, "last_message": shape{
				"message_id": sent["message_id"], "conversation_id": first, "seq": 2, "sender_id": bob.id,
				"content": "the newest activity", "type": "text", "timestamp": sent["timestamp"],
			},
		})}, "cursor": text,
	})
	next := list.(object)["cursor"].(string)
	alice.call("GET", conversations+"?limit=1&cursor="+next, nil).is(200, shape{
		"conversations": []shape{newGroup("two", 2).with(shape{"id": second})},
	})
}

func TestRoutePostConversations(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	pair := shape{
		"id": uuid, "type": "direct", "name": "", "members_count": 2, "role": "member",
		"head_seq": 1, "read_seq": 1, "unread": 0, "updated_at": recent,
	}
	made := alice.call("POST", conversations, object{"type": "direct", "member_ids": []string{bob.id}}).is(201, pair)
	pair["id"] = made.(object)["id"]
	bob.call("POST", conversations, object{"type": "direct", "member_ids": []string{alice.id}}).is(200, pair)

	group := object{"type": "group", "name": "Friday", "member_ids": []string{bob.id}, "client_conversation_id": fresh()}
	want := newGroup("Friday", 2)
	want["id"] = alice.call("POST", conversations, group).is(201, want).(object)["id"]
	alice.call("POST", conversations, group).is(200, want)
}

func TestRouteGetConversationsID(t *testing.T) {
	alice := newcomer(t)
	group := alice.group("Friday")
	alice.call("GET", conversations+"/"+group, nil).is(200, newGroup("Friday", 1).with(shape{"id": group}))
}

func TestRoutePatchConversationsID(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	group := alice.group("Friday", bob.id)
	renamed := newGroup("Saturday", 2).with(shape{"id": group, "head_seq": 2})
	alice.call("PATCH", conversations+"/"+group, object{"name": "Saturday"}).is(200, renamed)
	bob.call("PATCH", conversations+"/"+group, object{"name": "Sunday"}).refused("forbidden")
}

func TestRouteGetIDMembers(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	group := alice.group("Friday")
	alice.post(group, "hello")
	alice.call("PUT", conversations+"/"+group+"/members/"+bob.id, nil).good()
	who := map[string]shape{
		alice.id: {"user_id": alice.id, "role": "admin", "joined_at": recent, "read_seq": 2, "delivered_seq": 2},
		bob.id:   {"user_id": bob.id, "role": "member", "joined_at": recent, "read_seq": 3, "delivered_seq": 3},
	}
	list := bob.call("GET", conversations+"/"+group+"/members", nil).good()
	compare(t, "members_version", list["members_version"], 3)
	compare(t, "how many", len(list["members"].([]any)), 2)
	for _, m := range list["members"].([]any) {
		compare(t, "a member", m, who[m.(object)["user_id"].(string)])
	}
}

func TestRoutePutIDMembersUserID(t *testing.T) {
	alice, bob, carol := newcomer(t), newcomer(t), newcomer(t)
	at := conversations + "/" + alice.group("Friday", bob.id) + "/members/" + carol.id
	bob.call("PUT", at, nil).refused("forbidden")
	member := shape{"user_id": carol.id, "role": "member", "joined_at": recent, "read_seq": 2, "delivered_seq": 2}
	alice.call("PUT", at, nil).is(201, member)
	alice.call("PUT", at, object{"role": "admin"}).is(200, member.with(shape{"role": "admin"}))
	carol.call("PUT", at, object{"role": "member"}).is(200, member)
}

func TestRouteDeleteIDMembersUserID(t *testing.T) {
	alice, bob, carol := newcomer(t), newcomer(t), newcomer(t)
	group := alice.group("Friday", bob.id, carol.id)
	at := conversations + "/" + group + "/members/"
	bob.call("DELETE", at+carol.id, nil).refused("forbidden")
	alice.call("DELETE", at+carol.id, nil).is(204, nil)
	alice.call("DELETE", at+carol.id, nil).refused("not_found")
	alice.call("DELETE", at+alice.id, nil).is(204, nil)
	compare(t, "the role of who is left", bob.view(group)["role"], "admin")
}

// entry is a message as history shows it.
func entry(group, sender string, seq int, content string) shape {
	return shape{
		"message_id": tuid, "conversation_id": group, "seq": seq, "sender_id": sender,
		"content": content, "type": "text", "timestamp": recent,
	}
}

func TestRouteGetIDMessages(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	group := alice.group("Friday", bob.id)
	var sent []object
	for content := range strings.FieldsSeq("two three four five") {
		sent = append(sent, alice.post(group, content))
	}
	bob.history(group, "limit=2").is(200, shape{
		"messages":  []shape{entry(group, alice.id, 4, "four"), entry(group, alice.id, 5, "five")},
		"first_seq": 4, "last_seq": 5, "has_more": true,
	})
	for query, want := range map[string][]int{
		"":                     {1, 2, 3, 4, 5},
		"before_seq=3":         {1, 2},
		"after_seq=3":          {4, 5},
		"around_seq=3&limit=3": {2, 3, 4},
		"before=4102444800":    {1, 2, 3, 4, 5},
		"after_seq=2&limit=2":  {3, 4},
		"before_seq=5&limit=2": {3, 4},
		fmt.Sprint("before_id=", sent[2]["message_id"]): {1, 2, 3},
		fmt.Sprint("after_id=", sent[2]["message_id"]):  {5},
	} {
		compare(t, query, seqs(t, bob.history(group, query).good()["messages"]), want)
	}
	bob.history(group, "after_seq=5").is(200, shape{"messages": []shape{}, "first_seq": 0, "last_seq": 0, "has_more": false})
	for _, query := range []string{"limit=0", "limit=201", "before_seq=x"} {
		bob.history(group, query).refused("bad_request")
	}
}

func TestRoutePostIDMessages(t *testing.T) {
	alice := newcomer(t)
	group := alice.group("Friday")
	hello := object{"content": "hello", "type": "text", "client_message_id": fresh()}
	want := shape{
		"client_message_id": hello["client_message_id"], "conversation_id": group,
		"message_id": tuid, "seq": 2, "timestamp": recent, "duplicate": false,
	}
	at := conversations + "/" + group + "/messages"
	sent := alice.call("POST", at, hello).is(201, want).(object)
	alice.call("POST", at, hello).is(200, want.with(shape{"message_id": sent["message_id"], "duplicate": true}))
}

func TestRoutePostSync(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	group, unnamed := alice.group("Friday", bob.id), alice.group("Saturday", bob.id)
	alice.post(group, "hello")
	bob.post(group, "hello yourself")
	own := entry(group, bob.id, 3, "hello yourself").with(shape{"client_message_id": uuid})
	bob.call("POST", "/api/v1/sync", object{"have": object{group: 0}, "limit": 500}).is(200, shape{
		"events": []shape{
			{"type": "conversation_updated", "data": shape{
				"conversation_id": group, "seq": 1, "change": "created", "name": "Friday", "members_version": 1,
			}},
			{"type": "new_message", "data": entry(group, alice.id, 2, "hello")},
			{"type": "new_message", "data": own},
		},
		"heads":    []shape{{"conversation_id": unnamed, "head_seq": 1, "read_seq": 1, "large": false}},
		"has_more": false,
	})
	some := bob.call("POST", "/api/v1/sync", object{"have": object{group: 1, unnamed: 1}, "limit": 1}).good()
	compare(t, "the first", seqs(t, some["events"]), []int{2})
	compare(t, "has_more", some["has_more"], true)
}

func TestRoutePostIDRead(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	group := alice.group("Friday", bob.id)
	alice.post(group, "hello")
	bob.call("POST", conversations+"/"+group+"/read", object{"seq": 2}).is(204, nil)
	compare(t, "read_seq", bob.view(group)["read_seq"], 2)
	compare(t, "unread", bob.view(group)["unread"], 0)
	bob.call("POST", conversations+"/"+group+"/read", object{"seq": 3}).refused("bad_request")
}

func TestRouteGetPresence(t *testing.T) {
	alice, bob, stranger := newcomer(t), newcomer(t), newcomer(t)
	alice.direct(bob)
	bob.connect("")
	alice.call("GET", "/api/v1/presence?user_ids="+strings.Join(ids(stranger, alice, bob), ","), nil).is(200, []shape{
		{"user_id": alice.id, "status": "offline"},
		{"user_id": bob.id, "status": "online", "last_seen": recent},
	})
	alice.call("GET", "/api/v1/presence?user_ids="+strings.Join(strangers(201), ","), nil).refused("bad_request")
}

func TestRouteGetSearch(t *testing.T) {
	alice, bob, stranger := newcomer(t), newcomer(t), newcomer(t)
	group := alice.group("search", bob.id)
	word := "word" + strings.ReplaceAll(fresh(), "-", "") // Of this run alone.
	sent := bob.post(group, "Ёлка, "+word)
	find := func(p *person, query string) (a answer) {
		until(t, func() bool { // An index that was never asked may take its time on a busy machine.
			a = p.call("GET", "/api/v1/search?q="+url.QueryEscape(query), nil)
			return a.status != http.StatusGatewayTimeout
		})
		return a
	}
	until(t, func() bool { return len(find(alice, word).good()["results"].([]any)) == 1 })
	find(alice, "елка "+word[:10]+"* from:"+bob.id).is(200, shape{"results": []shape{{
		"message": shape{
			"message_id": sent["message_id"], "conversation_id": group, "seq": 2, "sender_id": bob.id,
			"content": "Ёлка, " + word, "type": "text", "timestamp": sent["timestamp"],
		},
		"highlights": []shape{{"start": 0, "end": 4, "text": "Ёлка"}, {"start": 6, "end": 6 + len(word), "text": word}},
	}}})
	nothing := shape{"results": []shape{}}
	find(alice, word+" has:media").is(200, nothing)
	find(stranger, word).is(200, nothing)
	find(stranger, "in:"+group).refused("not_member")
	bob.call("DELETE", conversations+"/"+group+"/members/"+bob.id, nil).is(204, nil)
	find(bob, word).is(200, nothing)
	find(alice, "from:somebody").refused("bad_request")
}
