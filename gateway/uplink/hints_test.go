package uplink

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
)

func newHinter(p *producer) (*Uplink, *metrics.Set) {
	set := metrics.New()
	return New(Config{Producer: p, Receipts: p, Signals: p, Server: "gw-1", Boot: 7, Generation: 2, Partitions: 16, Metrics: set}), set
}

// hintOf reads the newest record and checks where it went.
func hintOf(t *testing.T, p *producer, key []byte, partition int32) bus.Hint {
	t.Helper()
	m := p.messages[len(p.messages)-1]
	if m.Topic != "chat.signals" || m.Partition != partition || !bytes.Equal(m.Key, key) {
		t.Errorf("the hint went to %s/%d under %x", m.Topic, m.Partition, m.Key)
	}
	var got bus.Hint
	if err := bus.ParseHint(m.Value, &got); err != nil {
		t.Fatal(err)
	}
	if age := time.Since(time.UnixMilli(got.Millis)); age < 0 || age > time.Minute {
		t.Errorf("the hint is %v old", age)
	}
	got.Millis = 0
	return got
}

func TestHintsReachTheSignalsLog(t *testing.T) {
	p := new(producer)
	u, set := newHinter(p)
	from, ev := message()
	ev.IsTyping = true
	u.Note(from, ev)
	if got, want := hintOf(t, p, ev.Conversation[:], bus.PartitionOf(ev.Conversation, 16)),
		(bus.Hint{User: from.User, Conversation: ev.Conversation, IsTyping: true}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	u.Presence(from.User, chat.Offline)
	if got, want := hintOf(t, p, from.User[:], bus.PartitionOfUser(from.User, 16)),
		(bus.Hint{User: from.User, Presence: chat.Offline}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	p.done[0](3, nil)
	p.done[1](0, bus.ErrClosed)
	counts(t, set, 1, 1)
}

func counts(t *testing.T, set *metrics.Set, sent, lost uint64) {
	t.Helper()
	for name, want := range map[string]uint64{
		"switchboard_gateway_hints_total": sent, "switchboard_gateway_hints_lost_total": lost,
	} {
		if got := set.Counter(name).Get(); got != want {
			t.Errorf("%s = %d, want %d", name, got, want)
		}
	}
}

func TestHintsThatTheLogDoesNotTakeAreLost(t *testing.T) {
	u, set := newHinter(&producer{err: fmt.Errorf("busy: %w", bus.ErrOverloaded)})
	from, ev := message()
	u.Note(from, ev)
	counts(t, set, 0, 1)
	without, set := newUplink(new(producer))
	without.Note(from, ev)
	counts(t, set, 0, 1)
}
