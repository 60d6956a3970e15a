package downlink

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"switchboard/gateway/edge"
	"switchboard/gateway/session"
	"switchboard/internal/auth"
	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/internal/presence"
	"switchboard/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// topic is a delivery topic in memory, with one reader.
type topic struct {
	mu         sync.Mutex
	start, end int64
	records    chan []bus.Record
	jump       chan struct{}
	opened     []int64
	readers    int
}

func newTopic(end int64) *topic {
	return &topic{end: end, records: make(chan []bus.Record, 100), jump: make(chan struct{}, 1)}
}

func (l *topic) Bounds(context.Context, string, int32) (start, end int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.start, l.end, nil
}

func (l *topic) Open(_ string, _ int32, offset int64) bus.Reader {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.opened = append(l.opened, offset)
	l.readers++
	return l
}

func (l *topic) Last(context.Context, string, int32) (bus.Record, bool, error) {
	panic("nobody asks for the last record")
}

func (l *topic) Next(ctx context.Context) ([]bus.Record, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case records := <-l.records:
		return records, nil
	case <-l.jump:
		return nil, fmt.Errorf("fetch: %w", bus.ErrOffsetOutOfRange)
	}
}

func (l *topic) Close() { l.mu.Lock(); defer l.mu.Unlock(); l.readers-- }

// loop is one event loop with one session on it, whose frames it notes.
type loop struct {
	tasks  chan func()
	mu     sync.Mutex
	frames []string
}

func (l *loop) Loops() int                                   { return 1 }
func (l *loop) Post(_ int, task func(arg any), arg any)      { l.tasks <- func() { task(arg) } }
func (l *loop) Queued(edge.Conn) int                         { return 0 }
func (l *loop) Ping(edge.Conn)                               {}
func (l *loop) Close(edge.Conn, chat.CloseCode)              {}
func (l *loop) Reject(edge.Conn, int, time.Duration, string) {}
func (l *loop) Accept(edge.Conn, string)                     {}
func (l *loop) Write(_ edge.Conn, frame []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := strings.IndexByte(string(frame), '{')
	l.frames = append(l.frames, string(frame[at:]))
	return true
}

func (l *loop) seen() []string {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	frames := l.frames
	l.frames = nil
	return frames
}

// nobody is a directory that says yes and an uplink that is never used.
type nobody struct{ presence.Directory }

func (nobody) Apply(_ context.Context, c []presence.Change) ([]presence.Applied, error) {
	return make([]presence.Applied, len(c)), nil
}
func (nobody) Stalled() bool                                { return false }
func (nobody) Send(session.Sender, *wire.ClientEvent) error { panic("nothing is sent") }
func (nobody) Mark(session.Sender, *wire.ClientEvent) error { panic("nothing is sent") }
func (nobody) Presence(chat.UserID, chat.Presence)          {}
func (nobody) Note(session.Sender, *wire.ClientEvent)       { panic("nothing is sent") }

var alice, bob = chat.DemoUser("alice"), chat.DemoUser("bob")

const boot = 7

// world is a downlink over a keeper with one session, alice's.
type world struct {
	*loop
	log      *topic
	set      *metrics.Set
	downlink *Downlink
	conn     edge.Conn
	number   uint64 // of alice's session
}

