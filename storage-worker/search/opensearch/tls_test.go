package opensearch

import (
	"crypto/tls"
	"io"
	"net/http"
	"sync/atomic"
	"testing"

	"switchboard/internal/certtest"
)

func TestTLSAsksWhoTheServerIs(t *testing.T) {
	var asked atomic.Int32
	addr, good := certtest.Server(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if user, password, _ := r.BasicAuth(); user != "app" || password != "secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if preparing(w, r) {
			return
		}
		if _, err := io.WriteString(w, `{"_shards":{"total":1,"successful":1},"hits":{"hits":[]}}`); err != nil {
			t.Error(err)
		}
	}))
	store := func(c *tls.Config) *Store {
		s := New(Config{Addrs: []string{addr}, User: "app", Password: "secret", TLS: c})
		t.Cleanup(s.Close)
		return s
	}

	s := store(&tls.Config{RootCAs: good, MinVersion: tls.VersionTLS12})
	prepare(t, s)
	if m, err := s.Match(t.Context(), question(t)); err != nil || len(m.Documents) != 0 {
		t.Errorf("with the right authority: %d found, error %v", len(m.Documents), err)
	}
	if asked.Load() == 0 {
		t.Error("nothing was asked of the server")
	}

	for name, c := range map[string]*tls.Config{
		"somebody else's authority": {RootCAs: certtest.SomebodyElse(t), MinVersion: tls.VersionTLS12},
		"the host's authorities":    {MinVersion: tls.VersionTLS12},
		"another name":              {RootCAs: good, ServerName: "search.test", MinVersion: tls.VersionTLS12},
		"no TLS":                    nil,
	} {
		asked.Store(0)
		s := store(c)
		if err := s.Prepare(t.Context()); err == nil {
			t.Errorf("%s: Prepare says that all is well", name)
		}
		if _, err := s.Match(t.Context(), question(t)); err == nil {
			t.Errorf("%s: Match says that all is well", name)
		}
		if n := asked.Load(); n != 0 {
			t.Errorf("%s: the server was asked %d times", name, n)
		}
	}
}
