package media_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"switchboard/internal/chat"
	"switchboard/storage-worker/media"
)

// inlet is a store into which the test writes as a client does, by a URL that is the
// key.
type inlet struct {
	media.Store
	closed bool                                            // clients do not reach it
	before func(key string)                                // a Put
	open   func(r io.ReadCloser, key string) io.ReadCloser // what is read instead
}

func (s *inlet) Inlet(_ context.Context, key string, _ int64, _ time.Duration) (string, error) {
	if s.closed {
		return "", nil
	}
	return key, nil
}

func (s *inlet) Put(ctx context.Context, key string, body io.Reader) error {
	if s.before != nil {
		s.before(key)
	}
	return s.Store.Put(ctx, key, body)
}

func (s *inlet) Open(ctx context.Context, key string, from int64) (io.ReadCloser, error) {
	r, err := s.Store.Open(ctx, key, from)
	if err == nil && s.open != nil {
		r = s.open(r, key)
	}
	return r, err
}

// newInlet is a place into which clients write by themselves.
func newInlet(t *testing.T) (*place, *inlet) {
	t.Helper()
	p := newPlace(t)
	s := &inlet{Store: p.Store}
	p.Store = s
	return p, s
}

func (p *place) begin(t *testing.T, name string, size int) *media.Pending {
	t.Helper()
	begun, err := p.Begin(t.Context(), alice, name, int64(size))
	if err != nil {
		t.Fatal(err)
	}
	return begun
}

// put writes what a client would write, whatever its URL is worth by now.
func (s *inlet) put(t *testing.T, begun *media.Pending, body []byte) {
	t.Helper()
	if err := s.Store.Put(t.Context(), begun.URL, bytes.NewReader(body)); err != nil {
		t.Fatal(err)
	}
}

// left returns the files of direct uploads that are open, and of those under way.
func (p *place) left(t *testing.T) (names []string) {
	t.Helper()
	for _, name := range p.files(t) {
		if strings.HasPrefix(name, "/pending/open/") || strings.HasPrefix(name, "/unfinished/") || strings.HasPrefix(name, "/switchboard-picture") {
			names = append(names, name)
		}
	}
	return names
}

