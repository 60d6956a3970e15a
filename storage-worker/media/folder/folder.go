// Package folder is a [media.Store] in a folder of one machine, for a system in one
// process. An object is a file of its key's name; one that is being written lies in
// the folder "unfinished" until it is whole and on the disk.
package folder

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"switchboard/storage-worker/media"
)

// unfinished is where files are written; no key begins with it.
const unfinished = "unfinished"

// attempts is how often a file is moved to its place: the folder may be removed
// with its last file at the same moment.
const attempts = 10

// Store is a folder.
type Store struct{ root *os.Root }

var _ media.Store = (*Store)(nil)

// Open opens a folder, made if it is missing. Close gives it back.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of media: %w", err)
	}
	root, err := os.OpenRoot(dir) // Nothing outside of it can be named.
	if err != nil {
		return nil, fmt.Errorf("open the folder of media: %w", err)
	}
	if err := root.MkdirAll(unfinished, 0o700); err != nil {
		return nil, fmt.Errorf("open the folder of media: %w", errors.Join(err, root.Close()))
	}
	return &Store{root}, nil
}

// Close closes the folder.
func (s *Store) Close() error { return s.root.Close() }

// valid refuses what is no key.
func valid(key string) error {
	if key == "" || strings.Trim(key, "abcdefghijklmnopqrstuvwxyz0123456789-/") != "" || path.Clean("/"+key) != "/"+key || strings.HasPrefix(key, unfinished) {
		return fmt.Errorf("%q is no key", key)
	}
	return nil
}

// Put implements [media.Store].
func (s *Store) Put(ctx context.Context, key string, body io.Reader) error {
	if err := valid(key); err != nil {
		return err
	}
	name := unfinished + "/" + rand.Text()
	f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	_, err = io.Copy(f, &until{ctx, body})
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = s.place(name, key)
	}
	if err != nil {
		return fmt.Errorf("put %s: %w", key, errors.Join(err, ignoreMissing(s.root.Remove(name))))
	}
	return nil
}

// until is a reader that ends with a context.
type until struct {
	ctx context.Context //nolint:containedctx // It lives as long as one Put.
	r   io.Reader
}

func (u *until) Read(b []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(b)
}

// place moves a file to its key, durably.
func (s *Store) place(name, key string) error {
	dir := path.Dir(key)
	var err error
	for range attempts {
		if err = s.root.MkdirAll(dir, 0o700); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err = s.root.Rename(name, key); err == nil || !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	for ; err == nil; dir = path.Dir(dir) {
		if err = s.sync(dir); dir == "." {
			break
		}
	}
	return err
}

// sync waits until the disk has the names in a folder.
func (s *Store) sync(dir string) error {
	d, err := s.root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // Somebody has removed the object, which is as durable.
	}
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Open implements [media.Store].
func (s *Store) Open(_ context.Context, key string, from int64) (io.ReadCloser, error) {
	if err := valid(key); err != nil {
		return nil, err
	}
	f, err := s.root.Open(key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open %s: %w", key, media.ErrNotFound)
	}
	if err == nil {
		if _, err = f.Seek(from, io.SeekStart); err == nil {
			return f, nil
		}
		err = errors.Join(err, f.Close())
	}
	return nil, fmt.Errorf("open %s: %w", key, err)
}

// Remove implements [media.Store]; folders that are empty then go as well.
func (s *Store) Remove(_ context.Context, key string) error {
	if err := valid(key); err != nil {
		return err
	}
	if err := ignoreMissing(s.root.Remove(key)); err != nil {
		return fmt.Errorf("remove %s: %w", key, err)
	}
	for dir := path.Dir(key); dir != "."; dir = path.Dir(dir) {
		if !s.removed(dir) {
			break
		}
	}
	return nil
}

// removed removes a folder and reports whether it did: one that has something in it
// stays.
func (s *Store) removed(dir string) bool { return s.root.Remove(dir) == nil }

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// List implements [media.Store].
func (s *Store) List(ctx context.Context, prefix string, each func(key string) error) error {
	dir := strings.TrimSuffix(prefix, "/")
	if err := valid(dir); err != nil {
		return err
	}
	err := fs.WalkDir(s.root.FS(), dir, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return ignoreMissing(err)
		case ctx.Err() != nil:
			return ctx.Err()
		case d.IsDir():
			return nil
		}
		return each(name)
	})
	if err != nil {
		return fmt.Errorf("list %s: %w", prefix, err)
	}
	return nil
}

// Abandon implements [media.Store].
func (s *Store) Abandon(_ context.Context, before time.Time) error {
	entries, err := fs.ReadDir(s.root.FS(), unfinished)
	if err != nil {
		return fmt.Errorf("look for unfinished files: %w", err)
	}
	var errs []error
	for _, e := range entries {
		about, err := e.Info()
		if err == nil && about.ModTime().Before(before) {
			err = s.root.Remove(unfinished + "/" + e.Name())
		}
		errs = append(errs, ignoreMissing(err))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove unfinished files: %w", err)
	}
	return nil
}
