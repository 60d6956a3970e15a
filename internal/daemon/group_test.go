package daemon

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/internal/bus"
)

func TestPartsStopInReverseEachAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		g := NewGroup(ctx)
		var order []string
		for _, name := range []string{"ops", "producer", "sessions"} {
			g.Go(func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(time.Second) // draining takes a while, of virtual time
				order = append(order, name)
				return ctx.Err()
			})
		}
		time.AfterFunc(time.Minute, stop)
		started := time.Now()
		if err := g.Wait(); err != nil {
			t.Errorf("got %v, want nil: it was asked to stop", err)
		}
		if want := []string{"sessions", "producer", "ops"}; !slices.Equal(order, want) {
			t.Errorf("got %q, want %q", order, want)
		}
		if got, want := time.Since(started), time.Minute+3*time.Second; got != want {
			t.Errorf("took %v, want %v: one after the other", got, want)
		}
	})
}

func TestFirstFailureStopsAllAndIsReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup(t.Context())
		first := errors.New("append to chat.accepted: not leader")
		stopped := false
		g.Go(func(ctx context.Context) error {
			<-ctx.Done()
			stopped = true
			return errors.New("a consequence")
		})
		g.Go(func(context.Context) error { return first })
		if err := g.Wait(); !errors.Is(err, first) {
			t.Errorf("got %v, want %v", err, first)
		}
		if !stopped {
			t.Error("Wait returned before the other part had ended")
		}
	})
}

func TestFailureWhileStoppingIsReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		g := NewGroup(ctx)
		late := errors.New("close the archive: disk full")
		g.Go(func(ctx context.Context) error { <-ctx.Done(); return late })
		stop()
		if err := g.Wait(); !errors.Is(err, late) {
			t.Errorf("got %v, want %v", err, late)
		}
	})
}

func TestCanceledWithoutBeingAskedIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup(t.Context())
		g.Go(func(context.Context) error { return context.Canceled })
		if err := g.Wait(); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
	})
}

func TestPartsThatAreDoneStopNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup(t.Context())
		g.Go(func(context.Context) error { return nil })
		g.Go(func(ctx context.Context) error {
			select {
			case <-time.After(time.Hour):
				return nil
			case <-ctx.Done():
				return errors.New("stopped early")
			}
		})
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
		g.Go(func(context.Context) error { t.Error("started after the end"); return nil })
	})
}

func TestAPartMayStartAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		g := NewGroup(ctx)
		ran := make(chan struct{})
		g.Go(func(context.Context) error {
			g.Go(func(ctx context.Context) error { close(ran); <-ctx.Done(); return ctx.Err() })
			return nil
		})
		time.AfterFunc(time.Second, stop)
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
		<-ran
	})
}

func TestRetryBacksOffUntilItWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		started := time.Now()
		err := Retry(t.Context(), slog.New(slog.DiscardHandler), "connect to Redis", func(context.Context) error {
			at = append(at, time.Since(started))
			if len(at) < 12 {
				return errors.New("connection refused")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		pause := firstPause
		for i := 1; i < len(at); i++ {
			if got := at[i] - at[i-1]; got < pause/2 || got > pause {
				t.Errorf("pause %d: got %v, want between %v and %v", i, got, pause/2, pause)
			}
			pause = min(2*pause, lastPause)
		}
	})
}

func TestRetryGivesUpOnWhatNoWaitingHeals(t *testing.T) {
	for _, hopeless := range []error{bus.ErrUnsafe, Usagef("no such user")} {
		tries := 0
		err := Retry(t.Context(), slog.New(slog.DiscardHandler), "check topics", func(context.Context) error { tries++; return hopeless })
		if !errors.Is(err, hopeless) || tries != 1 {
			t.Errorf("got %v after %d tries, want %v after 1", err, tries, hopeless)
		}
	}
}

func TestRetryEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		started := time.Now()
		err := Retry(ctx, slog.New(slog.DiscardHandler), "connect", func(context.Context) error { return errors.New("refused") })
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(started) != time.Minute {
			t.Errorf("got %v after %v, want the deadline after 1m0s", err, time.Since(started))
		}
	})
}
