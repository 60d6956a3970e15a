package uplink

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"switchboard/gateway/session"
	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// receiptLog takes receipts and notes when they came.
type receiptLog struct {
	began time.Time

	mu       sync.Mutex
	busy     bool
	receipts []string
}

func (l *receiptLog) Produce(m bus.Message, done func(int64, error)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy {
		return fmt.Errorf("receipts: %w", bus.ErrOverloaded)
	}
	var r bus.Receipt
	if err := bus.ParseReceipt(m.Value, &r); err != nil {
		return err
	}
	if m.Topic != bus.TopicReceipts || m.Partition != bus.PartitionOf(r.Conversation, 16) || string(m.Key) != string(r.Conversation[:]) {
		return fmt.Errorf("a receipt of %v went to %s %d", r.Conversation, m.Topic, m.Partition)
	}
	text := fmt.Sprintf("%d ms: %d of %d", time.Since(l.began).Milliseconds(), r.Conversation[0], r.ReplyTo.Session)
	for _, mark := range r.Marks {
		text += fmt.Sprintf(", %v %d", mark.Status, mark.Seq)
		if !mark.Message.IsZero() {
			text += "id" + fmt.Sprint(int64(chat.ClockOf(mark.Message)))
		}
		text += mark.ID
	}
	l.receipts = append(l.receipts, text)
	done(0, nil)
	return nil
}

func (l *receiptLog) free(busy bool) { l.mu.Lock(); defer l.mu.Unlock(); l.busy = busy }

// seen returns what came since it was last asked.
func (l *receiptLog) seen() string {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() { l.receipts = nil }()
	return strings.Join(l.receipts, "; ")
}

// reader is a session that marks.
type reader struct {
	t *testing.T
	*Uplink
	log *receiptLog
}

func (r *reader) mark(number uint64, c byte, status wire.ClientType, seq chat.Seq) {
	r.t.Helper()
	ev := &wire.ClientEvent{Type: status, Conversation: chat.ConversationID{c}, Seq: seq}
	if err := r.Mark(session.Sender{User: chat.UserID{byte(number)}, Number: number}, ev); err != nil {
		r.t.Errorf("mark: %v", err)
	}
}

func (r *reader) want(want string) {
	r.t.Helper()
	if got := r.log.seen(); got != want {
		r.t.Errorf("the log got %q, want %q", got, want)
	}
}

// inTime runs a test with an uplink at work, on a clock of its own.
func inTime(t *testing.T, test func(r *reader, stop func())) {
	synctest.Test(t, func(t *testing.T) {
		log := &receiptLog{began: time.Now()}
		u := New(Config{Producer: new(producer), Receipts: log, Server: "gw-1", Boot: 7, Partitions: 16, Metrics: metrics.New()})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); _ = u.Run(ctx) }()
		stop := func() { cancel(); <-ended }
		defer stop()
		test(&reader{t, u, log}, stop)
	})
}

const (
	toRead      = wire.TypeMarkRead
	toDelivered = wire.TypeMarkDelivered
)

func TestMarksAreMergedForAMoment(t *testing.T) {
	inTime(t, func(r *reader, _ func()) {
		for seq := chat.Seq(1); seq <= 50; seq++ {
			r.mark(9, 1, toRead, seq)
		}
		r.mark(9, 1, toRead, 7) // It is covered.
		r.mark(8, 1, toDelivered, 3)
		r.mark(9, 2, toDelivered, 4)
		time.Sleep(199 * time.Millisecond)
		r.want("")
		time.Sleep(time.Millisecond)
		r.want("200 ms: 1 of 9, read 1, read 50")
		time.Sleep(800 * time.Millisecond)
		r.want("1000 ms: 1 of 8, delivered 3; 1000 ms: 2 of 9, delivered 4")
		time.Sleep(time.Minute)
		r.want("")
		if n := len(r.marks.waiting); n != 0 || r.marks.lines[0].turns != nil || r.marks.lines[1].turns != nil {
			t.Errorf("%d places wait, want none and no memory of them", n)
		}
	})
}

func TestWhatArrivedLeavesWithWhatWasRead(t *testing.T) {
	inTime(t, func(r *reader, _ func()) {
		r.mark(9, 1, toDelivered, 5)
		time.Sleep(500 * time.Millisecond)
		r.mark(9, 1, toRead, 4)
		time.Sleep(200 * time.Millisecond)
		r.want("700 ms: 1 of 9, delivered 5, read 4")
		r.mark(9, 1, toDelivered, 6) // The turn of the first is stale and takes nothing with it.
		time.Sleep(999 * time.Millisecond)
		r.want("")
		time.Sleep(time.Millisecond)
		r.want("1700 ms: 1 of 9, delivered 6")
		// One that is due already is not put off by what comes later.
		r.mark(9, 1, toDelivered, 7)
		time.Sleep(900 * time.Millisecond)
		r.mark(9, 1, toRead, 7)
		time.Sleep(100 * time.Millisecond)
		r.want("2700 ms: 1 of 9, delivered 7, read 7")
	})
}

