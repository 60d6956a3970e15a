package fanout

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/internal/presence"
	"switchboard/internal/wire"
)

// hasRead is the status of bob, who has read 9 on session 5 of gw-2.
func hasRead(recipients ...chat.UserID) *status {
	return &status{Status: bus.Status{
		Conversation: talk, User: bob, Status: chat.Read, Seq: 9, Message: chat.NewMessageID(1, 1, 3), Millis: 1_700_000_000_999,
		Recipients: recipients, ReplyTo: bus.ReplyTo{Server: "gw-2", Boot: 1, Session: 5},
	}}
}

func TestAStatusReachesThoseItIsFor(t *testing.T) {
	p := hasRead(bob, alice, carol).plan(3, map[chat.UserID]presence.Places{alice: at("gw-1", "gw-2"), bob: at("gw-2", "gw-3")})
	want := wire.AppendMessageStatus(nil, &wire.MessageStatus{
		ConversationID: talk, UserID: bob, Status: "read", MessageID: chat.NewMessageID(1, 1, 3), Seq: 9, Timestamp: 1_700_000_000,
	})
	for server, users := range map[string][]chat.UserID{"gw-1": {alice}, "gw-2": {bob, alice}, "gw-3": {bob}} {
		d := p.on(server)
		if len(d.Frames) != 1 || string(d.Frames[0].Payload) != string(want) || !slices.Equal(d.Frames[0].Recipients, users) {
			t.Errorf("%s: got %+v, want %s for %v", server, d.Frames, want, users)
		}
		f := d.Frames[0]
		if d.Class != bus.Latest || d.Answer != nil || f.Order != 9 || !strings.HasSuffix(string(f.Key), "read") {
			t.Errorf("%s: got %+v, want the latest of its kind", server, d)
		}
		if left := f.ExceptBoot == 1 && f.ExceptSession == 5; left != (server == "gw-2") {
			t.Errorf("%s: leaves out %d", server, f.ExceptSession)
		}
	}
	if len(p.deliveries) != 3 || len(p.pushes) != 0 {
		t.Errorf("got %d deliveries and %d pushes, want 3 and none: nobody is woken for a mark", len(p.deliveries), len(p.pushes))
	}
}

func TestWhoMarkedIsAnswered(t *testing.T) {
	s := &status{Status: bus.Status{
		Conversation: talk, User: bob, ReplyTo: bus.ReplyTo{Server: "gw-2", Boot: 1, Session: 5, ID: "c9"},
		Outcome: bus.Refused, Code: chat.BadRequest, Text: "no",
	}}
	p := s.plan(3, nil)
	a := p.on("gw-2").Answer
	want := wire.AppendError(nil, "c9", chat.RequestID{}, chat.Errorf(chat.BadRequest, "no"))
	if a == nil || a.Boot != 1 || a.Session != 5 || a.Outcome != bus.Refused || a.Code != chat.BadRequest || string(a.Payload) != string(want) {
		t.Errorf("got %+v, want %s", a, want)
	}
	s.Outcome = bus.Stored
	if a := s.plan(3, nil).on("gw-2").Answer; a == nil || a.Outcome != bus.Stored || a.Payload != nil {
		t.Errorf("got %+v, want that it is in force, and no frame", a)
	}
	s.ReplyTo = bus.ReplyTo{}
	if p := s.plan(3, nil); len(p.deliveries) != 0 {
		t.Errorf("got %+v, want nothing: nobody asked", p.deliveries)
	}
}

// logs are the two logs of a router.
type logs map[string]*world

func (l logs) Bounds(ctx context.Context, topic string, p int32) (start, end int64, err error) {
	return l[topic].Bounds(ctx, topic, p)
}

func (l logs) Open(topic string, p int32, offset int64) bus.Reader {
	return l[topic].Open(topic, p, offset)
}

func (l logs) Last(context.Context, string, int32) (bus.Record, bool, error) { panic("not asked") }

// statuses is a group of the log of statuses.
type statuses struct{ *world }

func (s statuses) Run(ctx context.Context, handle func(context.Context, bus.Claim) error) error {
	return handle(ctx, statusClaim{claim(s)})
}

type statusClaim struct{ claim }

func (statusClaim) Topic() string { return bus.TopicStatus }

func TestStatusesDoNotHoldUpMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		messages, marks := newWorld(), newWorld()
		messages.places[bob], messages.places[alice] = at("gw-2"), at("gw-1")
		marks.refuse = 1 << 30 // Their producer takes nothing.
		marks.records = []bus.Record{{Value: hasRead(alice).Append(nil)}, {Offset: 1, Value: []byte("garbage")}}
		ctx, cancel := context.WithCancel(t.Context())
		r := New(Config{
			Log: logs{"chat.accepted": messages, bus.TopicStatus: marks}, Directory: directory{messages}, Partitions: 4,
			Accepted: messages, Producer: messages, Status: statuses{marks}, Statuses: marks,
			Logger: slog.New(slog.DiscardHandler), Metrics: metrics.New(),
		})
		ended := make(chan error)
		go func() { ended <- r.Run(ctx) }()
		messages.accept(numbered(1))
		time.Sleep(2 * CommitEvery)
		if got := messages.topics(); !slices.Contains(got, "chat.delivery.gw-2") {
			t.Errorf("produced to %v, want bob's gateway among them", got)
		}
		if messages.committed != 1 || marks.committed != -1 {
			t.Errorf("committed %d messages and %d statuses, want 1 and none", messages.committed, marks.committed)
		}
		marks.mu.Lock()
		marks.refuse = 0
		marks.mu.Unlock()
		time.Sleep(2 * CommitEvery)
		if got := marks.topics(); !slices.Equal(got, []string{"chat.delivery.gw-1"}) || marks.committed != 2 {
			t.Errorf("produced to %v and committed %d, want alice's gateway and 2", got, marks.committed)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// orders returns the orders of the frames on a server's topic, as they lie there.
func (w *world) orders(t *testing.T, server string) (orders []int64) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.produced {
		var d bus.Delivery
		if m.Topic != bus.DeliveryTopic(server) {
			continue
		}
		if err := bus.ParseDelivery(m.Value, &d); err != nil {
			t.Fatal(err)
		}
		for _, f := range d.Frames {
			orders = append(orders, f.Order)
		}
	}
	return orders
}

// A gateway remembers for a minute or two which statuses it has shown. What one that
// was cut off for longer gets at last, the others must not see again.
func TestStatusesAreNotRepeatedForThoseWhoHaveThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		messages, marks := newWorld(), twoServers()
		marks.places[alice] = at("gw-4")
		read := func(seqs ...chat.Seq) {
			marks.mu.Lock()
			defer marks.mu.Unlock()
			for _, seq := range seqs {
				s := hasRead(alice, bob, carol)
				s.Seq = seq
				marks.records = append(marks.records, bus.Record{
					Topic: bus.TopicStatus, Offset: int64(len(marks.records)), Value: s.Append(nil),
				})
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		r := New(Config{
			Log: logs{"chat.accepted": messages, bus.TopicStatus: marks}, Directory: directory{marks}, Partitions: 4,
			Accepted: messages, Producer: messages, Status: statuses{marks}, Statuses: marks,
			Logger: slog.New(slog.DiscardHandler), Metrics: metrics.New(),
		})
		ended := make(chan error)
		go func() { ended <- r.Run(ctx) }()
		for seq := range chat.Seq(10) {
			read(2*seq+1, 2*seq+2)
			time.Sleep(StallAfter)
		}
		marks.unstick()
		time.Sleep(2 * CommitEvery)
		read(21)
		time.Sleep(2 * CommitEvery)
		want := make([]int64, 21)
		for i := range want {
			want[i] = int64(i + 1)
		}
		for _, server := range []string{"gw-3", "gw-4"} {
			if got := marks.orders(t, server); !slices.Equal(got, want) {
				t.Errorf("%s got %v, want each status once", server, got)
			}
		}
		if got := slices.Compact(marks.orders(t, "gw-2")); !slices.Equal(got, want) {
			t.Errorf("gw-2 got %v, want all statuses in order", got)
		}
		if got := marks.confirmed(); got != 21 {
			t.Errorf("committed %d, want 21", got)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestEachRoadIsOwedItsOwn(t *testing.T) {
	p := &passage{next: 100, routed: 100, owed: make(map[road]int64)}
	a, b, c, d := road{topic: "a"}, road{topic: "b"}, road{topic: "c"}, road{topic: "d"}
	wants := func(k road, first int64) {
		t.Helper()
		for offset := range int64(120) {
			if got, want := p.has(k, offset), offset < first; got != want {
				t.Fatalf("%s has %d: %v, want what is below %d", k.topic, offset, got, first)
			}
		}
	}
	p.goBack(a, 50, 100)
	p.goBack(b, 30, 100)
	if p.next != 30 {
		t.Errorf("the passage went back to %d, want 30", p.next)
	}
	wants(a, 50)
	wants(b, 30)
	wants(c, 100)
	p.advance(70)
	p.goBack(d, 20, 70)
	wants(a, 70)
	wants(b, 70)
	wants(c, 100)
	wants(d, 20)
	p.advance(105)
	for _, k := range []road{a, b, c, d} {
		wants(k, 105)
	}
}
