package change

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
)

// Reverted is what Revert did.
type Reverted struct {
	Nothing bool // there was no record
	Changes []Change
	Deleted bool // the file of sysctl.d is gone, or is what it was
	// Foreign are settings that somebody else has changed since: they are left as
	// they are, and stay in the record, unless force was given.
	Foreign     []Change
	ForeignFile bool
	Gone        []string // settings that the kernel does not have any more
}

// Complete reports whether everything is as it was before Apply.
func (r Reverted) Complete() bool { return len(r.Foreign) == 0 && !r.ForeignFile }

// Revert brings back what there was before the first Apply. force does so even
// where somebody else has changed something since. It may be repeated.
func (c *Changer) Revert(force bool) (Reverted, error) {
	unlock, err := lock(filepath.Dir(c.record()))
	if err != nil {
		return Reverted{}, err
	}
	defer unlock()
	r, err := readRecord(c.record())
	switch {
	case err != nil:
		return Reverted{}, err
	case r == nil:
		return Reverted{Nothing: true}, nil
	}
	if err := c.sameNamespace(r); err != nil && !force {
		return Reverted{}, err
	}
	c.File = r.File
	var done Reverted
	var errs []error
	var left []value
	for _, v := range slices.Backward(r.Values) {
		kept, err := c.revertValue(v, force, &done)
		errs = append(errs, err)
		if kept {
			left = append(left, v)
		}
	}
	errs = append(errs, c.revertFile(r, force, &done))
	if err := errors.Join(errs...); err != nil {
		return done, err // The record stays whole; what is done is found done.
	}
	if done.Complete() {
		return done, remove(c.record())
	}
	slices.Reverse(left)
	r.Values = left
	if !done.ForeignFile {
		r.After = r.Before
	}
	r.settle()
	return done, r.write(c.record())
}

// revertValue reports whether the setting must stay in the record.
func (c *Changer) revertValue(v value, force bool, done *Reverted) (kept bool, err error) {
	is, err := c.current(v.Key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		done.Gone = append(done.Gone, v.Key)
		return false, nil
	case err != nil:
		return true, err
	case is == v.Before:
		return false, nil
	case !v.ours(is) && !force:
		done.Foreign = append(done.Foreign, Change{Key: v.Key, From: v.After, To: is})
		return true, nil
	}
	if err := c.ensure(v.Key, v.Before); err != nil {
		return true, err
	}
	done.Changes = append(done.Changes, Change{Key: v.Key, From: is, To: v.Before})
	return false, nil
}

func (c *Changer) revertFile(r *record, force bool, done *Reverted) error {
	is, err := get(c.file())
	switch {
	case err != nil:
		return fmt.Errorf("read the settings at boot: %w", err)
	case same(is, r.Before):
		done.Deleted = true
		return nil
	case !r.oursFile(is) && !force:
		done.ForeignFile = true
		return nil
	}
	if err := c.put(c.file(), r.Before); err != nil {
		return fmt.Errorf("take back the settings for boot: %w", err)
	}
	done.Deleted = true
	return nil
}

// sameNamespace refuses a record of another namespace: its values are not ours.
func (c *Changer) sameNamespace(r *record) error {
	c.Namespaced = r.Namespace != ""
	here, err := c.namespace()
	if err != nil {
		return fmt.Errorf("name the network namespace: %w", err)
	}
	if here != r.Namespace {
		return fmt.Errorf("the record %s is of the network namespace %s, this is %s", c.record(), r.Namespace, here)
	}
	return nil
}
