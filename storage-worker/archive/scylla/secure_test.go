package scylla_test

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"log/slog"
	"os"
	"strings"
	"testing"

	"switchboard/internal/daemon"
	"switchboard/storage-worker/archive"
	"switchboard/storage-worker/archive/archivetest"
	"switchboard/storage-worker/archive/scylla"
)

// credentials and authority are environment variables with files: one line,
// user:password, for the server at SWITCHBOARD_TEST_CQL, which then asks for TLS
// and a password; and the certificate that signed the server's.
const (
	credentials = "SWITCHBOARD_TEST_CQL_CREDENTIALS"
	authority   = "SWITCHBOARD_TEST_CQL_CA"
)

// secured returns how to come in, read by the flags that the programs have.
func secured(t *testing.T) scylla.Config {
	t.Helper()
	if os.Getenv(credentials) == "" {
		t.Skipf("%s is not set: no secured Cassandra to test with", credentials)
	}
	c := config(t, "switchboard_test")
	flags := daemon.NewFlags("test", "")
	server := flags.Server("cql", "Cassandra")
	err := flags.Parse([]string{
		"-cql", strings.Join(c.Hosts, ","), "-cql-credentials", os.Getenv(credentials), "-cql-ca", os.Getenv(authority),
	})
	if err != nil {
		t.Fatal(err)
	}
	at, err := server.Access()
	if err != nil {
		t.Fatal(err)
	}
	c.Username, c.Password, c.TLS = at.User, at.Password, at.TLS
	if _, err := scylla.Migrate(t.Context(), c, 1); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestStoreOnSecuredCassandra(t *testing.T) {
	s, err := scylla.Open(t.Context(), secured(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	// TestStore looks for faults of ours; here a few histories are enough.
	checks := flag.Lookup("rapid.checks").Value
	before := checks.String()
	defer func() { _ = checks.Set(before) }() // It took this value before.
	if err := checks.Set("5"); err != nil {
		t.Fatal(err)
	}
	archivetest.Run(t, func(*testing.T) archive.Store { return s })
}

// Whoever is not let in learns why, in one line; the driver's own is not shown.
func TestSecuredCassandraSaysWhyItRefuses(t *testing.T) {
	good := secured(t)
	for _, tt := range []struct {
		name  string
		spoil func(*scylla.Config)
		want  string
	}{
		{"wrong password", func(c *scylla.Config) { c.Password = "wrong" }, "username app and/or password are incorrect"},
		{"unknown user", func(c *scylla.Config) { c.Username = "nobody" }, "username nobody and/or password are incorrect"},
		{"no password", func(c *scylla.Config) { c.Username, c.Password = "", "" }, "authentication required"},
		{"no TLS", func(c *scylla.Config) { c.TLS = nil }, "does it expect TLS?"},
		{"unknown authority", func(c *scylla.Config) { c.TLS = &tls.Config{RootCAs: x509.NewCertPool()} }, "unknown authority"},
		{"another name", func(c *scylla.Config) { c.TLS = c.TLS.Clone(); c.TLS.ServerName = "cql.example" }, "not cql.example"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bad := good
			tt.spoil(&bad)
			var log strings.Builder
			bad.Logger = slog.New(slog.NewTextHandler(&log, nil))
			_, err := scylla.Open(t.Context(), bad)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one line with %q", err, tt.want)
			}
			if log.Len() > 0 {
				t.Errorf("the log has it too: %s", log.String())
			}
		})
	}
}
