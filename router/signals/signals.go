// Package signals takes what is fleeting to the servers where somebody looks at
// it: who types, who comes and who is gone.
//
//	signals[p] ──▶ typing  ──▶ who is in it (roster) ─▶ where they are (presence) ──▶ channel of each server
//	           ──▶ came    ──▶ is it news? ──────┐ ▲
//	           ──▶ is gone ──▶ 15 s, then where? ┴─┘ whom it concerns (roster)
//	     ▲
//	     └── is gone ◀── who was on a gateway whose lease ended (directory)
//
// It is a road beside the others, and on purpose another machine than fanout:
// nothing here is worth waiting for. What the roster, the directory or the channel
// does not take within [Patience] is dropped and counted, and what is older than
// anybody would show is dropped unread; so a standstill ends with the newest and
// not with a flood. It keeps nothing but the graces below, which the log has too.
//
// # Who may, and who is told
//
// The gateway that a hint comes from knows no membership, so it is asked here, of
// the roster, past any cache: the typist must be among the members, of whom there
// must be few, and the others are told. Who was removed hears nothing any more as
// soon as the projection has the removal, which is the time that separates this
// from the archive; a hint says nothing of what was said.
//
// # Coming and going
//
// A gateway says of each session that it came and that it is gone. Whether that
// makes its user come or go is found out here. Who came is announced when that is
// news, which the directory remembers; who is gone, when a grace later no session
// of that user is anywhere. So a restarting gateway makes two hints for each of its
// sessions, one question for each user, and not one word to anybody. The hints of a
// user are on one partition, and commits stay behind the oldest grace, so a
// successor waits for the same people.
//
// Told are those with whom the user has a direct conversation, [PeersTold] at most.
//
// # Gateways that die
//
// A gateway that dies says nothing, but the directory has a list of who was on it.
// The router that has the first partition writes the missing hints when the lease
// has been over for [SettledAfter], and they go the way of all: who is back by the
// end of the grace was never gone. A gateway that was only cut off takes its lease
// again and says anew of everybody that they are there, which is news of those who
// were called offline meanwhile. If two routers write, or one does twice, the
// same word is said twice.
//
// That somebody is nowhere is believed of a directory that has answered for
// [SettledAfter], and of somebody whom it remembers to have been announced. So one
// that was away, or has forgotten everything, makes nobody offline.
package signals

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/internal/presence"
	"switchboard/internal/roster"
)

// The limits of what is done for a hint.
const (
	// Patience bounds all that is asked for a batch.
	Patience = 2 * time.Second
	// CommitEvery is how often a partition notes how far it is.
	CommitEvery = time.Second
	// rosterAtOnce bounds the questions to the roster under way for one partition.
	rosterAtOnce = 8
	// usersPerLookup bounds one question to the directory.
	usersPerLookup = 1000
	// framesPerNote bounds what is published at once.
	framesPerNote = 64
	// again is the pause after a log that does not say where it ends.
	again = time.Second
)

// Roster says who is in which conversation, and who talks to whom directly. A [roster.Store] is one.
type Roster interface {
	// Members is [roster.Store]'s.
	Members(ctx context.Context, c chat.ConversationID, after chat.UserID, limit int) ([]roster.Member, error)
	// Peers is [roster.Store]'s.
	Peers(ctx context.Context, user chat.UserID, limit int) ([]chat.UserID, error)
}

// Config is what a Router needs.
type Config struct {
	Log       bus.Log
	Signals   bus.Group // of the signals log
	Roster    Roster
	Directory presence.Directory
	Notices   presence.Notices
	Wrecks    presence.Wrecks
	Channel   presence.Channel
	// Producer takes hints in the name of dead gateways to the log, which has so
	// many Partitions.
	Producer   bus.Producer
	Partitions int32
	Logger     *slog.Logger
	Metrics    *metrics.Set
}

// Router routes the partitions that its group gives it.
type Router struct {
	cfg     Config
	lookout lookout

	hints, stale, foreign, large, unreadable *metrics.Counter
	lost, crowded, retries                   *metrics.Counter
	announced, back, unnoticed               *metrics.Counter
	wrecks, swept                            *metrics.Counter
	notes, told                              *metrics.Counter
	seconds                                  *metrics.Histogram
}

// New returns a router; Run starts it.
func New(cfg Config) *Router {
	dropped := func(reason string) *metrics.Counter {
		return cfg.Metrics.Counter(`switchboard_router_hints_dropped_total{reason="` + reason + `"}`)
	}
	return &Router{
		cfg:        cfg,
		hints:      cfg.Metrics.Counter("switchboard_router_hints_total"),
		stale:      dropped("stale"),
		foreign:    dropped("no_member"),
		large:      dropped("large"),
		unreadable: dropped("unreadable"),
		lost:       dropped("no_answer"),
		crowded:    dropped("graces_full"),
		retries:    cfg.Metrics.Counter("switchboard_router_grace_retries_total"),
		announced:  cfg.Metrics.Counter("switchboard_router_presence_announced_total"),
		back:       cfg.Metrics.Counter("switchboard_router_presence_back_total"),
		unnoticed:  cfg.Metrics.Counter("switchboard_router_presence_unnoticed_total"),
		wrecks:     cfg.Metrics.Counter("switchboard_router_wrecks_total"),
		swept:      cfg.Metrics.Counter("switchboard_router_wreck_users_total"),
		notes:      cfg.Metrics.Counter("switchboard_router_notes_total"),
		told:       cfg.Metrics.Counter("switchboard_router_hints_told_total"),
		seconds:    cfg.Metrics.Histogram("switchboard_router_hints_seconds"),
	}
}

