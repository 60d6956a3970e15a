package bustest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"switchboard/internal/bus"
)

// member is a running member of a group that notes what it is given.
type member struct {
	name   string
	shares *shares
	cancel context.CancelFunc
	ended  chan error
}

// shares is who holds which partition, over all members of a group.
type shares struct {
	t *testing.T

	mu      sync.Mutex
	holder  map[int32]string
	changed chan struct{} // closed and replaced at each change
}

func newShares(t *testing.T) *shares {
	return &shares{t: t, holder: make(map[int32]string), changed: make(chan struct{})}
}

func (s *shares) set(partition int32, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if held := s.holder[partition]; held != "" && name != "" {
		s.t.Errorf("partition %d was given to %s while %s worked on it", partition, name, held)
	}
	s.holder[partition] = name
	close(s.changed)
	s.changed = make(chan struct{})
}

// await waits until done holds of the counts by member.
func (s *shares) await(what string, done func(counts map[string]int) bool) {
	s.t.Helper()
	limit := time.After(patience)
	for {
		counts := make(map[string]int)
		s.mu.Lock()
		for _, name := range s.holder {
			counts[name]++
		}
		changed := s.changed
		s.mu.Unlock()
		if done(counts) {
			return
		}
		select {
		case <-changed:
		case <-limit:
			s.t.Fatalf("waiting for %s: %v", what, counts)
		}
	}
}

// join runs a member until leave or the end of the test.
func (b *Bus) join(t *testing.T, s *shares, topic, group, name string) *member {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	m := &member{name: name, shares: s, cancel: cancel, ended: make(chan error, 1)}
	g := b.Group(topic, group)
	go func() {
		m.ended <- g.Run(ctx, func(ctx context.Context, c bus.Claim) error {
			s.set(c.Partition(), name)
			<-ctx.Done()
			s.set(c.Partition(), "")
			return nil
		})
	}()
	t.Cleanup(func() { m.leave(t) })
	return m
}

// leave ends the member and waits for it. It may be called again.
func (m *member) leave(t *testing.T) {
	m.cancel()
	select {
	case err, first := <-m.ended:
		if first && !errors.Is(err, context.Canceled) {
			t.Errorf("Run of %s: %v", m.name, err)
		}
		if first {
			close(m.ended)
		}
	case <-time.After(patience):
		t.Errorf("%s does not end", m.name)
	}
}

func testShare(t *testing.T, b *Bus) {
	const partitions = 6
	topic := b.topic(t, partitions)
	s := newShares(t)
	one := b.join(t, s, topic, topic, "one")
	s.await("one to have all", func(n map[string]int) bool { return n["one"] == partitions })
	two := b.join(t, s, topic, topic, "two")
	s.await("both to share", func(n map[string]int) bool {
		return n["one"] == partitions/2 && n["two"] == partitions/2
	})
	one.leave(t)
	s.await("two to have all", func(n map[string]int) bool { return n["two"] == partitions })
	two.leave(t)
}

// once joins, calls work for one claim, and leaves.
func (b *Bus) claimOnce(t *testing.T, topic, group string, work func(ctx context.Context, c bus.Claim)) {
	t.Helper()
	ctx, cancel := within(t)
	defer cancel()
	worked := false
	err := b.Group(topic, group).Run(ctx, func(ctx context.Context, c bus.Claim) error {
		work(ctx, c)
		worked = true
		cancel()
		return nil
	})
	if !worked || !errors.Is(err, context.Canceled) {
		t.Fatalf("Run ended with %v, claimed: %v", err, worked)
	}
}

func testCommitted(t *testing.T, b *Bus) {
	topic := b.topic(t, 1)
	for _, step := range []struct{ found, commit int64 }{{-1, 0}, {0, 7}, {7, 5}, {5, 1 << 40}, {1 << 40, 1}} {
		b.claimOnce(t, topic, topic, func(ctx context.Context, c bus.Claim) {
			if c.Topic() != topic || c.Partition() != 0 || c.Committed() != step.found {
				t.Errorf("claim of %s/%d at %d, want %s/0 at %d", c.Topic(), c.Partition(), c.Committed(), topic, step.found)
			}
			if err := c.Commit(ctx, step.commit); err != nil {
				t.Errorf("Commit: %v", err)
			}
		})
	}
	b.claimOnce(t, topic, topic+"-other", func(_ context.Context, c bus.Claim) {
		if c.Committed() != -1 {
			t.Errorf("another group finds %d", c.Committed())
		}
	})
}

func testHandleError(t *testing.T, b *Bus) {
	topic := b.topic(t, 2)
	ctx, cancel := within(t)
	defer cancel()
	broken := errors.New("broken")
	err := b.Group(topic, topic).Run(ctx, func(ctx context.Context, c bus.Claim) error {
		if c.Partition() == 1 {
			return broken
		}
		<-ctx.Done()
		return ctx.Err()
	})
	if !errors.Is(err, broken) {
		t.Errorf("Run: %v, want the handle's error", err)
	}
}

// testZombie has a member that does not notice that its claim is over. The
// group waits for it for a while, and then gives its partition away.
func testZombie(t *testing.T, b *Bus) {
	topic := b.topic(t, 1)
	ctx, cancel := within(t)
	defer cancel()
	claimed, given := make(chan struct{}), make(chan struct{})
	commit := make(chan error, 1)
	zombieCtx, endZombie := context.WithCancel(ctx)
	zombie := make(chan error, 1)
	var first sync.Once
	go func() {
		zombie <- b.Group(topic, topic).Run(zombieCtx, func(ctx context.Context, c bus.Claim) error {
			first.Do(func() {
				if err := c.Commit(ctx, 1); err != nil {
					t.Errorf("Commit of a living member: %v", err)
				}
				close(claimed)
				<-given
				commit <- c.Commit(context.WithoutCancel(ctx), 2)
			})
			<-ctx.Done()
			return nil
		})
	}()
	<-claimed
	b.claimOnce(t, topic, topic, func(ctx context.Context, c bus.Claim) {
		close(given)
		if err := <-commit; !errors.Is(err, bus.ErrLostClaim) {
			t.Errorf("Commit of a zombie: %v, want ErrLostClaim", err)
		}
		if c.Committed() != 1 {
			t.Errorf("heir begins at %d, want 1", c.Committed())
		}
		endZombie()
		if err := c.Commit(ctx, 3); err != nil && !errors.Is(err, bus.ErrLostClaim) {
			t.Errorf("Commit of the heir: %v", err)
		}
	})
	if err := <-zombie; !errors.Is(err, context.Canceled) {
		t.Errorf("Run of the zombie: %v", err)
	}
}
