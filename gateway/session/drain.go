package session

import (
	"context"
	"time"

	"switchboard/gateway/edge"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

const (
	// drainPoll is how often a drain looks whether everybody has left.
	drainPoll = 20 * time.Millisecond
	// closeGrace is how long closed connections may take to be gone.
	closeGrace = 2 * time.Second
)

// Drain sends everybody elsewhere: who comes now is refused, who is here is
// asked to reconnect at a moment of its own choosing within most of the limit,
// and who is still here at its end, or when ctx ends, is closed with 4001. It
// returns when all are gone or have had their time.
func (k *Keeper) Drain(ctx context.Context, limit time.Duration) {
	if k.draining.Swap(true) {
		k.gone(ctx, closeGrace) // Everything is being closed already.
		return
	}
	// The last quarter is for those who chose the last moment.
	spread := (limit - limit/4).Milliseconds()
	k.each(func(l *loop, c edge.Conn, s *state) {
		if s.stage == connected {
			l.json = wire.AppendReconnect(l.json[:0], wire.Reconnect{JitterMS: spread, Reason: "drain"})
			l.write(c) // Without room it is dropped: 4001 says the same.
		}
	})
	if k.gone(ctx, limit) {
		return
	}
	k.End(chat.CloseDraining)
	k.gone(context.WithoutCancel(ctx), closeGrace)
}

// End refuses newcomers and closes every connection with a code. It returns at
// once; the loops do it.
func (k *Keeper) End(code chat.CloseCode) {
	k.draining.Store(true)
	k.ending.Store(uint32(code))
	k.each(func(l *loop, c edge.Conn, s *state) {
		if s.stage != handshaking { // Those are closed as soon as they are open.
			l.close(c, s, code)
		}
	})
}

// gone waits until no session is left and reports whether that came to be.
func (k *Keeper) gone(ctx context.Context, limit time.Duration) bool {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	poll := time.NewTicker(drainPoll)
	defer poll.Stop()
	for k.sessions.Load() > 0 {
		select {
		case <-ctx.Done():
			return false
		case <-timeout.C:
			return false
		case <-poll.C:
		}
	}
	return true
}
