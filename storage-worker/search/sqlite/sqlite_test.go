package sqlite_test

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"switchboard/internal/chat"
	"switchboard/storage-worker/search"
	"switchboard/storage-worker/search/searchtest"
	"switchboard/storage-worker/search/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, file string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestSuite(t *testing.T) {
	searchtest.Run(t, func(t *testing.T) search.Store { return open(t, filepath.Join(t.TempDir(), "search ?#.db")) })
}

// progressOf reads what a file says of partition 2.
func progressOf(t *testing.T, s *sqlite.Store) (next int64, known bool) {
	t.Helper()
	p, known, err := s.Progress(t.Context(), 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	return p.Next, known
}

func TestTwoProcessesHaveOneFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "search.db")
	a, b := open(t, file), open(t, file)
	if err := a.Apply(t.Context(), &search.Batch{Progress: search.Progress{Generation: 1, Partition: 2, Next: 5}}); err != nil {
		t.Fatal(err)
	}
	if next, known := progressOf(t, b); next != 5 || !known {
		t.Errorf("the other one reads %d, %v, want 5", next, known)
	}
}

func TestAnIndexOfAnotherVersionIsMadeAnew(t *testing.T) {
	file := filepath.Join(t.TempDir(), "search.db")
	s := open(t, file)
	if err := s.Apply(t.Context(), &search.Batch{Progress: search.Progress{Generation: 1, Partition: 2, Next: 5}}); err != nil {
		t.Fatal(err)
	}
	if next, known := progressOf(t, open(t, file)); next != 5 || !known {
		t.Errorf("opened again it says %d, %v, want 5", next, known)
	}
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), `PRAGMA user_version = 99`); err != nil {
		t.Fatal(err)
	}
	if next, known := progressOf(t, open(t, file)); known {
		t.Errorf("an index of version 99 says %d", next)
	}
}

func TestAFileThatIsNoIndexIsRefused(t *testing.T) {
	if s, err := sqlite.Open(t.Context(), t.TempDir()); err == nil {
		t.Error("a folder was opened")
		s.Close()
	}
}

func TestAPartitionBeyondTheLimitIsRefused(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "search.db"))
	d := search.Document{ID: chat.NewMessageID(chat.ClockAt(1), 1, 2048), Content: "x"}
	err := s.Apply(t.Context(), &search.Batch{Documents: []search.Document{d}})
	if err == nil || !strings.Contains(err.Error(), "partition") {
		t.Errorf("error %v, want one that names the partition", err)
	}
}

func BenchmarkStore(b *testing.B) {
	s, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "search.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	searchtest.Benchmark(b, s)
}
