package search

import (
	"context"
	"sync"

	"switchboard/internal/chat"
)

// places are where pages are made: [FindsAtOnce] of everybody, [FindsPerCaller] of one.
// Whoever finds none free waits: a page may hold thousands of long messages until
// they are ranked, and one caller's must not be all that is done.
type places struct {
	all chan struct{}

	mu      sync.Mutex
	callers map[chat.UserID]*caller // those who wait or are served
}

// caller is one of them.
type caller struct {
	own  chan struct{}
	here int // requests, under places.mu
}

func newPlaces() *places {
	return &places{all: make(chan struct{}, FindsAtOnce), callers: make(map[chat.UserID]*caller)}
}

// enter waits for a place, which leave gives back, or returns ctx's error.
func (p *places) enter(ctx context.Context, who chat.UserID) (leave func(), err error) {
	p.mu.Lock()
	c := p.callers[who]
	if c == nil {
		c = &caller{own: make(chan struct{}, FindsPerCaller)}
		p.callers[who] = c
	}
	c.here++
	p.mu.Unlock()
	for i, place := range []chan struct{}{c.own, p.all} {
		select {
		case place <- struct{}{}:
		case <-ctx.Done():
			if i > 0 {
				<-c.own
			}
			p.gone(who)
			return nil, ctx.Err()
		}
	}
	return func() {
		<-p.all
		<-c.own
		p.gone(who)
	}, nil
}

// gone forgets a caller of whom nothing is left.
func (p *places) gone(who chat.UserID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.callers[who]; c.here > 1 {
		c.here--
	} else {
		delete(p.callers, who)
	}
}
