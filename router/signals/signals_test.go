package signals

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/internal/presence"
	"switchboard/internal/roster"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	alice, bob, carol = chat.DemoUser("alice"), chat.DemoUser("bob"), chat.DemoUser("carol")
	talk              = chat.ConversationID{1}
)

// world is all that a router stands on, with one partition.
type world struct {
	set *metrics.Set

	mu        sync.Mutex
	records   []bus.Record
	start     int64 // of the log
	committed int64
	members   map[chat.ConversationID][]roster.Member
	places    map[chat.UserID]presence.Places
	peers     map[chat.UserID][]chat.UserID
	noticed   map[chat.UserID]bool
	heard     []string
	silent    string // which of roster, directory, places or wrecks of it, notices, channel, log does not answer
	asked     map[string]int

	meanwhile func() // happens once, when notices are asked of who is offline
	wrecks    []presence.Wreck
	aboard    map[int][]chat.UserID // of every wreck, by part
}

func newWorld() *world {
	return &world{
		set: metrics.New(), committed: -1, members: make(map[chat.ConversationID][]roster.Member),
		places: make(map[chat.UserID]presence.Places), asked: make(map[string]int),
		peers: make(map[chat.UserID][]chat.UserID), noticed: make(map[chat.UserID]bool), aboard: make(map[int][]chat.UserID),
	}
}

func (w *world) do(change func()) { w.mu.Lock(); defer w.mu.Unlock(); change() }

// ask counts a question and fails it if nobody is to answer.
func (w *world) ask(ctx context.Context, whom string) error {
	w.mu.Lock()
	w.asked[whom]++
	silent := w.silent == whom || w.silent == "directory" && (whom == "places" || whom == "wrecks")
	w.mu.Unlock()
	if silent {
		<-ctx.Done()
		return ctx.Err()
	}
	return ctx.Err()
}

// say appends hints to the log.
func (w *world) say(hints ...bus.Hint) {
	w.do(func() {
		for i := range hints {
			if hints[i].Millis == 0 {
				hints[i].Millis = time.Now().UnixMilli()
			}
			w.append(hints[i].Append(nil))
		}
	})
}

func (w *world) append(value []byte) {
	w.records = append(w.records, bus.Record{Topic: bus.TopicSignals, Offset: w.start + int64(len(w.records)), Value: value})
}

func (w *world) in(c chat.ConversationID, users ...chat.UserID) {
	w.do(func() {
		w.members[c] = nil
		for _, u := range users {
			w.members[c] = append(w.members[c], roster.Member{User: u})
		}
	})
}

func (w *world) at(u chat.UserID, slots ...string) {
	w.do(func() {
		var p presence.Places
		for i, slot := range slots {
			p.Routes = append(p.Routes, presence.Route{Slot: slot, Boot: 1, Session: uint64(i + 1)})
		}
		p.Online = len(slots) > 0
		w.places[u] = p
	})
}

func (w *world) Run(ctx context.Context, handle func(context.Context, bus.Claim) error) error {
	return handle(ctx, w)
}
func (w *world) Topic() string    { return bus.TopicSignals }
func (w *world) Partition() int32 { return 0 }
func (w *world) Committed() int64 { w.mu.Lock(); defer w.mu.Unlock(); return w.committed }
func (w *world) Commit(_ context.Context, offset int64) error {
	w.do(func() { w.committed = offset })
	return nil
}

func (w *world) Bounds(context.Context, string, int32) (start, end int64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.start, w.start + int64(len(w.records)), nil
}

func (w *world) Last(context.Context, string, int32) (bus.Record, bool, error) { panic("not asked") }

func (w *world) Open(_ string, _ int32, offset int64) bus.Reader { return &reader{w, offset} }

type reader struct {
	*world
	at int64
}

