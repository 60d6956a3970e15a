package rest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
	"switchboard/storage-worker/archive"
)

// whole returns everything of an answer but the request's id.
func whole(w *httptest.ResponseRecorder) string {
	id := w.Header().Get("X-Request-Id")
	var text strings.Builder
	if err := w.Result().Write(&text); err != nil {
		return err.Error()
	}
	return strings.ReplaceAll(text.String(), id, "ID")
}

// Whoever asks must not learn whether a conversation exists: neither from the
// answer nor from what it costs.
func TestForeignLeftAndMissingConversationsLookAlike(t *testing.T) {
	r := newRig(t)
	_, foreign := r.group(bob)
	_, left := r.group(bob, carol)
	r.say(alice, left, "hello")
	r.do(carol, http.StatusNoContent, nil, "DELETE", left+"/members/"+carol.String(), "")
	missing := "/api/v1/conversations/" + chat.DirectConversation(alice, carol).String()
	member := "/members/" + bob.String()

	for _, c := range []struct{ method, path, body string }{
		{"GET", "", ""},
		{"HEAD", "", ""},
		{"PATCH", "", `{"name":"mine"}`},
		{"PATCH", "", `{"name":`},
		{"GET", "/members", ""},
		{"PUT", member, `{"role":"admin"}`},
		{"PUT", "/members/nobody", ""},
		{"DELETE", member, ""},
		{"DELETE", "/members/" + carol.String(), ""},
		{"GET", "/messages", ""},
		{"GET", "/messages?limit=5&after_seq=0", ""},
		{"GET", "/messages?limit=0&before=x", ""},
		{"GET", "/messages?before_id=" + chat.NewMessageID(1, 1, 1).String(), ""},
		{"POST", "/messages", `{"type":"text","content":"x","client_message_id":"` + chat.NewRequestID().String() + `"}`},
		{"POST", "/messages", `{}`},
		{"POST", "/read", `{"seq":1}`},
		{"POST", "/read", `{"seq":0}`},
	} {
		var answers []string
		for name, conversation := range map[string]string{"foreign": foreign, "left": left, "missing": missing} {
			r.store.authorizations.Store(0)
			r.store.others.Store(0)
			w := r.serve(r.request(carol, c.method, conversation+c.path, c.body))
			if w.Code != 404 {
				t.Errorf("%s %s of a %s conversation: got %d", c.method, c.path, name, w.Code)
			}
			if c.method != "HEAD" {
				r.isProblem(w, 404, chat.NotMember)
			}
			if reads, others := r.store.authorizations.Load(), r.store.others.Load(); reads != 1 || others != 0 {
				t.Errorf("%s %s of a %s conversation: %d authorizations and %d other reads, want 1 and 0", c.method, c.path, name, reads, others)
			}
			answers = append(answers, whole(w))
		}
		malformed := r.serve(r.request(carol, c.method, "/api/v1/conversations/42"+c.path, c.body))
		answers = append(answers, whole(malformed))
		for _, a := range answers[1:] {
			if a != answers[0] {
				t.Errorf("%s %s: answers differ:\n%s\n%s", c.method, c.path, a, answers[0])
			}
		}
	}
}

// The fold may refuse what the authorization let through a moment before. It
// says the same.
func TestARemovalOvertakesACall(t *testing.T) {
	r := newRig(t)
	_, path := r.group(bob)
	before := r.refused(carol, chat.NotMember, "POST", path+"/messages", `{"type":"text","content":"x"}`)
	r.do(alice, http.StatusCreated, nil, "PUT", path+"/members/"+carol.String(), "")
	id, err := chat.ParseConversationID(path[len("/api/v1/conversations/"):])
	if err != nil {
		t.Fatal(err)
	}
	r.road.before = func(*bus.Inbound) {
		r.road.before = nil
		r.road.decide(&bus.Inbound{Conversation: id, Sender: alice, Request: chat.NewRequestID(), Remove: &bus.RemoveMember{User: carol}})
	}
	after := r.serve(r.request(carol, "POST", path+"/messages", `{"type":"text","content":"x"}`))
	if whole(before) != whole(after) {
		t.Errorf("answers differ:\n%s\n%s", whole(before), whole(after))
	}
}

func TestARemovalIsInForceWhenItIsAnswered(t *testing.T) {
	r := newRig(t)
	_, path := r.group(bob)
	r.do(bob, 200, nil, "GET", path+"/messages", "")
	r.do(alice, http.StatusNoContent, nil, "DELETE", path+"/members/"+bob.String(), "")
	r.refused(bob, chat.NotMember, "GET", path+"/messages", "")
	r.do(alice, http.StatusCreated, nil, "PUT", path+"/members/"+bob.String(), "")
	r.do(bob, 200, nil, "GET", path+"/messages", "")
}

