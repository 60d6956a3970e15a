package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"switchboard/internal/wire"
)

// AskedMost bounds how far ahead a server can ask for something: what it names
// beyond that, or before now, is taken for that long, or for now.
const AskedMost = 10 * time.Minute

// within is so many milliseconds, within the bound.
func within(ms int64) time.Duration {
	return time.Duration(min(max(ms, 0), AskedMost.Milliseconds())) * time.Millisecond
}

// asked is what the server of this connection has asked for, and for when: it
// spreads what it asks of many devices at once. Zero = it has not.
type asked struct {
	sync  time.Time // `behind`, and once after connecting
	leave time.Time // `reconnect`

	from  time.Time     // not before then, since a sync failed for now
	bound time.Duration // of what was drawn then; it doubles each time
}

// errElsewhere ends a connection whose server asked for that.
var errElsewhere = errors.New("the server asked to connect elsewhere")

// behind syncs, at once or when the server says. One sync is good for all that was
// said before it.
func (c *Client) behind(ctx context.Context, data json.RawMessage) error {
	var b wire.Behind
	if err := json.Unmarshal(data, &b); err != nil {
		return fmt.Errorf("behind: %w", err)
	}
	now := time.Now()
	at := now.Add(within(b.AfterMS))
	if at.Before(c.asked.from) {
		at = c.asked.from
	}
	if c.asked.sync.IsZero() || at.Before(c.asked.sync) {
		c.asked.sync = at
	}
	return c.heed(ctx, now)
}

// reconnect draws the moment at which this device connects elsewhere. Until then
// the connection serves as before.
func (c *Client) reconnect(data json.RawMessage) error {
	var r wire.Reconnect
	if err := json.Unmarshal(data, &r); err != nil {
		return fmt.Errorf("reconnect: %w", err)
	}
	c.asked.leave = time.Now().Add(within(r.AfterMS) + rand.N(within(r.JitterMS)+1))
	return nil
}

// heed does what is due. A sync that fails for now, and be it that nobody answers, does
// not end the connection: that is none the worse for it, answers to what was sent come
// on it, and to open another would load a server that has too much to do.
func (c *Client) heed(ctx context.Context, now time.Time) error {
	if at := c.asked.leave; !at.IsZero() && !now.Before(at) {
		return errElsewhere
	}
	if at := c.asked.sync; at.IsZero() || now.Before(at) {
		return nil
	}
	switch err := c.sync(ctx); {
	case err == nil:
		c.asked.sync, c.asked.from, c.asked.bound = time.Time{}, time.Time{}, 0
		if c.synced.IsZero() {
			c.synced = time.Now()
		}
	case ctx.Err() != nil || final(err):
		return err
	default:
		c.postpone(err)
	}
	return nil
}

// postpone has a sync that failed for now made later. No gap is pulled for HoldFor either:
// that may take as long to fail, and frames are to have their turn.
func (c *Client) postpone(err error) {
	c.asked.bound = min(max(2*c.asked.bound, BackoffFirst), BackoffLast)
	pause := told(err) + rand.N(c.asked.bound)
	c.cfg.Log.Info("syncing later", "error", err, "after", pause)
	c.asked.from = time.Now().Add(pause)
	c.asked.sync = c.asked.from
	c.wait()
}