func (r *reader) Close() {}
func (r *reader) Next(ctx context.Context) ([]bus.Record, error) {
	for {
		r.mu.Lock()
		start, end := r.start, r.start+int64(len(r.records))
		have := r.records
		r.mu.Unlock()
		switch {
		case r.at < start || r.at > end:
			return nil, bus.ErrOffsetOutOfRange
		case r.at < end:
			records := have[r.at-start:]
			r.at = end
			return records, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (w *world) Members(ctx context.Context, c chat.ConversationID, after chat.UserID, limit int) ([]roster.Member, error) {
	if err := w.ask(ctx, "roster"); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !after.IsZero() {
		return nil, errors.New("there is one page")
	}
	return slices.Clone(w.members[c][:min(limit, len(w.members[c]))]), nil
}

func (w *world) Peers(ctx context.Context, user chat.UserID, limit int) ([]chat.UserID, error) {
	if err := w.ask(ctx, "roster"); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if limit != PeersTold {
		return nil, fmt.Errorf("asked for %d peers", limit)
	}
	return w.peers[user], nil
}

func (w *world) NoticeOnline(ctx context.Context, users []chat.UserID) ([]bool, error) {
	if err := w.ask(ctx, "notices"); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	news := make([]bool, len(users))
	for i, u := range users {
		news[i], w.noticed[u] = !w.noticed[u], true // Also where it was noticed that they are not.
	}
	return news, nil
}

func (w *world) NoticeOffline(ctx context.Context, users []chat.UserID) ([]bool, error) {
	if err := w.ask(ctx, "notices"); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.meanwhile != nil {
		w.meanwhile()
		w.meanwhile = nil
	}
	news := make([]bool, len(users))
	for i, u := range users {
		if _, news[i] = w.noticed[u]; news[i] {
			w.noticed[u] = false
		}
	}
	return news, nil
}

// directory is the world's presence.
type directory struct {
	presence.Directory
	*world
}

func (d directory) Where(ctx context.Context, users []chat.UserID) ([]presence.Places, error) {
	if err := d.ask(ctx, "places"); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	places := make([]presence.Places, len(users))
	for i, u := range users {
		places[i] = d.places[u]
	}
	return places, nil
}

func (w *world) Listen(context.Context, string, func(), func([]byte)) error { panic("not asked") }
func (w *world) Listening(context.Context, []string) ([]bool, error)        { panic("not asked") }
func (w *world) Publish(ctx context.Context, notes []presence.Note) error {
	if err := w.ask(ctx, "channel"); err != nil {
		return err
	}
	names := map[chat.UserID]string{alice: "alice", bob: "bob", carol: "carol"}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range notes {
		var d bus.Delivery
		if err := bus.ParseDelivery(n.Payload, &d); err != nil {
			return err
		}
		for _, f := range d.Frames {
			var to []string
			for _, u := range f.Recipients {
				to = append(to, names[u])
			}
			slices.Sort(to)
			payload := string(f.Payload)
			for u, name := range names {
				payload = strings.ReplaceAll(payload, u.String(), name)
			}
			w.heard = append(w.heard, fmt.Sprintf("%s %d %v %s", n.Server, d.Class, to, payload))
		}
	}
	return nil
}

// news returns what was published since it was last asked, sorted: servers have
// no order.
func (w *world) news() (news []string) {
	time.Sleep(100 * time.Millisecond)
	synctest.Wait()
	w.do(func() { news, w.heard = w.heard, nil })
	slices.Sort(news)
	return news
}

func (w *world) count(name string) uint64 { return w.set.Counter(name).Get() }

// inTime runs a test beside a router, on a clock of its own.
func inTime(t *testing.T, w *world, test func(stop func())) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{
			Log: w, Signals: w, Roster: w, Directory: directory{world: w}, Notices: w, Wrecks: w, Channel: w,
			Producer: w, Partitions: 1, Logger: slog.New(slog.DiscardHandler), Metrics: w.set,
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		synctest.Wait()
		stop := sync.OnceFunc(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("Run: %v", err)
			}
		})
		defer stop()
		test(stop)
	})
}

func typing(u chat.UserID, is bool) bus.Hint {
	return bus.Hint{User: u, Conversation: talk, IsTyping: is}
}

// told is what is published when somebody types in talk.
func told(server, to, who string, is bool) string {
	return fmt.Sprintf(`%s 3 [%s] {"type":"typing","data":{"conversation_id":"%v","user_id":"%s","is_typing":%v}}`, server, to, talk, who, is)
}

