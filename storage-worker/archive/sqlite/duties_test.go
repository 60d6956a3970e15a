package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// openHere returns a store whose duties the test calls itself.
func openHere(t *testing.T) (s *Store, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "archive.db")
	s, err := start(t.Context(), path, Config{Sync: Normal})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, path
}

func write(t *testing.T, s *Store, b *archive.Batch) {
	t.Helper()
	if err := s.Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

// seen returns the n-th key, of an event at the clock.
func seen(n int, clock chat.Clock, partition uint32) archive.Seen {
	return archive.Seen{
		Key: archive.Key{Conversation: chat.ConversationID{byte(partition)}, Request: chat.RequestID{byte(n >> 8), byte(n)}},
		Seq: chat.Seq(n + 1), ID: chat.NewMessageID(clock, 1, partition),
	}
}

func known(t *testing.T, s *Store, all []archive.Seen) int {
	t.Helper()
	var keys []archive.Key
	for _, k := range all {
		keys = append(keys, k.Key)
	}
	found, err := s.SeenKeys(t.Context(), keys)
	if err != nil {
		t.Fatal(err)
	}
	return len(found)
}

func TestSweepRemovesKeysThatExpired(t *testing.T) {
	s, _ := openHere(t)
	now := chat.ClockAt(1_800_000_000)
	border := now - chat.Ticks(chat.KeyTTL)
	var expired, young, elsewhere []archive.Seen
	for n := range 2*sweepKeys + 10 { // several steps
		expired = append(expired, seen(n, border-chat.Clock(n+1), 1))
		young = append(young, seen(10_000+n, border+chat.Clock(n), 1))
	}
	for n := range 10 {
		elsewhere = append(elsewhere, seen(n, border-1, 2), seen(100+n, border-1, 3))
	}
	for _, b := range [][]archive.Seen{expired, young, elsewhere} {
		write(t, s, &archive.Batch{Seen: b})
	}
	// Partition 2 is a day behind, partition 3 has never told its clock.
	for partition, clock := range map[int32]chat.Clock{1: now, 2: now - chat.Ticks(chat.KeyTTL)/8} {
		if err := s.SetProgress(t.Context(), partition, archive.Progress{Clock: clock}); err != nil {
			t.Fatal(err)
		}
	}
	n, err := s.sweep(t.Context(), 0)
	if err != nil || n != len(expired) {
		t.Errorf("sweep removed %d keys, %v; want %d", n, err, len(expired))
	}
	if got := known(t, s, expired); got != 0 {
		t.Errorf("%d expired keys are still there", got)
	}
	if got := known(t, s, young); got != len(young) {
		t.Errorf("%d of %d young keys are left", got, len(young))
	}
	if got := known(t, s, elsewhere); got != len(elsewhere) {
		t.Errorf("%d of %d keys of partitions with other clocks are left", got, len(elsewhere))
	}
}

func TestSweepSparesAYoungerUseOfTheSameKey(t *testing.T) {
	s, _ := openHere(t)
	now := chat.ClockAt(1_800_000_000)
	first, again := seen(1, now-2*chat.Ticks(chat.KeyTTL), 1), seen(1, now-1, 1)
	first.Position.Offset, again.Position.Offset = 10, 20
	write(t, s, &archive.Batch{Seen: []archive.Seen{first, again}})
	if err := s.SetProgress(t.Context(), 1, archive.Progress{Clock: now}); err != nil {
		t.Fatal(err)
	}
	if n, err := s.sweep(t.Context(), 0); n != 1 || err != nil {
		t.Errorf("sweep removed %d keys, %v; want the first use alone", n, err)
	}
	got, err := s.SeenKeys(t.Context(), []archive.Key{first.Key})
	if err != nil || len(got) != 1 || got[0] != again {
		t.Errorf("left is %+v, %v; want the second use", got, err)
	}
}

// fillLog writes until the write-ahead log is longer than so many pages.
func fillLog(t *testing.T, s *Store, conversation byte, pages int64) {
	t.Helper()
	b := &archive.Batch{}
	content := make([]byte, chat.ContentBytes)
	for seq := chat.Seq(1); seq <= chat.Seq(pages/3); seq++ {
		b.Rows = append(b.Rows, archive.Row{Entry: chat.Entry{
			Conversation: chat.ConversationID{conversation}, Seq: seq, ID: chat.NewMessageID(chat.Clock(seq), 1, 1),
			Kind: chat.KindText, Content: string(content),
		}})
	}
	write(t, s, b)
}

func TestCheckpointsKeepTheLogShort(t *testing.T) {
	const pages = checkpointPages / 16
	s, path := openHere(t)
	var longest int64
	for i := range byte(6) {
		fillLog(t, s, i, pages)
		if err := s.checkpoint(t.Context(), pages); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			longest = info.Size() * 3 / 2
		}
		if info.Size() > longest {
			t.Fatalf("the log has %d bytes after round %d and began with %d", info.Size(), i, longest*2/3)
		}
	}
	log, err := queryInts(t.Context(), s.checkpointer, "PRAGMA wal_checkpoint(NOOP)", 3)
	if err != nil || log[1] != log[2] {
		t.Errorf("of %d pages %d were moved, %v", log[1], log[2], err)
	}
}

