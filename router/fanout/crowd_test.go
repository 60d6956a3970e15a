package fanout

import (
	"encoding/binary"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/presence"
)

// multitude is as many users as a conversation may ever have, spread over servers.
func multitude(servers int) (users []chat.UserID, places map[chat.UserID]presence.Places) {
	users, places = make([]chat.UserID, chat.MembersMax), make(map[chat.UserID]presence.Places)
	for i := range users {
		binary.BigEndian.PutUint32(users[i][:], uint32(i+1))
		places[users[i]] = at(fmt.Sprintf("gw-%d", i%servers))
	}
	return users, places
}

// 20 messages a second to 10,000 members: they are looked up once a second.
func TestTenThousandMembersAreLookedUpForEachHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const messages, seconds, servers = 200, 10, 4
		users, places := multitude(servers)
		w, g := newWorld(), newGroup(users...)
		w.roster, w.places = g, places
		var steps []func()
		for range messages {
			steps = append(steps, func() { w.accept(g.says("hello")) }, elapse(seconds*time.Second/messages))
		}
		w.run(t, append(steps, elapse(2*HeadEvery))...)

		heads := w.heads(t, "gw-1", time.Time{})
		if n := len(heads); n < seconds || n > seconds+2 {
			t.Errorf("told %d times in %d seconds", n, seconds)
		}
		for _, h := range heads {
			if len(h.to) != len(users)/servers {
				t.Errorf("a head of %d is for %d members, want %d", h.seq, len(h.to), len(users)/servers)
			}
		}
		if last := heads[len(heads)-1].seq; last != g.seq {
			t.Errorf("told of %d at last, want %d", last, g.seq)
		}
		// Each message asks for its author, each head for everybody.
		if limit := messages + len(heads)*len(users)/UsersPerLookup; w.asked > limit || g.asked != 1 {
			t.Errorf("%d questions to presence and %d to the roster, want at most %d and 1", w.asked, g.asked, limit)
		}
	})
}

// A record must fit into a batch of the log, all members on one server included.
func TestHeadToTenThousandMembersOnOneServerFits(t *testing.T) {
	users, places := multitude(1)
	h := &head{newest: &chat.Entry{
		Conversation: talk, Seq: 9, Kind: chat.KindText, Content: string(make([]byte, chat.ContentBytes)),
	}, alone: true, to: users}
	p := h.plan(0, places)
	if len(p.deliveries) != 1 {
		t.Fatalf("got %d deliveries, want 1", len(p.deliveries))
	}
	const limit = 512 << 10 // half of what a batch may hold
	if got := len(p.deliveries[0].record.Append(nil)); got > limit {
		t.Errorf("the record has %d bytes, want %d at most", got, limit)
	}
}

func BenchmarkHeadToTenThousandMembers(b *testing.B) {
	users, places := multitude(16)
	h := &head{newest: &chat.Entry{Conversation: talk, Seq: 9, Kind: chat.KindText, Content: "hello"}, alone: true, to: users}
	var record []byte
	b.ReportAllocs()
	for b.Loop() {
		for _, d := range h.plan(0, places).deliveries {
			record = d.record.Append(record[:0])
		}
	}
	if len(record) == 0 {
		b.Fatal("nothing was written")
	}
}
