package change

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// recordVersion is that of the format; another one is refused.
const recordVersion = 1

// record is what Revert needs. The file is never changed in place.
type record struct {
	Version int `json:"version"`
	// Namespace is the network namespace that the values are of, when they are of
	// one alone; empty for those of the host.
	Namespace string  `json:"namespace,omitempty"`
	File      string  `json:"file"`
	Before    *string `json:"file_before"` // nil: there was none
	After     *string `json:"file_after"`
	// Was is the file as the last Apply found it; it may still be so after a crash.
	Was      *string `json:"file_was,omitempty"`
	Values   []value `json:"values"`
	Complete bool    `json:"complete"` // all was applied; else a crash came between
}

// value is one setting.
type value struct {
	Key    string `json:"key"`
	Before string `json:"before"`
	After  string `json:"after"`
	// Was is the value as the last Apply found it; it may still be so after a
	// crash. It is empty once all is applied.
	Was string `json:"was,omitempty"`
}

// ours reports whether a value is one that no one but us can have left there.
func (v value) ours(is string) bool {
	return is == v.After || is == v.Before || v.Was != "" && is == v.Was
}

// oursFile is the same for the file.
func (r *record) oursFile(is *string) bool {
	return same(is, r.After) || same(is, r.Before) || r.Was != nil && same(is, r.Was)
}

// settle says that all was applied, and forgets what was between.
func (r *record) settle() {
	r.Complete, r.Was = true, nil
	for i := range r.Values {
		r.Values[i].Was = ""
	}
}

func (r *record) find(key string) (value, bool) {
	if r == nil {
		return value{}, false
	}
	for _, v := range r.Values {
		if v.Key == key {
			return v, true
		}
	}
	return value{}, false
}

// readRecord returns nil when there is none.
func readRecord(name string) (*record, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // nothing was applied: no record, and no error
	}
	if err != nil {
		return nil, fmt.Errorf("read the record: %w", err)
	}
	r := new(record)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("read the record %s: %w", name, err)
	}
	if r.Version != recordVersion {
		return nil, fmt.Errorf("the record %s has version %d, this program reads %d", name, r.Version, recordVersion)
	}
	return r, nil
}

func (r *record) write(name string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write the record: %w", err)
	}
	if err := replace(name, append(text, '\n')); err != nil {
		return fmt.Errorf("write the record: %w", err)
	}
	return nil
}

// replace writes a file so that at any moment, a power cut included, there is
// the old one or the new one.
func replace(name string, text []byte) error {
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".tuning-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // It is gone already when all went well.
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	return syncDir(dir)
}

// remove deletes a file durably; it need not exist.
func remove(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDir(filepath.Dir(name))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // Nothing was in it, then.
	}
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// put makes a file hold a text, or not exist.
func put(name string, text *string) error {
	if text == nil {
		return remove(name)
	}
	return replace(name, []byte(*text))
}

// get returns what a file holds, nil when there is none.
func get(name string) (*string, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // no file is a text, too
	}
	if err != nil {
		return nil, err
	}
	s := string(text)
	return &s, nil
}

func same(a, b *string) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// lock keeps other applies and reverts out until unlock; the kernel releases it
// with the process.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of the record: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the record: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("another tuning is at work here: lock %s: %w", f.Name(), err)
	}
	return func() { _ = f.Close() }, nil
}
