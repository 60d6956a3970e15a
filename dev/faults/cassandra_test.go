package faults

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"switchboard/dev/servers"
	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
	"switchboard/storage-worker/archive/archivetest"
	"switchboard/storage-worker/archive/scylla"
)

// TestArchiveOnThreeNodes is one cluster's life: the suite, then one fault after
// the other under load. Whatever a Write acknowledged must be there afterwards.
func TestArchiveOnThreeNodes(t *testing.T) {
	set := start(t, servers.Config{Cassandra: 3})
	config := scylla.Config{
		Hosts: addresses(t, set, "CQL"), Keyspace: "switchboard", Logger: slog.New(slog.DiscardHandler),
	}
	if _, err := scylla.Migrate(t.Context(), config, 3); err != nil {
		t.Fatal(err)
	}
	store, err := scylla.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	t.Run("suite", func(t *testing.T) {
		archivetest.Run(t, func(*testing.T) archive.Store { return store })
	})
	t.Run("a node is killed", func(t *testing.T) {
		l := begin(t, store)
		kill(t, set, "cassandra-3")
		pass(t.Context(), 10*time.Second)
		l.end(t, "one of three nodes killed")
	})
	t.Run("a migration waits for the dead", func(t *testing.T) {
		if made, err := scylla.Migrate(t.Context(), config, 3); err != nil || len(made) != 0 {
			t.Errorf("nothing to change, and a node is down: made %q, %v", made, err)
		}
		other := config
		other.Keyspace = "other"
		made, err := scylla.Migrate(t.Context(), other, 3)
		if err == nil || !strings.Contains(err.Error(), "127.0.0.3") || len(made) != 0 {
			t.Errorf("something to change: made %q, %v, want an error that names the node", made, err)
		}
	})
	t.Run("a node returns", func(t *testing.T) {
		l := begin(t, store)
		restart(t, set, "cassandra-3")
		l.end(t, "the killed node returned")
	})
	t.Run("a node is frozen", func(t *testing.T) {
		l := begin(t, store)
		thaw := freeze(t, set, "cassandra-2")
		pass(t.Context(), 15*time.Second)
		l.report(t, "one of three nodes frozen")
		thaw()
		pass(t.Context(), 5*time.Second)
		l.end(t, "frozen and thawed")
	})
	t.Run("all nodes are killed and return", func(t *testing.T) {
		l := begin(t, store)
		for _, name := range set.Names() {
			kill(t, set, name)
		}
		var all errgroup.Group
		for _, name := range set.Names() {
			all.Go(func() error { return set.Restart(t.Context(), name) })
		}
		begun := time.Now()
		if err := all.Wait(); err != nil {
			t.Fatal(err)
		}
		t.Logf("all nodes answer again after %v", time.Since(begun).Round(time.Millisecond))
		l.end(t, "all nodes killed and started again")
	})
}

// load is some writers, each of a conversation of its own, and readers of what
// they wrote.
type load struct {
	store archive.Store
	stop  context.CancelFunc
	work  sync.WaitGroup

	conversations []chat.ConversationID
	acknowledged  []atomic.Int64 // the last seq of each

	writes, reads watch
}

// watch is what one kind of call took.
type watch struct {
	count, failures atomic.Int64
	longest         atomic.Int64 // nanoseconds, repetitions included
	failed          sync.Map     // texts of errors
}

// time calls until it works or ctx ends, as the fold and REST's clients do.
func (w *watch) time(ctx context.Context, call func(context.Context) error) bool {
	begun := time.Now()
	for err := call(ctx); err != nil; err = call(ctx) {
		if ctx.Err() != nil {
			return false
		}
		w.failures.Add(1)
		w.failed.Store(err.Error(), true)
		pass(ctx, 20*time.Millisecond)
	}
	took := time.Since(begun).Nanoseconds()
	for longest := w.longest.Load(); took > longest && !w.longest.CompareAndSwap(longest, took); {
		longest = w.longest.Load()
	}
	w.count.Add(1)
	return true
}

