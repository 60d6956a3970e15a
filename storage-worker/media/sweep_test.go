package media_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"switchboard/internal/chat"
	"switchboard/storage-worker/media"
)

func TestWhatNobodySendsIsRemovedAfterADay(t *testing.T) {
	p := newPlace(t)
	lost, sent := p.upload(t, "a", photo(t, 10, 10)), p.upload(t, "b", []byte("sent"))
	p.sent[sent.ID] = true
	sweep := func(after time.Duration) {
		t.Helper()
		p.now = p.now.Add(after)
		if err := p.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	sweep(24 * time.Hour)
	if _, err := p.Info(t.Context(), lost.ID); err != nil {
		t.Errorf("within the hour of its end: %v", err)
	}
	sweep(time.Hour)
	if _, err := p.Info(t.Context(), lost.ID); !errors.Is(err, media.ErrNoUpload) {
		t.Errorf("after a day: got %v, want %v", err, media.ErrNoUpload)
	}
	if _, body := p.content(t, sent, false); string(body) != "sent" {
		t.Errorf("what was sent is %q", body)
	}
	for _, file := range p.files(t) {
		if strings.Contains(file, lost.ID.String()) {
			t.Errorf("%s is left", file)
		}
	}
	// What was sent is looked at once, and stays whatever is said later.
	p.sent[sent.ID] = false
	sweep(48 * time.Hour)
	if _, err := p.Info(t.Context(), sent.ID); err != nil {
		t.Errorf("what was sent is gone: %v", err)
	}
	sweep(40 * 24 * time.Hour)
	for _, file := range p.files(t) {
		if strings.HasPrefix(file, "/swept/") {
			t.Errorf("%s is remembered for ever", file)
		}
	}
}

func TestASweepThatCannotAskRemovesNothing(t *testing.T) {
	p := newPlace(t)
	i := p.upload(t, "a", []byte("hello"))
	away := errors.New("the archive is away")
	p.Referenced = func(context.Context, chat.MediaID) (bool, error) { return false, away }
	p.now = p.now.Add(30 * time.Hour)
	if err := p.Sweep(t.Context()); !errors.Is(err, away) {
		t.Errorf("got %v, want %v", err, away)
	}
	if _, err := p.Info(t.Context(), i.ID); err != nil {
		t.Error(err)
	}
}

// stuck is a store that cannot abandon, list an hour or remove an upload.
type stuck struct {
	media.Store
	hour, upload string
	err          error
}

func (s stuck) Abandon(context.Context, time.Time) error { return s.err }

func (s stuck) List(ctx context.Context, prefix string, each func(string) error) error {
	if strings.HasPrefix(prefix, s.hour) {
		return s.err
	}
	return s.Store.List(ctx, prefix, each)
}

func (s stuck) Remove(ctx context.Context, key string) error {
	if strings.Contains(key, s.upload) {
		return s.err
	}
	return s.Store.Remove(ctx, key)
}

func TestWhatASweepCannotDoHoldsUpNothingElse(t *testing.T) {
	p := newPlace(t)
	away := errors.New("the store is away")
	first := p.upload(t, "first hour", []byte("a"))
	p.now = p.now.Add(time.Hour)
	bad := p.upload(t, "bad", []byte("b"))
	var lost []*media.Info
	for range 5 { // Whatever the order is in which they are looked at.
		lost = append(lost, p.upload(t, "lost", []byte("c")))
	}
	p.now = p.now.Add(time.Hour)
	lost = append(lost, p.upload(t, "next hour", []byte("d")))
	p.now = p.now.Add(30 * time.Hour)
	good := p.Store
	p.Store = stuck{good, "2026030405", bad.ID.String(), away}
	err := p.Sweep(t.Context())
	if text := fmt.Sprint(err); !errors.Is(err, away) || strings.Count(text, away.Error()) != 3 {
		t.Errorf("got %v, want three times %v", err, away)
	}
	for _, i := range lost {
		if _, err := p.Info(t.Context(), i.ID); !errors.Is(err, media.ErrNoUpload) {
			t.Errorf("%s: got %v, want %v", i.Name, err, media.ErrNoUpload)
		}
	}
	p.Store = good
	for _, i := range []*media.Info{first, bad} {
		if _, err := p.Info(t.Context(), i.ID); err != nil {
			t.Errorf("%s: %v", i.Name, err)
		}
	}
	if err := p.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, i := range []*media.Info{first, bad} {
		if _, err := p.Info(t.Context(), i.ID); !errors.Is(err, media.ErrNoUpload) {
			t.Errorf("%s, by the next sweep: got %v, want %v", i.Name, err, media.ErrNoUpload)
		}
	}
}

func TestASweepThatIsEndedMarksNothing(t *testing.T) {
	p := newPlace(t)
	i := p.upload(t, "a", []byte("hello"))
	p.now = p.now.Add(30 * time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	p.Referenced = func(context.Context, chat.MediaID) (bool, error) { cancel(); return true, nil }
	if err := p.Sweep(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	p.Referenced = func(context.Context, chat.MediaID) (bool, error) { return false, nil }
	if err := p.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Info(t.Context(), i.ID); !errors.Is(err, media.ErrNoUpload) {
		t.Errorf("got %v, want %v", err, media.ErrNoUpload)
	}
}
