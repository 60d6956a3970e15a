package s3

import (
	"bytes"
	"crypto/rand"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"switchboard/storage-worker/media/mediatest"
)

// open returns a new bucket on the server of the environment, a URL with the access
// key and the secret in it.
func open(t *testing.T) *Store {
	t.Helper()
	address := os.Getenv("SWITCHBOARD_TEST_S3")
	if address == "" {
		t.Skip("SWITCHBOARD_TEST_S3 is not set")
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	secret, _ := u.User.Password()
	endpoint := u.Scheme + "://" + u.Host
	s, err := Open(Config{
		Endpoint: endpoint, Bucket: "test-" + strings.ToLower(rand.Text()), Key: u.User.Username(), Secret: secret, Public: endpoint,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check(t.Context()); err == nil {
		t.Error("a bucket that is missing is taken for good")
	}
	for _, want := range []bool{true, false} {
		if made, err := s.Migrate(t.Context()); err != nil || made != want {
			t.Fatalf("got %v, %v; want %v", made, err, want)
		}
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	return s
}

func TestAServerThatStandsStillIsAnError(t *testing.T) {
	var asked atomic.Int32
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked.Add(1)
		<-release
	}))
	defer server.Close()
	defer close(release)
	s, err := Open(Config{Endpoint: server.URL, Bucket: "bucket", Key: "k", Secret: "s", Patience: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(t.Context(), "2026010203/a/info", 0); err == nil || !strings.Contains(err.Error(), "timeout awaiting response headers") {
		t.Errorf("got %v", err)
	}
	if n := asked.Load(); n < 1 || n > attempts {
		t.Errorf("it was asked %d times, want up to %d", n, attempts)
	}
}

func TestStore(t *testing.T) {
	mediatest.Run(t, func(t *testing.T) mediatest.Store {
		s := open(t)
		return mediatest.Store{
			Store: s,
			Unfinished: func(t *testing.T) (n int) {
				t.Helper()
				for upload := range s.inner.ListIncompleteUploads(t.Context(), s.bucket, "", true) {
					if upload.Err != nil {
						t.Fatal(upload.Err)
					}
					n++
				}
				return n
			},
			Break: func(t *testing.T) {
				t.Helper()
				id, err := s.inner.NewMultipartUpload(t.Context(), s.bucket, "2026010203/b/original", minio.PutObjectOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := s.inner.PutObjectPart(t.Context(), s.bucket, "2026010203/b/original", id, 1, strings.NewReader("x"), 1, minio.PutObjectPartOptions{}); err != nil {
					t.Fatal(err)
				}
			},
		}
	})
}

// ask sends a request that carries nothing but its URL.
func ask(t *testing.T, method, target string) (status int, h http.Header, text string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, answer.Header, string(body)
}

func TestASignedURLOpensOneObjectByOneMethod(t *testing.T) {
	s := open(t)
	for key, body := range map[string]string{"2026010203/a/original": "hers", "2026010203/b/original": "not hers"} {
		if err := s.Put(t.Context(), key, bytes.NewReader([]byte(body))); err != nil {
			t.Fatal(err)
		}
	}
	direct, err := s.Direct(t.Context(), http.MethodGet, "2026010203/a/original", "application/octet-stream", `attachment; filename="x.html"`, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	status, header, body := ask(t, http.MethodGet, direct)
	if status != http.StatusOK || body != "hers" || header.Get("Content-Disposition") != `attachment; filename="x.html"` {
		t.Fatalf("got %d, %q, %v", status, body, header)
	}
	for name, changed := range map[string]struct{ method, url string }{
		"another key":         {http.MethodGet, strings.Replace(direct, "/a/", "/b/", 1)},
		"another method":      {http.MethodPut, direct},
		"removal":             {http.MethodDelete, direct},
		"another type":        {http.MethodGet, strings.Replace(direct, "octet-stream", "html", 1)},
		"another disposition": {http.MethodGet, strings.Replace(direct, "attachment", "inline", 1)},
		"a longer life":       {http.MethodGet, strings.Replace(direct, "X-Amz-Expires=60", "X-Amz-Expires=6000", 1)},
		"no signature":        {http.MethodGet, direct[:strings.Index(direct, "?")]},
	} {
		if changed.method == http.MethodGet && changed.url == direct {
			t.Fatalf("%s: nothing was changed in %s", name, direct)
		}
		if status, _, body := ask(t, changed.method, changed.url); status != http.StatusForbidden {
			t.Errorf("%s: got %d, %.200q; want a refusal", name, status, body)
		}
	}
	if status, _, body := ask(t, http.MethodGet, direct); status != http.StatusOK || body != "hers" {
		t.Errorf("afterwards: got %d, %q", status, body)
	}
}

func TestEndpoints(t *testing.T) {
	for _, endpoint := range []string{"http://127.0.0.1:7070", "https://s3.example.org", "s3.example.org:443"} {
		s, err := Open(Config{Endpoint: endpoint, Bucket: "media"})
		if err != nil {
			t.Fatalf("%s: %v", endpoint, err)
		}
		if direct, err := s.Direct(t.Context(), http.MethodGet, "a", "", "", time.Minute); direct != "" || err != nil {
			t.Errorf("%s: got %q, %v; want none, since clients do not reach it", endpoint, direct, err)
		}
	}
	for _, endpoint := range []string{"", "ftp://x", "http://x/bucket", "http://x/?a"} {
		if _, err := Open(Config{Endpoint: endpoint, Bucket: "media"}); err == nil {
			t.Errorf("%q is taken for an endpoint", endpoint)
		}
	}
}
