package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
	"switchboard/storage-worker/archive"
)

// synced is an answer of POST /sync, as a client reads it.
type synced struct {
	Events []struct {
		Type string `json:"type"`
		Data struct {
			ConversationID  chat.ConversationID `json:"conversation_id"`
			Seq             chat.Seq            `json:"seq"`
			Change          string              `json:"change"`
			Content         string              `json:"content"`
			ClientMessageID *chat.RequestID     `json:"client_message_id"`
		} `json:"data"`
	} `json:"events"`
	Heads   []wire.Head `json:"heads"`
	HasMore bool        `json:"has_more"`
}

func (r *rig) sync(u chat.UserID, have map[chat.ConversationID]chat.Seq, limit int) synced {
	r.t.Helper()
	body, err := json.Marshal(map[string]any{"have": have, "limit": limit})
	if err != nil {
		r.t.Fatal(err)
	}
	var got synced
	r.do(u, 200, &got, "POST", "/api/v1/sync", string(body))
	return got
}

// told lists the events as conversation-independent text.
func (s synced) told() string {
	var all []string
	for _, e := range s.Events {
		all = append(all, fmt.Sprintf("%s %d", e.Type, e.Data.Seq))
	}
	return strings.Join(all, ", ")
}

func TestSyncTellsWhatIsAboveHave(t *testing.T) {
	r := newRig(t)
	id, path := r.group(bob)                             // 1
	mine := r.say(alice, path, "mine")                   // 2
	r.say(bob, path, "theirs")                           // 3
	r.do(alice, 200, nil, "PATCH", path, `{"name":"n"}`) // 4
	direct := wire.Conversation{}
	r.do(bob, 201, &direct, "POST", conversations, fmt.Sprintf(`{"type":"direct","member_ids":[%q]}`, alice))

	got := r.sync(alice, map[chat.ConversationID]chat.Seq{id: 1}, 200)
	if want := "new_message 2, new_message 3, conversation_updated 4"; got.told() != want || got.HasMore {
		t.Errorf("got %s, more %v; want %s", got.told(), got.HasMore, want)
	}
	if e := got.Events[0].Data; e.ClientMessageID == nil || *e.ClientMessageID != mine.ClientMessageID || e.ConversationID != id {
		t.Errorf("my own message carries %v", e.ClientMessageID)
	}
	if e := got.Events[1].Data; e.ClientMessageID != nil || e.Content != "theirs" {
		t.Errorf("another's message: %+v", e)
	}
	// What is not named comes as a head.
	if want := []wire.Head{{ConversationID: direct.ID, HeadSeq: 1, ReadSeq: 1}}; fmt.Sprint(got.Heads) != fmt.Sprint(want) {
		t.Errorf("heads %v, want %v", got.Heads, want)
	}
	// Up to date, foreign, ahead: nothing to say.
	foreign := chat.DirectConversation(bob, carol)
	w := r.do(alice, 200, nil, "POST", "/api/v1/sync", fmt.Sprintf(`{"have":{%q:4,%q:9,%q:0}}`, id, direct.ID, foreign))
	if want := `{"events":[],"heads":[],"has_more":false}` + "\n"; w.Body.String() != want {
		t.Errorf("got %s, want %s", w.Body, want)
	}
}

func TestSyncEventsAreTheFramesThatWerePushed(t *testing.T) {
	r := newRig(t)
	id, path := r.group(bob)
	r.say(bob, path, "<a> & \u2028 \x00")
	rows, err := r.Store.Entries(t.Context(), id, 1, 9, 9, false)
	if err != nil {
		t.Fatal(err)
	}
	want := string(wire.AppendEntry(nil, &rows[0].Entry, true)) + "," + string(wire.AppendEntry(nil, &rows[1].Entry, false))
	w := r.do(alice, 200, nil, "POST", "/api/v1/sync", fmt.Sprintf(`{"have":{%q:0}}`, id))
	if !strings.Contains(w.Body.String(), `{"events":[`+want+`],`) {
		t.Errorf("got %s, want events %s", w.Body, want)
	}
}

