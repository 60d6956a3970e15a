package fold

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
)

// The scheduler of the model. Every process of the system is an actor: a
// coroutine that gives the baton back before each of its side effects. Who goes
// on next is drawn from a seeded generator, and so is who crashes, who is stopped
// for a while and woken as a zombie, and what the network does with what was
// under way. One seed is one schedule.

// killed unwinds an actor that crashed.
type killed struct{}

// actor is one process, or one thread of one. A nil actor never gives the baton
// away: its effects are one step.
type actor struct {
	name   string
	resume func() (struct{}, bool)
	stop   func()
	yield  func(struct{}) bool
	ready  func() bool // nil: it can go on
	frozen int         // until this step it is stopped
	ended  bool
}

// step is a point at which anything may happen: others run, or this one dies.
func (a *actor) step() {
	if a != nil && !a.yield(struct{}{}) {
		panic(killed{})
	}
}

// wait is a step that lasts until ready.
func (a *actor) wait(ready func() bool) {
	a.ready = ready
	a.step()
	a.ready = nil
}

// start adds an actor. It first runs when the schedule picks it.
func (w *world) start(name string, run func(a *actor)) *actor {
	a := &actor{name: name}
	a.resume, a.stop = iter.Pull(func(yield func(struct{}) bool) {
		a.yield = yield
		defer func() {
			if r := recover(); r != nil && r != (killed{}) {
				panic(r)
			}
		}()
		run(a)
	})
	w.actors = append(w.actors, a)
	return a
}

// kill crashes an actor where it stands.
func (w *world) kill(a *actor) {
	a.ended = true
	a.stop()
	w.actors = slices.DeleteFunc(w.actors, func(b *actor) bool { return a == b })
}

// maxSteps bounds a schedule; one that does not come to rest is a failure.
const maxSteps = 60_000

// run plays the schedule to its end: first with disturbances, then until all is
// quiet.
func (w *world) run() {
	var able []*actor
	for w.err == nil {
		if w.steps++; w.steps > maxSteps {
			w.fail("the system does not come to rest")
			return
		}
		if w.troubles > 0 && w.chance(40) {
			w.troubles--
			w.disturb()
		}
		if w.chance(8) {
			w.land()
		}
		able = able[:0]
		frozen := false
		for _, a := range w.actors {
			switch {
			case a.frozen > w.steps:
				frozen = true
			case a.ready == nil || a.ready():
				able = append(able, a)
			}
		}
		if len(able) > 0 {
			w.resume(able[w.rng.IntN(len(able))])
			continue
		}
		switch {
		case frozen:
			for _, a := range w.actors {
				a.frozen = 0
			}
		case w.land():
		case w.troubles > 0:
			w.troubles--
			w.disturb()
		default:
			return
		}
	}
}

func (w *world) resume(a *actor) {
	if _, more := a.resume(); !more {
		a.ended = true
		w.actors = slices.DeleteFunc(w.actors, func(b *actor) bool { return a == b })
	}
}

// end lets go of whatever still runs.
func (w *world) end() {
	for _, a := range w.actors {
		a.stop()
	}
}

// chance is true once in n times.
func (w *world) chance(n int) bool { return w.rng.IntN(n) == 0 }

// tell says what happens, when somebody listens.
func (w *world) tell(format string, args ...any) {
	if w.trace != nil {
		w.trace("%5d "+format, append([]any{w.steps}, args...)...)
	}
}

// fail notes the first violation.
func (w *world) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

// land carries out something that was under way when its sender stopped waiting
// for it: a row of a write that timed out, or an append in a broken connection.
// What one connection carries stays in order; rows do not.
func (w *world) land() bool {
	n := len(w.rowsUnderWay) + len(w.wires)
	if n == 0 {
		return false
	}
	if at := w.rng.IntN(n); at < len(w.rowsUnderWay) {
		apply := w.rowsUnderWay[at]
		w.rowsUnderWay = slices.Delete(w.rowsUnderWay, at, at+1)
		apply()
	} else {
		at -= len(w.rowsUnderWay)
		apply := w.wires[at][0]
		if w.wires[at] = w.wires[at][1:]; len(w.wires[at]) == 0 {
			w.wires = slices.Delete(w.wires, at, at+1)
		}
		apply()
	}
	return true
}

// freeze stops an actor for a while, as SIGSTOP or a long pause would.
func (w *world) freeze(a *actor) {
	if a != nil {
		a.frozen = w.steps + 1 + w.rng.IntN(400)
	}
}

// disturb does one of the things that happen to distributed systems.
func (w *world) disturb() {
	p := w.rng.IntN(len(w.owners))
	g := w.gateways[w.rng.IntN(len(w.gateways))]
	what := w.rng.IntN(12)
	w.tell("disturbance %d, partition %d, server %d", what, p, g.slot)
	switch what {
	case 0, 1: // The owner crashes; the group gives the partition to another.
		w.crashOwner(p)
	case 2, 3: // The owner stops; another takes over; the zombie wakes up.
		w.freeze(w.owners[p].a)
		w.startOwner(int32(p))
	case 4: // A rebalance while the owner works on for a moment.
		w.startOwner(int32(p))
	case 5: // A rebalance that the owner hears of.
		w.owners[p].cancel()
		w.startOwner(int32(p))
	case 6:
		if a := w.routers[p]; !a.ended {
			w.kill(a)
		}
		w.startRouter(int32(p))
	case 7:
		w.freeze(w.routers[p])
		w.startRouter(int32(p))
	case 8:
		w.crashGateway(g)
	case 9:
		w.losePresence()
	default:
		if len(w.actors) > 0 {
			w.freeze(w.actors[w.rng.IntN(len(w.actors))])
		}
	}
}

// newRand returns the generator of one schedule.
func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x5eed)) }
