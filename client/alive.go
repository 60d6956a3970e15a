package client

import (
	"context"
	"time"
)

const (
	// ConnectLimit bounds how long a connection may take until the server has said
	// `connected`.
	ConnectLimit = 15 * time.Second
	// CallLimit is how long one try of a call may take before its outcome counts as
	// unknown.
	CallLimit = 30 * time.Second
	// PongLimit is how long the answer to a ping may take before the connection is
	// taken for dead; less where the server's own pings come more often than that.
	PongLimit = 10 * time.Second
	// heartbeat is how often a server pings that does not say.
	heartbeat = 30 * time.Second
)

// watch asks for a sign of life after each silence, and cuts the connection when none
// comes: a host that lost its power says no goodbye, and the kernel would wait for a
// quarter of an hour for what was sent to be acknowledged. It ends with ctx. While
// what came is not taken, nothing is read and so no answer either: then the silence
// is this side's.
func (c *Conn) watch(ctx context.Context) {
	every := time.Duration(c.Connected.HeartbeatMS) * time.Millisecond
	if every <= 0 {
		every = heartbeat
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for heard := uint64(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if now := c.heard.Load(); now != heard || c.waiting.Load() {
			heard = now
			continue
		}
		pong, cancel := context.WithTimeout(ctx, min(PongLimit, every))
		err := c.socket.Ping(pong)
		cancel()
		if err != nil && ctx.Err() == nil && c.heard.Load() == heard && !c.waiting.Load() {
			c.Drop()
			return
		}
	}
}
