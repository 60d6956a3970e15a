package session

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"switchboard/gateway/edge"
	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/presence"
)

// The limits of looking for rivals.
const (
	// rivalQueue bounds the users who wait to be looked at; those beyond it are
	// looked at when they come again.
	rivalQueue = 1 << 16
	// rivalBatch bounds one look-up.
	rivalBatch = 512
	// rivalsLater bounds the users who are looked at again since something was said
	// of them; those beyond it are not.
	rivalsLater = 4096
	// rivalFirst and rivalLast bound the pause before that.
	rivalFirst, rivalLast = time.Second, 64 * time.Second
	// rivalTimeout bounds telling the others.
	rivalTimeout = time.Second
)

// rivals find those sessions of a newcomer's user which have to go although they are
// on another gateway: an older one of the same device, and the oldest of more than
// chat.ConnectionsPerUser. What is on this gateway the census has closed already.
//
//	registrar ─company─▶ rivals ──Where──▶ directory
//	                        ├──Close──▶ channel of the other gateway ──▶ Keeper.Replace
//	                        └──▶ sessions of this gateway that are themselves older
//
// Which of two is older the directory has decided when they registered, see
// [presence.Change], so that all who look decide alike: of two that come at once
// exactly one goes, whoever looks first. Nobody looks without a reason: a user has
// entries on other slots when a session begins, or the directory had lost one, or the
// lease had lapsed.
//
// # When a word is lost
//
// The channel is fleeting. So a user of whom something was said is looked at again,
// after a second, then after two and so on, until nothing has to go any more. Whoever
// dies meanwhile takes the newcomer with it.
//
// # Who is not counted
//
// A session on a slot whose lease has lapsed or went to another boot. And when
// sessions would have to go for their number alone, those of gateways that do not
// listen: a process that was killed holds its lease for some seconds more, and its
// dead sessions must cost no living one its place.
type rivals struct {
	keeper *Keeper
	wake   chan struct{}

	mu    sync.Mutex
	due   []chat.UserID
	later map[chat.UserID]postponed
}

// postponed is when a user is looked at again.
type postponed struct {
	at    time.Time
	pause time.Duration // before that
}

func newRivals(k *Keeper) *rivals {
	return &rivals{keeper: k, wake: make(chan struct{}, 1), later: make(map[chat.UserID]postponed)}
}

// suspect has a user looked at.
func (r *rivals) suspect(u chat.UserID) {
	if r.keeper.cfg.Channel == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.due) >= rivalQueue {
		r.keeper.count.unlooked.Inc()
		return
	}
	r.due = append(r.due, u)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run looks until ctx ends.
func (r *rivals) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-timer.C:
		}
		for users := r.take(time.Now()); len(users) > 0 && ctx.Err() == nil; users = r.take(time.Now()) {
			r.look(ctx, users)
		}
		if pause, some := r.pause(time.Now()); some {
			timer.Reset(pause)
		}
	}
}

