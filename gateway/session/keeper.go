package session

import (
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"switchboard/gateway/edge"
	"switchboard/internal/auth"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/internal/presence"
	"switchboard/internal/wire"
)

// Sockets is what a Keeper asks of [edge.Server], with edge's rules of threads.
// The other implementation is the tests': loops without sockets, on which time
// can be virtual.
type Sockets interface {
	Loops() int
	Post(loop int, task func(arg any), arg any)
	Accept(c edge.Conn, protocol string)
	Reject(c edge.Conn, status int, retryAfter time.Duration, body string)
	Write(c edge.Conn, frame []byte) bool
	Queued(c edge.Conn) int
	Ping(c edge.Conn)
	Close(c edge.Conn, code chat.CloseCode)
}

// Sender is the session that an event came from.
type Sender struct {
	User   chat.UserID
	Number uint64 // names the session in the answer: see bus.ReplyTo
}

// Uplink takes what clients send towards the log. Its methods are called on
// event loops and do not block; ev is valid during the call.
type Uplink interface {
	// Send takes a send_message. nil says that the answer will come on the
	// delivery topic; an error, a *[chat.Error], that nothing was taken.
	Send(from Sender, ev *wire.ClientEvent) error
	// Mark takes a mark_delivered or a mark_read. nil says that it will reach the
	// log, merged with others; if it is refused there, that comes on the delivery
	// topic. An error, a *[chat.Error], says that nothing was taken.
	Mark(from Sender, ev *wire.ClientEvent) error
	// Note takes what is never answered: typing, once in chat.TypingInterval.
	Note(from Sender, ev *wire.ClientEvent)
	// Presence takes that a session of a user came or is gone, after the directory
	// has acknowledged it. From any goroutine; it does not block either.
	Presence(user chat.UserID, what chat.Presence)
	// Stalled reports whether the log takes nothing, or no more, so that a newcomer
	// would not be served. From any goroutine.
	Stalled() bool
}

// Config is what a Keeper needs. All fields are required unless they say more.
type Config struct {
	Server    string // this gateway's slot
	Boot      uint64 // this life of it; boots ascend in time
	Verify    func(token string) (auth.Identity, error)
	Uplink    Uplink
	Directory presence.Directory
	// Channel tells other gateways which of their sessions have lost their places to
	// newcomers here; without it they keep them.
	Channel   presence.Channel
	Origins   []string      // allowed when an Origin is sent; none by default
	Heartbeat time.Duration // default 30 s
	Recheck   time.Duration // how often behind{check} is sent; default 6 h
	Sweep     time.Duration // how often a session is registered again; default SweepEvery
	Members   int           // the member limit that is told; default chat.MembersDefault
	// OutboundBytes is the bound of edge's queue; default 64 KiB. From half of
	// it on, fleeting events are dropped.
	OutboundBytes int
	// AllAtOnce says that openings do not make way for the frames of those who are connected.
	AllAtOnce bool
	Logger    *slog.Logger
	Metrics   *metrics.Set
}

// The periods and limits of sessions.
const (
	// SweepEvery is how often a session is registered again: the longest time,
	// but for gatherEvery, for which a directory that forgot it stays unrepaired.
	SweepEvery = 120 * time.Second
	// DrainLimit is how long a full outbound queue may take to drain.
	DrainLimit = 30 * time.Second
	// ExpiryWarning is how long before its end a token's end is announced.
	ExpiryWarning = 60 * time.Second
	// PingsMissed is how many pings may go unanswered.
	PingsMissed = 2
	// RefusalsOver is how many more events of a connection have to be over a rate
	// limit than are within, since the last time that there were as many of both, to
	// end it with 4005.
	RefusalsOver = 200
	// behindSpread is over how long clients spread their /sync calls when all
	// of a gateway are told to.
	behindSpread = 5 * time.Second
	// overloadedRetry is what is told to those who come when too much waits.
	overloadedRetry = 2 * time.Second
	// drainingRetry is what is told to those who come while the gateway drains.
	drainingRetry = time.Second
)

