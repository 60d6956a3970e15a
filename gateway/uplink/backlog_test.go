package uplink

import (
	"testing"
	"testing/synctest"
	"time"

	"switchboard/internal/bus"
)

func TestALogThatTakesNothingIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(producer)
		u, _ := newUplink(log)
		send := func() { _ = u.Send(message()) }
		check := func(when string, want bool) {
			t.Helper()
			if got := u.Stalled(); got != want {
				t.Errorf("%s: stalled %v, want %v", when, got, want)
			}
		}
		time.Sleep(time.Hour)
		check("nothing was ever sent", false)
		send()
		check("at once", false)
		time.Sleep(logPatience - time.Millisecond)
		send()
		check("a moment before", false)
		time.Sleep(time.Millisecond)
		check("for so long", true)
		log.done[0](0, nil)
		check("one of two came through", false)
		time.Sleep(logPatience)
		check("the other does not", true)
		log.done[1](0, nil)
		check("all came through", false)
		time.Sleep(time.Hour)
		check("long after", false)
	})
}

func TestALogThatIsFullIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &producer{err: bus.ErrOverloaded}
		u, _ := newUplink(log)
		_ = u.Send(message())
		if !u.Stalled() {
			t.Error("newcomers are taken while messages are refused")
		}
		time.Sleep(fullFor)
		if u.Stalled() {
			t.Error("newcomers are turned away for ever")
		}
		log.err = bus.ErrTooLarge
		_ = u.Send(message())
		time.Sleep(logPatience)
		if u.Stalled() {
			t.Error("one message that is too large turns newcomers away")
		}
	})
}
