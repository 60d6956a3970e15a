// Package host reads what the kernel and systemd say of a machine: of this one,
// or of another one whose files somebody captured and brought here.
//
//	/            ──▶ Tree ──▶ facts: memory, limits, queues, counters, settings at boot
//	captured DIR ──▶   └────▶ Capture: the files that were read, and no others
//
// It judges nothing, and it changes nothing but the folder that Capture makes.
package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// fileLimit bounds what is read of one file. The longest that matters,
// /proc/net/netstat and /proc/interrupts, have some 100 KB on large machines.
const fileLimit = 1 << 20

// Tree is the files of a host. Names are relative to its root: "proc/meminfo".
// It remembers what it was asked, for Capture. It is for one goroutine.
type Tree struct {
	files fs.FS
	// What was read, what was listed.
	texts map[string]string
	dirs  map[string]bool
}

// Open returns the files of the running host for "" and "/", otherwise those of
// a captured folder. Links that lead out of a captured folder are not followed.
func Open(root string) (*Tree, error) {
	t := &Tree{texts: make(map[string]string), dirs: make(map[string]bool)}
	if root == "" || filepath.Clean(root) == "/" {
		t.files = os.DirFS("/")
		return t, nil
	}
	captured, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("open the captured tree: %w", err)
	}
	t.files = captured.FS()
	if _, err := fs.Stat(t.files, "proc"); err != nil {
		return nil, fmt.Errorf("%s is no captured tree: it has no folder proc", root)
	}
	return t, nil
}

// Read returns the text of a file without the blanks around it. An error that is
// fs.ErrNotExist says that this kernel, or this capture, does not have it.
func (t *Tree) Read(name string) (string, error) {
	text, err := t.read(name)
	if err != nil {
		return "", err
	}
	t.texts[name] = text
	return strings.TrimSpace(text), nil
}

func (t *Tree) read(name string) (string, error) {
	f, err := t.files.Open(name)
	if err != nil {
		return "", fmt.Errorf("read /%s: %w", name, reason(err))
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, fileLimit+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("read /%s: %w", name, reason(err))
	case len(text) > fileLimit:
		return "", fmt.Errorf("read /%s: it has more than %d bytes", name, fileLimit)
	}
	return string(text), nil
}

// reason takes the path off an error; the caller names it from the root.
func reason(err error) error {
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		return at.Err
	}
	return err
}

// List returns the names in a folder, sorted.
func (t *Tree) List(dir string) ([]string, error) {
	names, err := t.list(dir)
	if err != nil {
		return nil, err
	}
	t.dirs[dir] = true
	for _, name := range names {
		t.dirs[path.Join(dir, name)] = true
	}
	return names, nil
}

func (t *Tree) list(dir string) ([]string, error) {
	entries, err := fs.ReadDir(t.files, dir)
	if err != nil {
		return nil, fmt.Errorf("list /%s: %w", dir, reason(err))
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// Has reports whether there is such a file or folder.
func (t *Tree) Has(name string) bool {
	if _, err := fs.Stat(t.files, name); err != nil {
		return false
	}
	if _, known := t.texts[name]; !known {
		t.dirs[name] = true // What is in it is nobody's matter.
	}
	return true
}

// SysctlFile returns where the kernel shows a setting: "net.core.somaxconn".
func SysctlFile(key string) string { return "proc/sys/" + strings.ReplaceAll(key, ".", "/") }

// Sysctl returns a setting in the form of Normal.
func (t *Tree) Sysctl(key string) (string, error) {
	text, err := t.Read(SysctlFile(key))
	return Normal(key, text), err
}

// Normal returns the one form of a value that two readings can be compared in:
// fields separated by single blanks, sets of CPUs without leading zeros, of which
// the kernel writes as many as it has room for CPUs.
func Normal(key, text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if strings.HasSuffix(key, "_cpu_bitmap") && text != "" {
		if text = strings.TrimLeft(text, "0,"); text == "" {
			return "0"
		}
	}
	return text
}

// Capture writes everything that was read into dir, which must be empty or not
// exist, so that Open(dir) answers as this tree did. It returns how many files.
func (t *Tree) Capture(dir string) (files int, err error) {
	if there, err := os.ReadDir(dir); err == nil && len(there) > 0 {
		return 0, fmt.Errorf("%s is not empty", dir)
	}
	for _, name := range slices.Sorted(maps.Keys(t.texts)) {
		target := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return files, fmt.Errorf("capture: %w", err)
		}
		if err := os.WriteFile(target, []byte(t.texts[name]), 0o644); err != nil {
			return files, fmt.Errorf("capture: %w", err)
		}
		files++
	}
	for _, name := range slices.Sorted(maps.Keys(t.dirs)) {
		if _, file := t.texts[name]; file {
			continue
		}
		if err := os.MkdirAll(filepath.Join(dir, filepath.FromSlash(name)), 0o755); err != nil {
			return files, fmt.Errorf("capture: %w", err)
		}
	}
	return files, nil
}
