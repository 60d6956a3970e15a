package sqlite_test

import (
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"switchboard/storage-worker/archive"
	"switchboard/storage-worker/archive/archivetest"
	"switchboard/storage-worker/archive/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