// inWorld runs a test with virtual time.
func inWorld(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{loop: &loop{tasks: make(chan func(), 1000)}, log: newTopic(40), set: metrics.New()}
		quiet := slog.New(slog.DiscardHandler)
		keeper := session.New(session.Config{
			Server: "gw-1", Boot: boot, Directory: nobody{}, Uplink: nobody{}, Logger: quiet, Metrics: w.set,
			Verify: func(string) (auth.Identity, error) {
				return auth.Identity{User: alice, Expires: time.Now().Add(time.Hour).Unix()}, nil
			},
		})
		if err := keeper.Attach(w.loop); err != nil {
			t.Fatal(err)
		}
		w.downlink = New(Config{Log: w.log, Server: "gw-1", Boot: boot, Partitions: 16, Sessions: keeper, Logger: quiet, Metrics: w.set})
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			for task := range w.tasks {
				task()
			}
		})
		parts, stop := context.WithCancel(ctx)
		var working sync.WaitGroup
		working.Go(func() { _ = keeper.Run(parts) })
		w.conn = edge.Conn{Slot: 3, Gen: 1}
		w.number = uint64(1)<<32 + 3 + 1 // As bus.ReplyTo would name it.
		w.tasks <- func() { keeper.Handshake(w.conn, &edge.Request{Path: session.Path, Authorization: "Bearer x"}) }
		synctest.Wait()
		w.tasks <- func() { keeper.Opened(w.conn) }
		if got := w.seen(); len(got) != 1 || !strings.Contains(got[0], "connected") {
			t.Fatalf("the session saw %q", got)
		}
		if err := w.downlink.Seek(ctx); err != nil {
			t.Fatal(err)
		}
		working.Go(func() {
			if err := w.downlink.Run(parts); err != nil {
				t.Errorf("Run = %v", err)
			}
		})
		test(t, w)
		stop()
		working.Wait()
		cancel()
		close(w.tasks)
		running.Wait()
		if w.log.readers != 0 {
			t.Errorf("%d readers are open", w.log.readers)
		}
	})
}

func durable(generation uint32, partition int32, offset int64, payload string) *bus.Delivery {
	return &bus.Delivery{
		Class: bus.Durable, Position: chat.Position{Generation: generation, Offset: offset}, Partition: partition,
		Frames: []bus.Frame{{Payload: []byte(payload), Recipients: []chat.UserID{bob, alice}}},
	}
}

func (w *world) write(deliveries ...*bus.Delivery) {
	var records []bus.Record
	for _, d := range deliveries {
		records = append(records, bus.Record{Value: d.Append(nil), Millis: time.Now().UnixMilli()})
	}
	w.log.records <- records
}

func (w *world) want(t *testing.T, frames ...string) {
	t.Helper()
	if got := w.seen(); strings.Join(got, " ") != strings.Join(frames, " ") {
		t.Errorf("the session saw %q, want %q", got, frames)
	}
}

func TestReadingBeginsAtTheEndThatWasKnown(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		if len(w.log.opened) != 1 || w.log.opened[0] != 40 {
			t.Errorf("opened at %v, want 40", w.log.opened)
		}
	})
}

func TestRepetitionsAreFilteredByInboundPosition(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.write(durable(1, 3, 0, `{"n":1}`), durable(1, 3, 5, `{"n":2}`), durable(1, 4, 2, `{"n":3}`))
		w.want(t, `{"n":1}`, `{"n":2}`, `{"n":3}`)
		// A router that was restarted repeats, then goes on.
		w.write(durable(1, 3, 0, `{"n":1}`), durable(1, 3, 5, `{"n":2}`), durable(1, 3, 6, `{"n":4}`))
		w.want(t, `{"n":4}`)
		// One that does not know that it lost the partition is older still.
		w.write(durable(1, 3, 4, `{"n":0}`))
		w.write(durable(1, 4, 2, `{"n":3}`))
		w.want(t)
		// A younger inbound log counts from 0 again.
		w.write(durable(2, 3, 0, `{"n":5}`), durable(1, 3, 7, `{"n":0}`))
		w.want(t, `{"n":5}`)
		if n := w.downlink.filtered.Get(); n != 5 {
			t.Errorf("%d records were filtered, want 5", n)
		}
	})
}

func TestWhatIsOnlyTheLatestIsNotFiltered(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.write(durable(1, 3, 9, `{"n":1}`))
		status, typing := durable(1, 3, 2, `{"n":2}`), durable(1, 99, 2, `{"n":3}`)
		status.Class, typing.Class = bus.Latest, bus.Signal
		w.write(status, typing, status)
		w.want(t, `{"n":1}`, `{"n":2}`, `{"n":3}`, `{"n":2}`)
	})
}

func TestSenderGetsItsAnswerAndNotThePush(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		sent := durable(1, 0, 1, `{"push":1}`)
		sent.Answer = &bus.Answer{Boot: boot, Session: w.number, Payload: []byte(`{"sent":1}`)}
		sent.Frames[0].ExceptBoot, sent.Frames[0].ExceptSession = boot, w.number
		w.write(sent)
		w.want(t, `{"sent":1}`)
		// Another life of this server had a session of the same number.
		old := durable(1, 0, 2, `{"push":2}`)
		old.Answer = &bus.Answer{Boot: boot - 1, Session: w.number, Payload: []byte(`{"sent":2}`)}
		old.Frames[0].ExceptBoot, old.Frames[0].ExceptSession = boot-1, w.number
		w.write(old)
		w.want(t, `{"push":2}`)
	})
}