// What was said while one was out stays hidden after one is back in.
func TestHistoryIsWhatLiesInsideTheStays(t *testing.T) {
	r := newRig(t)
	_, path := r.group(bob)                                                                     // 1
	r.say(alice, path, "both")                                                                  // 2
	r.do(alice, http.StatusNoContent, nil, "DELETE", path+"/members/"+bob.String(), "")         // 3
	r.say(alice, path, "alone")                                                                 // 4
	r.do(alice, http.StatusCreated, nil, "PUT", path+"/members/"+bob.String(), `{"role":null}`) // 5
	r.say(alice, path, "again")                                                                 // 6

	for query, want := range map[string][]chat.Seq{
		"": {1, 2, 3, 5, 6}, "?limit=3": {3, 5, 6}, "?after_seq=0&limit=4": {1, 2, 3, 5}, "?after_seq=3": {5, 6}, "?after_seq=4": {5, 6},
		"?before_seq=5": {1, 2, 3}, "?before_seq=6&limit=2": {3, 5}, "?around_seq=4&limit=2": {3, 5}, "?around_seq=4": {1, 2, 3, 5, 6},
	} {
		var p wire.MessagePage
		r.do(bob, 200, &p, "GET", path+"/messages"+query, "")
		if got := seqs(p); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", query, got, want)
		}
	}
}

func seqs(p wire.MessagePage) []chat.Seq {
	var all []chat.Seq
	for _, m := range p.Messages {
		all = append(all, m.Seq)
	}
	return all
}

// Somebody is removed while an answer is being read: what was sent to those who were
// left is not in it.
func TestRemovalDuringAReading(t *testing.T) {
	for _, path := range []string{"", "/members", "/messages", "/messages?after_seq=1", "/messages?around_seq=3"} {
		r := newRig(t)
		_, group := r.group(bob, carol)
		r.say(alice, group, "to all")
		r.store.meanwhile = func() {
			r.do(alice, http.StatusNoContent, nil, "DELETE", group+"/members/"+bob.String(), "")
			r.say(alice, group, "not for bob")
		}
		r.refused(bob, chat.NotMember, "GET", group+path, "")
		if r.store.meanwhile != nil {
			t.Errorf("%s: bob was not removed", path)
		}
	}
}

// Who is removed and added again while an answer is being read sees both stays, and
// not what lies between them.
func TestReturnDuringAReading(t *testing.T) {
	r := newRig(t)
	_, group := r.group(bob, carol)
	r.say(alice, group, "before")
	r.store.meanwhile = func() {
		r.do(alice, http.StatusNoContent, nil, "DELETE", group+"/members/"+bob.String(), "")
		r.say(alice, group, "between")
		r.do(alice, http.StatusCreated, nil, "PUT", group+"/members/"+bob.String(), "")
		r.say(alice, group, "after")
	}
	var page wire.MessagePage
	r.do(bob, http.StatusOK, &page, "GET", group+"/messages", "")
	var said []string
	for _, m := range page.Messages {
		if m.Event == nil {
			said = append(said, m.Content)
		}
	}
	if got, want := strings.Join(said, ", "), "before, after"; got != want {
		t.Errorf("bob reads %s, want %s", got, want)
	}
}

// Somebody comes and goes whenever a page is read: there is an end to the tries.
func TestEndlessComingAndGoingDuringAReading(t *testing.T) {
	r := newRig(t)
	_, group := r.group(bob, carol)
	var again func()
	again = func() {
		r.do(alice, http.StatusNoContent, nil, "DELETE", group+"/members/"+bob.String(), "")
		r.do(alice, http.StatusCreated, nil, "PUT", group+"/members/"+bob.String(), "")
		r.store.meanwhile = again
	}
	r.store.meanwhile = again
	r.refused(bob, chat.Unavailable, "GET", group+"/messages", "")
}

// enlarge marks the current stay of a user as one in a large conversation, whose index
// row does not bound what is read.
func (r *rig) enlarge(id chat.ConversationID, u chat.UserID) {
	r.t.Helper()
	stays, err := r.Store.StaysIn(r.t.Context(), u, id)
	if err != nil {
		r.t.Fatal(err)
	}
	large := stays[len(stays)-1]
	large.Large = true
	if err := r.Store.Write(r.t.Context(), &archive.Batch{Stays: []archive.StayWrite{{Stay: large, By: r.road.next()}}}); err != nil {
		r.t.Fatal(err)
	}
}

// late is a body whose client takes its time: something happens before it comes.
type late struct {
	io.Reader
	meanwhile func()
}

func (l *late) Read(p []byte) (int, error) {
	if happens := l.meanwhile; happens != nil {
		l.meanwhile = nil
		happens()
	}
	return l.Reader.Read(p)
}

