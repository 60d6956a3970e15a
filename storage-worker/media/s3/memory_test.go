package s3

import (
	"io"
	"log/slog"
	"runtime"
	"strings"
	"testing"

	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/storage-worker/media"
)

// zeros never ends.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// A hundred megabytes go through a bucket, in and out, in the memory of some parts.
func TestAHundredMegabytesPassThroughABucket(t *testing.T) {
	s := open(t)
	library := media.New(media.Config{Store: s, Scratch: t.TempDir(), Metrics: metrics.New(), Logger: slog.New(slog.DiscardHandler)})
	const size, most = 100 << 20, 32 << 20
	alice := chat.DemoUser("alice")
	grows := func(what string, do func() error) {
		t.Helper()
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		if err := do(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		runtime.ReadMemStats(&after)
		grown := int64(after.Sys) - int64(before.Sys)
		t.Logf("%s: the process grew by %d KiB", what, grown>>10)
		if grown > most {
			t.Errorf("%s: the process grew by %d bytes, want less than %d", what, grown, most)
		}
	}
	var i *media.Info
	grows("to store it", func() (err error) {
		i, err = library.Upload(t.Context(), alice, "backup.bin", io.LimitReader(zeros{}, size))
		return err
	})
	give := func() error {
		c, err := library.Content(t.Context(), i, false)
		if err != nil {
			return err
		}
		if n, err := io.Copy(io.Discard, c); err != nil || n != size || i.Size != size {
			t.Errorf("read %d bytes of %d, %v", n, i.Size, err)
		}
		return c.Close()
	}
	grows("to give it", give)

	begun, err := library.Begin(t.Context(), alice, "backup.bin", size)
	if err != nil {
		t.Fatal(err)
	}
	grows("to put it as a client does", func() error {
		key := begun.URL[strings.Index(begun.URL, "pending/"):strings.Index(begun.URL, "?")]
		return s.Put(t.Context(), key, io.LimitReader(zeros{}, size))
	})
	grows("to complete it", func() (err error) {
		i, err = library.Complete(t.Context(), alice, begun.ID)
		return err
	})
	grows("to give what was completed", give)
}
