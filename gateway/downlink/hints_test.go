package downlink

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"switchboard/gateway/session"
	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/internal/presence"
)

// ether is a channel on which the test speaks.
type ether struct{ hear func([]byte) }

func (*ether) Publish(context.Context, []presence.Note) error { panic("nothing is published here") }

func (*ether) Listening(context.Context, []string) ([]bool, error) {
	panic("nobody is asked for here")
}

func (e *ether) Listen(ctx context.Context, server string, heard func(), hear func([]byte)) error {
	if server != "gw-1" {
		panic("it listens for " + server)
	}
	e.hear = hear
	heard()
	<-ctx.Done()
	return nil
}

// crowd are sessions that finish batches when they are told to.
type crowd struct {
	batches  []*session.Batch
	frames   int
	replaced []uint64
}

func (c *crowd) Behind(string)                         { panic("nothing fleeting makes anybody sync") }
func (c *crowd) Replace(_ chat.UserID, session uint64) { c.replaced = append(c.replaced, session) }
func (c *crowd) Deliver(b *session.Batch) {
	c.batches = append(c.batches, b)
	c.frames += b.Len()
}

func (c *crowd) finish() {
	for _, b := range c.batches {
		b.Discard()
	}
	c.batches = nil
}

func hint(class bus.Class, frames ...bus.Frame) []byte {
	return (&bus.Delivery{Class: class, Frames: frames}).Append(nil)
}

func typed(text string) bus.Frame {
	return bus.Frame{Payload: []byte(text), Recipients: []chat.UserID{alice}}
}

// inEther runs a test beside hints that listen.
func inEther(t *testing.T, sessions Sessions, test func(e *ether, set *metrics.Set)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		e, set := new(ether), metrics.New()
		h := NewHints(HintsConfig{Channel: e, Server: "gw-1", Boot: boot, Sessions: sessions, Logger: slog.New(slog.DiscardHandler), Metrics: set})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- h.Run(ctx) }()
		synctest.Wait()
		test(e, set)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestHintsReachTheSessions(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		h := NewHints(HintsConfig{
			Channel: new(ether), Server: "gw-1", Sessions: w.downlink.cfg.Sessions, Logger: slog.New(slog.DiscardHandler), Metrics: w.set,
		})
		h.hear(hint(bus.Signal, typed(`{"n":1}`), bus.Frame{Payload: []byte(`{"n":2}`), Recipients: []chat.UserID{bob}}))
		h.hear(hint(bus.Signal, typed(`{"n":3}`)))
		if got := strings.Join(w.seen(), " "); !strings.Contains(got, `{"n":1}`) || !strings.Contains(got, `{"n":3}`) || strings.Contains(got, `{"n":2}`) {
			t.Errorf("alice saw %s, want 1 and 3", got)
		}
	})
}

func TestWhatSaysTheLatestIsNotOverruled(t *testing.T) {
	c := new(crowd)
	inEther(t, c, func(e *ether, set *metrics.Set) {
		for _, order := range []int64{2, 1, 3} {
			f := typed("{}")
			f.Key, f.Order = []byte("bob"), order
			e.hear(hint(bus.Latest, f))
		}
		if c.frames != 2 || set.Counter("switchboard_gateway_hints_outdated_total").Get() != 1 {
			t.Errorf("%d frames passed, want 2", c.frames)
		}
		c.finish()
	})
}

func TestHintsAreDroppedWhileTheLoopsAreBusy(t *testing.T) {
	c := new(crowd)
	inEther(t, c, func(e *ether, set *metrics.Set) {
		for range batches + 5 {
			e.hear(hint(bus.Signal, typed("{}")))
		}
		dropped := set.Counter("switchboard_gateway_hints_dropped_total")
		if len(c.batches) != batches || dropped.Get() != 5 {
			t.Errorf("%d batches under way and %d dropped, want %d and 5", len(c.batches), dropped.Get(), batches)
		}
		c.finish()
		e.hear(hint(bus.Signal, typed("{}")))
		if len(c.batches) != 1 {
			t.Error("nothing passes after it")
		}
		c.finish()
	})
}

// What another gateway says of its newcomers is heard however busy the loops are, if
// it is said of this boot.
func TestSessionsThatLostTheirPlaceAreReplaced(t *testing.T) {
	c := new(crowd)
	inEther(t, c, func(e *ether, _ *metrics.Set) {
		for range batches {
			e.hear(hint(bus.Signal, typed("{}")))
		}
		e.hear((&bus.Delivery{Class: bus.Signal, Closes: []bus.Close{
			{User: alice, Boot: boot, Session: 3}, {User: alice, Boot: boot - 1, Session: 4}, {User: bob, Boot: boot, Session: 5},
		}}).Append(nil))
		e.hear(hint(bus.Signal))
		if want := []uint64{3, 5}; !slices.Equal(c.replaced, want) {
			t.Errorf("replaced %v, want %v", c.replaced, want)
		}
		c.finish()
	})
}

func TestWhatIsNoHintIsNotShown(t *testing.T) {
	c := new(crowd)
	inEther(t, c, func(e *ether, set *metrics.Set) {
		for _, payload := range [][]byte{
			nil, []byte("garbage"), hint(bus.Durable, typed("{}")),
		} {
			e.hear(payload)
		}
		e.hear(hint(bus.Signal))
		if got := set.Counter("switchboard_gateway_hints_unreadable_total").Get(); got != 3 || len(c.batches) != 0 {
			t.Errorf("%d unreadable and %d batches, want 3 and none", got, len(c.batches))
		}
	})
}