func TestJumpGoesOnAtTheEndAndSaysBehind(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.write(durable(1, 3, 5, `{"n":1}`))
		w.want(t, `{"n":1}`)
		w.log.mu.Lock()
		w.log.end = 900
		w.log.mu.Unlock()
		w.log.jump <- struct{}{}
		if got := w.seen(); len(got) != 1 || !strings.Contains(got[0], `"reason":"routing"`) {
			t.Errorf("the session saw %q, want behind", got)
		}
		if got := w.log.opened; len(got) != 2 || got[1] != 900 {
			t.Errorf("opened at %v, want 40 and 900", got)
		}
		w.write(durable(1, 3, 6, `{"n":2}`))
		w.want(t, `{"n":2}`)
	})
}

func TestUnreadableRecordStopsNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.log.records <- []bus.Record{{Value: []byte("\xffgarbage")}}
		w.write(durable(1, 99, 0, `{"n":0}`), durable(1, 3, 0, `{"n":1}`))
		w.want(t, `{"n":1}`)
		if n := w.downlink.unreadable.Get(); n != 2 {
			t.Errorf("%d records were unreadable, want 2", n)
		}
	})
}

func TestManyRecordsBecomeManyBatches(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var all []*bus.Delivery
		var want []string
		for i := range int64(3*batchFrames + 1) {
			payload := fmt.Sprintf(`{"n":%d}`, i)
			all, want = append(all, durable(1, int32(i%16), i, payload)), append(want, payload)
		}
		w.write(all...)
		w.want(t, want...)
		if n := len(w.downlink.free); n != batches {
			t.Errorf("%d batches came back, want %d", n, batches)
		}
	})
}

// Two allocations a record are the budget; the parser may use them, this may
// not.
func TestDeliveringAllocatesLittle(t *testing.T) {
	set := metrics.New()
	quiet := slog.New(slog.DiscardHandler)
	d := New(Config{Log: newTopic(0), Server: "gw-1", Boot: boot, Partitions: 16, Sessions: back{}, Logger: quiet, Metrics: set})
	records := make([]bus.Record, 1)
	value := durable(1, 1, 1, `{"n":1}`)
	offset := int64(0)
	encoded := make([]byte, 0, 1024)
	got := testing.AllocsPerRun(1000, func() {
		offset++
		value.Position.Offset = offset
		encoded = value.Append(encoded[:0])
		records[0] = bus.Record{Value: encoded, Millis: 1}
		if err := d.deliver(t.Context(), records); err != nil {
			t.Fatal(err)
		}
	})
	if got > 2 {
		t.Errorf("%v allocations a record, want at most 2", got)
	}
}

// back gives each batch back at once.
type back struct{}

func (back) Deliver(b *session.Batch)    { b.Discard() }
func (back) Behind(string)               {}
func (back) Replace(chat.UserID, uint64) {}

// The time of the whole road is known without a clock in the record: the
// answer's id carries that of the inbound record.
func TestTheWholeRoadIsMeasuredOnAnswers(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		d := durable(1, 3, 1, `{"n":1}`)
		clock := chat.Clock(time.Now().Add(-20 * time.Millisecond).UnixMicro())
		d.Answer = &bus.Answer{
			Boot: boot, Session: w.number, Payload: []byte(`{"a":1}`), Outcome: bus.Stored, Seq: 1, ID: chat.NewMessageID(clock, 1, 3),
		}
		w.write(d, durable(1, 4, 1, `{"n":2}`))
		w.want(t, `{"a":1}`, `{"n":1}`, `{"n":2}`)
		var out strings.Builder
		w.set.Write(&out)
		for _, want := range []string{
			"switchboard_gateway_whole_seconds_sum 0.02\n",
			"switchboard_gateway_whole_seconds_count 1\n", // one a batch
			"switchboard_gateway_delivery_seconds_count 1\n",
		} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%q is missing in:\n%s", want, out.String())
			}
		}
	})
}
