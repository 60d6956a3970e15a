package scylla_test

import (
	"context"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// killer is the environment variable with a command that kills the server at
// SWITCHBOARD_TEST_CQL with SIGKILL and starts it again. It need not wait until
// the server answers.
const killer = "SWITCHBOARD_TEST_CQL_KILL"

// patience is how long the killed server may take to answer again.
const patience = 90 * time.Second

// batchOf is two events with all that stands beside them.
func batchOf(c chat.ConversationID, seq chat.Seq) *archive.Batch {
	b := &archive.Batch{Records: 2}
	u := chat.UserID(c)
	for _, r := range []archive.Row{rowAt(c, seq), rowAt(c, seq+1)} {
		head := archive.Tip{Seq: r.Seq, ID: r.ID}
		b.Rows = append(b.Rows, r)
		b.Seen = append(b.Seen, archive.Seen{Key: keyOf(c, r.Seq), Position: r.Position, Seq: r.Seq, ID: r.ID})
		b.Stays = append(b.Stays, archive.StayWrite{By: r.ID, Stay: archive.Stay{User: u, Conversation: c, Joined: 1, Head: head}})
		b.Marks = append(b.Marks, archive.Watermark{Conversation: c, User: u, Joined: 1, Read: r.Seq, Delivered: r.Seq})
	}
	return b
}

func keyOf(c chat.ConversationID, seq chat.Seq) archive.Key {
	return archive.Key{Conversation: c, Sender: chat.UserID{1}, Request: chat.RequestID{byte(seq >> 16), byte(seq >> 8), byte(seq)}}
}

// The server is killed while some writers write. Each repeats the batch whose
// outcome it does not know, as the fold does, and goes on for a while: then
// everything must be there, without a gap and with all that stands beside it.
// What was acknowledged before the kill is read before anybody repeats it.
func TestAKilledServerLosesNothingAcknowledged(t *testing.T) {
	command := os.Getenv(killer)
	if command == "" {
		t.Skipf("%s is not set: no way to kill the server", killer)
	}
	s := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	const writers, before, after = 8, 40, 20
	var failures atomic.Int64
	var wg sync.WaitGroup
	conversations := make([]chat.ConversationID, writers)
	warm := make(chan struct{}, writers)
	for w := range writers {
		conversations[w] = newConversation()
		wg.Go(func() {
			c := conversations[w]
			for n, left := 0, after; left > 0 && ctx.Err() == nil; n++ {
				seq := chat.Seq(2*n + 1)
				if n == before {
					// All who wait for a statement to be prepared get one error of
					// gocql 1.19.0, and each of them writes into it (conn.go
					// prepareStatement, query_executor.go do), which the race detector
					// sees. So what is asked after the kill was asked before it.
					checkAll(ctx, t, s, c, seq-1)
					warm <- struct{}{}
				}
				for err := s.Write(ctx, batchOf(c, seq)); err != nil && ctx.Err() == nil; err = s.Write(ctx, batchOf(c, seq)) {
					failures.Add(1)
					left = after - 1
					checkAll(ctx, t, s, c, seq-1)
				}
				if left < after {
					left--
				}
			}
		})
	}
	for range writers {
		<-warm
	}
	out, err := exec.CommandContext(t.Context(), command).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	wg.Wait()
	if failures.Load() < writers || ctx.Err() != nil {
		t.Fatalf("%d failures of %d writers: the server was not killed under them, or did not come back: %v", failures.Load(), writers, ctx.Err())
	}
	total := chat.Seq(0)
	for _, c := range conversations {
		tip, err := s.Tip(t.Context(), c, chat.MessageID{})
		if err != nil {
			t.Fatal(err)
		}
		checkAll(t.Context(), t, s, c, tip.Seq)
		total += tip.Seq
	}
	t.Logf("%d writers, %d events, %d writes of unknown outcome repeated", writers, total, failures.Load())
}

// checkAll waits until the server answers, and then has everything up to last.
func checkAll(ctx context.Context, t *testing.T, s archive.Store, c chat.ConversationID, last chat.Seq) {
	t.Helper()
	rows, err := s.Entries(ctx, c, 1, last, int(last), false)
	for ; err != nil && ctx.Err() == nil; rows, err = s.Entries(ctx, c, 1, last, int(last), false) {
		select { // A real server: nothing tells when it is back.
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	if len(rows) != int(last) {
		t.Errorf("%d events of %d acknowledged, %v", len(rows), last, err)
	}
	keys := make([]archive.Key, 0, last)
	for seq := chat.Seq(1); seq <= last; seq++ {
		keys = append(keys, keyOf(c, seq))
	}
	seen, err := s.SeenKeys(ctx, keys)
	if len(seen) != int(last) {
		t.Errorf("%d keys of %d acknowledged, %v", len(seen), last, err)
	}
	stays, err := s.StaysIn(ctx, chat.UserID(c), c)
	if len(stays) != 1 || stays[0].Head.Seq < last {
		t.Errorf("the index has %+v, %v, want a head of at least %d", stays, err, last)
	}
	mark, err := s.Watermark(ctx, c, chat.UserID(c), 1)
	if err != nil || mark.Read < last {
		t.Errorf("the mark is %+v, %v, want at least %d", mark, err, last)
	}
}