func TestADirectUploadIsLookedAtLikeAnyOther(t *testing.T) {
	p, s := newInlet(t)
	picture := photo(t, 800, 400)
	begun := p.begin(t, `C:\holiday\cat.html`, len(picture))
	if want := p.now.Add(media.InletLifetime); !begun.Ends.Equal(want) || begun.Size != int64(len(picture)) {
		t.Errorf("got %+v, want an end at %v", begun, want)
	}
	s.put(t, begun, picture)
	made, err := p.Complete(t.Context(), alice, begun.ID)
	if err != nil {
		t.Fatal(err)
	}
	want := p.upload(t, `C:\holiday\cat.html`, picture)
	if made.Type != "image/jpeg" || made.Name != "cat.html" || made.Owner != alice || made.Digest != want.Digest || *made.Thumbnail != *want.Thumbnail || made.Placeholder != want.Placeholder {
		t.Errorf("got %+v, want as %+v", made, want)
	}
	for range 2 {
		again, err := p.Complete(t.Context(), alice, begun.ID)
		if err != nil || again.ID != made.ID {
			t.Errorf("once more: got %+v, %v; want %v", again, err, made.ID)
		}
	}
	if left := p.left(t); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

func TestNobodyReadsADirectUploadBeforeItIsComplete(t *testing.T) {
	p, s := newInlet(t)
	begun := p.begin(t, "a", 5)
	_, err := p.Complete(t.Context(), alice, begun.ID)
	if chat.AsError(err).Code != chat.BadRequest {
		t.Errorf("without bytes: got %v", err)
	}
	s.put(t, begun, []byte("hello"))
	if _, err := p.Info(t.Context(), begun.ID); !errors.Is(err, media.ErrNoUpload) {
		t.Errorf("what is known of it: got %v, want %v", err, media.ErrNoUpload)
	}
	for name, complete := range map[string]func() (*media.Info, error){
		"another user":   func() (*media.Info, error) { return p.Complete(t.Context(), chat.DemoUser("bob"), begun.ID) },
		"another upload": func() (*media.Info, error) { return p.Complete(t.Context(), alice, chat.NewMediaID(p.now)) },
	} {
		if _, err := complete(); !errors.Is(err, media.ErrNotPending) {
			t.Errorf("%s: got %v, want %v", name, err, media.ErrNotPending)
		}
	}
	made, err := p.Complete(t.Context(), alice, begun.ID)
	if err != nil || made.ID == begun.ID {
		t.Fatalf("got %+v, %v; want an upload of another id", made, err)
	}
	if _, err := p.Info(t.Context(), begun.ID); !errors.Is(err, media.ErrNoUpload) {
		t.Errorf("by the id of the direct one: got %v, want %v", err, media.ErrNoUpload)
	}
	if _, err := p.Complete(t.Context(), chat.DemoUser("bob"), begun.ID); !errors.Is(err, media.ErrNotPending) {
		t.Errorf("another user, afterwards: got %v, want %v", err, media.ErrNotPending)
	}
}

func TestWhatADirectUploadMayNotBe(t *testing.T) {
	bomb := photo(t, 16, 16)
	for name, c := range map[string]struct {
		body []byte
		size int
		want chat.Code
	}{
		"a picture that is none":  {[]byte("\x89PNG\r\n\x1a\n<script>"), 16, chat.UnsupportedMedia},
		"too many pixels":         {pngHeader(50_000, 50_000), len(pngHeader(50_000, 50_000)), chat.TooLarge},
		"more than was begun":     {[]byte("hello!"), 5, chat.BadRequest},
		"less than was begun":     {[]byte("hell"), 5, chat.BadRequest},
		"nothing":                 {nil, 5, chat.BadRequest},
		"a picture that goes on":  {append(bomb, 0), len(bomb), chat.BadRequest},
		"a picture that is short": {bomb[:len(bomb)-1], len(bomb), chat.BadRequest},
	} {
		p, s := newInlet(t)
		begun := p.begin(t, "a", c.size)
		s.put(t, begun, c.body)
		if _, err := p.Complete(t.Context(), alice, begun.ID); chat.AsError(err).Code != c.want {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		if left := p.files(t); len(left) > 0 {
			t.Errorf("%s: %v is left", name, left)
		}
		if _, err := p.Complete(t.Context(), alice, begun.ID); !errors.Is(err, media.ErrNotPending) {
			t.Errorf("%s, once more: got %v, want %v", name, err, media.ErrNotPending)
		}
	}
}

func TestDirectUploadsHaveLimits(t *testing.T) {
	p, s := newInlet(t)
	for size, want := range map[int64]chat.Code{-1: chat.BadRequest, 0: chat.BadRequest, media.FileBytes + 1: chat.TooLarge} {
		if _, err := p.Begin(t.Context(), alice, "a", size); chat.AsError(err).Code != want {
			t.Errorf("%d bytes: got %v, want %v", size, err, want)
		}
	}
	first := p.begin(t, "a", media.FileBytes)
	p.now = p.now.Add(time.Minute)
	for range media.PendingPerUser - 1 {
		p.begin(t, "a", 5)
	}
	before := len(p.files(t))
	_, err := p.Begin(t.Context(), alice, "a", 5)
	if e := chat.AsError(err); e.Code != chat.RateLimited || e.RetryAfter != media.PendingKept-time.Minute {
		t.Errorf("one more: got %v after %v, want when the first one ends", e, e.RetryAfter)
	}
	if after := len(p.files(t)); after != before {
		t.Errorf("what was refused leaves %d files, want none", after-before)
	}
	if _, err := p.Begin(t.Context(), chat.DemoUser("bob"), "a", 5); err != nil {
		t.Errorf("another user: %v", err)
	}
	p.now = p.now.Add(media.PendingKept - time.Minute)
	s.put(t, first, []byte("hello"))
	if _, err := p.Complete(t.Context(), alice, first.ID); !errors.Is(err, media.ErrNotPending) {
		t.Errorf("one that has ended: got %v, want %v", err, media.ErrNotPending)
	}
	second := p.begin(t, "a", 5) // In place of the one that has ended.
	if _, err := p.Begin(t.Context(), alice, "a", 5); chat.AsError(err).Code != chat.RateLimited {
		t.Errorf("one more again: got %v", err)
	}
	s.put(t, second, []byte("hello"))
	if _, err := p.Complete(t.Context(), alice, second.ID); err != nil {
		t.Fatal(err)
	}
	p.begin(t, "a", 5)
}

func TestManyBeginAtOnce(t *testing.T) {
	p, _ := newInlet(t)
	begun := make(chan error)
	const tries = 2 * media.PendingPerUser
	for range tries {
		go func() {
			_, err := p.Begin(context.Background(), alice, "a", 5)
			begun <- err
		}()
	}
	good := 0
	for range tries {
		if err := <-begun; err == nil {
			good++
		} else if chat.AsError(err).Code != chat.RateLimited {
			t.Error(err)
		}
	}
	if good > media.PendingPerUser {
		t.Errorf("%d have begun, want at most %d", good, media.PendingPerUser)
	}
}

// The client writes something else between the look and the storing, and afterwards.
func TestWhatWasLookedAtIsWhatIsStored(t *testing.T) {
	for name, c := range map[string]struct{ good, evil []byte }{
		"a picture": {photo(t, 100, 50), []byte("<script>alert(1)</script>")},
		"a file":    {bytes.Repeat([]byte("hello "), 1<<20), bytes.Repeat([]byte("<html>"), 1<<20)},
	} {
		p, s := newInlet(t)
		begun := p.begin(t, "a", len(c.good))
		s.put(t, begun, c.good)
		writes := 0
		s.before = func(key string) {
			if strings.HasSuffix(key, "/original") || strings.HasSuffix(key, "/info") {
				s.put(t, begun, c.evil)
				writes++
			}
		}
		made, err := p.Complete(t.Context(), alice, begun.ID)
		if err != nil || writes != 2 {
			t.Fatalf("%s: got %v after %d writes, want two", name, err, writes)
		}
		s.put(t, begun, c.evil)
		again, err := p.Complete(t.Context(), alice, begun.ID)
		if err != nil || again.ID != made.ID || again.Digest != made.Digest {
			t.Errorf("%s: got %+v, %v; want %+v", name, again, err, made)
		}
		if _, body := p.content(t, made, false); int64(len(body)) != made.Size || bytes.Contains(body, c.evil) || name == "a file" && !bytes.Equal(body, c.good) {
			t.Errorf("%s: what was stored is not what was looked at", name)
		}
		p.sent[made.ID] = true
		p.now = p.now.Add(26 * time.Hour)
		if err := p.Sweep(t.Context()); err != nil {
			t.Error(err)
		}
		if left := p.left(t); len(left) > 0 {
			t.Errorf("%s: %v is left of what the client wrote afterwards", name, left)
		}
		if _, err := p.Info(t.Context(), made.ID); err != nil {
			t.Errorf("%s: what was sent is gone: %v", name, err)
		}
	}
}

func TestAHundredMegabytesAreCompletedInLittleMemory(t *testing.T) {
	p, s := newInlet(t)
	const size = 100 << 20
	begun := p.begin(t, "backup.bin", size)
	if err := s.Store.Put(t.Context(), begun.URL, io.LimitReader(zeros{}, size)); err != nil {
		t.Fatal(err)
	}
	var i *media.Info
	got := growth(func() {
		var err error
		if i, err = p.Complete(t.Context(), alice, begun.ID); err != nil {
			t.Fatal(err)
		}
	})
	if got > 32<<20 || i.Size != size {
		t.Errorf("%d bytes were stored and the process grew by %d, want less than 32 MiB", i.Size, got)
	}
}

func TestCompletingAtOnceMakesWholeUploads(t *testing.T) {
	p, s := newInlet(t)
	picture := photo(t, 100, 50)
	begun := p.begin(t, "a", len(picture))
	s.put(t, begun, picture)
	const calls = media.UploadsPerUser
	made := make([]*media.Info, calls)
	var all sync.WaitGroup
	for n := range calls {
		all.Go(func() {
			i, err := p.Complete(t.Context(), alice, begun.ID)
			if err != nil {
				t.Error(err)
			}
			made[n] = i
		})
	}
	if all.Wait(); t.Failed() {
		return
	}
	for _, i := range made {
		if _, body := p.content(t, i, false); i.Digest != made[0].Digest || int64(len(body)) != i.Size {
			t.Errorf("got %+v with %d bytes, want what was written", i, len(body))
		}
	}
}

func TestAStoreThatBreaksOffIsAskedAgain(t *testing.T) {
	p, s := newInlet(t)
	begun := p.begin(t, "a", 5)
	s.put(t, begun, []byte("hello"))
	broken := errors.New("the store went away")
	s.open = func(r io.ReadCloser, key string) io.ReadCloser {
		if !strings.HasSuffix(key, "/bytes") {
			return r
		}
		return struct {
			io.Reader
			io.Closer
		}{io.MultiReader(io.LimitReader(r, 3), iotest.ErrReader(broken)), r}
	}
	if _, err := p.Complete(t.Context(), alice, begun.ID); !errors.Is(err, broken) || chat.AsError(err).Code != chat.Internal {
		t.Errorf("got %v, want %v", err, broken)
	}
	s.open = nil
	if i, err := p.Complete(t.Context(), alice, begun.ID); err != nil || i.Size != 5 {
		t.Errorf("again: got %+v, %v", i, err)
	}
}

func TestWhatIsNotCompletedIsRemovedAfterADay(t *testing.T) {
	p, s := newInlet(t)
	begun, done := p.begin(t, "a", 5), p.begin(t, "b", 5)
	s.put(t, begun, []byte("hello"))
	s.put(t, done, []byte("hello"))
	made, err := p.Complete(t.Context(), alice, done.ID)
	if err != nil {
		t.Fatal(err)
	}
	p.now = p.now.Add(24 * time.Hour)
	if err := p.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := len(p.left(t)); got != 2 {
		t.Errorf("within the hour of its end %d files are left, want the note and the bytes", got)
	}
	p.sent[made.ID] = true
	p.now = p.now.Add(time.Hour)
	if err := p.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range p.files(t) {
		if strings.Contains(name, "pending") {
			t.Errorf("%s is left", name)
		}
	}
	if _, err := p.Info(t.Context(), made.ID); err != nil {
		t.Errorf("what was sent is gone: %v", err)
	}
}

func TestAStoreThatClientsDoNotReachTakesNoDirectUploads(t *testing.T) {
	p := newPlace(t)
	if _, err := p.Begin(t.Context(), alice, "a", 5); !errors.Is(err, media.ErrNoInlet) {
		t.Errorf("a folder: got %v, want %v", err, media.ErrNoInlet)
	}
	p, s := newInlet(t)
	s.closed = true
	if _, err := p.Begin(t.Context(), alice, "a", 5); !errors.Is(err, media.ErrNoInlet) {
		t.Errorf("no public URL: got %v, want %v", err, media.ErrNoInlet)
	}
	if left := p.files(t); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}
