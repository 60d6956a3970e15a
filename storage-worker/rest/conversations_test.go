package rest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

const conversations = "/api/v1/conversations"

func TestAConversationAsItsMembersSeeIt(t *testing.T) {
	r := newRig(t)
	id, path := r.group(bob)
	r.say(bob, path, "one")
	r.say(bob, path, "two")
	r.do(alice, 200, nil, "PATCH", path, `{"name":"renamed"}`)
	sent := r.say(bob, path, "three")
	var got wire.Conversation
	w := r.do(alice, 200, &got, "GET", path, "")
	if got.LastMessage == nil || got.LastMessage.MessageID != sent.MessageID || got.LastMessage.ClientMessageID != nil {
		t.Errorf("last message %+v", got.LastMessage)
	}
	got.LastMessage = nil
	want := wire.Conversation{
		ID: id, Type: "group", Name: "renamed", MembersCount: 2, Role: "admin",
		HeadSeq: 5, ReadSeq: 1, Unread: 3, UpdatedAt: sent.Timestamp,
	}
	if got != want {
		t.Errorf("got %s, want %+v", w.Body, want)
	}
	r.do(bob, 200, &got, "GET", path, "")
	if got.Role != "member" || got.ReadSeq != 5 || got.Unread != 0 || *got.LastMessage.ClientMessageID != sent.ClientMessageID {
		t.Errorf("bob sees %+v", got)
	}
}

func TestUnreadIsCountedUpToALimit(t *testing.T) {
	r := newRig(t)
	_, path := r.group(bob)
	r.say(alice, path, "mine")
	for i := range UnreadMax + 5 {
		if i == 130 {
			var c wire.Conversation
			r.do(alice, 200, &c, "GET", path, "")
			if c.Unread != 130 {
				t.Errorf("unread %d, want 130", c.Unread)
			}
		}
		r.say(bob, path, "x")
	}
	var c wire.Conversation
	r.do(alice, 200, &c, "GET", path, "")
	if c.Unread != UnreadMax || c.ReadSeq != 2 {
		t.Errorf("unread %d above %d, want %d above 2", c.Unread, c.ReadSeq, UnreadMax)
	}
}

func TestAGroupWithoutAMessageHasNoLastOne(t *testing.T) {
	r := newRig(t)
	_, path := r.group(bob)
	w := r.do(alice, 200, nil, "GET", path, "")
	if strings.Contains(w.Body.String(), "last_message") {
		t.Errorf("got %s", w.Body)
	}
}

func TestTheListIsByActivityAndInPages(t *testing.T) {
	r := newRig(t)
	var paths []string
	for range 5 {
		_, path := r.group(bob)
		paths = append(paths, path)
	}
	r.say(bob, paths[1], "wakes it")
	_, left := r.group(bob)
	r.do(alice, http.StatusNoContent, nil, "DELETE", left+"/members/"+alice.String(), "")

	want := []string{paths[1], paths[4], paths[3], paths[2], paths[0]}
	for _, limit := range []int{1, 2, 4, 5, 6} {
		var got []string
		query := fmt.Sprintf("?limit=%d", limit)
		for {
			var page wire.ConversationList
			r.do(alice, 200, &page, "GET", conversations+query, "")
			if len(page.Conversations) > limit {
				t.Fatalf("%d on a page of %d", len(page.Conversations), limit)
			}
			for _, c := range page.Conversations {
				got = append(got, conversations+"/"+c.ID.String())
			}
			if page.Cursor == "" {
				break
			}
			query = fmt.Sprintf("?limit=%d&cursor=%s", limit, page.Cursor)
		}
		if !slices.Equal(got, want) {
			t.Errorf("by %d: got %v, want %v", limit, got, want)
		}
	}
	w := r.do(carol, 200, nil, "GET", conversations, "")
	if want := `{"conversations":[]}` + "\n"; w.Body.String() != want {
		t.Errorf("an empty list: got %s, want %s", w.Body, want)
	}
	for _, query := range []string{"?limit=0", "?limit=201", "?cursor=x", "?cursor=" + strings.Repeat("A", 42), "?cursor=A&cursor=B", "?%zz"} {
		r.refused(alice, chat.BadRequest, "GET", conversations+query, "")
	}
}

