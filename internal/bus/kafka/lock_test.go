package kafka_test

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"switchboard/internal/bus/kafka"
)

// lockable runs a test on an embedded broker and on a real one. Each open
// returns a client of its own, as another process has.
func lockable(t *testing.T, test func(t *testing.T, name string, open func() *kafka.Client)) {
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		cluster, _ := start(t, 3) // Most locks have another coordinator than the first broker.
		test(t, "lock-"+rand.Text(), func() *kafka.Client { return open(t, cluster.Addr()) })
	})
	t.Run("real", func(t *testing.T) {
		t.Parallel()
		addr := os.Getenv("SWITCHBOARD_TEST_KAFKA")
		if addr == "" {
			t.Skip("SWITCHBOARD_TEST_KAFKA does not name a Kafka to test with")
		}
		test(t, "lock-"+rand.Text(), func() *kafka.Client { return open(t, addr) })
	})
}

func nobodyElse(t *testing.T) func(string) {
	return func(holder string) { t.Errorf("waits for %s", holder) }
}

// Each of some processes finds itself alone, and hears whom it waits for.
func TestOneHolderAtATime(t *testing.T) {
	t.Parallel()
	lockable(t, func(t *testing.T, name string, open func() *kafka.Client) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		held, unlock, err := open().Lock(ctx, name, "the first", nobodyElse(t))
		if err != nil {
			t.Fatal(err)
		}
		var inside sync.Mutex
		inside.Lock()
		heard := make(chan string, 100)
		var others sync.WaitGroup
		for range 3 {
			other := open()
			others.Go(func() {
				held, unlock, err := other.Lock(ctx, name, "another", func(holder string) { heard <- holder })
				if err != nil {
					t.Error(err)
					return
				}
				if !inside.TryLock() {
					t.Error("two hold the lock")
				} else {
					inside.Unlock()
				}
				if held.Err() != nil {
					t.Error("got a lock that was lost already")
				}
				unlock()
			})
		}
		for range 3 {
			if holder := <-heard; !strings.HasPrefix(holder, "the first at 127.0.0.1") {
				t.Errorf("waits for %q, want the first", holder)
			}
		}
		if held.Err() != nil {
			t.Errorf("those who wait disturb the holder: %v", context.Cause(held))
		}
		inside.Unlock()
		unlock()
		others.Wait()
	})
}

// A process that is killed sends nothing more; closing its client comes nearest.
func TestTheLockGoesWithItsHolder(t *testing.T) {
	t.Parallel()
	lockable(t, func(t *testing.T, name string, open func() *kafka.Client) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		life, kill := context.WithCancel(ctx)
		held, _, err := open().Lock(life, name, "the dead", nobodyElse(t))
		if err != nil {
			t.Fatal(err)
		}
		kill() // Its heart stops, and it never unlocks.
		<-held.Done()
		_, unlock, err := open().Lock(ctx, name, "the heir", func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		unlock()
	})
}

// A holder that was away for too long learns that it is none.
func TestALostLockIsNoticed(t *testing.T) {
	t.Parallel()
	lockable(t, func(t *testing.T, name string, open func() *kafka.Client) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		holder := open()
		held, unlock, err := holder.Lock(ctx, name, "the zombie", nobodyElse(t))
		if err != nil {
			t.Fatal(err)
		}
		defer unlock()
		if err := kafka.Evict(ctx, open(), name); err != nil {
			t.Fatal(err)
		}
		select {
		case <-held.Done():
		case <-ctx.Done():
		}
		if cause := context.Cause(held); !errors.Is(cause, kafka.ErrLockLost) {
			t.Errorf("got %v, want ErrLockLost", cause)
		}
	})
}

// The coordinator hears of a holder for as long as it holds.
func TestALockIsKeptForLongerThanASession(t *testing.T) {
	t.Parallel()
	lockable(t, func(t *testing.T, name string, open func() *kafka.Client) {
		held, unlock, err := open().Lock(t.Context(), name, "the patient", nobodyElse(t))
		if err != nil {
			t.Fatal(err)
		}
		defer unlock()
		ctx, cancel := context.WithTimeout(t.Context(), kafka.LockSession+3*time.Second)
		defer cancel()
		if _, _, err := open().Lock(ctx, name, "the usurper", func(string) {}); err == nil {
			t.Error("another took a lock that was held")
		}
		if held.Err() != nil {
			t.Errorf("lost: %v", context.Cause(held))
		}
	})
}

func TestNobodyWaitsForEver(t *testing.T) {
	t.Parallel()
	lockable(t, func(t *testing.T, name string, open func() *kafka.Client) {
		_, unlock, err := open().Lock(t.Context(), name, "host 7, process 42", nobodyElse(t))
		if err != nil {
			t.Fatal(err)
		}
		defer unlock()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, _, err = open().Lock(ctx, name, "impatient", func(string) {})
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "held by host 7, process 42 at 127.0.0.1") {
			t.Errorf("got %v, want the holder's name", err)
		}
	})
}