func TestANewDeviceGetsHeadsAlone(t *testing.T) {
	r := newRig(t)
	id, path := r.group(bob)
	r.say(bob, path, "x")
	for _, body := range []string{`{}`, `{"have":{}}`, `{"have":null,"limit":null}`} {
		var got synced
		r.do(alice, 200, &got, "POST", "/api/v1/sync", body)
		if len(got.Events) != 0 || fmt.Sprint(got.Heads) != fmt.Sprint([]wire.Head{{ConversationID: id, HeadSeq: 2, ReadSeq: 1}}) || got.HasMore {
			t.Errorf("%s: got %+v", body, got)
		}
	}
}

func TestSyncGoesOnUntilThereIsNoMore(t *testing.T) {
	r := newRig(t)
	have, heads := map[chat.ConversationID]chat.Seq{}, map[chat.ConversationID]chat.Seq{}
	for i := range 4 {
		id, path := r.group(bob)
		for range 3 * i {
			r.say(bob, path, "x")
		}
		have[id], heads[id] = 0, chat.Seq(3*i+1)
	}
	calls, events := 0, 0
	for more := true; more; calls++ {
		got := r.sync(alice, have, 5)
		for _, e := range got.Events {
			if e.Data.Seq != have[e.Data.ConversationID]+1 {
				t.Fatalf("seq %d after %d", e.Data.Seq, have[e.Data.ConversationID])
			}
			have[e.Data.ConversationID] = e.Data.Seq
		}
		if events += len(got.Events); got.HasMore && len(got.Events) != 5 {
			t.Fatalf("%d events on a page of 5", len(got.Events))
		}
		more = got.HasMore
	}
	if fmt.Sprint(have) != fmt.Sprint(heads) || events != 22 || calls != 5 {
		t.Errorf("after %d calls and %d events have %v, want %v", calls, events, have, heads)
	}
}

func TestAConversationThatIsFarAheadIsPaged(t *testing.T) {
	r := newRig(t)
	id, path := r.group(bob)
	for range SyncGap + 1 {
		r.say(bob, path, "x")
	}
	got := r.sync(alice, map[chat.ConversationID]chat.Seq{id: 1}, 500)
	if len(got.Events) != 0 || len(got.Heads) != 1 || got.Heads[0].HeadSeq != SyncGap+2 || got.HasMore {
		t.Errorf("got %d events, heads %v", len(got.Events), got.Heads)
	}
	got = r.sync(alice, map[chat.ConversationID]chat.Seq{id: 2}, 500)
	if len(got.Events) != SyncGap || len(got.Heads) != 0 || got.HasMore {
		t.Errorf("got %d events, heads %v, more %v", len(got.Events), got.Heads, got.HasMore)
	}
}

func TestAConversationThatWasLeftIsToldUpToTheRemoval(t *testing.T) {
	r := newRig(t)
	id, path := r.group(bob)                                                            // 1
	r.say(alice, path, "x")                                                             // 2
	r.do(alice, http.StatusNoContent, nil, "DELETE", path+"/members/"+bob.String(), "") // 3
	r.say(alice, path, "hidden")                                                        // 4

	if got := r.sync(bob, map[chat.ConversationID]chat.Seq{}, 200); len(got.Events)+len(got.Heads) != 0 {
		t.Errorf("not named: got %+v", got)
	}
	got := r.sync(bob, map[chat.ConversationID]chat.Seq{id: 1}, 200)
	if want := "new_message 2, conversation_updated 3"; got.told() != want || len(got.Heads) != 0 || got.HasMore {
		t.Errorf("got %s, heads %v", got.told(), got.Heads)
	}
	if got := r.sync(bob, map[chat.ConversationID]chat.Seq{id: 3}, 200); len(got.Events)+len(got.Heads) != 0 {
		t.Errorf("told already: got %+v", got)
	}
	r.do(alice, 201, nil, "PUT", path+"/members/"+bob.String(), "") // 5
	got = r.sync(bob, map[chat.ConversationID]chat.Seq{id: 1}, 200)
	if want := "new_message 2, conversation_updated 3, conversation_updated 5"; got.told() != want {
		t.Errorf("back again: got %s, want %s", got.told(), want)
	}
}

