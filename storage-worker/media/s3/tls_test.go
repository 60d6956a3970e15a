package s3

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"switchboard/internal/certtest"
)

func TestTLSAsksWhoTheServerIs(t *testing.T) {
	var asked atomic.Int32
	addr, good := certtest.Server(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if asked.Add(1); r.Method == http.MethodPut {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				t.Error(err)
			}
		}
	}))
	bucket := func(endpoint string, c *tls.Config) *Store {
		s, err := Open(Config{Endpoint: endpoint, Bucket: "bucket", Key: "k", Secret: "s", TLS: c})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}

	for _, endpoint := range []string{addr, "https://" + addr} { // Without a scheme it is https.
		asked.Store(0)
		s := bucket(endpoint, &tls.Config{RootCAs: good, MinVersion: tls.VersionTLS12})
		if err := s.Check(t.Context()); err != nil {
			t.Errorf("%s with the right authority: %v", endpoint, err)
		}
		if err := s.Put(t.Context(), "2026010203/a/original", strings.NewReader("bytes")); err != nil {
			t.Errorf("%s with the right authority: %v", endpoint, err)
		}
		if asked.Load() == 0 {
			t.Errorf("%s: nothing was asked of the server", endpoint)
		}
	}

	asked.Store(0)
	for name, c := range map[string]*tls.Config{
		"somebody else's authority": {RootCAs: certtest.SomebodyElse(t), MinVersion: tls.VersionTLS12},
		"the host's authorities":    nil,
		"another name":              {RootCAs: good, ServerName: "media.test", MinVersion: tls.VersionTLS12},
	} {
		s := bucket(addr, c)
		if err := s.Check(t.Context()); err == nil {
			t.Errorf("%s: Check says that all is well", name)
		}
		if err := s.Put(t.Context(), "2026010203/a/original", strings.NewReader("bytes")); err == nil {
			t.Errorf("%s: Put says that all is well", name)
		}
	}
	if err := bucket("http://"+addr, nil).Check(t.Context()); err == nil {
		t.Error("without TLS: Check says that all is well")
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the server was asked %d times by those who do not know it", n)
	}
}
