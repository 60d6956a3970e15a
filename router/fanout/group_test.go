package fanout

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/roster"
	"switchboard/internal/wire"
)

// epoch is the clock of seq 0; each event is a millisecond later.
const epoch = chat.Clock(1_700_000_000_000_000)

func clockOf(seq chat.Seq) chat.Clock { return epoch + chat.Clock(seq)*1000 }

// group is a conversation as the fold leaves it on the log, and the roster that
// lags behind it by as much as the test says.
type group struct {
	mu      sync.Mutex
	seq     chat.Seq
	version chat.Seq
	stays   map[chat.UserID][]stay
	history []bus.Event // what the roster is made of

	applied int   // how much of history the roster has
	silent  error // the roster answers this
	asked   int   // lists
	delay   time.Duration
}

// stay is a membership from one event to the one that ended it, 0 = not ended.
type stay struct{ from, to chat.Seq }

func newGroup(users ...chat.UserID) *group {
	g := &group{seq: 1, version: 1, stays: make(map[chat.UserID][]stay)}
	for _, u := range users {
		g.stays[u] = []stay{{from: 1}}
	}
	g.history = []bus.Event{{Entry: chat.Entry{Seq: 1, Change: chat.Created}, Added: users}}
	g.applied = 1
	return g
}

// happens returns the outcome of the next event.
func (g *group) happens(large bool, e chat.Entry, concerned ...chat.UserID) *bus.Accepted {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seq++
	e.Conversation, e.Seq, e.ID, e.Sender = talk, g.seq, chat.NewMessageID(clockOf(g.seq), 1, 0), alice
	if e.Kind == chat.KindEvent && e.Change != chat.Renamed {
		g.version = g.seq
	}
	if large || e.Kind == chat.KindEvent {
		e.MembersVersion = g.version
	}
	event := bus.Event{Entry: e}
	g.history = append(g.history, event)
	return &bus.Accepted{
		Outcome: bus.Stored, Position: chat.Position{Generation: 1, Offset: int64(g.seq)}, Large: large,
		Conversation: talk, Sender: alice, Events: []bus.Event{event}, Recipients: append(concerned, alice),
	}
}

func (g *group) says(text string) *bus.Accepted {
	return g.happens(true, chat.Entry{Kind: chat.KindText, Content: text})
}

func (g *group) adds(u chat.UserID, large bool) *bus.Accepted {
	a := g.happens(large, chat.Entry{Kind: chat.KindEvent, Change: chat.MemberAdded, User: u, Role: chat.Member}, u)
	g.stays[u] = append(g.stays[u], stay{from: g.seq})
	return a
}

func (g *group) removes(u chat.UserID, large bool) *bus.Accepted {
	a := g.happens(large, chat.Entry{Kind: chat.KindEvent, Change: chat.MemberRemoved, User: u}, u)
	g.stays[u][len(g.stays[u])-1].to = g.seq
	return a
}

// inside reports whether a user may know of an event.
func (g *group) inside(u chat.UserID, seq chat.Seq) bool {
	return slices.ContainsFunc(g.stays[u], func(s stay) bool { return s.from <= seq && (s.to == 0 || seq <= s.to) })
}

// project brings the roster forward by n events, or to the newest.
func (g *group) project(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.applied = min(g.applied+n, len(g.history))
}

func (g *group) answer(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.silent = err
}

// List makes the group roster.Lists.
func (g *group) List(ctx context.Context, _ chat.ConversationID) (list []roster.Member, v chat.Seq, err error) {
	list, v, delay, err := g.snapshot()
	if delay > 0 {
		select {
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		case <-time.After(delay):
		}
	}
	return list, v, err
}

// snapshot is what the roster answers, and after what time.
func (g *group) snapshot() (list []roster.Member, v chat.Seq, delay time.Duration, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked++
	v = 1
	rows := make(map[chat.UserID]roster.Member)
	for _, e := range g.history[:g.applied] {
		v = max(v, e.MembersVersion)
		switch e.Change {
		case chat.Created:
			for _, u := range e.Added {
				rows[u] = roster.Member{User: u, Role: chat.Member, Joined: clockOf(1)}
			}
		case chat.MemberAdded:
			rows[e.User] = roster.Member{User: e.User, Role: chat.Member, Joined: chat.ClockOf(e.ID)}
		case chat.MemberRemoved:
			delete(rows, e.User)
		case chat.ChangeNone, chat.RoleChanged, chat.Renamed:
		}
	}
	return slices.Collect(maps.Values(rows)), v, g.delay, g.silent
}

// told is one head as a gateway sees it.
type told struct {
	seq     chat.Seq
	message string // its content
	to      []chat.UserID
	after   time.Duration // since the test began
}

// heads returns the heads on a server's topic.
func (w *world) heads(t *testing.T, server string, began time.Time) (all []told) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, m := range w.produced {
		var d bus.Delivery
		if m.Topic != bus.DeliveryTopic(server) {
			continue
		}
		if err := bus.ParseDelivery(m.Value, &d); err != nil {
			t.Fatal(err)
		}
		if d.Class != bus.Latest {
			continue
		}
		f := d.Frames[0]
		var e wire.Envelope
		if err := json.Unmarshal(f.Payload, &e); err != nil {
			t.Fatal(err)
		}
		decoded, err := e.Decode()
		if err != nil || decoded.Updated == nil || decoded.Updated.Change != "head" {
			t.Fatalf("got %s, %v, want a head", f.Payload, err)
		}
		u := decoded.Updated
		h := told{seq: u.HeadSeq, to: f.Recipients, after: w.times[i].Sub(began)}
		if u.Message != nil {
			h.message = u.Message.Content
			if u.Message.Seq != u.HeadSeq {
				t.Errorf("a head of %d brings %d", u.HeadSeq, u.Message.Seq)
			}
		}
		if f.Order != int64(u.HeadSeq) || !strings.HasSuffix(string(f.Key), "head") {
			t.Errorf("got key %q and order %d, want the latest of its kind", f.Key, f.Order)
		}
		all = append(all, h)
	}
	return all
}

// names are those of users, for messages of tests.
func names(users []chat.UserID) string {
	var b strings.Builder
	for _, u := range slices.SortedFunc(slices.Values(users), func(a, b chat.UserID) int { return int(a[0]) - int(b[0]) }) {
		b.WriteString(map[chat.UserID]string{alice: "a", bob: "b", carol: "c", dave: "d"}[u])
	}
	return b.String()
}

var (
	dave    = chat.UserID{0xda}
	errDead = errors.New("connection refused")
)

// crowd is a world with everybody on gw-2, and a group with its roster.
func crowd(users ...chat.UserID) (*world, *group) {
	w, g := newWorld(), newGroup(users...)
	w.roster = g
	for _, u := range []chat.UserID{alice, bob, carol, dave} {
		w.places[u] = at("gw-2")
	}
	return w, g
}

// wantHeads compares the heads on gw-2, each written as seq, message and names.
func (w *world) wantHeads(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for _, h := range w.heads(t, "gw-2", time.Time{}) {
		got = append(got, h.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
}

func (h told) String() string {
	words := []string{strconv.Itoa(int(h.seq)), h.message, names(h.to)}
	return strings.Join(words, " ")
}
