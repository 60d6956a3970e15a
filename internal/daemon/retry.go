package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"switchboard/internal/complaint"
)

// The pause between two tries of Retry grows from one to the other. The upper
// bound is what an operator waits, at most, after a server is back.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
)

// maxReasons bounds how many reasons Retry remembers to have said.
const maxReasons = 64

// Retry calls try until it returns nil: servers start in any order, and a
// program that waits for one is not broken. It gives up when ctx ends or when
// the error is one that no waiting will heal: a usage error or bus.ErrUnsafe.
// what names the attempt, as in "connect to Kafka". try may bound itself with a
// timeout; Retry sets none.
//
// The log gets a line for each reason, and the same one again after a minute,
// not one for each try: a wrong password is one line, however often it is tried.
func Retry(ctx context.Context, log *slog.Logger, what string, try func(context.Context) error) error {
	said := complaint.NewBook(maxReasons)
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := try(ctx)
		switch {
		case err == nil:
			return nil
		case hopeless(err):
			return fmt.Errorf("%s: %w", what, err)
		case ctx.Err() != nil:
			return fmt.Errorf("%s: %w (last answer: %w)", what, context.Cause(ctx), err)
		}
		// Many programs lose a server at the same moment; half of the pause is
		// random so that they do not all come back at the same one.
		wait := pause/2 + rand.N(pause/2)
		level := slog.LevelDebug
		if said.Due(complaint.Reason(err.Error())) {
			level = slog.LevelWarn
		}
		log.Log(ctx, level, "not yet, will try again", "what", what, "error", err, "after", wait.Round(time.Millisecond))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return fmt.Errorf("%s: %w (last answer: %w)", what, context.Cause(ctx), err)
		}
	}
}
