package session

import (
	"context"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"switchboard/gateway/edge"
	"switchboard/gateway/gather"
	"switchboard/internal/auth"
	"switchboard/internal/chat"
)

const (
	// verifyQueue bounds the tokens that wait for a worker. At some 50 µs a token the last
	// one waits a fifth of a second on one core; longer while openings make way.
	verifyQueue = 4096
	// verifyEvery is how long tokens wait for each other.
	verifyEvery = 4 * time.Millisecond
	// verifyBatch is how many tokens a worker takes at a time; so many wait for no more.
	verifyBatch = 16
)

// purpose is what a token was shown for.
type purpose uint8

const (
	upgrade purpose = iota // in the request's header
	connect                // in the first frame
	refresh                // in refresh_token
)

// job is one token to be verified.
type job struct {
	conn   edge.Conn
	kind   purpose
	token  string
	device string
	peer   netip.AddrPort // with upgrade: the client
	id     string         // of the frame, echoed in the answer
}

// verifier checks signatures away from the loops: an elliptic curve takes as
// long as 30 frames.
type verifier struct {
	keeper *Keeper
	jobs   chan *verdict // Pointers: the places of a queue stay in memory once tokens went through them.
	failed atomic.Int32  // tokens since the last take that were no good: they are no openings

	// Owned by the worker that has the door.
	door     chan struct{}
	gather   gather.Interval
	openings allotment
}

func newVerifier(k *Keeper) *verifier {
	return &verifier{
		keeper: k, jobs: make(chan *verdict, verifyQueue),
		door: make(chan struct{}, 1), gather: gather.Interval{Every: verifyEvery}, openings: newAllotment(),
	}
}

// add reports whether there was room.
func (v *verifier) add(j job) bool {
	if v.full() {
		return false
	}
	select {
	case v.jobs <- &verdict{loop: v.keeper.loopOf(j.conn), job: j}:
		return true
	default:
		return false
	}
}

// full reports whether a token would find no room.
func (v *verifier) full() bool { return len(v.jobs) == cap(v.jobs) }

// run works until ctx ends, on as many goroutines as there are processors.
func (v *verifier) run(ctx context.Context) {
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() { v.work(ctx) })
	}
	workers.Wait()
}

func (v *verifier) work(ctx context.Context) {
	batch := make([]*verdict, 0, verifyBatch)
	for ctx.Err() == nil {
		batch = v.take(ctx, batch[:0])
		for _, next := range batch {
			next.who, next.err = v.keeper.cfg.Verify(next.job.token)
			if next.err != nil {
				v.failed.Add(1)
			}
			next.job.token = ""
			v.keeper.sockets.Post(int(next.job.conn.Loop), announceVerdict, next)
		}
		clear(batch)
	}
}

// take waits for tokens and appends those that are to be verified next; none when ctx
// ends.
func (v *verifier) take(ctx context.Context, batch []*verdict) []*verdict {
	select {
	case <-ctx.Done():
		return batch
	case v.door <- struct{}{}:
	}
	defer func() { <-v.door }()
	waited := len(v.jobs) > 0
	select {
	case <-ctx.Done():
		return batch
	case first := <-v.jobs:
		batch = append(batch, first)
	}
	v.openings.left = min(v.openings.left+int(v.failed.Swap(0)), v.openings.most)
	last := v.gather.Last
	over := time.Since(last) - v.gather.Every
	if v.openings.left == 0 || len(v.jobs) < verifyBatch-1 || over >= 0 {
		late := v.gather.Wait(ctx)
		if waited {
			late = max(late, over) // Nobody came for it in a whole turn.
		}
		free := v.keeper.cfg.AllAtOnce || v.keeper.draining.Load()
		v.openings.turn(v.gather.Last.Sub(last), late, v.keeper.count.served(), free)
	}
	for most := min(v.openings.left, verifyBatch); len(batch) < most && len(v.jobs) > 0; {
		batch = append(batch, <-v.jobs) // Nobody else takes any: the door is ours.
	}
	v.openings.left -= len(batch)
	return batch
}

// verdict is a job on its way to a worker, and what became of it on its way back to
// the loop.
type verdict struct {
	loop *loop
	job  job
	who  auth.Identity
	err  error
}

func announceVerdict(arg any) {
	v := arg.(*verdict)
	switch v.job.kind {
	case upgrade:
		v.loop.upgraded(&v.job, v.who, v.err)
	case connect:
		v.loop.connecting(&v.job, v.who, v.err)
	case refresh:
		v.loop.refreshed(&v.job, v.who, v.err)
	}
}

// errBusy is the answer to a token that found no worker.
func errBusy() *chat.Error {
	return &chat.Error{Code: chat.Unavailable, Message: "too many sign in at once", RetryAfter: overloadedRetry}
}
