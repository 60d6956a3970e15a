package rest

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/presence"
	"switchboard/internal/wire"
)

const presencePath = "/api/v1/presence?user_ids="

// sightings are what is known of some users; fail is what is answered instead.
type sightings struct {
	known map[chat.UserID]presence.Sighting
	asked []chat.UserID
	fail  error
}

func (s *sightings) Seen(_ context.Context, users []chat.UserID) ([]presence.Sighting, error) {
	s.asked = append(s.asked, users...)
	seen := make([]presence.Sighting, len(users))
	for i, u := range users {
		seen[i] = s.known[u]
	}
	return seen, s.fail
}

func textOf(users ...chat.UserID) string {
	var texts []string
	for _, u := range users {
		texts = append(texts, u.String())
	}
	return strings.Join(texts, ",")
}

func TestWhoIsOnline(t *testing.T) {
	r := newRig(t)
	ended := time.Unix(1_790_000_000, 0)
	r.Sightings = &sightings{known: map[chat.UserID]presence.Sighting{bob: {Online: true}, carol: {Last: ended}}}
	dave := chat.DemoUser("dave")
	r.group(bob, dave)
	r.group(carol)
	before := time.Now().Unix()
	var got []wire.Presence
	r.do(alice, 200, &got, "GET", presencePath+textOf(carol, bob, dave, bob), "")
	if len(got) != 3 || got[1].LastSeen < before {
		t.Fatalf("got %+v, want three, and bob to be there now", got)
	}
	want := []wire.Presence{
		{UserID: carol, Status: "offline", LastSeen: ended.Unix()},
		{UserID: bob, Status: "online", LastSeen: got[1].LastSeen},
		{UserID: dave, Status: "offline"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// Whoever shares no conversation, no more or not yet, looks as who does not exist,
// and the directory is not even asked.
func TestPresenceIsToldToThoseWhoShareAConversationOnly(t *testing.T) {
	r := newRig(t)
	dir := &sightings{known: map[chat.UserID]presence.Sighting{alice: {Online: true}, bob: {Online: true}, carol: {Online: true}}}
	r.Sightings = dir
	_, path := r.group(bob, carol)
	erin, nobody := chat.DemoUser("erin"), chat.DemoUser("nobody")
	for _, step := range []struct {
		name   string
		who    chat.UserID
		want   []chat.UserID
		before func()
	}{
		{"a member sees the members", carol, []chat.UserID{alice, bob, carol}, func() {}},
		{"a stranger sees itself", erin, []chat.UserID{erin}, func() {}},
		{"who was removed sees itself", carol, []chat.UserID{carol}, func() {
			r.do(alice, http.StatusNoContent, nil, "DELETE", path+"/members/"+carol.String(), "")
		}},
		{"who was removed is not seen", alice, []chat.UserID{alice, bob}, func() {}},
	} {
		step.before()
		dir.asked = nil
		var got []wire.Presence
		r.do(step.who, 200, &got, "GET", presencePath+textOf(alice, bob, carol, erin, nobody), "")
		var users []chat.UserID
		for _, p := range got {
			users = append(users, p.UserID)
		}
		if !slices.Equal(users, step.want) || !slices.Equal(dir.asked, step.want) {
			t.Errorf("%s: got %v, and the directory was asked for %v, want %v", step.name, users, dir.asked, step.want)
		}
	}
	w := r.serve(r.request(erin, "GET", presencePath+textOf(alice, bob), ""))
	if got := strings.TrimSpace(w.Body.String()); w.Code != 200 || got != "[]" {
		t.Errorf("a stranger got %d %s, want an empty list", w.Code, got)
	}
}

// With whom there is a direct conversation one read answers, however many.
func TestDirectPeersCostOneRead(t *testing.T) {
	r := newRig(t)
	r.Sightings = new(sightings)
	for _, other := range []chat.UserID{bob, carol} {
		r.do(alice, http.StatusCreated, nil, "POST", "/api/v1/conversations", `{"type":"direct","member_ids":["`+other.String()+`"]}`)
	}
	r.store.others.Store(0)
	var got []wire.Presence
	r.do(alice, 200, &got, "GET", presencePath+textOf(bob, carol), "")
	if reads := r.store.others.Load(); len(got) != 2 || reads != 1 {
		t.Errorf("%d of 2 peers for %d reads, want 1 read", len(got), reads)
	}
}

func TestPresenceThatIsNone(t *testing.T) {
	r := newRig(t)
	many := make([]chat.UserID, PresenceMax+1)
	for i := range many {
		many[i] = chat.UserID{1, byte(i), byte(i >> 8)}
	}
	r.refused(alice, chat.Unavailable, "GET", presencePath+textOf(alice), "")
	r.Sightings = &sightings{fail: errors.New("no answer")}
	w := r.refused(alice, chat.Unavailable, "GET", presencePath+textOf(alice), "")
	if strings.Contains(w.Body.String(), "no answer") {
		t.Errorf("the directory's words reach the client: %s", w.Body)
	}
	r.Sightings = new(sightings)
	for _, query := range []string{
		"/api/v1/presence", presencePath, presencePath + ",", presencePath + "alice", presencePath + textOf(chat.UserID{}),
		presencePath + textOf(many...), presencePath + "%zz",
	} {
		r.refused(alice, chat.BadRequest, "GET", query, "")
	}
	r.do(alice, 200, nil, "GET", presencePath+textOf(many[:PresenceMax]...), "")
	r.store.fail = errors.New("the archive is away")
	r.refused(alice, chat.Internal, "GET", presencePath+textOf(bob), "")
}