// take returns users whose turn it is, each once.
func (r *rivals) take(now time.Time) []chat.UserID {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(len(r.due), rivalBatch)
	users := append([]chat.UserID(nil), r.due[:n]...)
	if r.due = r.due[n:]; len(r.due) == 0 {
		r.due = nil // A burst's memory is not kept.
	}
	for u, p := range r.later {
		if len(users) >= rivalBatch {
			break
		}
		if !now.Before(p.at) {
			users = append(users, u)
			r.later[u] = postponed{at: now.Add(p.pause), pause: p.pause} // If the look fails.
		}
	}
	slices.SortFunc(users, func(a, b chat.UserID) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(users)
}

// pause returns how long it is until somebody's turn comes.
func (r *rivals) pause(now time.Time) (pause time.Duration, some bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.later {
		if left := max(0, p.at.Sub(now)); !some || left < pause {
			pause, some = left, true
		}
	}
	return pause, some
}

// postpone has a user looked at again, or no more.
func (r *rivals) postpone(u chat.UserID, again bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before, waits := r.later[u]
	switch {
	case !again:
		delete(r.later, u)
	case waits:
		pause := min(2*before.pause, rivalLast)
		r.later[u] = postponed{at: time.Now().Add(pause), pause: pause}
	case len(r.later) < rivalsLater:
		r.later[u] = postponed{at: time.Now().Add(rivalFirst), pause: rivalFirst}
	default:
		r.keeper.count.unlooked.Inc()
	}
}

// look finds out who has to go, and says so.
func (r *rivals) look(ctx context.Context, users []chat.UserID) {
	k := r.keeper
	k.count.looks.Add(len(users))
	places, err := k.cfg.Directory.Where(ctx, users)
	if err != nil {
		k.count.retries.Inc()
		for _, u := range users {
			r.postpone(u, true)
		}
		return
	}
	lives := make([][]presence.Route, len(users))
	for i := range users {
		lives[i] = r.alive(places[i].Routes)
	}
	deaf := r.deaf(ctx, lives)
	closes := make(map[string][]bus.Close)
	for i, u := range users {
		device, count, doubt := surplus(lives[i], deaf)
		away := r.send(u, device, "device", closes) + r.send(u, count, "count", closes)
		r.postpone(u, away > 0 || doubt)
	}
	r.say(ctx, closes)
}

// alive returns the routes whose gateways are, as far as the directory knows.
func (r *rivals) alive(routes []presence.Route) []presence.Route {
	return slices.DeleteFunc(slices.Clone(routes), func(route presence.Route) bool { return !route.Leased && !r.own(route) })
}

// own reports whether a route leads here.
func (r *rivals) own(route presence.Route) bool {
	return route.Slot == r.keeper.cfg.Server && route.Boot == r.keeper.cfg.Boot
}

// deaf returns the slots that do not listen, of those on which sessions of users with
// too many are. If that cannot be known, all of them are.
func (r *rivals) deaf(ctx context.Context, lives [][]presence.Route) map[string]bool {
	deaf := make(map[string]bool)
	for _, routes := range lives {
		if len(routes) <= chat.ConnectionsPerUser {
			continue
		}
		for _, route := range routes {
			if !r.own(route) {
				deaf[route.Slot] = true
			}
		}
	}
	if len(deaf) == 0 {
		return deaf
	}
	slots := slices.Collect(maps.Keys(deaf))
	listening, err := r.keeper.cfg.Channel.Listening(ctx, slots)
	if err != nil {
		r.keeper.count.retries.Inc()
		return deaf
	}
	for i, slot := range slots {
		if listening[i] {
			delete(deaf, slot)
		}
	}
	return deaf
}

// surplus returns which of a user's live sessions have to go: of each device all but
// the youngest, and of what is left the oldest that are too many. doubt says that
// there would be too many if all gateways listened.
func surplus(live []presence.Route, deaf map[string]bool) (device, count []presence.Route, doubt bool) {
	slices.SortFunc(live, presence.Route.Compare)
	seen := make(map[string]bool, len(live))
	var kept []presence.Route // the youngest first
	for _, route := range slices.Backward(live) {
		if seen[route.Device] {
			device = append(device, route)
			continue
		}
		seen[route.Device] = true
		kept = append(kept, route)
	}
	counted := slices.DeleteFunc(slices.Clone(kept), func(route presence.Route) bool { return deaf[route.Slot] })
	if len(counted) > chat.ConnectionsPerUser {
		count = counted[chat.ConnectionsPerUser:]
	}
	return device, count, len(kept) > chat.ConnectionsPerUser && len(counted) < len(kept)
}

// send closes those that are here and collects the others, whose number it returns.
func (r *rivals) send(u chat.UserID, routes []presence.Route, reason string, closes map[string][]bus.Close) (away int) {
	k := r.keeper
	for _, route := range routes {
		if r.own(route) {
			k.replace(u, route.Session, reason)
			continue
		}
		away++
		closes[route.Slot] = append(closes[route.Slot], bus.Close{User: u, Boot: route.Boot, Session: route.Session})
	}
	return away
}

// say tells the other gateways.
func (r *rivals) say(ctx context.Context, closes map[string][]bus.Close) {
	var notes []presence.Note
	for slot, all := range closes {
		for some := range slices.Chunk(all, bus.ClosesPerDelivery) {
			word := bus.Delivery{Class: bus.Signal, Closes: some}
			notes = append(notes, presence.Note{Server: slot, Payload: word.Append(nil)})
			r.keeper.count.told.Add(len(some))
		}
	}
	if len(notes) == 0 {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, rivalTimeout)
	defer cancel()
	if err := r.keeper.cfg.Channel.Publish(bounded, notes); err != nil {
		r.keeper.count.retries.Inc() // It will be said again.
	}
}

// Replace closes a session of a user with 4504, since another gateway says that one
// elsewhere has taken its place. A session that is not here any more, or not the
// user's, is left alone.
func (k *Keeper) Replace(u chat.UserID, session uint64) { k.replace(u, session, "elsewhere") }

func (k *Keeper) replace(u chat.UserID, session uint64, reason string) {
	c := connOf(session)
	if int(c.Loop) < len(k.loops) {
		k.sockets.Post(int(c.Loop), replace, &replacement{keeper: k, conn: c, user: u, reason: reason})
	}
}

type replacement struct {
	keeper *Keeper
	conn   edge.Conn
	user   chat.UserID
	reason string
}

func replace(arg any) {
	r := arg.(*replacement)
	l := r.keeper.loopOf(r.conn)
	if s := l.find(r.conn); s != nil && s.user == r.user && s.stage != closing {
		r.keeper.count.replaced[r.reason].Inc()
		l.close(r.conn, s, chat.CloseSessionReplaced)
	}
}
