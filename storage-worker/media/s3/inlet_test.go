package s3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/storage-worker/media"
)

// send sends bytes to a URL, with headers that the test names, and returns the
// status and what is said.
func send(t *testing.T, method, target, body string, header ...string) (status int, text string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(said)
}

// object returns what lies under a key, or "" if nothing does.
func object(t *testing.T, s *Store, key string) string {
	t.Helper()
	r, err := s.Open(t.Context(), key, 0)
	if errors.Is(err, media.ErrNotFound) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestAnInletTakesOneObjectOfOneSize(t *testing.T) {
	s := open(t)
	const mine, other = "pending/open/a/a/bytes", "2026010203/b/original"
	if err := s.Put(t.Context(), other, bytes.NewReader([]byte("not hers"))); err != nil {
		t.Fatal(err)
	}
	inlet, err := s.Inlet(t.Context(), mine, 4, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	const good = "hers"
	for name, changed := range map[string]struct {
		method, url, body string
		header            []string
	}{
		"another key":        {"PUT", strings.Replace(inlet, mine, other, 1), good, nil},
		"a key below":        {"PUT", strings.Replace(inlet, mine, mine+"/x", 1), good, nil},
		"another bucket":     {"PUT", strings.Replace(inlet, s.bucket, s.bucket+"x", 1), good, nil},
		"reading":            {"GET", inlet, "", nil},
		"removal":            {"DELETE", inlet, "", nil},
		"a form":             {"POST", inlet, good, nil},
		"more bytes":         {"PUT", inlet, good + "!", nil},
		"fewer bytes":        {"PUT", inlet, "her", nil},
		"no bytes":           {"PUT", inlet, "", nil},
		"a longer life":      {"PUT", strings.Replace(inlet, "X-Amz-Expires=60", "X-Amz-Expires=6000", 1), good, nil},
		"no signed length":   {"PUT", strings.Replace(inlet, "X-Amz-SignedHeaders=content-length%3Bhost", "X-Amz-SignedHeaders=host", 1), "longer", nil},
		"a part":             {"PUT", inlet + "&partNumber=1&uploadId=x", good, nil},
		"rights":             {"PUT", inlet + "&acl", good, nil},
		"no signature":       {"PUT", inlet[:strings.Index(inlet, "?")], good, nil},
		"a copy":             {"PUT", inlet, "", []string{"X-Amz-Copy-Source", "/" + s.bucket + "/" + other}},
		"a copy with a body": {"PUT", inlet, good, []string{"X-Amz-Copy-Source", "/" + s.bucket + "/" + other}},
	} {
		if changed.method == "PUT" && changed.url == inlet && changed.body == good && changed.header == nil {
			t.Fatalf("%s: nothing was changed in %s", name, inlet)
		}
		status, said := send(t, changed.method, changed.url, changed.body, changed.header...)
		if status < 400 || status >= 500 {
			t.Errorf("%s: got %d, %.200q; want a refusal", name, status, said)
		}
		if got := object(t, s, mine); got != "" {
			t.Errorf("%s: %q was written", name, got)
		}
	}
	// Without a length, as many as there are.
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, inlet, io.MultiReader(strings.NewReader(good)))
	if err != nil {
		t.Fatal(err)
	}
	// Who is refused before the body was sent may see a closed connection instead.
	if answer, err := http.DefaultClient.Do(request); err == nil {
		if err := answer.Body.Close(); err != nil || answer.StatusCode < 400 {
			t.Errorf("no length: got %s, %v; want a refusal", answer.Status, err)
		}
	}
	if got := object(t, s, mine); got != "" {
		t.Errorf("no length: %q was written", got)
	}
	if got := object(t, s, other); got != "not hers" {
		t.Errorf("what is another's became %q", got)
	}
	if status, said := send(t, "PUT", inlet, good); status != http.StatusOK || object(t, s, mine) != good {
		t.Errorf("as it was signed: got %d, %q", status, said)
	}
}

func TestAnInletEnds(t *testing.T) {
	s := open(t)
	inlet, err := s.Inlet(t.Context(), "pending/open/a/a/bytes", 4, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for status := http.StatusOK; status == http.StatusOK; { // Within a second or two, or the test does not end.
		status, _ = send(t, "PUT", inlet, "hers")
	}
	if status, said := send(t, "PUT", inlet, "hers"); status != http.StatusForbidden {
		t.Errorf("got %d, %q; want a refusal", status, said)
	}
}

func TestWhoKeepsTheURLCannotChangeWhatWasCompleted(t *testing.T) {
	s := open(t)
	alice, good, evil := chat.DemoUser("alice"), "good bytes", "evil bytes"
	now := time.Now()
	library := media.New(media.Config{
		Store: s, Scratch: t.TempDir(), Metrics: metrics.New(), Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return now },
	})
	p, err := library.Begin(t.Context(), alice, "notes.txt", int64(len(good)))
	if err != nil {
		t.Fatal(err)
	}
	put := func(body string) {
		t.Helper()
		if status, said := send(t, "PUT", p.URL, body); status != http.StatusOK {
			t.Fatalf("got %d, %q", status, said)
		}
	}
	put(good)
	made, err := library.Complete(t.Context(), alice, p.ID)
	if err != nil {
		t.Fatal(err)
	}
	put(evil) // The server takes it: the URL has not ended.
	again, err := library.Complete(t.Context(), alice, p.ID)
	if err != nil || again.ID != made.ID || again.Digest != made.Digest {
		t.Errorf("once more: got %+v, %v; want %+v", again, err, made)
	}
	content, err := library.Content(t.Context(), made, false)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(content)
	if err = errors.Join(err, content.Close()); err != nil || string(body) != good {
		t.Errorf("got %q, %v; want what was completed", body, err)
	}
	library.Referenced = func(ctx context.Context, _ chat.MediaID) (bool, error) { return true, ctx.Err() }
	now = now.Add(25 * time.Hour)
	if err := library.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.List(t.Context(), "pending/", func(key string) error { return errors.New(key + " is left") }); err != nil {
		t.Error(err)
	}
}
