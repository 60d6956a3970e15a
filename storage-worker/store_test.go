package main

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gocql/gocql"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive/scylla"
)

// The same life on a keyspace of Cassandra or Scylla, which is missing at first.
func TestAWorkerOnACluster(t *testing.T) {
	const address = "SWITCHBOARD_TEST_CQL"
	host := os.Getenv(address)
	if host == "" {
		t.Skipf("%s is not set: no Cassandra to test with", address)
	}
	cluster := gocql.NewCluster(host)
	cluster.Timeout, cluster.ProtoVersion = 20*time.Second, 4
	session, err := cluster.CreateSession()
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	keyspace := "worker_test_" + strings.ReplaceAll(chat.NewRequestID().String(), "-", "")[:12]
	defer func() {
		if err := session.Query(`DROP KEYSPACE IF EXISTS ` + keyspace).Exec(); err != nil {
			t.Error(err)
		}
	}()
	foldAndServe(t, "archive: open archive in "+keyspace, "-cql", host, "-cql-keyspace", keyspace)

	var again bytes.Buffer
	c := scylla.Config{Hosts: []string{host}, Keyspace: keyspace, Logger: slog.New(slog.DiscardHandler)}
	if err := migrateArchive(t.Context(), c, 1, &again); err != nil {
		t.Fatal(err)
	}
	if want := "cql: the keyspace " + keyspace + " and its tables were there\n"; again.String() != want {
		t.Errorf("migrate again says %q, want %q", again.String(), want)
	}
}
