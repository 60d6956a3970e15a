package change

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
)

// Change is a setting that was changed, or would be.
type Change struct{ Key, From, To string }

// Applied is what Apply did.
type Applied struct {
	Changes []Change
	Written bool // the file of sysctl.d
	// Foreign are settings that somebody else had changed since the last Apply;
	// what they had made of it is now what Revert brings back.
	Foreign []Change
}

// Preview returns what Apply would do, and does nothing.
func (c *Changer) Preview(settings []Setting, text string) (Applied, error) {
	old, err := readRecord(c.record())
	if err != nil {
		return Applied{}, err
	}
	s, err := c.stage(old, settings, text)
	return s.applied, err
}

// Apply makes all settings what they should be, now and at each boot, or none.
// It may be repeated, also after a crash or with another plan; Revert then brings
// back what there was before the first.
func (c *Changer) Apply(settings []Setting, text string) (Applied, error) {
	unlock, err := lock(filepath.Dir(c.record()))
	if err != nil {
		return Applied{}, err
	}
	defer unlock()
	old, err := readRecord(c.record())
	if err != nil {
		return Applied{}, err
	}
	s, err := c.stage(old, settings, text)
	if err != nil {
		return Applied{}, err
	}
	if old != nil && old.Complete && len(s.applied.Changes) == 0 && len(s.applied.Foreign) == 0 && !s.applied.Written {
		return s.applied, nil
	}
	if err := s.next.write(c.record()); err != nil {
		return Applied{}, err
	}
	if err := c.carryOut(s); err != nil {
		if undone := c.undo(s, old); undone != nil {
			return Applied{}, fmt.Errorf("%w; and not all of it could be taken back, `tuning revert` tries again: %w", err, undone)
		}
		return Applied{}, fmt.Errorf("%w; nothing is changed", err)
	}
	s.next.settle()
	s.next.Values = slices.DeleteFunc(s.next.Values, func(v value) bool { return v.Before == v.After && s.dropped[v.Key] })
	return s.applied, s.next.write(c.record())
}

// staged is what an Apply is about to do.
type staged struct {
	next    *record
	was     *string           // the file, before this Apply
	values  map[string]string // likewise
	dropped map[string]bool   // settings of the last plan that are not in this one
	applied Applied
}

// stage looks at what is, and writes down what was before us.
func (c *Changer) stage(old *record, settings []Setting, text string) (staged, error) {
	s := staged{next: &record{Version: recordVersion, File: c.File, After: &text}, values: make(map[string]string), dropped: make(map[string]bool)}
	var err error
	if s.next.Namespace, err = c.namespace(); err != nil {
		return s, fmt.Errorf("name the network namespace: %w", err)
	}
	if old != nil && (old.Namespace != s.next.Namespace || old.File != c.File) {
		return s, fmt.Errorf("the record %s is of another namespace or file (%s): revert that first", c.record(), old.File)
	}
	if s.was, err = get(c.file()); err != nil {
		return s, fmt.Errorf("read the settings at boot: %w", err)
	}
	s.next.Before, s.next.Was = s.was, s.was
	if old != nil && old.oursFile(s.was) {
		s.next.Before = old.Before
	}
	s.applied.Written = !same(s.was, &text)
	for _, wanted := range settings {
		if err := c.stageValue(&s, old, wanted.Key, wanted.Value); err != nil {
			return s, err
		}
	}
	if old == nil {
		return s, nil
	}
	for _, v := range old.Values { // What is no longer wanted becomes what it was.
		if _, wanted := s.next.find(v.Key); wanted {
			continue
		}
		s.dropped[v.Key] = true
		err := c.stageValue(&s, old, v.Key, v.Before)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // Its module may be gone.
			return s, err
		}
	}
	return s, nil
}

func (c *Changer) stageValue(s *staged, old *record, key, after string) error {
	is, err := c.current(key)
	if err != nil {
		return err
	}
	before := is
	if v, known := old.find(key); known {
		if v.ours(is) {
			before = v.Before
		} else {
			s.applied.Foreign = append(s.applied.Foreign, Change{Key: key, From: v.After, To: is})
			if s.dropped[key] {
				after = is // It is theirs now.
			}
		}
	}
	s.values[key] = is
	s.next.Values = append(s.next.Values, value{Key: key, Before: before, After: after, Was: is})
	if is != after {
		s.applied.Changes = append(s.applied.Changes, Change{Key: key, From: is, To: after})
	}
	return nil
}

func (c *Changer) carryOut(s staged) error {
	for _, v := range s.next.Values {
		if err := c.ensure(v.Key, v.After); err != nil {
			return err
		}
	}
	if !s.applied.Written {
		return nil
	}
	if err := c.put(c.file(), s.next.After); err != nil {
		return fmt.Errorf("write the settings for boot: %w", err)
	}
	return nil
}

// undo brings back what there was before this Apply, the record last.
func (c *Changer) undo(s staged, old *record) error {
	var errs []error
	for _, v := range slices.Backward(s.next.Values) {
		errs = append(errs, c.ensure(v.Key, s.values[v.Key]))
	}
	if is, err := get(c.file()); err != nil || !same(is, s.was) {
		errs = append(errs, err, c.put(c.file(), s.was))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if old == nil {
		return remove(c.record())
	}
	return old.write(c.record())
}
