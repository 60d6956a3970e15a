package downlink

import (
	"encoding/binary"
	"hash/maphash"
	"testing"
	"time"

	"switchboard/internal/bus"
)

func TestLatestNeverGoesBack(t *testing.T) {
	l := latest{seed: maphash.MakeSeed()}
	now := time.Unix(1_790_000_000, 0)
	pass := func(key string, order int64, want bool) {
		t.Helper()
		if got := l.pass([]byte(key), order, now); got != want {
			t.Errorf("%s %d at %v: passes %v, want %v", key, order, now, got, want)
		}
	}
	pass("a", 5, true)
	pass("a", 5, true) // Repeated by a router: harmless, and its receivers may be others.
	pass("a", 4, false)
	pass("b", 4, true)
	pass("a", 7, true)
	now = now.Add(latestFor)
	pass("a", 6, false) // Of the generation before.
	now = now.Add(latestFor - time.Second)
	pass("a", 6, false)
	now = now.Add(2 * latestFor)
	pass("a", 6, true) // Nobody is that late.
}

func TestLatestIsBounded(t *testing.T) {
	l := latest{seed: maphash.MakeSeed()}
	now := time.Unix(1_790_000_000, 0)
	key := make([]byte, 8)
	for i := range uint64(3 * latestKeys) {
		binary.BigEndian.PutUint64(key, i)
		if !l.pass(key, 9, now) {
			t.Fatal("what is said for the first time does not pass")
		}
		if n := len(l.young) + len(l.older); n > 2*latestKeys {
			t.Fatalf("%d things are remembered", n)
		}
	}
	binary.BigEndian.PutUint64(key, 2*latestKeys)
	if l.pass(key, 8, now) {
		t.Error("what was said a generation ago is forgotten")
	}
}

func TestLatestAllocatesNothingForWhatItKnows(t *testing.T) {
	l := latest{seed: maphash.MakeSeed()}
	now, key := time.Unix(1_790_000_000, 0), []byte("a thing")
	l.pass(key, 1, now)
	if got := testing.AllocsPerRun(100, func() { l.pass(key, 1, now) }); got != 0 {
		t.Errorf("%v allocations, want none", got)
	}
}

func TestALowerStatusIsNotShownAfterAHigherOne(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		status := func(key string, order int64, payload string) *bus.Delivery {
			d := durable(0, 3, 0, payload)
			d.Class, d.Frames[0].Key, d.Frames[0].Order = bus.Latest, []byte(key), order
			return d
		}
		w.write(status("anna read", 5, `{"n":1}`), status("anna read", 7, `{"n":2}`), status("anna delivered", 6, `{"n":3}`))
		w.want(t, `{"n":1}`, `{"n":2}`, `{"n":3}`)
		w.write(status("anna read", 5, `{"n":1}`), status("anna read", 7, `{"n":2}`))
		w.want(t, `{"n":2}`)
		if n := w.downlink.outdated.Get(); n != 1 {
			t.Errorf("%d frames were outdated, want 1", n)
		}
	})
}