// A change that changes nothing is answered with what is there: not to somebody who is
// removed while the body is on its way or the answer is being read.
func TestRemovalDuringAnEmptyPatch(t *testing.T) {
	for _, when := range []string{"body", "answer"} {
		r := newRig(t)
		id, group := r.group(bob, carol)
		r.say(alice, group, "to all")
		r.enlarge(id, bob)
		request := r.request(bob, "PATCH", group, `{}`)
		removed := false
		remove := func() {
			r.do(alice, http.StatusNoContent, nil, "DELETE", group+"/members/"+bob.String(), "")
			r.do(alice, http.StatusOK, nil, "PATCH", group, `{"name":"not for bob"}`)
			r.say(alice, group, "not for bob")
			removed = true
		}
		if when == "body" {
			request.Body = io.NopCloser(&late{request.Body, remove})
		} else {
			r.store.meanwhile = remove
		}
		r.isProblem(r.serve(request), http.StatusNotFound, chat.NotMember)
		if !removed {
			t.Errorf("%s: bob was not removed", when)
		}
	}
}

// A group that was made already is shown to its maker, unless removed meanwhile.
func TestRemovalWhileAGroupIsMadeAgain(t *testing.T) {
	r := newRig(t)
	made := fmt.Sprintf(`{"type":"group","name":"g","member_ids":[%q],"client_conversation_id":%q}`, bob, chat.NewRequestID())
	var c wire.Conversation
	r.do(alice, http.StatusCreated, &c, "POST", conversations, made)
	group := conversations + "/" + c.ID.String()
	r.do(alice, http.StatusCreated, nil, "PUT", group+"/members/"+carol.String(), `{"role":"admin"}`)
	r.enlarge(c.ID, alice)
	r.store.meanwhile = func() {
		r.do(carol, http.StatusNoContent, nil, "DELETE", group+"/members/"+alice.String(), "")
		r.say(bob, group, "not for alice")
	}
	r.refused(alice, chat.NotMember, "POST", conversations, made)
	if r.store.meanwhile != nil {
		t.Error("alice was not removed")
	}
}

// Whoever is removed while a member that is there already is put again is not told how
// far that one has read since.
func TestRemovalWhileAMemberIsPut(t *testing.T) {
	r := newRig(t)
	_, group := r.group(bob)
	r.do(alice, http.StatusCreated, nil, "PUT", group+"/members/"+carol.String(), `{"role":"admin"}`)
	r.store.meanwhile = func() {
		r.do(carol, http.StatusNoContent, nil, "DELETE", group+"/members/"+alice.String(), "")
		r.say(bob, group, "not for alice")
	}
	r.refused(alice, chat.NotMember, "PUT", group+"/members/"+bob.String(), "")
	if r.store.meanwhile != nil {
		t.Error("alice was not removed")
	}
}

// The list has the last message and the name of each conversation. Of a large one the
// index row bounds neither, and of a small one not the name.
func TestRemovalDuringAReadingOfTheList(t *testing.T) {
	for _, large := range []bool{true, false} {
		r := newRig(t)
		id, group := r.group(bob, carol)
		if large {
			r.enlarge(id, bob)
		}
		var list wire.ConversationList
		r.do(bob, http.StatusOK, &list, "GET", "/api/v1/conversations", "")
		if len(list.Conversations) != 1 {
			t.Fatalf("bob is told of %d conversations", len(list.Conversations))
		}
		r.store.meanwhile = func() {
			r.do(alice, http.StatusNoContent, nil, "DELETE", group+"/members/"+bob.String(), "")
			r.do(alice, http.StatusOK, nil, "PATCH", group, `{"name":"not for bob"}`)
			r.say(alice, group, "not for bob")
		}
		w := r.do(bob, http.StatusOK, &list, "GET", "/api/v1/conversations", "")
		if strings.Contains(w.Body.String(), "not for bob") || len(list.Conversations) != 0 {
			t.Errorf("large %v: bob is told %s", large, w.Body)
		}
	}
}

// TestMembersOfAnyConversationReadAnUpload has one that was sent to very many.
func TestMembersOfAnyConversationReadAnUpload(t *testing.T) {
	m := newMediaRig(t)
	up := m.upload(alice, "a.txt", []byte("hello"))
	sent := &archive.Batch{}
	members := []chat.UserID{bob, carol, chat.DemoUser("dave"), chat.DemoUser("erin")}
	for _, u := range members {
		c, path := m.group(u)
		sent.Media = append(sent.Media, archive.MediaRef{Media: up.MediaID, Conversation: c, By: m.say(alice, path, "the file").MessageID})
	}
	for len(sent.Media) < 2000 {
		sent.Media = append(sent.Media, archive.MediaRef{Media: up.MediaID, Conversation: chat.ConversationID(chat.NewRequestID()), By: sent.Media[0].By})
	}
	if err := m.store.Write(t.Context(), sent); err != nil {
		t.Fatal(err)
	}
	path := "/api/v1/media/" + up.MediaID.String()
	for _, u := range members {
		m.do(u, http.StatusOK, nil, "GET", path, "")
	}
	m.store.authorizations.Store(0)
	m.store.others.Store(0)
	m.refused(chat.DemoUser("mallory"), chat.NotFound, "GET", path, "")
	if one, all := m.store.authorizations.Load(), m.store.others.Load(); one > 1 || all != 1 {
		t.Errorf("a refusal reads the memberships of %d conversations, and all of them %d times, want once", one, all)
	}
}