// Run routes until ctx ends. Its error is the group's.
func (r *Router) Run(ctx context.Context) error {
	looking, stop := context.WithCancel(ctx)
	var keeping sync.WaitGroup
	keeping.Go(func() { r.keepLookout(looking) })
	err := r.cfg.Signals.Run(ctx, func(ctx context.Context, claim bus.Claim) error {
		var sweeping sync.WaitGroup
		if claim.Partition() == sweeper {
			sweeping.Go(func() { r.sweepWrecks(ctx) })
		}
		(&passage{Router: r, claim: claim, graces: make(map[chat.UserID]*grace)}).run(ctx)
		sweeping.Wait()
		return nil
	})
	stop()
	keeping.Wait()
	if ctx.Err() != nil {
		return nil //nolint:nilerr // that it ended with its context is no failure
	}
	return err
}

// passage is one claim at work. Its goroutine owns it.
type passage struct {
	*Router
	claim     bus.Claim
	next      int64 // the record to read next
	committed int64
	noted     time.Time // when that was committed
	graces    map[chat.UserID]*grace
	looked    time.Time // when it was last seen who is overdue; in the future, when that is due again
	doubtful  bool      // the directory did not say where these are
}

// run works until the claim ends. Who has never been here begins at the end: what
// was said before nobody waits for.
func (p *passage) run(ctx context.Context) {
	p.next, p.committed = p.claim.Committed(), p.claim.Committed()
	known := p.next >= 0
	for ctx.Err() == nil {
		if !known && !p.seek(ctx) {
			return
		}
		known = false // If reading ends before ctx, the log has lost its place.
		p.follow(ctx)
	}
	p.commit(ctx)
}

// seek goes to the end of the log; false says that ctx ended.
func (p *passage) seek(ctx context.Context) bool {
	for {
		_, end, err := p.cfg.Log.Bounds(ctx, p.claim.Topic(), p.claim.Partition())
		if err == nil {
			p.next = end
			clear(p.graces) // Whatever began them is not on the log any more.
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(again):
			p.cfg.Logger.Warn("the signals log does not say where it ends", "partition", p.claim.Partition(), "error", err)
		}
	}
}

// follow reads until ctx ends or the log does not hold what comes next.
func (p *passage) follow(ctx context.Context) {
	reader := p.cfg.Log.Open(p.claim.Topic(), p.claim.Partition(), p.next)
	defer reader.Close()
	for {
		records, err := p.read(ctx, reader)
		if err != nil {
			if errors.Is(err, bus.ErrOffsetOutOfRange) {
				p.cfg.Logger.Warn("the signals log lost its place", "partition", p.claim.Partition(), "expected", p.next)
			}
			return
		}
		if len(records) > 0 {
			p.route(ctx, records)
			if ctx.Err() != nil {
				return // What had no answer for that is the next owner's to ask.
			}
			p.next = records[len(records)-1].Offset + 1
		}
		p.endGraces(ctx)
		if time.Since(p.noted) >= CommitEvery {
			p.commit(ctx)
		}
	}
}

// read waits for records; while somebody's grace goes on, not for long, and then
// returns none.
func (p *passage) read(ctx context.Context, reader bus.Reader) ([]bus.Record, error) {
	if len(p.graces) == 0 {
		return reader.Next(ctx)
	}
	wait, cancel := context.WithTimeout(ctx, lookAgain)
	defer cancel()
	records, err := reader.Next(wait)
	if err != nil && ctx.Err() == nil && errors.Is(err, wait.Err()) {
		return nil, nil
	}
	return records, err
}

// commit notes how far this is. A failure costs a successor nothing that matters.
func (p *passage) commit(ctx context.Context) {
	p.noted = time.Now()
	finished := p.finished()
	if finished == p.committed || finished < 0 {
		return
	}
	// The last one happens after the claim ended, while the group still waits.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), Patience)
	defer cancel()
	if p.claim.Commit(ctx, finished) == nil {
		p.committed = finished
	}
}

// route does for some records what is to be done.
func (p *passage) route(ctx context.Context, records []bus.Record) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	var (
		typing typings
		came   arrivals
	)
	for i := range records {
		var hint bus.Hint
		if err := bus.ParseHint(records[i].Value, &hint); err != nil {
			p.unreadable.Inc()
			p.cfg.Logger.Error("unreadable record", "topic", records[i].Topic,
				"partition", records[i].Partition, "offset", records[i].Offset, "error", err)
			continue
		}
		p.hints.Inc()
		// A gateway whose clock is ahead must not outdate what others say later.
		hint.Millis = min(hint.Millis, began.UnixMilli())
		switch hint.Presence {
		case 0:
			typing.add(&hint)
		case chat.Online:
			came.add(&hint)
		case chat.Offline:
			p.leave(&hint, records[i].Offset)
		}
	}
	p.routeTyping(ctx, &typing)
	p.routeArrivals(ctx, &came)
	p.seconds.UpdateDuration(began)
}
