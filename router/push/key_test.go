package push

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestKeyIsMadeOnceAndWhole(t *testing.T) {
	file := filepath.Join(t.TempDir(), "push-key.pem")
	// What a life left that was killed while it wrote.
	if err := os.WriteFile(file+".new", []byte("-----BEGIN EC PRI"), 0o600); err != nil {
		t.Fatal(err)
	}
	first, err := KeepKey(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewWebPush(first, "mailto:ops@example.com", false); err != nil {
		t.Errorf("the key is none: %v", err)
	}
	again, err := KeepKey(file)
	if err != nil || !bytes.Equal(again, first) {
		t.Errorf("the second time it is another key, or %v", err)
	}
	kept, err := filepath.Glob(file + "*")
	if err != nil || len(kept) != 1 {
		t.Errorf("it left %v, %v", kept, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read it: %v, %v", info, err)
	}
}
