package daemon

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// Group owns the long-running parts of a program: it starts each on a goroutine
// and waits for all of them. When the caller's context ends or a part fails, the
// parts are stopped one after another in the reverse of the order in which they
// were started, each awaited before the next is asked: what started last may
// lean, until its very end, on everything that started before it.
//
//	Go(ops) Go(producer) Go(sessions)   start ──▶
//	                                    ◀── stop: sessions drain, the producer flushes, ops answers to the last
//
// Since each end is awaited, a part that ignores its context holds up the whole
// program; a limit on draining belongs to the part.
type Group struct {
	// Fixed after construction.
	ctx    context.Context
	failed chan struct{} // closed at the first error

	mu       sync.Mutex
	parts    []part
	stopping bool
	err      error // the first one
}

type part struct {
	stop context.CancelFunc
	done chan struct{}
}

// NewGroup returns an empty group that stops when ctx ends.
func NewGroup(ctx context.Context) *Group {
	return &Group{ctx: ctx, failed: make(chan struct{})}
}

// Go starts a part. The context that run gets carries the values of the group's
// context but ends only when it is this part's turn to stop. A part that returns
// nil is done, which stops nobody else. Once stopping has begun, a new part is
// not started.
func (g *Group) Go(run func(ctx context.Context) error) {
	ctx, stop := context.WithCancel(context.WithoutCancel(g.ctx))
	p := part{stop: stop, done: make(chan struct{})}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopping {
		stop()
		return
	}
	g.parts = append(g.parts, p)
	go func() {
		defer close(p.done)
		err := run(ctx)
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			return // it was asked to
		}
		g.fail(err)
	}()
}

// fail notes the first error.
func (g *Group) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err == nil || g.err != nil {
		return
	}
	g.err = err
	close(g.failed)
}

// Wait returns when every part has ended: after all are done by themselves, or
// after the stop that the context or a failure began. It returns the first
// error, and nil when the context's end was the only reason.
func (g *Group) Wait() error {
	g.awaitEnd()
	g.mu.Lock()
	g.stopping = true
	parts := g.parts
	g.mu.Unlock()
	for _, p := range slices.Backward(parts) {
		p.stop()
		<-p.done
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// awaitEnd waits for a reason to stop.
func (g *Group) awaitEnd() {
	for i := 0; ; i++ {
		g.mu.Lock()
		if i == len(g.parts) {
			g.stopping = true // under the same lock: no part slips in unseen
			g.mu.Unlock()
			return
		}
		done := g.parts[i].done
		g.mu.Unlock()
		select {
		case <-done:
		case <-g.failed:
			return
		case <-g.ctx.Done():
			return
		}
	}
}
