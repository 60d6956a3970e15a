package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A file that cannot be used does not heal by waiting: status 2, one line that
// names the flag and keeps the secret.
func TestUnusableFilesOfServersEndAtOnce(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{bad, bad + "-absent"} {
		for _, name := range []string{"-kafka-credentials", "-kafka-ca", "-redis-credentials", "-redis-ca", "-postgres-ca"} {
			err := run(t.Context(), []string{
				"-kafka", "127.0.0.1:1", "-redis", "127.0.0.1:1", "-postgres", "postgres://app@127.0.0.1:1/db", "-ops-listen", "127.0.0.1:0", name, file,
			}, io.Discard)
			if kind := fmt.Sprintf("%T", err); kind != "*daemon.usageError" {
				t.Errorf("%s: a %s (%v), want a usage error, which ends with status 2", name, kind, err)
				continue
			}
			if text := err.Error(); !strings.HasPrefix(text, name+": ") || strings.ContainsAny(text, "\n") || strings.Contains(text, "s3cret") {
				t.Errorf("%s: %q, want one line that names the flag and no secret", name, text)
			}
		}
	}
}
