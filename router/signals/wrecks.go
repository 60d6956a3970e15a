package signals

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/presence"
)

// The limits of what is done for gateways that died.
const (
	// SettledAfter is for how long the directory must have answered before anybody
	// is called offline on its word: after it was away, living gateways renew their
	// leases within half of this.
	SettledAfter = 2 * presence.RenewEvery
	// SweptPerSecond is of how many people of a wreck it is said in a second that
	// they are gone: of a million within two minutes. Most are back by then and cost
	// a look-up each.
	SweptPerSecond = 10_000
	// sweeper is the partition whose router sweeps, so that one does.
	sweeper = 0
)

// lookout is what a router knows of the directory and of the wrecks in it.
type lookout struct {
	mu      sync.Mutex
	since   time.Time // from when on the directory has answered each time; zero after it did not
	latest  time.Time // its latest answer
	sighted map[presence.Life]sighted
}

// sighted is a wreck, and when it was first seen as one.
type sighted struct {
	presence.Wreck
	first time.Time
}

// keepLookout asks for wrecks as often as gateways renew their leases, until ctx
// ends.
func (r *Router) keepLookout(ctx context.Context) {
	ticker := time.NewTicker(presence.RenewEvery)
	defer ticker.Stop()
	for {
		r.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// look asks once.
func (r *Router) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	wrecks, err := r.cfg.Wrecks.Wrecks(ctx)
	if err != nil {
		r.unsettle()
		return
	}
	l := &r.lookout
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Sub(l.latest) >= SettledAfter {
		l.since = time.Time{} // Nobody looked for so long that it may have been away.
	}
	if l.since.IsZero() {
		l.since, l.sighted = now, nil
	}
	l.latest = now
	all := make(map[presence.Life]sighted, len(wrecks))
	for _, w := range wrecks {
		all[w.Life] = sighted{w, now}
		if before, ok := l.sighted[w.Life]; ok {
			all[w.Life] = before
		}
	}
	l.sighted = all
}

// unsettle notes that the directory did not answer.
func (r *Router) unsettle() {
	r.lookout.mu.Lock()
	defer r.lookout.mu.Unlock()
	r.lookout.since = time.Time{}
}

// settled reports whether the directory is to be believed about who is nowhere.
func (r *Router) settled() bool {
	l := &r.lookout
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	return !l.since.IsZero() && now.Sub(l.since) >= SettledAfter && now.Sub(l.latest) < SettledAfter
}

// certain returns the wrecks that have been seen as such for so long that a gateway
// which lives would have taken its lease again.
func (r *Router) certain() (wrecks []presence.Wreck) {
	if !r.settled() {
		return nil
	}
	r.lookout.mu.Lock()
	defer r.lookout.mu.Unlock()
	for _, s := range r.lookout.sighted {
		if time.Since(s.first) >= SettledAfter {
			wrecks = append(wrecks, s.Wreck)
		}
	}
	return wrecks
}

// isWreck reports whether a life was still a wreck when that was last asked.
func (r *Router) isWreck(l presence.Life) bool {
	r.lookout.mu.Lock()
	defer r.lookout.mu.Unlock()
	_, ok := r.lookout.sighted[l]
	return ok && !r.lookout.since.IsZero()
}

// stillWreck asks now, right before something of a life is forgotten: a gateway that
// is back may have put its people on the list again. The error is errAlive if it is.
func (r *Router) stillWreck(ctx context.Context, l presence.Life) error {
	wrecks, err := r.cfg.Wrecks.Wrecks(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(wrecks, func(w presence.Wreck) bool { return w.Life == l }) {
		return errAlive
	}
	return nil
}

// sweepWrecks sweeps one wreck after another, until ctx ends.
func (r *Router) sweepWrecks(ctx context.Context) {
	ticker := time.NewTicker(lookAgain)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, w := range r.certain() {
			err := r.sweep(ctx, w)
			switch {
			case err == nil, ctx.Err() != nil:
			case errors.Is(err, errAlive):
				r.cfg.Logger.Info("a gateway that was cut off is back, or nobody knows", "slot", w.Slot)
			default:
				r.retries.Inc()
				r.cfg.Logger.Warn("people of a dead gateway are not told of yet",
					"slot", w.Slot, "ended", w.Ended, "error", err)
			}
		}
	}
}

// errAlive ends the sweep of a gateway that was cut off and is back, or of which the
// directory says nothing any more.
var errAlive = errors.New("the gateway lives")

// sweep says in the name of a dead gateway of everybody whom it left behind that
// they are gone, at the moment when its lease ended. What comes of that is the same
// as if it had said so itself: a grace, which is over by now or nearly, one look
// where they are, and a word to their peers if that is nowhere.
//
// Each part is forgotten when its hints are on the log, so a successor repeats one
// part at most; hints that come twice say the same twice.
func (r *Router) sweep(ctx context.Context, w presence.Wreck) error {
	left := 0
	for part := range presence.AboardParts {
		if !r.isWreck(w.Life) {
			return errAlive
		}
		users, err := r.cfg.Wrecks.Aboard(ctx, w.Life, part)
		if err != nil {
			return err
		}
		if len(users) == 0 {
			continue
		}
		if err := r.sayGone(ctx, users, w.Ended); err != nil {
			return err
		}
		if err := r.stillWreck(ctx, w.Life); err != nil {
			return err
		}
		if err := r.cfg.Wrecks.Disembark(ctx, w.Life, part); err != nil {
			return err
		}
		left += len(users)
		r.swept.Add(len(users))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(len(users)) * time.Second / SweptPerSecond):
		}
	}
	if err := r.stillWreck(ctx, w.Life); err != nil {
		return err
	}
	if err := r.cfg.Wrecks.Remove(ctx, w.Life); err != nil {
		return err
	}
	r.wrecks.Inc()
	r.cfg.Logger.Info("a gateway's lease ended", "slot", w.Slot, "boot", w.Boot, "ended", w.Ended, "left_behind", left)
	r.forgetWreck(w.Life)
	return nil
}

// forgetWreck keeps a life from being swept again before it is next asked for.
func (r *Router) forgetWreck(l presence.Life) {
	r.lookout.mu.Lock()
	defer r.lookout.mu.Unlock()
	delete(r.lookout.sighted, l)
}

// sayGone returns when the hints are on the log.
func (r *Router) sayGone(ctx context.Context, users []chat.UserID, at time.Time) error {
	done := make(chan error, len(users))
	for _, u := range users {
		hint := bus.Hint{User: u, Millis: at.UnixMilli(), Presence: chat.Offline}
		m := bus.Message{
			Topic: bus.TopicSignals, Partition: bus.PartitionOfUser(u, r.cfg.Partitions), Key: u[:], Value: hint.Append(nil),
		}
		if err := r.cfg.Producer.Produce(m, func(_ int64, err error) { done <- err }); err != nil {
			done <- err
		}
	}
	var failure error
	for range users {
		select {
		case err := <-done:
			if failure == nil {
				failure = err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return failure
}
