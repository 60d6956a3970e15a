package rest

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
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