func TestRename(t *testing.T) {
	r := newRig(t)
	_, path := r.group(bob)
	for body, want := range map[string]string{`{}`: "g", `{"name":null}`: "g", `{"name":""}`: "", `{"name":"` + strings.Repeat("é", 255) + `"}`: strings.Repeat("é", 255)} {
		var c wire.Conversation
		r.do(alice, 200, &c, "PATCH", path, body)
		if body != `{}` && body != `{"name":null}` && c.Name != want {
			t.Errorf("%s: got %q", body, c.Name)
		}
	}
	r.refused(alice, chat.BadRequest, "PATCH", path, `{"name":"`+strings.Repeat("é", 256)+`"}`)
	r.refused(alice, chat.BadRequest, "PATCH", path, `{"name":7}`)
	r.refused(bob, chat.Forbidden, "PATCH", path, `{"name":"mine"}`)
}

func TestADirectConversationIsOne(t *testing.T) {
	r := newRig(t)
	var ids []chat.ConversationID
	for i, c := range []struct {
		who, other chat.UserID
		status     int
	}{{alice, bob, 201}, {alice, bob, 200}, {bob, alice, 200}} {
		var got wire.Conversation
		r.do(c.who, c.status, &got, "POST", conversations, fmt.Sprintf(`{"type":"direct","name":"ignored","member_ids":[%q]}`, c.other))
		if got.Type != "direct" || got.Name != "" || got.MembersCount != 2 || got.Role != "member" || got.HeadSeq != 1 {
			t.Errorf("%d: got %+v", i, got)
		}
		ids = append(ids, got.ID)
	}
	if want := chat.DirectConversation(alice, bob); ids[0] != want || ids[1] != want || ids[2] != want {
		t.Errorf("got %v, want %v", ids, want)
	}
	// The caller may be named among the members.
	r.do(alice, 200, nil, "POST", conversations, fmt.Sprintf(`{"type":"direct","member_ids":[%q,%q,%q]}`, alice, bob, bob))
}

func TestAGroupIsMadeOnceForARequest(t *testing.T) {
	r := newRig(t)
	request := chat.NewRequestID()
	want := chat.GroupConversation(alice, request)
	body := fmt.Sprintf(`{"type":"group","name":"g","member_ids":[%q],"client_conversation_id":%q}`, bob, request)
	byHeader := fmt.Sprintf(`{"type":"group","name":"g","member_ids":[%q]}`, bob)
	var c wire.Conversation
	r.do(alice, 201, &c, "POST", conversations, body)
	if c.ID != want || c.MembersCount != 2 || c.Role != "admin" {
		t.Errorf("got %+v", c)
	}
	r.do(alice, 200, &c, "POST", conversations, body)
	r.do(alice, 200, &c, "POST", conversations, byHeader, "Idempotency-Key", request.String())
	if c.ID != want {
		t.Errorf("got %v, want %v", c.ID, want)
	}
	r.do(alice, 201, &c, "POST", conversations, byHeader)
	if c.ID == want {
		t.Error("without an id the same group came back")
	}
	// A group of one is a group.
	r.do(carol, 201, &c, "POST", conversations, `{"type":"group"}`)
	if c.MembersCount != 1 || c.Name != "" {
		t.Errorf("got %+v", c)
	}
}

func users(n int) []chat.UserID {
	all := make([]chat.UserID, n)
	for i := range all {
		all[i] = chat.DemoUser(fmt.Sprint("user", i))
	}
	return all
}

func TestConversationsThatAreNotMade(t *testing.T) {
	r := newRig(t)
	many := func(n int) string {
		ids, err := json.Marshal(users(n))
		if err != nil {
			t.Fatal(err)
		}
		return string(ids)
	}
	for name, c := range map[string]struct {
		body string
		code chat.Code
	}{
		"no type":              {`{"member_ids":` + many(1) + `}`, chat.BadRequest},
		"another type":         {`{"type":"channel","member_ids":` + many(1) + `}`, chat.BadRequest},
		"direct with nobody":   {`{"type":"direct","member_ids":[]}`, chat.BadRequest},
		"direct with oneself":  {fmt.Sprintf(`{"type":"direct","member_ids":[%q]}`, alice), chat.BadRequest},
		"direct with two":      {`{"type":"direct","member_ids":` + many(2) + `}`, chat.BadRequest},
		"a member of zeros":    {`{"type":"group","member_ids":[null]}`, chat.BadRequest},
		"a member by name":     {`{"type":"group","member_ids":["bob"]}`, chat.BadRequest},
		"a long name":          {`{"type":"group","name":"` + strings.Repeat("n", 256) + `"}`, chat.BadRequest},
		"an id that is no one": {`{"type":"group","client_conversation_id":"1"}`, chat.BadRequest},
		"an id of zeros":       {`{"type":"group","client_conversation_id":"00000000-0000-0000-0000-000000000000"}`, chat.BadRequest},
		"too many":             {`{"type":"group","member_ids":` + many(5) + `}`, chat.ConversationFull},
	} {
		if w := r.serve(r.request(alice, "POST", conversations, c.body)); w.Code != c.code.Status() {
			t.Errorf("%s: got %d %s", name, w.Code, w.Body)
		}
	}
	r.do(alice, 201, nil, "POST", conversations, `{"type":"group","member_ids":`+many(4)+`}`)
	r.refused(alice, chat.BadRequest, "POST", conversations, `{"type":"group"}`, "Idempotency-Key", "not-a-uuid")
}