// Keeper keeps the sessions. It is an [edge.Handler].
type Keeper struct {
	// Fixed after Attach.
	cfg       Config
	origins   map[string]bool
	sockets   Sockets
	loops     []*loop
	started   time.Time
	verifier  *verifier
	registrar *registrar
	rivals    *rivals
	allowed   *allowances
	count     counters

	// Shared.
	sessions atomic.Int64
	draining atomic.Bool
	ending   atomic.Uint32 // the close code with which everybody goes, 0 while nobody has to
}

// New returns a keeper. Attach it to its sockets before they run.
func New(cfg Config) *Keeper {
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = 30 * time.Second
	}
	if cfg.Recheck == 0 {
		cfg.Recheck = 6 * time.Hour
	}
	if cfg.Sweep == 0 {
		cfg.Sweep = SweepEvery
	}
	if cfg.Members == 0 {
		cfg.Members = chat.MembersDefault
	}
	if cfg.OutboundBytes == 0 {
		cfg.OutboundBytes = 64 << 10
	}
	k := &Keeper{cfg: cfg, origins: make(map[string]bool), started: time.Now(), count: newCounters(cfg.Metrics)}
	for _, o := range cfg.Origins {
		k.origins[o] = true
	}
	k.verifier = newVerifier(k)
	k.registrar = newRegistrar(k)
	k.rivals = newRivals(k)
	k.allowed = newAllowances(k)
	cfg.Metrics.Gauge("switchboard_gateway_sessions", func() float64 { return float64(k.sessions.Load()) })
	cfg.Metrics.Gauge("switchboard_gateway_users_remembered", func() float64 { return float64(k.allowed.remembered()) })
	cfg.Metrics.Gauge("switchboard_gateway_openings_waiting", func() float64 { return float64(len(k.verifier.jobs)) })
	cfg.Metrics.Gauge("switchboard_gateway_presence_queue", func() float64 { return float64(k.registrar.length()) })
	return k
}

// Attach tells the keeper which sockets it handles.
func (k *Keeper) Attach(sockets Sockets) error {
	n := sockets.Loops()
	if n > 1<<loopBits {
		return fmt.Errorf("%d event loops: a session number has room for %d", n, 1<<loopBits)
	}
	k.sockets = sockets
	k.loops = make([]*loop, n)
	for i := range k.loops {
		k.loops[i] = &loop{
			keeper: k, number: uint16(i),
			users:   index{seed: maphash.MakeSeed()},
			devices: make(map[uint32]string),
			early:   make(map[uint32]*held),
		}
	}
	return nil
}

// Run verifies tokens and writes presence until ctx ends, then writes what is
// still to be written, for a few seconds. Stop it after the sockets, so that
// those who left with them are taken off the directory too.
func (k *Keeper) Run(ctx context.Context) error {
	var running sync.WaitGroup
	running.Go(func() { k.verifier.run(ctx) })
	running.Go(func() { k.rivals.run(ctx) })
	running.Go(func() { k.allowed.run(ctx) })
	k.registrar.run(ctx)
	running.Wait()
	return nil
}

// Sessions returns how many connections are here, in whatever stage.
func (k *Keeper) Sessions() int { return int(k.sessions.Load()) }

func (k *Keeper) loopOf(c edge.Conn) *loop { return k.loops[c.Loop] }

// seconds and millis are the time since the start, as session states hold it.
func (k *Keeper) seconds() uint32 { return uint32(time.Since(k.started) / time.Second) }
func (k *Keeper) millis() uint32  { return uint32(time.Since(k.started) / time.Millisecond) }

// seconds of a period, at least one, so that short ones in tests are periods.
func inSeconds(d time.Duration) uint32 { return max(1, uint32(d/time.Second)) }

// Opened says that the 101 is written. Who is known already is registered, the
// others have a while to say who they are.
func (k *Keeper) Opened(c edge.Conn) {
	l := k.loopOf(c)
	s := l.find(c)
	if s == nil {
		return
	}
	if code := k.ending.Load(); code != 0 {
		l.close(c, s, chat.CloseCode(code)) // It came in while the door was closing.
		return
	}
	if !s.user.IsZero() {
		l.enlist(c, s, "")
		return
	}
	s.stage = waiting
	s.due = k.seconds() + inSeconds(chat.AuthTimeout)
}

