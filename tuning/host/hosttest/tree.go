// Package hosttest makes folders of captured hosts for tests. A host is one text
// in tuning/testdata: a comment, then each file below a line "-- name --"; a name
// that ends in a slash is a folder.
package hosttest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Unpack writes the host of an archive into a folder of the test's own.
func Unpack(t testing.TB, archive string) (root string) {
	t.Helper()
	text, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	root = t.TempDir()
	name, content := "", ""
	flush := func() {
		switch {
		case strings.HasSuffix(name, "/"):
			if err := os.MkdirAll(filepath.Join(root, filepath.FromSlash(name)), 0o755); err != nil {
				t.Fatal(err)
			}
		case name != "":
			Write(t, root, name, content)
		}
	}
	for line := range strings.Lines(string(text)) {
		next, found := strings.CutPrefix(strings.TrimSuffix(line, " --\n"), "-- ")
		if !found || !strings.HasSuffix(line, " --\n") {
			content += line
			continue
		}
		flush()
		name, content = next, ""
	}
	flush()
	return root
}

// Write makes a file of the host hold a text.
func Write(t testing.TB, root, name, text string) {
	t.Helper()
	file := filepath.Join(root, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Set makes a setting of sysctl be a value.
func Set(t testing.TB, root, key, value string) {
	t.Helper()
	Write(t, root, "proc/sys/"+strings.ReplaceAll(key, ".", "/"), value+"\n")
}

// Remove takes a file of the host away; it must be there.
func Remove(t testing.TB, root, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(root, filepath.FromSlash(name))); err != nil {
		t.Fatal(err)
	}
}