func wants(t *testing.T, w *world, want ...string) {
	t.Helper()
	if got := w.news(); !slices.Equal(got, want) {
		t.Errorf("published\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestTypingReachesTheOtherMembersWhereTheyAre(t *testing.T) {
	w := newWorld()
	w.in(talk, alice, bob, carol)
	w.at(alice, "gw-1", "gw-2")
	w.at(bob, "gw-1", "gw-2", "gw-1")
	w.at(carol, "gw-2")
	inTime(t, w, func(func()) {
		w.say(typing(alice, true))
		wants(t, w, told("gw-1", "bob", "alice", true), told("gw-2", "bob carol", "alice", true))
		w.at(bob)
		w.say(typing(carol, false))
		wants(t, w, told("gw-1", "alice", "carol", false), told("gw-2", "alice", "carol", false))
		w.in(talk, alice, carol) // Bob is out as soon as the roster says so.
		w.at(bob, "gw-1")
		w.say(typing(carol, true))
		wants(t, w, told("gw-1", "alice", "carol", true), told("gw-2", "alice", "carol", true))
	})
}

func TestOnlyMembersOfSmallConversationsMayType(t *testing.T) {
	w := newWorld()
	w.in(talk, alice, bob)
	w.at(alice, "gw-1")
	inTime(t, w, func(func()) {
		w.say(typing(carol, true), bus.Hint{User: alice, Conversation: chat.ConversationID{9}, IsTyping: true})
		wants(t, w)
		many := []chat.UserID{alice, bob}
		for i := range chat.TypingMembers - 2 {
			many = append(many, chat.UserID{7, byte(i)})
		}
		w.in(talk, many...)
		w.say(typing(bob, true))
		wants(t, w, told("gw-1", "alice", "bob", true))
		w.in(talk, append(many, carol)...)
		w.say(typing(bob, true))
		wants(t, w)
		for reason, want := range map[string]uint64{"no_member": 2, "large": 1} {
			if got := w.count(`switchboard_router_hints_dropped_total{reason="` + reason + `"}`); got != want {
				t.Errorf("%d were dropped for %s, want %d", got, reason, want)
			}
		}
	})
}

func TestOldWordsAreNotTold(t *testing.T) {
	w := newWorld()
	w.in(talk, alice, bob)
	w.at(alice, "gw-1")
	inTime(t, w, func(func()) {
		old := typing(bob, true)
		old.Millis = time.Now().Add(-chat.TypingShown - time.Second).UnixMilli()
		w.say(old)
		wants(t, w)
		w.do(func() {
			w.append([]byte("garbage"))
			for _, is := range []bool{true, false, true} { // The last word counts.
				h := typing(bob, is)
				h.Millis = time.Now().UnixMilli()
				w.append(h.Append(nil))
			}
		})
		wants(t, w, told("gw-1", "alice", "bob", true))
		if w.count(`switchboard_router_hints_dropped_total{reason="stale"}`) != 1 ||
			w.count(`switchboard_router_hints_dropped_total{reason="unreadable"}`) != 1 {
			t.Error("what was dropped was not counted")
		}
	})
}

// Nobody waits for what is fleeting: what has no answer is lost, and what comes
// after it is not.
func TestWhatHasNoAnswerIsLost(t *testing.T) {
	for _, whom := range []string{"roster", "directory", "channel"} {
		w := newWorld()
		w.in(talk, alice, bob)
		w.at(alice, "gw-1")
		inTime(t, w, func(func()) {
			w.do(func() { w.silent = whom })
			w.say(typing(bob, true))
			time.Sleep(Patience + time.Second)
			wants(t, w)
			if w.count(`switchboard_router_hints_dropped_total{reason="no_answer"}`) != 1 {
				t.Errorf("%s did not answer, and that was not counted", whom)
			}
			w.do(func() { w.silent = "" })
			w.say(typing(bob, false))
			wants(t, w, told("gw-1", "alice", "bob", false))
		})
	}
}

func TestASuccessorGoesOnWhereItWas(t *testing.T) {
	w := newWorld()
	w.in(talk, alice, bob)
	w.at(alice, "gw-1")
	w.say(typing(bob, true)) // Before anybody was here.
	inTime(t, w, func(stop func()) {
		wants(t, w)
		w.say(typing(bob, true))
		wants(t, w, told("gw-1", "alice", "bob", true))
		stop()
		if w.committed != 2 {
			t.Errorf("committed %d, want 2 at the end of the claim", w.committed)
		}
	})
	w.say(bus.Hint{User: bob, Conversation: talk})
	inTime(t, w, func(func()) {
		time.Sleep(50 * time.Millisecond)
		if got := w.count("switchboard_router_hints_total"); got != 2 {
			t.Errorf("%d hints were read, want 2", got)
		}
	})
}

func TestALogThatLostItsPlaceGoesOnAtItsEnd(t *testing.T) {
	w := newWorld()
	w.in(talk, alice, bob)
	w.at(alice, "gw-1")
	w.start, w.committed = 100, 7
	w.say(typing(bob, true))
	inTime(t, w, func(func()) {
		wants(t, w)
		w.say(typing(bob, false))
		wants(t, w, told("gw-1", "alice", "bob", false))
	})
}

func TestManyQuestionsAreOne(t *testing.T) {
	w := newWorld()
	users := []chat.UserID{alice, bob, carol}
	inTime(t, w, func(func()) {
		var hints []bus.Hint
		for i := range 200 {
			c := chat.ConversationID{2, byte(i)}
			w.in(c, users...)
			hints = append(hints, bus.Hint{User: users[i%3], Conversation: c, IsTyping: true})
		}
		for _, u := range users {
			w.at(u, "gw-1")
		}
		w.say(hints...)
		if got := len(w.news()); got != 200 {
			t.Errorf("%d frames were published, want 200", got)
		}
		want := map[string]int{"roster": 200, "places": 1, "channel": 1}
		delete(w.asked, "wrecks") // That is asked by the clock.
		if !maps.Equal(w.asked, want) {
			t.Errorf("asked %v, want %v", w.asked, want)
		}
	})
}
