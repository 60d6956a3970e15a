package rest

import (
	"testing"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

func TestWhatWasReadIsNotUnread(t *testing.T) {
	r := newRig(t)
	_, path := r.group(bob)
	for _, text := range []string{"one", "two", "three"} { // 2, 3, 4
		r.say(bob, path, text)
	}
	for _, step := range []struct {
		body   string
		read   chat.Seq
		unread int64
	}{
		{`{"seq":3}`, 3, 1},
		{`{"seq":2}`, 3, 1}, // It never moves back.
		{`{"seq":4,"by":"the way"}`, 4, 0},
	} {
		r.do(alice, 204, nil, "POST", path+"/read", step.body)
		var c wire.Conversation
		r.do(alice, 200, &c, "GET", path, "")
		if c.ReadSeq != step.read || c.Unread != step.unread {
			t.Errorf("after %s: read %d and %d unread, want %d and %d", step.body, c.ReadSeq, c.Unread, step.read, step.unread)
		}
	}
	var members wire.MemberList
	r.do(bob, 200, &members, "GET", path+"/members", "")
	for _, m := range members.Members {
		if m.UserID == alice && (m.ReadSeq != 4 || m.DeliveredSeq != 4) {
			t.Errorf("bob sees alice at %+v, want that she has read 4", m)
		}
	}
}

func TestMarksThatAreNone(t *testing.T) {
	r := newRig(t)
	_, path := r.group(bob)
	for _, body := range []string{`{}`, `{"seq":0}`, `{"seq":-1}`, `{"seq":1.5}`, `{"seq":"1"}`, `{"seq":9223372036854775808}`, `7`, `{"seq":2}`} {
		r.refused(alice, chat.BadRequest, "POST", path+"/read", body)
	}
	r.road.silent = true
	r.calls.CallTimeout = 1
	w := r.refused(alice, chat.Timeout, "POST", path+"/read", `{"seq":1}`)
	if w.Header().Get("Retry-After") == "" {
		t.Error("nobody knows, and it does not say when to try again")
	}
}