func TestMarksByMessageAreComparedByTime(t *testing.T) {
	inTime(t, func(r *reader, _ func()) {
		for _, clock := range []chat.Clock{300_000_000, 100_000_000_000, 200_000_000_000} {
			ev := &wire.ClientEvent{Type: toRead, ID: "x", Conversation: chat.ConversationID{1}, Message: chat.NewMessageID(clock, 1, 1)}
			if err := r.Mark(session.Sender{User: chat.UserID{9}, Number: 9}, ev); err != nil {
				t.Error(err)
			}
		}
		r.mark(9, 1, toRead, 3)
		time.Sleep(ReadFor)
		r.want("200 ms: 1 of 9, read 0id300000000x, read 0id200000000000x, read 3")
	})
}

func TestABusyLogIsWaitedForAndMarksAreKept(t *testing.T) {
	inTime(t, func(r *reader, stop func()) {
		r.log.free(true)
		r.mark(9, 1, toRead, 3)
		time.Sleep(time.Second)
		r.mark(9, 1, toRead, 4)
		r.mark(9, 2, toDelivered, 1)
		synctest.Wait()
		r.log.free(false)
		time.Sleep(marksPause)
		r.want("1020 ms: 1 of 9, read 3, read 4")
		stop()
		r.want("1020 ms: 2 of 9, delivered 1")
	})
}

func TestTooManyMarksAreRefused(t *testing.T) {
	inTime(t, func(r *reader, _ func()) {
		for i := range uint64(MarksWaiting) {
			r.mark(i, 1, toDelivered, 1)
		}
		ev := &wire.ClientEvent{Type: toRead, Conversation: chat.ConversationID{2}, Seq: 1}
		e := chat.AsError(r.Mark(session.Sender{Number: 1}, ev))
		if e.Code != chat.Unavailable || e.RetryAfter == 0 {
			t.Errorf("got %v, want unavailable and when to try again", e)
		}
		r.mark(1, 1, toDelivered, 2) // Who waits already may.
		time.Sleep(DeliveredFor)
		synctest.Wait()
		if got := len(r.log.receipts); got != MarksWaiting {
			t.Errorf("%d receipts, want %d", got, MarksWaiting)
		}
		if err := r.Mark(session.Sender{Number: 1}, ev); err != nil {
			t.Errorf("there is room again: %v", err)
		}
	})
}

func TestAMarkThatIsMergedAllocatesNothing(t *testing.T) {
	u := New(Config{Receipts: new(receiptLog), Metrics: metrics.New()})
	from, ev := session.Sender{Number: 9}, &wire.ClientEvent{Type: toRead, Conversation: chat.ConversationID{1}}
	if got := testing.AllocsPerRun(100, func() {
		ev.Seq++
		if u.Mark(from, ev) != nil {
			t.Fail()
		}
	}); got != 0 {
		t.Errorf("%v allocations, want none", got)
	}
}

// Whatever is merged, and whenever it leaves: of each session, conversation and
// status the highest mark and the first one reach the log.
func TestMergingNeverLosesTheHighest(t *testing.T) {
	type key struct {
		place
		status chat.Status
	}
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(17, 17))
		got, highest, first := map[key][]chat.Seq{}, map[key]chat.Seq{}, map[key]chat.Seq{}
		busy := false
		log := produce(func(m bus.Message, done func(int64, error)) error {
			var r bus.Receipt
			if err := bus.ParseReceipt(m.Value, &r); err != nil || len(r.Marks) > 8 {
				t.Errorf("the receipt is %+v, %v", r, err)
			}
			if busy {
				return bus.ErrOverloaded
			}
			for _, m := range r.Marks {
				at := key{place{r.ReplyTo.Session, r.Conversation}, m.Status}
				got[at] = append(got[at], m.Seq)
			}
			done(0, nil)
			return nil
		})
		m := newMarks(Config{Receipts: log, Partitions: 16, Metrics: metrics.New()})
		for range 5000 {
			busy = rng.IntN(20) == 0
			at := key{place{rng.Uint64N(5), chat.ConversationID{byte(rng.IntN(3))}}, chat.Status(1 + rng.IntN(2))}
			seq := chat.Seq(1 + rng.IntN(1000))
			if err := m.add(session.Sender{Number: at.session}, at.conversation, bus.Mark{Status: at.status, Seq: seq}, time.Now()); err != nil {
				t.Fatal(err)
			}
			highest[at] = max(highest[at], seq)
			if first[at] == 0 {
				first[at] = seq
			}
			time.Sleep(time.Duration(rng.IntN(50)) * time.Millisecond)
			m.send(time.Now())
		}
		busy = false
		time.Sleep(DeliveredFor)
		if _, some := m.send(time.Now()); some {
			t.Error("something is left that is not due")
		}
		for at, want := range highest {
			if seqs := got[at]; slices.Max(seqs) != want || seqs[0] != first[at] {
				t.Errorf("%v: the log got %v, want %d first and %d", at, seqs, first[at], want)
			}
		}
	})
}

// produce is a producer in a function.
type produce func(m bus.Message, done func(int64, error)) error

func (p produce) Produce(m bus.Message, done func(int64, error)) error { return p(m, done) }
