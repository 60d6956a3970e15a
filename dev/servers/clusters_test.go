package servers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
)

// newTopic makes a topic with one partition.
func newTopic(t *testing.T, addrs string, replicas int) {
	t.Helper()
	client := newClient(t, addrs)
	made, err := client.CreateTopics(t.Context(), &kafka.CreateTopicsRequest{
		Topics: []kafka.TopicConfig{{Topic: "t", NumPartitions: 1, ReplicationFactor: replicas}},
	})
	if err == nil {
		err = made.Errors["t"]
	}
	if err != nil {
		t.Fatalf("create a topic: %v", err)
	}
}

func newClient(t *testing.T, addrs string) *kafka.Client {
	t.Helper()
	transport := &kafka.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &kafka.Client{Addr: kafka.TCP(strings.Split(addrs, ",")...), Transport: transport, Timeout: attempt}
}

// produce appends one record, waiting for all in-sync replicas, and returns its
// offset.
func produce(t *testing.T, addrs string) int64 {
	t.Helper()
	client := newClient(t, addrs)
	offset := int64(-1)
	var last error
	if !poll(t.Context(), patience, func() bool {
		answer, err := client.Produce(t.Context(), &kafka.ProduceRequest{
			Topic: "t", RequiredAcks: kafka.RequireAll,
			Records: kafka.NewRecordReader(kafka.Record{Value: kafka.NewBytes([]byte("v"))}),
		})
		if err == nil {
			err = answer.Error
		}
		if last = err; err != nil {
			client = newClient(t, addrs) // which knows nothing of the dead
			return false
		}
		offset = answer.BaseOffset
		return true
	}) {
		t.Fatalf("produce: %v", last)
	}
	return offset
}

func TestKafkaKeepsRecordsOverKill(t *testing.T) {
	needServers(t)
	s, _ := begin(t, Config{Kafka: 1})
	addrs := variable(t, s, "KAFKA")
	newTopic(t, addrs, 1)
	if got := produce(t, addrs); got != 0 {
		t.Errorf("the first record has offset %d", got)
	}
	if err := s.Kill("kafka"); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(t.Context(), "kafka"); err != nil {
		t.Fatal(err)
	}
	if got := produce(t, addrs); got != 1 {
		t.Errorf("the second record has offset %d", got)
	}
}

func TestThreeBrokersLiveWithoutOne(t *testing.T) {
	needServers(t)
	s, _ := begin(t, Config{Kafka: 3})
	addrs := variable(t, s, "KAFKA")
	newTopic(t, addrs, 3)
	if got := produce(t, addrs); got != 0 {
		t.Errorf("the first record has offset %d", got)
	}
	if err := s.Kill("kafka-1"); err != nil {
		t.Fatal(err)
	}
	others := strings.Join(strings.Split(addrs, ",")[1:], ",")
	if got := produce(t, others); got < 1 { // a retry can make a duplicate
		t.Errorf("the second record has offset %d", got)
	}
	if err := s.Restart(t.Context(), "kafka-1"); err != nil {
		t.Fatal(err)
	}
}

// A node that is killed keeps what it acknowledged: its configuration waits for
// the commit log's fsync, which Cassandra by itself does not.
func TestCassandraKeepsRowsOverKill(t *testing.T) {
	needServers(t)
	s, _ := begin(t, Config{Cassandra: 1})
	addr := variable(t, s, "CQL")
	for _, statement := range []string{
		"CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
		"CREATE TABLE k.t (a int PRIMARY KEY)",
		"INSERT INTO k.t (a) VALUES (0)",
	} {
		if got := count(t, addr, statement); got != 0 {
			t.Errorf("%s: finds %d rows", statement, got)
		}
	}
	last := 0
	for written := time.Now(); time.Since(written) < time.Second; {
		last++
		count(t, addr, fmt.Sprintf("INSERT INTO k.t (a) VALUES (%d)", last))
	}
	if err := s.Restart(t.Context(), "cassandra"); err != nil {
		t.Fatal(err)
	}
	for a := range last + 1 {
		if got := count(t, addr, fmt.Sprintf("SELECT a FROM k.t WHERE a = %d", a)); got != 1 {
			t.Errorf("row %d of %d is there %d times after the restart", a, last, got)
		}
	}
}

func TestThreeNodesLiveWithoutOne(t *testing.T) {
	needServers(t)
	s, _ := begin(t, Config{Cassandra: 3})
	addrs := strings.Split(variable(t, s, "CQL"), ",")
	if err := s.Kill("cassandra-3"); err != nil {
		t.Fatal(err)
	}
	if got := count(t, addrs[0], "SELECT release_version FROM system.peers"); got != 2 {
		t.Errorf("the first node knows %d neighbors", got)
	}
	if err := s.Restart(t.Context(), "cassandra-3"); err != nil {
		t.Fatal(err)
	}
	// Restart waits for the node alone; it hears of the others a little later.
	if !poll(t.Context(), patience, func() bool {
		return count(t, addrs[2], "SELECT release_version FROM system.peers") == 2
	}) {
		t.Error("the third node does not find its neighbors after its restart")
	}
}

func count(t *testing.T, addr, statement string) int {
	t.Helper()
	c, err := dialCQL(t.Context(), addr, cqlLogin{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	rows, err := c.query(statement)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// What is measured is a Cassandra with a commit log as on a site.
func TestASiteAcknowledgesBeforeTheDisk(t *testing.T) {
	needServers(t)
	s, _ := begin(t, Config{Cassandra: 1, Site: true})
	const periodic = "SELECT value FROM system_views.settings WHERE name = 'commitlog_sync' AND value = 'periodic' ALLOW FILTERING"
	if got := count(t, variable(t, s, "CQL"), periodic); got != 1 {
		t.Error("the commit log is not periodic")
	}
}
