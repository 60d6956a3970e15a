// Package mediatest is the suite that every [media.Store] passes.
package mediatest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"switchboard/storage-worker/media"
)

// Store is what a suite needs beside the contract.
type Store struct {
	media.Store
	// Unfinished says how many writes lie there that did not end.
	Unfinished func(t *testing.T) int
	// Break leaves one behind, as a process does that is killed.
	Break func(t *testing.T)
}

// Run runs the suite on stores that are empty and the test's own.
func Run(t *testing.T, open func(t *testing.T) Store) {
	for name, test := range map[string]func(*testing.T, Store){
		"WhatWasPutIsRead":               testRead,
		"WhatBreaksOffLeavesNothing":     testBroken,
		"ACancelledPutLeavesNothing":     testCancelled,
		"PutReplaces":                    testReplace,
		"RemoveIsRepeatable":             testRemove,
		"ListFindsWhatBeginsWithAPrefix": testList,
		"AbandonRemovesWhatDidNotEnd":    testAbandon,
		"ManyAtOnce":                     testMany,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// content is bytes that no store has seen.
func content(size int) []byte {
	b := make([]byte, size)
	rand.Read(b) // never fails: crypto/rand crashes the program instead
	return b
}

// part is a size above which a store may work differently.
const part = 5 << 20

func put(t *testing.T, s Store, key string, body []byte) {
	t.Helper()
	if err := s.Put(t.Context(), key, io.MultiReader(bytes.NewReader(body))); err != nil { // No Seeker, no size.
		t.Fatal(err)
	}
}

// read returns an object from an offset on.
func read(t *testing.T, s Store, key string, from int64) ([]byte, error) {
	t.Helper()
	r, err := s.Open(t.Context(), key, from)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

func keys(t *testing.T, s Store, prefix string) []string {
	t.Helper()
	var all []string
	if err := s.List(t.Context(), prefix, func(key string) error {
		all = append(all, key)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

func testRead(t *testing.T, s Store) {
	for name, size := range map[string]int{"a": 0, "b": 1, "c": 1 << 16, "d": part - 1, "e": part, "f": part + 1, "g": 2*part + 7} {
		key, body := "2026010203/"+name+"/original", content(size)
		put(t, s, key, body)
		for _, from := range []int64{0, int64(size) / 2, int64(size) - 1} {
			if from < 0 || from > 0 && from >= int64(size) {
				continue
			}
			if got, err := read(t, s, key, from); err != nil || !bytes.Equal(got, body[from:]) {
				t.Errorf("%d bytes from %d: got %d, %v", size, from, len(got), err)
			}
		}
	}
	if got, err := read(t, s, "2026010203/x/original", 0); !errors.Is(err, media.ErrNotFound) {
		t.Errorf("what is not there: got %d bytes, %v; want %v", len(got), err, media.ErrNotFound)
	}
	if s.Unfinished(t) != 0 {
		t.Error("something is left of what was put")
	}
}

func testBroken(t *testing.T, s Store) {
	broken := errors.New("the client went away")
	for _, size := range []int{0, 1, part, part + 1, 2 * part} {
		for _, cause := range []error{broken, io.ErrUnexpectedEOF} {
			body := io.MultiReader(bytes.NewReader(content(size)), iotest.ErrReader(cause))
			if err := s.Put(t.Context(), "2026010203/a/original", body); !errors.Is(err, cause) {
				t.Errorf("%d bytes: got %v, want %v", size, err, cause)
			}
		}
	}
	if got := keys(t, s, "2026010203/"); len(got) > 0 || s.Unfinished(t) != 0 {
		t.Errorf("%v can be read, %d are unfinished; want nothing", got, s.Unfinished(t))
	}
}

// reader ends the context of its reading in the middle.
type reader struct {
	io.Reader
	left int
	end  context.CancelFunc
}

func (r *reader) Read(b []byte) (int, error) {
	if r.left -= len(b); r.left < 0 {
		r.end()
	}
	return r.Reader.Read(b)
}

func testCancelled(t *testing.T, s Store) {
	ctx, cancel := context.WithCancel(t.Context())
	body := &reader{bytes.NewReader(content(3 * part)), part + part/2, cancel}
	if err := s.Put(ctx, "2026010203/a/original", body); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if got := keys(t, s, "2026010203/"); len(got) > 0 || s.Unfinished(t) != 0 {
		t.Errorf("%v can be read, %d are unfinished; want nothing", got, s.Unfinished(t))
	}
}

func testReplace(t *testing.T, s Store) {
	put(t, s, "swept/2026010203", []byte("one"))
	put(t, s, "swept/2026010203", []byte("another"))
	if got, err := read(t, s, "swept/2026010203", 0); err != nil || string(got) != "another" {
		t.Errorf("got %q, %v", got, err)
	}
}

func testRemove(t *testing.T, s Store) {
	put(t, s, "2026010203/a/original", []byte("a"))
	put(t, s, "2026010203/b/original", []byte("b"))
	for range 2 {
		if err := s.Remove(t.Context(), "2026010203/a/original"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := read(t, s, "2026010203/a/original", 0); !errors.Is(err, media.ErrNotFound) {
		t.Errorf("got %v, want %v", err, media.ErrNotFound)
	}
	if got := keys(t, s, "2026010203/"); !slices.Equal(got, []string{"2026010203/b/original"}) {
		t.Errorf("got %v, want the other one", got)
	}
	if err := s.Remove(t.Context(), "2026010204/never/there"); err != nil {
		t.Error(err)
	}
}

func testList(t *testing.T, s Store) {
	want := []string{"2026010203/a/info", "2026010203/a/original", "2026010203/b/original"}
	for _, key := range append([]string{"2026010204/c/original", "20260102031/d/original", "swept/2026010203"}, want...) {
		put(t, s, key, []byte("x"))
	}
	if got := keys(t, s, "2026010203/"); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := keys(t, s, "2026010209/"); len(got) > 0 {
		t.Errorf("got %v, want nothing", got)
	}
	enough, calls := errors.New("enough"), 0
	if err := s.List(t.Context(), "2026010203/", func(string) error { calls++; return enough }); !errors.Is(err, enough) || calls != 1 {
		t.Errorf("got %v after %d calls, want %v after one", err, calls, enough)
	}
}

func testAbandon(t *testing.T, s Store) {
	put(t, s, "2026010203/a/original", []byte("x"))
	s.Break(t)
	if s.Unfinished(t) != 1 {
		t.Fatal("nothing was left behind")
	}
	if err := s.Abandon(t.Context(), time.Now().Add(-time.Hour)); err != nil || s.Unfinished(t) != 1 {
		t.Errorf("what has only begun is removed: %v", err)
	}
	if err := s.Abandon(t.Context(), time.Now().Add(time.Hour)); err != nil || s.Unfinished(t) != 0 {
		t.Errorf("what did not end is still there: %v", err)
	}
	if got := keys(t, s, "2026010203/"); len(got) != 1 {
		t.Errorf("got %v, want what was put", got)
	}
}

func testMany(t *testing.T, s Store) {
	ended := make(chan error)
	const uploads = 16
	for i := range uploads {
		go func() {
			key := "2026010203/" + strings.Repeat("a", i+1) + "/original"
			err := s.Put(context.Background(), key, bytes.NewReader([]byte("x")))
			if i%2 == 0 {
				err = errors.Join(err, s.Remove(context.Background(), key))
			}
			ended <- err
		}()
	}
	for range uploads {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if got := keys(t, s, "2026010203/"); len(got) != uploads/2 {
		t.Errorf("got %v, want %d", got, uploads/2)
	}
}
