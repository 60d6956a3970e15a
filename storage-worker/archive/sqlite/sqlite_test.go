package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
	"switchboard/storage-worker/archive/archivetest"
	"switchboard/storage-worker/archive/sqlite"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(victimPath); path != "" {
		fmt.Fprintln(os.Stdout, "error", victim(path))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// open returns a store in a folder of its own, closed at the test's end.
func open(t testing.TB, config sqlite.Config) *sqlite.Store {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "archive.db"), config)
}

func openAt(t testing.TB, path string, config sqlite.Config) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path, config)
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

func TestStore(t *testing.T) {
	archivetest.Run(t, func(t *testing.T) archive.Store { return open(t, sqlite.Config{Sync: sqlite.Normal}) })
}

// row returns an event with some content.
func row(c chat.ConversationID, seq chat.Seq, content string) archive.Row {
	return archive.Row{
		Entry:    chat.Entry{Conversation: c, Seq: seq, ID: chat.NewMessageID(chat.Clock(seq), 1, 1), Kind: chat.KindText, Content: content},
		Position: chat.Position{Generation: 1, Offset: int64(seq)},
	}
}

// events returns how many events a conversation has, and that none is missing.
func events(t *testing.T, s *sqlite.Store, c chat.ConversationID) chat.Seq {
	t.Helper()
	rows, err := s.Entries(t.Context(), c, 1, 1<<40, 1<<30, false)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range rows {
		if r.Seq != chat.Seq(i+1) {
			t.Fatalf("event %d is followed by %d", i, r.Seq)
		}
	}
	return chat.Seq(len(rows))
}

func TestOpenAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a file?name#with 100%.db")
	c := chat.ConversationID{1}
	for n := chat.Seq(1); n <= 3; n++ {
		s := openAt(t, path, sqlite.Config{})
		if got := events(t, s, c); got != n-1 {
			t.Fatalf("opened with %d events, want %d", got, n-1)
		}
		if err := s.Write(t.Context(), &archive.Batch{Rows: []archive.Row{row(c, n, "")}}); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time does nothing
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path + "-wal"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the write-ahead log was left behind: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	folder := t.TempDir()
	path := func(name string) string { return filepath.Join(folder, name) }
	inUse := openAt(t, path("in-use.db"), sqlite.Config{})
	newer := openAt(t, path("newer.db"), sqlite.Config{})
	if err := newer.Close(); err != nil {
		t.Fatal(err)
	}
	raiseVersion(t, path("newer.db"))
	if err := os.WriteFile(path("other.db"), []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, path string
		want       error
		text       string
	}{
		{"a file that is open", path("in-use.db"), sqlite.ErrInUse, "in use by another process"},
		{"a file of a newer release", path("newer.db"), sqlite.ErrNewer, "schema version 1000, this one knows 2"},
		{"what is no database", path("other.db"), nil, "not a database"},
		{"a folder that is not there", path("no/archive.db"), os.ErrNotExist, "no such file"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, err := sqlite.Open(t.Context(), test.path, sqlite.Config{})
			if err == nil {
				_ = s.Close()
				t.Fatal("it was opened")
			}
			if test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %q, want %v with %q", err, test.want, test.text)
			}
			if !strings.Contains(err.Error(), test.path) {
				t.Errorf("%q does not name the file", err)
			}
		})
	}
	if err := inUse.Write(t.Context(), &archive.Batch{Rows: []archive.Row{row(chat.ConversationID{1}, 1, "")}}); err != nil {
		t.Errorf("the store that has the file: %v", err)
	}
}

// A file of the first version gets what it lacks, and keeps what it has.
func TestOpenUpgrades(t *testing.T) {
	path := filepath.Join(t.TempDir(), "archive.db")
	s := openAt(t, path, sqlite.Config{})
	c, ref := chat.ConversationID{1}, archive.MediaRef{Media: chat.MediaID{7}, Conversation: chat.ConversationID{1}, By: row(chat.ConversationID{1}, 1, "").ID}
	if err := s.Write(t.Context(), &archive.Batch{Rows: []archive.Row{row(c, 1, "kept")}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	change(t, path, "DROP TABLE media_refs; PRAGMA user_version = 1")
	for range 2 {
		s = openAt(t, path, sqlite.Config{})
		if err := s.Write(t.Context(), &archive.Batch{Media: []archive.MediaRef{ref}}); err != nil {
			t.Fatal(err)
		}
		if got, err := s.MediaRefs(t.Context(), ref.Media, 10); err != nil || len(got) != 1 || got[0] != ref {
			t.Errorf("got %v, %v; want the conversation", got, err)
		}
		if got, err := s.Entries(t.Context(), c, 1, 1, 1, false); err != nil || len(got) != 1 || got[0].Content != "kept" {
			t.Errorf("got %v, %v; want what was there", got, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// raiseVersion makes the file one of the future.
func raiseVersion(t *testing.T, path string) {
	t.Helper()
	change(t, path, "PRAGMA user_version = 1000")
}

// change runs SQL on a file that nobody has open.
func change(t *testing.T, path, text string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), text); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenWithAnEndedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	path := filepath.Join(t.TempDir(), "archive.db")
	if _, err := sqlite.Open(ctx, path, sqlite.Config{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	openAt(t, path, sqlite.Config{}) // the lock was given back
}
