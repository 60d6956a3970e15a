package s3

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// somebodyElse makes an authority that vouches for nobody.
func somebodyElse(t *testing.T) *x509.CertPool {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(nil, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(certificate)
	return pool
}

func TestTLSAsksWhoTheServerIs(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if asked.Add(1); r.Method == http.MethodPut {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				t.Error(err)
			}
		}
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that fail
	server.StartTLS()
	defer server.Close()
	good := x509.NewCertPool()
	good.AddCert(server.Certificate())
	bucket := func(endpoint string, c *tls.Config) *Store {
		s, err := Open(Config{Endpoint: endpoint, Bucket: "bucket", Key: "k", Secret: "s", TLS: c})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}

	addr := server.Listener.Addr().String()
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
		"somebody else's authority": {RootCAs: somebodyElse(t), MinVersion: tls.VersionTLS12},
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
