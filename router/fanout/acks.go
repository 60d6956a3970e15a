package fanout

import (
	"context"
	"sync"
)

// acks waits for the acknowledgements of one batch of records.
type acks struct {
	mu      sync.Mutex
	pending int
	err     error
	idle    chan struct{} // closed when pending falls to 0 after wait began
	waiting bool
}

func newAcks() *acks { return &acks{idle: make(chan struct{})} }

// expect announces one record and returns the callback for its acknowledgement.
func (a *acks) expect() func(int64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pending++
	return a.done
}

// unexpect takes the last expect back: the record was refused.
func (a *acks) unexpect() { a.done(0, nil) }

func (a *acks) done(_ int64, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pending--
	if err != nil {
		a.err = err
	}
	if a.waiting && a.pending == 0 {
		close(a.idle)
	}
}

// wait returns when every announced record is acknowledged, with the first error
// that one of them met. It is called once.
func (a *acks) wait(ctx context.Context) error {
	a.mu.Lock()
	a.waiting = true
	if a.pending == 0 {
		close(a.idle)
	}
	a.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-a.idle:
		return a.err
	}
}
