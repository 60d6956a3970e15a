package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"switchboard/internal/auth"
)

// A file that cannot be used does not heal by waiting: status 2, one line that
// names the flag and keeps the secret.
func TestUnusableFilesOfServersEndTheProgram(t *testing.T) {
	dir := t.TempDir()
	keys, bad, empty := filepath.Join(dir, "keys.json"), filepath.Join(dir, "bad"), filepath.Join(dir, "empty")
	if err := auth.Generate(keys); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{bad: "s3cret\nand more\n", empty: ""} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	at := []string{"-kafka", "127.0.0.1:1", "-cql", "127.0.0.1:1", "-postgres", "postgres://app@127.0.0.1:1/app"}
	worker := append([]string{"-auth-keys", keys, "-listen", "127.0.0.1:0", "-ops-listen", "127.0.0.1:0"}, at...)
	for program, args := range map[string][]string{"worker": worker, "migrate": append([]string{"migrate"}, at...)} {
		for _, name := range []string{
			"-kafka-credentials", "-kafka-ca", "-cql-credentials", "-cql-ca", "-postgres-password", "-postgres-ca",
		} {
			for _, file := range []string{bad, empty, filepath.Join(dir, "absent")} {
				err := run(t.Context(), append(slices.Clip(args), name, file), io.Discard)
				if kind := fmt.Sprintf("%T", err); kind != "*daemon.usageError" {
					t.Errorf("%s %s: a %s (%v), want a usage error, which ends with status 2", program, name, kind, err)
					continue
				}
				if text := err.Error(); !strings.HasPrefix(text, name+": ") || strings.Contains(text, "\n") || strings.Contains(text, "s3cret") {
					t.Errorf("%s %s: %q, want one line that names the flag and no secret", program, name, text)
				}
			}
		}
	}
}
