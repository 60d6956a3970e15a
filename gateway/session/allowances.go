package session

import (
	"context"
	"hash/maphash"
	"sync"
	"time"

	"switchboard/gateway/edge"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// The limits of what is remembered of users.
const (
	allowanceShards = 64
	// allowancesPerShard bounds the users of a shard, some 50 bytes each; those
	// beyond it have the limits of their connections only.
	allowancesPerShard = 4096
	// allowanceSweep is how often those are forgotten who may do everything again.
	allowanceSweep = 2 * time.Second
)

// allowances are what users may still do on this gateway, on all their connections
// together: the limits of a connection are in its state, these are beside it, so that
// a connection which does nothing costs nothing. Only those are remembered who did
// something lately: of users with one connection, which limits itself, that they came.
type allowances struct {
	keeper *Keeper
	seed   maphash.Seed
	shards [allowanceShards]allowanceShard
}

type allowanceShard struct {
	mu    sync.Mutex
	users map[chat.UserID]allowance
}

// allowance is what one user may do.
type allowance struct{ sends, light, opens bucket }

// matter is what an allowance is for. Its order is that of paces.
type matter uint8

const (
	sending matter = iota // messages and new tokens
	marking               // marks, heartbeats, typing that comes too often
	opening               // connections
)

// paces are those of a user.
func paces() [3]pace {
	return [3]pace{
		sending: paceOf(chat.UserSendsPerSecond, chat.UserSendBurst),
		marking: paceOf(chat.UserMarksPerSecond, chat.UserMarkBurst),
		opening: paceOf(chat.OpensPerSecond, chat.OpenBurst),
	}
}

func (a *allowance) of(m matter) *bucket { return [3]*bucket{&a.sends, &a.light, &a.opens}[m] }

func newAllowances(k *Keeper) *allowances {
	a := &allowances{keeper: k, seed: maphash.MakeSeed()}
	for i := range a.shards {
		a.shards[i].users = make(map[chat.UserID]allowance)
	}
	return a
}

// take takes one event from a user's bucket and from own, if there is one, or from
// neither. It returns how many milliseconds it is until both have one: an event is
// taken only if that is 0.
func (a *allowances) take(u chat.UserID, m matter, now uint32, own *bucket, p pace) (wait uint32) {
	shard := &a.shards[maphash.Bytes(a.seed, u[:])%allowanceShards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	all, known := shard.users[u]
	if !known && len(shard.users) >= allowancesPerShard {
		a.keeper.count.unlimited.Inc()
		if own == nil {
			return 0
		}
		return own.take(now, p)
	}
	shared := paces()[m]
	wait = all.of(m).wait(now, shared)
	if own != nil {
		wait = max(wait, own.wait(now, p))
	}
	if wait > 0 {
		return wait
	}
	all.of(m).take(now, shared)
	if own != nil {
		own.take(now, p)
	}
	shard.users[u] = all
	return 0
}

// run forgets until ctx ends.
func (a *allowances) run(ctx context.Context) {
	ticker := time.NewTicker(allowanceSweep)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			a.forget(a.keeper.millis())
		}
	}
}

// forget forgets those whose buckets are all full.
func (a *allowances) forget(now uint32) {
	all := paces()
	for i := range a.shards {
		shard := &a.shards[i]
		shard.mu.Lock()
		before := len(shard.users)
		for u, allowed := range shard.users {
			full := true
			for m, p := range all {
				full = full && allowed.of(matter(m)).full(now, p)
			}
			if full {
				delete(shard.users, u)
			}
		}
		if before > 0 && len(shard.users) == 0 {
			shard.users = make(map[chat.UserID]allowance) // A map keeps the room that it had.
		}
		shard.mu.Unlock()
	}
}

// remembered returns how many users are.
func (a *allowances) remembered() (n int) {
	for i := range a.shards {
		a.shards[i].mu.Lock()
		n += len(a.shards[i].users)
		a.shards[i].mu.Unlock()
	}
	return n
}

// spend takes one event from a connection's bucket, and from its user's where that
// has more than one connection. It returns how many milliseconds too early it comes.
func (l *loop) spend(s *state, m matter) (wait uint32) {
	own, p := &s.bucket, sendPace()
	if m == marking {
		own, p = &s.light, markPace()
	}
	if !s.is(several) {
		return own.take(l.keeper.millis(), p)
	}
	return l.keeper.allowed.take(s.user, m, l.keeper.millis(), own, p)
}

// tooFast takes one event, or answers that it comes too early. To be too fast is no
// mistake, but going on all the same ends the connection.
func (l *loop) tooFast(c edge.Conn, s *state, ev *wire.ClientEvent, m matter) bool {
	wait := l.spend(s, m)
	if wait == 0 {
		l.within(s)
		return false
	}
	why := "more messages than 20 a second on this connection, or 40 of one user"
	if m == marking {
		why = "more marks and heartbeats than 50 a second on this connection, or 100 of one user"
	}
	l.refuse(c, s, ev.ID, ev.Request, &chat.Error{
		Code: chat.RateLimited, Message: why, RetryAfter: time.Duration(wait) * time.Millisecond,
	})
	l.over(c, s)
	return true
}

// within and over count the events of a connection that are and are not within its
// limits. Over RefusalsOver more of the latter end it.
func (l *loop) within(s *state) {
	if s.refusals > 0 {
		s.refusals--
	}
}

func (l *loop) over(c edge.Conn, s *state) {
	l.keeper.count.limited.Inc()
	s.refusals++
	if s.refusals >= RefusalsOver {
		l.close(c, s, chat.CloseRateLimited)
	}
}

// tooManyOpens takes one connection of a user, or returns how long it is until there
// may be another.
func (k *Keeper) tooManyOpens(u chat.UserID) (wait time.Duration) {
	return time.Duration(k.allowed.take(u, opening, k.millis(), nil, pace{})) * time.Millisecond
}
