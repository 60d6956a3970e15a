package scylla_test

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"strings"
	"testing"

	"switchboard/storage-worker/archive"
	"switchboard/storage-worker/archive/scylla"
)

// credentials and authority are environment variables with files: one line,
// user:password, for the server at SWITCHBOARD_TEST_CQL, which then asks for TLS
// and a password; and the certificate that signed the server's.
const (
	credentials = "SWITCHBOARD_TEST_CQL_CREDENTIALS"
	authority   = "SWITCHBOARD_TEST_CQL_CA"
)

func TestASecuredServer(t *testing.T) {
	file := os.Getenv(credentials)
	if file == "" {
		t.Skipf("%s is not set: no secured Cassandra to test with", credentials)
	}
	login, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	user, password, _ := strings.Cut(strings.TrimSpace(string(login)), ":")
	pem, err := os.ReadFile(os.Getenv(authority))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatalf("no certificate in %s", os.Getenv(authority))
	}
	good := config(t, "switchboard_test")
	good.Username, good.Password, good.TLS = user, password, &tls.Config{RootCAs: pool}
	if _, err := scylla.Migrate(t.Context(), good, 1); err != nil {
		t.Fatal(err)
	}
	s, err := scylla.Open(t.Context(), good)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := newConversation()
	write(t, s, &archive.Batch{Rows: []archive.Row{rowAt(c, 1)}})
	if rows, err := s.Entries(t.Context(), c, 1, 1, 1, false); err != nil || len(rows) != 1 {
		t.Errorf("got %d events, %v", len(rows), err)
	}

	for name, spoil := range map[string]func(*scylla.Config){
		"a wrong password":   func(c *scylla.Config) { c.Password = "wrong" },
		"no password":        func(c *scylla.Config) { c.Username, c.Password = "", "" },
		"no TLS":             func(c *scylla.Config) { c.TLS = nil },
		"another authority":  func(c *scylla.Config) { c.TLS = &tls.Config{RootCAs: x509.NewCertPool()} },
		"another name of it": func(c *scylla.Config) { c.TLS = &tls.Config{RootCAs: pool, ServerName: "other.example"} },
	} {
		bad := good
		spoil(&bad)
		_, err := scylla.Open(t.Context(), bad)
		if err == nil {
			t.Errorf("%s was accepted", name)
			continue
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s is not one line: %q", name, err)
		}
		t.Logf("%s: %v", name, err)
	}
}
