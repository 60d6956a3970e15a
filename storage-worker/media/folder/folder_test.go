package folder

import (
	"os"
	"path/filepath"
	"testing"

	"switchboard/storage-worker/media/mediatest"
)

func open(t *testing.T) (*Store, string) {
	t.Helper()
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, dir
}

func TestStore(t *testing.T) {
	mediatest.Run(t, func(t *testing.T) mediatest.Store {
		s, dir := open(t)
		return mediatest.Store{
			Store: s,
			Unfinished: func(t *testing.T) int {
				t.Helper()
				entries, err := os.ReadDir(filepath.Join(dir, unfinished))
				if err != nil {
					t.Fatal(err)
				}
				return len(entries)
			},
			Break: func(t *testing.T) {
				t.Helper()
				if err := os.WriteFile(filepath.Join(dir, unfinished, "X"), []byte("half"), 0o600); err != nil {
					t.Fatal(err)
				}
			},
		}
	})
}

func TestNoKeyLeadsOutOfTheFolder(t *testing.T) {
	s, _ := open(t)
	for _, key := range []string{"", ".", "..", "../x", "a/../../x", "/etc/passwd", "a//b", "a/", "A", "a.b", "a\x00b", `a\b`, "unfinished/x"} {
		if err := s.Put(t.Context(), key, nil); err == nil {
			t.Errorf("%q is taken for a key by Put", key)
		}
		if _, err := s.Open(t.Context(), key, 0); err == nil {
			t.Errorf("%q is taken for a key by Open", key)
		}
		if err := s.Remove(t.Context(), key); err == nil {
			t.Errorf("%q is taken for a key by Remove", key)
		}
	}
}