// busy makes the writer wait until the returned function is called.
func busy(t *testing.T, s *Store) (release func()) {
	t.Helper()
	began, ended, free := make(chan struct{}), make(chan error, 1), make(chan struct{})
	go func() {
		ended <- s.writer.submit(context.Background(), &job{task: func(context.Context, driver.Conn) error {
			close(began)
			<-free
			return nil
		}})
	}()
	<-began
	return func() {
		close(free)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func row(seq chat.Seq) archive.Row {
	return archive.Row{Entry: chat.Entry{
		Conversation: chat.ConversationID{1}, Seq: seq, ID: chat.NewMessageID(chat.Clock(seq), 1, 1), Kind: chat.KindText,
	}}
}

// queued waits until n jobs wait for the writer.
func queued(t *testing.T, s *Store, n int) {
	t.Helper()
	for {
		s.writer.mu.Lock()
		have := len(s.writer.queue)
		s.writer.mu.Unlock()
		if have == n {
			return
		}
		runtime.Gosched()
		if err := t.Context().Err(); err != nil {
			t.Fatalf("%d jobs wait, want %d: %v", have, n, err)
		}
	}
}

func TestAWriteThatIsGivenUpInTheQueueIsNotWritten(t *testing.T) {
	s, _ := openHere(t)
	release := busy(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	given := make(chan error, 1)
	go func() { given <- s.Write(ctx, &archive.Batch{Rows: []archive.Row{row(1)}}) }()
	queued(t, s, 1)
	cancel()
	if err := <-given; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	release()
	write(t, s, &archive.Batch{Rows: []archive.Row{row(2)}})
	rows, err := s.Entries(t.Context(), chat.ConversationID{1}, 1, 9, 9, false)
	if err != nil || len(rows) != 1 || rows[0].Seq != 2 {
		t.Errorf("got %v, %v; want only the event 2", rows, err)
	}
}

func TestABatchThatCannotBeWrittenHarmsNoOther(t *testing.T) {
	s, _ := openHere(t)
	release := busy(t, s)
	var answers [4]chan error
	for seq := range answers { // there is no event 0
		answers[seq] = make(chan error, 1)
		b := &archive.Batch{Rows: []archive.Row{row(chat.Seq(seq))}}
		go func() { answers[seq] <- s.Write(t.Context(), b) }()
	}
	queued(t, s, len(answers))
	release()
	for seq, answer := range answers {
		if err := <-answer; (err == nil) != (seq != 0) {
			t.Errorf("event %d: %v", seq, err)
		}
	}
	rows, err := s.Entries(t.Context(), chat.ConversationID{1}, 1, 9, 9, false)
	if err != nil || len(rows) != 3 {
		t.Errorf("got %d events, %v; want 3", len(rows), err)
	}
}

func TestAFailedBatchLeavesNothingForTheNext(t *testing.T) {
	s, _ := openHere(t)
	bad := &archive.Batch{Rows: []archive.Row{row(1), row(0)}, Seen: []archive.Seen{seen(1, 1, 1)}}
	if err := s.Write(t.Context(), bad); err == nil {
		t.Fatal("an event 0 was written")
	}
	write(t, s, &archive.Batch{Rows: []archive.Row{row(2)}})
	rows, err := s.Entries(t.Context(), chat.ConversationID{1}, 1, 9, 9, false)
	if err != nil || len(rows) != 1 || rows[0].Seq != 2 {
		t.Errorf("got %v, %v; want only the event 2", rows, err)
	}
}

// That an acknowledgement waits for the disk can only be seen by cutting the
// power; that SQLite was told to wait can be asked.
func TestConnectionsAreSetUp(t *testing.T) {
	for sync, level := range map[Sync]int64{Full: 2, Normal: 1} {
		s, err := start(t.Context(), filepath.Join(t.TempDir(), "archive.db"), Config{Sync: sync})
		if err != nil {
			t.Fatal(err)
		}
		for pragma, want := range map[string]int64{
			"synchronous": level, "wal_autocheckpoint": 0, "busy_timeout": 5000, "user_version": schemaVersion, "page_size": pageBytes,
		} {
			if got, err := queryInts(t.Context(), s.writer.conn, "PRAGMA "+pragma, 1); err != nil || got[0] != want {
				t.Errorf("%s: %s is %d, want %d, %v", sync, pragma, got, want, err)
			}
		}
		if _, err := s.reader.db.ExecContext(t.Context(), "DELETE FROM messages"); err == nil {
			t.Error("a reading connection can write")
		}
		var mode string
		if err := s.reader.db.QueryRowContext(t.Context(), "PRAGMA journal_mode").Scan(&mode); err != nil || mode != "wal" {
			t.Errorf("journal mode %q, %v", mode, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestCloseAnswersWhatWaits(t *testing.T) {
	s, _ := openHere(t)
	release := busy(t, s)
	answer := make(chan error, 1)
	go func() { answer <- s.Write(t.Context(), &archive.Batch{Rows: []archive.Row{row(1)}}) }()
	queued(t, s, 1)
	s.writer.close()
	release()
	if err := <-answer; !errors.Is(err, ErrClosed) {
		t.Errorf("a waiting write: got %v, want ErrClosed", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Write(t.Context(), &archive.Batch{}); !errors.Is(err, ErrClosed) {
		t.Errorf("a write after Close: got %v, want ErrClosed", err)
	}
	if _, err := s.Stays(t.Context(), chat.UserID{}); !errors.Is(err, ErrClosed) {
		t.Errorf("a read after Close: got %v, want ErrClosed", err)
	}
}

func TestNextBoundsATransaction(t *testing.T) {
	w := &writer{}
	big := &archive.Batch{Stays: make([]archive.StayWrite, groupElements)}
	small := &archive.Batch{Rows: make([]archive.Row, groupElements/2)}
	for _, b := range []*archive.Batch{big, small, small, small, big} {
		w.queue = append(w.queue, &job{batch: b})
	}
	for i, want := range []int{1, 2, 1, 1, 0} {
		if group, _, _ := w.next(); len(group) != want {
			t.Errorf("transaction %d takes %d jobs, want %d", i, len(group), want)
		}
	}
}

func TestADutyComesEvenWhenWritesAlwaysWait(t *testing.T) {
	w := &writer{duties: []*job{{}, {}}}
	for turn, duties := 1, 0; duties < 2; turn++ {
		w.queue = append(w.queue, &job{batch: &archive.Batch{}})
		group, duty, _ := w.next()
		if (duty != nil) == (len(group) > 0) {
			t.Fatalf("turn %d: %d jobs and the duty %v", turn, len(group), duty)
		}
		if duty != nil {
			duties++
		}
		if wait := turn > (duties+1)*(dutyPatience+1); wait {
			t.Fatalf("after %d turns %d duties were done", turn, duties)
		}
	}
}