func TestTheLastEventsOfALongAbsence(t *testing.T) {
	r := newRig(t)
	id, path := r.group(bob)
	for range SyncGap + 100 {
		r.say(alice, path, "x")
	}
	r.do(alice, http.StatusNoContent, nil, "DELETE", path+"/members/"+bob.String(), "")
	have := map[chat.ConversationID]chat.Seq{id: 0}
	got := r.sync(bob, have, 500)
	if n := len(got.Events); n != SyncGap || got.Events[0].Data.Seq != 103 || got.Events[n-1].Data.Change != "member_removed" || got.HasMore {
		t.Errorf("got %d events from %d, more %v", n, got.Events[0].Data.Seq, got.HasMore)
	}
}

// The index does not follow the head of a large conversation.
func TestALargeConversationIsPaged(t *testing.T) {
	r := newRig(t)
	id, path := r.group(bob)
	r.say(bob, path, "x")
	stays, err := r.Store.StaysIn(t.Context(), alice, id)
	if err != nil {
		t.Fatal(err)
	}
	large := stays[0]
	large.Large = true
	if err := r.Store.Write(context.Background(), &archive.Batch{Stays: []archive.StayWrite{{Stay: large, By: r.road.next()}}}); err != nil {
		t.Fatal(err)
	}
	e := chat.Entry{Conversation: id, Seq: 3, ID: r.road.next(), Sender: bob, Kind: chat.KindText, Content: "not in the index"}
	if err := r.Store.Write(context.Background(), &archive.Batch{Rows: []archive.Row{{Entry: e}}}); err != nil {
		t.Fatal(err)
	}
	got := r.sync(alice, map[chat.ConversationID]chat.Seq{id: 2}, 200)
	if len(got.Events) != 0 || fmt.Sprint(got.Heads) != fmt.Sprint([]wire.Head{{ConversationID: id, HeadSeq: 3, ReadSeq: 1, Large: true}}) {
		t.Errorf("got %+v", got)
	}
	if got := r.sync(alice, map[chat.ConversationID]chat.Seq{id: 3}, 200); len(got.Heads) != 0 {
		t.Errorf("got %+v", got)
	}
	var c wire.Conversation
	r.do(alice, 200, &c, "GET", path, "")
	if c.HeadSeq != 3 || c.Unread != 2 || c.LastMessage.Content != "not in the index" {
		t.Errorf("got %+v", c)
	}
}

func TestSyncsThatAreNone(t *testing.T) {
	r := newRig(t)
	id, _ := r.group(bob)
	for _, body := range []string{
		`{"limit":0}`, `{"limit":-1}`, `{"limit":501}`, `{"limit":"5"}`, `{"have":[]}`, `{"have":{"x":1}}`, fmt.Sprintf(`{"have":{%q:-1}}`, id), fmt.Sprintf(`{"have":{%q:1.5}}`, id),
	} {
		r.refused(alice, chat.BadRequest, "POST", "/api/v1/sync", body)
	}
}

// Somebody is removed from a large conversation while its head is being read: it is told
// as one that was left.
func TestRemovalDuringASync(t *testing.T) {
	r := newRig(t)
	id, group := r.group(bob)
	r.enlarge(id, bob)
	r.store.meanwhile = func() {
		r.do(alice, http.StatusNoContent, nil, "DELETE", group+"/members/"+bob.String(), "")
		r.say(alice, group, "not for bob")
	}
	got := r.sync(bob, map[chat.ConversationID]chat.Seq{id: 1}, 200)
	if len(got.Heads) != 0 || len(got.Events) != 1 || got.Events[0].Data.Seq != 2 {
		t.Errorf("bob is told of %+v, want seq 2 alone", got)
	}
}