// Closed forgets the session and has presence forget it, in that order after
// whatever was registered.
func (k *Keeper) Closed(c edge.Conn, _ chat.CloseCode, _ bool) {
	l := k.loopOf(c)
	s := l.find(c)
	if s == nil {
		return
	}
	if s.is(listed) {
		k.registrar.add(change{conn: c, kind: remove, user: s.user, ended: k.seconds()})
	}
	if s.is(indexed) {
		l.unlink(c.Slot, s)
	}
	if s.form == deviceAside {
		delete(l.devices, c.Slot)
	}
	delete(l.early, c.Slot)
	*s = state{}
	k.sessions.Add(-1)
}

// Drained says that a full queue is empty. Pushing is on again first, then the
// client is told that it missed something.
func (k *Keeper) Drained(c edge.Conn) {
	l := k.loopOf(c)
	s := l.find(c)
	if s == nil || !s.is(slow) {
		return
	}
	s.unset(slow)
	if s.stage == connected {
		l.behind(c, s, "slow", 0)
	}
}

// Behind tells every session that it may have missed pushes, which work again
// by the time that this is called.
func (k *Keeper) Behind(reason string) {
	k.each(func(l *loop, c edge.Conn, s *state) {
		if s.stage == connected {
			l.behind(c, s, reason, rand.N(behindSpread))
		}
	})
}

// each calls visit for every session, on its loop, a chunk at a time so that
// other work of the loops goes on in between. It returns at once.
func (k *Keeper) each(visit func(l *loop, c edge.Conn, s *state)) {
	for i, l := range k.loops {
		k.sockets.Post(i, walkChunk, &walk{loop: l, visit: visit})
	}
}

type walk struct {
	loop  *loop
	chunk int
	visit func(l *loop, c edge.Conn, s *state)
}

func walkChunk(arg any) {
	w := arg.(*walk)
	if w.chunk >= len(w.loop.chunks) {
		return
	}
	chunk := w.loop.chunks[w.chunk]
	for i := range chunk {
		if s := &chunk[i]; s.stage != vacant && s.stage != closing {
			w.visit(w.loop, w.loop.conn(uint32(w.chunk*chunkSlots+i), s), s)
		}
	}
	w.chunk++
	w.loop.keeper.sockets.Post(int(w.loop.number), walkChunk, w)
}

// close ends a connection. Nothing more is done for it.
func (l *loop) close(c edge.Conn, s *state, code chat.CloseCode) {
	if s.stage == closing || s.stage == vacant {
		return
	}
	s.stage = closing
	l.keeper.sockets.Close(c, code)
}

// write sends one JSON frame that lies in l.json.
func (l *loop) write(c edge.Conn) bool {
	l.frame = edge.AppendText(l.frame[:0], l.json)
	return l.keeper.sockets.Write(c, l.frame)
}

// mustWrite sends a frame that may not be dropped: without room for it the
// connection ends, and the client asks again elsewhere.
func (l *loop) mustWrite(c edge.Conn, s *state) bool {
	if l.write(c) {
		return true
	}
	l.close(c, s, chat.CloseSlowConsumer)
	return false
}

// refuse answers with an error.
func (l *loop) refuse(c edge.Conn, s *state, id string, r chat.RequestID, err error) {
	l.json = wire.AppendError(l.json[:0], id, r, chat.AsError(err))
	l.mustWrite(c, s)
}

// behind tells a client to sync. One that is slow will be told when its queue
// has drained, and one that has no room even for this is slow from now on: a
// repair must not cost a connection that has 30 seconds to recover.
func (l *loop) behind(c edge.Conn, s *state, reason string, after time.Duration) {
	if s.is(slow) {
		return
	}
	l.json = wire.AppendBehind(l.json[:0], wire.Behind{Reason: reason, AfterMS: after.Milliseconds()})
	if l.write(c) {
		l.keeper.count.behind[reason].Inc()
		return
	}
	l.stall(s)
}

// stall stops pushing to a session until its queue has drained.
func (l *loop) stall(s *state) {
	s.set(slow)
	s.due = l.keeper.seconds() + inSeconds(DrainLimit)
}
