package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gocql/gocql"

	"switchboard/internal/chat"
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
}
