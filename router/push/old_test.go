package push

import (
	"context"
	"net/http"
	"testing"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/devices"
)

// aged is a log whose records are older than they are.
type aged struct {
	bus.Log
	by func(*bus.Push) time.Duration
}

type agedReader struct {
	bus.Reader
	by func(*bus.Push) time.Duration
}

func (a aged) Open(topic string, partition int32, offset int64) bus.Reader {
	r := a.Log.Open(topic, partition, offset)
	if topic != bus.TopicPush {
		return r
	}
	return agedReader{r, a.by}
}

func (a agedReader) Next(ctx context.Context) ([]bus.Record, error) {
	records, err := a.Reader.Next(ctx)
	for i := range records {
		var push bus.Push
		if err := bus.ParsePush(records[i].Value, &push); err != nil {
			return nil, err
		}
		records[i].Millis -= a.by(&push).Milliseconds()
	}
	return records, err
}

// Nobody is told of what was long ago: when notifying is turned on, of what was
// before; after an outage, of what is older than two hours.
func TestWhatIsOldIsNotSaid(t *testing.T) {
	w := newWorld(t)
	w.browser(bob, "browser", "b")
	ages := map[chat.Seq]time.Duration{1: FirstAgeMax + time.Minute, 3: AgeMax + time.Minute, 4: AgeMax - time.Minute}
	old := func(c *Config) {
		c.Log = aged{c.Log, func(p *bus.Push) time.Duration { return ages[p.Seq] }}
	}
	w.put(note(bob, talk(1), 1), note(bob, talk(2), 2))
	stop := w.start(old)
	w.said(1)
	w.settled(stop)
	w.put(note(bob, talk(3), 3), note(bob, talk(4), 4), note(bob, talk(5), 5))
	stop = w.start(old)
	said := w.said(3)
	w.settled(stop)
	for _, h := range said {
		if h.notice.ConversationID != talk(int(h.notice.Seq)) || ages[h.notice.Seq] > AgeMax || h.notice.Seq == 1 {
			t.Errorf("said %+v", h)
		}
	}
	if w.count() != 3 {
		t.Errorf("heard %d", w.count())
	}
	if got := w.sender.old.Get(); got != 1 {
		t.Errorf("%d were counted as old", got)
	}
}

// A push service that always refuses has forgotten the device, whatever it calls
// that; the operator's webhook that always refuses is out of order.
func TestADeviceThatIsAlwaysRefusedIsRemoved(t *testing.T) {
	w := newWorld(t)
	w.browser(bob, "dead", "dead")
	w.browser(bob, "moody", "moody")
	w.phone(bob, "phone", "phone")
	seq := 0
	w.answer = func(h heard) int {
		if h.device == "moody" && seq == RefusalsMax/2 {
			return 0
		}
		return http.StatusForbidden
	}
	stop := w.start(plain)
	for range RefusalsMax {
		w.mu.Lock()
		seq++
		w.mu.Unlock()
		w.put(note(bob, talk(1), seq))
		w.said(3 * seq)
		w.until(func() bool { return w.sender.waiting.Load() == 0 })
	}
	w.until(func() bool { return len(w.devices(bob)) == 2 })
	w.put(note(bob, talk(1), seq+1))
	said := w.said(3*RefusalsMax + 2)
	w.settled(stop)
	heard := make(map[string]int)
	for _, h := range said {
		heard[h.device]++
	}
	if heard["dead"] != RefusalsMax || heard["moody"] != RefusalsMax+1 || heard["phone"] != RefusalsMax+1 {
		t.Errorf("heard %v", heard)
	}
	if got, want := len(w.dead()), RefusalsMax-1+RefusalsMax+RefusalsMax+1; got != want {
		t.Errorf("%d are undelivered, want %d", got, want)
	}
	if got := w.sender.refused[devices.WebPush].Get(); got != 2*RefusalsMax {
		t.Errorf("%d refusals are counted", got)
	}
}

// What a device has heard of refusals ends with a new address, and the count is
// bounded.
func TestRefusalsAreOfAnAddress(t *testing.T) {
	all := make(refusals)
	to := devices.Registration{User: bob, Device: "d", Address: "one"}
	for range 3 {
		all.note(&to, Refused)
	}
	all.note(&to, Later)
	if got := all.of(&to); got != 3 {
		t.Errorf("got %d", got)
	}
	to.Address = "two"
	if got := all.of(&to); got != 0 {
		t.Errorf("the new address has %d", got)
	}
	for n := range RefusalsKept + 5 {
		to.User = chat.UserID{byte(n), byte(n >> 8)}
		all.note(&to, Refused)
	}
	if len(all) > RefusalsKept {
		t.Errorf("%d are kept", len(all))
	}
}