func (w *watch) String() string {
	return fmt.Sprintf("%d done, longest %v, %d failed and were repeated",
		w.count.Load(), time.Duration(w.longest.Load()).Round(time.Millisecond), w.failures.Load())
}

// begin starts a load and returns when each of its writers has written.
func begin(t *testing.T, store archive.Store) *load {
	t.Helper()
	const writers, warm = 8, 20
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{store: store, stop: cancel, acknowledged: make([]atomic.Int64, writers)}
	warmed := make(chan struct{}, writers)
	for w := range writers {
		l.conversations = append(l.conversations, chat.ConversationID(chat.NewRequestID()))
		c := l.conversations[w]
		l.work.Go(func() {
			for seq := chat.Seq(1); ctx.Err() == nil; seq++ {
				if l.writes.time(ctx, func(ctx context.Context) error { return store.Write(ctx, batch(c, seq)) }) {
					l.acknowledged[w].Store(int64(seq))
				}
				if seq == warm {
					warmed <- struct{}{}
				}
			}
		})
		l.work.Go(func() {
			for ctx.Err() == nil {
				l.reads.time(ctx, func(ctx context.Context) error {
					_, err := store.StaysIn(ctx, chat.UserID(c), c)
					return err
				})
				pass(ctx, 5*time.Millisecond)
			}
		})
	}
	for range writers {
		select {
		case <-warmed:
		case <-time.After(patience):
			t.Fatal("nothing is written before the fault")
		}
	}
	l.writes.longest.Store(0) // What came before the fault does not count.
	l.reads.longest.Store(0)
	return l
}

func (l *load) report(t *testing.T, what string) {
	t.Helper()
	l.writes.failed.Range(func(k, _ any) bool { t.Logf("write: %v", k); return true })
	l.reads.failed.Range(func(k, _ any) bool { t.Logf("read: %v", k); return true })
	t.Logf("%s: writes %v; reads %v", what, &l.writes, &l.reads)
}

// end waits until each writer has written something more, stops the load and
// looks for all that was acknowledged.
func (l *load) end(t *testing.T, what string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for i := range l.acknowledged {
		for after := l.acknowledged[i].Load() + 5; l.acknowledged[i].Load() < after; pass(t.Context(), 10*time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: writer %d does not go on", what, i)
			}
		}
	}
	l.stop()
	l.work.Wait()
	l.report(t, what)
	for i, c := range l.conversations {
		want := int(l.acknowledged[i].Load())
		var rows []archive.Row
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		found := new(watch).time(ctx, func(ctx context.Context) (err error) {
			rows, err = l.store.Entries(ctx, c, 1, chat.Seq(want), want, false)
			return err
		})
		cancel()
		if !found || len(rows) != want {
			t.Errorf("%s: %d events of %d acknowledged are there", what, len(rows), want)
		}
		stays, err := l.store.StaysIn(t.Context(), chat.UserID(c), c)
		if err != nil || len(stays) != 1 || int(stays[0].Head.Seq) < want {
			t.Errorf("%s: the index says %+v, %v, want a head of at least %d", what, stays, err, want)
		}
	}
}

// batch is one event with what stands beside it.
func batch(c chat.ConversationID, seq chat.Seq) *archive.Batch {
	id := chat.NewMessageID(chat.ClockAt(1_700_000_000)+chat.Clock(seq)*1001, 1, 3)
	request := chat.RequestID{byte(seq >> 16), byte(seq >> 8), byte(seq)}
	position := chat.Position{Generation: 1, Offset: int64(seq)}
	return &archive.Batch{
		Records: 1,
		Rows: []archive.Row{{Position: position, Entry: chat.Entry{
			Conversation: c, Seq: seq, ID: id, Sender: chat.UserID(c), Request: request, Kind: chat.KindText, Content: fmt.Sprint(seq),
		}}},
		Seen: []archive.Seen{{Key: archive.Key{Conversation: c, Sender: chat.UserID(c), Request: request}, Position: position, Seq: seq, ID: id}},
		Stays: []archive.StayWrite{{By: id, Stay: archive.Stay{
			User: chat.UserID(c), Conversation: c, Joined: 1, Head: archive.Tip{Seq: seq, ID: id},
		}}},
	}
}
