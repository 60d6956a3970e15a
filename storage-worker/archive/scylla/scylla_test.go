package scylla_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"switchboard/storage-worker/archive"
	"switchboard/storage-worker/archive/archivetest"
	"switchboard/storage-worker/archive/scylla"
)

// address is the environment variable with the HOST:PORT of a Cassandra or
// Scylla that tests may fill. Without it they are skipped.
const address = "SWITCHBOARD_TEST_CQL"

// A session that is closed while the driver still adds connections to its pool
// lets that end by itself, after three tries a second apart.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/gocql/gocql.(*hostConnPool).connectMany"),
		goleak.IgnoreAnyFunction("github.com/gocql/gocql.(*hostConnPool).connectMany.func1"))
}

// config says where the server is, or skips the test.
func config(tb testing.TB, keyspace string) scylla.Config {
	tb.Helper()
	host := os.Getenv(address)
	if host == "" {
		tb.Skipf("%s is not set: no Cassandra to test with", address)
	}
	return scylla.Config{Hosts: []string{host}, Keyspace: keyspace}
}

// open returns a store that may hold what other tests wrote.
func open(tb testing.TB) *scylla.Store {
	tb.Helper()
	c := config(tb, "switchboard_test")
	if _, err := scylla.Migrate(tb.Context(), c, 1); err != nil {
		tb.Fatal(err)
	}
	s, err := scylla.Open(tb.Context(), c)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s
}

func TestStore(t *testing.T) {
	s := open(t)
	archivetest.Run(t, func(*testing.T) archive.Store { return s })
}
