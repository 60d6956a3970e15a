package uplink

import (
	"sync/atomic"
	"time"
)

// The limits of a log that does not answer.
const (
	// logPatience is how long messages may wait for the log without one being
	// acknowledged until newcomers are turned away. A cluster that has lost a broker
	// needs up to 9 s by default.
	logPatience = 10 * time.Second
	// fullFor is for how long newcomers are turned away after a message was, since
	// too many wait.
	fullFor = time.Second
)

// backlog watches whether the log takes what it is given. It costs a message some
// atomic operations.
type backlog struct {
	began   time.Time
	pending atomic.Int64 // records that are not acknowledged
	heard   atomic.Int64 // when the log last answered, or was first asked since it owed nothing
	full    atomic.Int64 // until when newcomers are turned away; both since began
}

func newBacklog() *backlog { return &backlog{began: time.Now()} }

// asked is called before a record is given to the producer.
func (b *backlog) asked() {
	if b.pending.Load() == 0 {
		b.heard.Store(int64(time.Since(b.began)))
	}
	b.pending.Add(1)
}

// refused is called when it was not taken; full says that too many wait.
func (b *backlog) refused(full bool) {
	b.pending.Add(-1)
	if full {
		b.full.Store(int64(time.Since(b.began) + fullFor))
	}
}

// answered is called when what became of it is known.
func (b *backlog) answered() {
	b.heard.Store(int64(time.Since(b.began)))
	b.pending.Add(-1)
}

// stalled reports whether a newcomer's messages would wait in vain.
func (b *backlog) stalled() bool {
	now := int64(time.Since(b.began))
	return now < b.full.Load() || b.pending.Load() > 0 && now-b.heard.Load() >= int64(logPatience)
}
