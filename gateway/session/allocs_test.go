package session

import (
	"log/slog"
	"testing"
	"time"

	"switchboard/gateway/edge"
	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
)

// hole is a loop that takes everything and runs tasks at once.
type hole struct{ written int }

func (h *hole) Loops() int                                   { return 1 }
func (h *hole) Post(_ int, task func(arg any), arg any)      { task(arg) }
func (h *hole) Accept(edge.Conn, string)                     {}
func (h *hole) Reject(edge.Conn, int, time.Duration, string) {}
func (h *hole) Write(edge.Conn, []byte) bool                 { h.written++; return true }
func (h *hole) Queued(edge.Conn) int                         { return 0 }
func (h *hole) Ping(edge.Conn)                               {}
func (h *hole) Close(edge.Conn, chat.CloseCode)              {}
func newHole(t testing.TB, sessions int) (*hole, *Keeper, []edge.Conn) {
	t.Helper()
	h := new(hole)
	k := New(Config{
		Server: "gw-1", Boot: 7, Verify: verify, Uplink: new(uplink), Directory: yes{},
		Logger: slog.New(slog.DiscardHandler), Metrics: metrics.New(),
	})
	if err := k.Attach(h); err != nil {
		t.Fatal(err)
	}
	l := k.loops[0]
	conns := make([]edge.Conn, sessions)
	for i := range conns {
		conns[i] = edge.Conn{Slot: uint32(i), Gen: 1}
		k.Handshake(conns[i], &edge.Request{Path: Path})
		s := l.find(conns[i])
		s.user, s.expires = alice, time.Now().Add(time.Hour).Unix()
		l.keepDevice(conns[i].Slot, s, "device")
		s.serial = uint32(i + 1)
		l.link(conns[i].Slot, s)
		l.welcome(conns[i], s, "")
	}
	h.written = 0
	return h, k, conns
}

func TestPushingAllocatesNothing(t *testing.T) {
	h, k, conns := newHole(t, 3)
	b := NewBatch(func(b *Batch) { b.Reset() })
	users, payload := []chat.UserID{bob, alice}, []byte(`{"type":"new_message","data":{}}`)
	const runs = 100
	got := testing.AllocsPerRun(runs, func() {
		b.Push(bus.Durable, payload, users, 0)
		b.Answer(numberOf(conns[0]), payload)
		k.Deliver(b)
	})
	if got != 0 {
		t.Errorf("%v allocations a batch, want none", got)
	}
	if want := (runs + 1) * 4; h.written != want {
		t.Errorf("%d frames were written, want %d", h.written, want)
	}
}

func TestLivenessAllocatesNothing(t *testing.T) {
	_, k, conns := newHole(t, 1)
	beat := []byte(`{"type":"heartbeat"}`)
	got := testing.AllocsPerRun(100, func() {
		k.Visit(conns[0], 0)
		k.Visit(conns[0], 40*time.Second)
		k.Message(conns[0], true, beat)
	})
	if got != 0 {
		t.Errorf("%v allocations for two visits and a heartbeat, want none", got)
	}
}

// Everybody is registered again every SweepEvery, so that this is the garbage of a
// gateway at rest: a device id for each, and the answer.
func TestSweepMakesLittleGarbage(t *testing.T) {
	const sessions, batch = 100, 10 // The race detector has a pool lose some of what is put there.
	_, k, conns := newHole(t, sessions)
	got := testing.AllocsPerRun(50, func() {
		for _, c := range conns {
			k.loops[0].find(c).sweepAt = 0
			k.Visit(c, 0)
		}
		k.registrar.flush(t.Context())
	})
	if got > sessions+batch {
		t.Errorf("%v allocations for a sweep of %d, want at most one for each and %d", got, sessions, batch)
	}
	if repeating := k.loops[0].find(conns[0]).is(repeating); repeating || k.registrar.length() > 0 {
		t.Errorf("the sweep did not end: repeating %v, %d wait", repeating, k.registrar.length())
	}
}

func BenchmarkPush(b *testing.B) {
	_, k, _ := newHole(b, 1)
	batch := NewBatch(func(b *Batch) { b.Reset() })
	users, payload := []chat.UserID{alice}, []byte(`{"type":"new_message","data":{}}`)
	b.ReportAllocs()
	for b.Loop() {
		batch.Push(bus.Durable, payload, users, 0)
		k.Deliver(batch)
	}
}

func BenchmarkVisit(b *testing.B) {
	_, k, conns := newHole(b, 10_000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		k.Visit(conns[i%len(conns)], time.Second)
	}
}
