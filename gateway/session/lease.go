package session

import (
	"context"
	"errors"
	"time"

	"switchboard/gateway/edge"
	"switchboard/internal/chat"
	"switchboard/internal/presence"
)

// Hold renews the gateway's lease, which [presence.Directory.Claim] took, until
// ctx ends. When the lease had lapsed, every session is registered again and
// told `behind`. When a younger boot of the same slot has taken it, every
// connection is closed and the error wraps [presence.ErrReplaced].
//
// report is told, at each renewal, nil or what keeps the lease from being held
// for so long that it has lapsed.
func (k *Keeper) Hold(ctx context.Context, report func(error)) error {
	ticker := time.NewTicker(presence.RenewEvery)
	defer ticker.Stop()
	held := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		begun := time.Now()
		lapsed, err := k.cfg.Directory.Renew(ctx, k.cfg.Server, k.cfg.Boot)
		switch {
		case errors.Is(err, presence.ErrReplaced):
			k.cfg.Logger.Error("another process has taken this gateway's slot", "slot", k.cfg.Server)
			k.End(chat.CloseServerError)
			return err
		case err != nil:
			k.count.retries.Inc()
			if ctx.Err() == nil && time.Since(held) > presence.LeaseTTL {
				report(err)
			}
			continue
		case lapsed, begun.Sub(held) > presence.LeaseTTL:
			// That it had lapsed the directory says once, maybe in an answer that was
			// lost; after such a time it had.
			k.cfg.Logger.Warn("the lease had lapsed, all sessions are registered again", "slot", k.cfg.Server)
			k.registerAgain()
		}
		held = time.Now()
		report(nil)
	}
}

// registerAgain makes the sweep of every session due now. The next visits carry
// it out, as fast as the directory takes it.
func (k *Keeper) registerAgain() {
	k.each(func(_ *loop, _ edge.Conn, s *state) {
		s.sweepAt = 0
		s.set(announce)
	})
}
