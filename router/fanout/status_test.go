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
	return &status{bus.Status{
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
	s := &status{bus.Status{
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