func TestTooManyConversations(t *testing.T) {
	r := newRig(t)
	for _, u := range users(6) {
		r.do(alice, 201, nil, "POST", conversations, fmt.Sprintf(`{"type":"direct","member_ids":[%q]}`, u))
	}
	r.refused(alice, chat.TooManyConversations, "POST", conversations, fmt.Sprintf(`{"type":"direct","member_ids":[%q]}`, bob))
	r.refused(bob, chat.TooManyConversations, "POST", conversations, fmt.Sprintf(`{"type":"group","member_ids":[%q]}`, alice))
	// What is there needs no room.
	r.do(alice, 200, nil, "POST", conversations, fmt.Sprintf(`{"type":"direct","member_ids":[%q]}`, users(1)[0]))
	var g wire.Conversation
	r.do(bob, 201, &g, "POST", conversations, `{"type":"group"}`)
	r.refused(bob, chat.TooManyConversations, "PUT", conversations+"/"+g.ID.String()+"/members/"+alice.String(), "")
}

func TestMembers(t *testing.T) {
	r := newRig(t)
	_, path := r.group(bob)
	r.say(bob, path, "hi")
	var added wire.Member
	r.do(alice, 201, &added, "PUT", path+"/members/"+carol.String(), `{"role":"admin"}`)
	if added.UserID != carol || added.Role != "admin" || added.ReadSeq != 3 || added.DeliveredSeq != 3 {
		t.Errorf("added %+v", added)
	}
	r.do(alice, 200, nil, "PUT", path+"/members/"+carol.String(), `{"role":"admin"}`)
	r.do(alice, 200, nil, "PUT", path+"/members/"+carol.String(), ``)

	var got wire.MemberList
	w := r.do(carol, 200, &got, "GET", path+"/members", "")
	slices.SortFunc(got.Members, func(a, b wire.Member) int { return int(a.ReadSeq - b.ReadSeq) })
	if len(got.Members) != 3 || got.MembersVersion != 3 || got.Members[0].UserID != alice || got.Members[0].Role != "admin" ||
		got.Members[1].UserID != bob || got.Members[1].ReadSeq != 2 || got.Members[2] != added || got.Members[0].JoinedAt >= added.JoinedAt+1 {
		t.Errorf("got %s", w.Body)
	}

	r.refused(bob, chat.Forbidden, "PUT", path+"/members/"+chat.DemoUser("dan").String(), "")
	r.refused(bob, chat.Forbidden, "DELETE", path+"/members/"+carol.String(), "")
	r.refused(alice, chat.BadRequest, "PUT", path+"/members/dan", "")
	r.refused(alice, chat.BadRequest, "DELETE", path+"/members/dan", "")
	r.refused(alice, chat.BadRequest, "PUT", path+"/members/"+bob.String(), `{"role":"owner"}`)
	w = r.do(alice, http.StatusNoContent, nil, "DELETE", path+"/members/"+bob.String(), "")
	if w.Body.Len() != 0 {
		t.Errorf("204 with %s", w.Body)
	}
	r.refused(alice, chat.NotFound, "DELETE", path+"/members/"+bob.String(), "")
	r.do(carol, 200, &got, "GET", path+"/members", "")
	if len(got.Members) != 2 || got.MembersVersion != 4 {
		t.Errorf("got %+v", got)
	}
	r.do(carol, http.StatusNoContent, nil, "DELETE", path+"/members/"+carol.String(), "")
	r.refused(carol, chat.NotMember, "DELETE", path+"/members/"+carol.String(), "")
}
