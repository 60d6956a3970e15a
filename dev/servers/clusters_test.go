package servers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
)

// produce makes a topic if there is none and appends one record to it, waiting
// for all in-sync replicas.
func produce(t *testing.T, addrs string, replicas int) int64 {
	t.Helper()
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	client := &kafka.Client{Addr: kafka.TCP(strings.Split(addrs, ",")...), Transport: transport, Timeout: attempt}
	made, err := client.CreateTopics(t.Context(), &kafka.CreateTopicsRequest{
		Topics: []kafka.TopicConfig{{Topic: "t", NumPartitions: 1, ReplicationFactor: replicas}},
	})
	if err == nil && made.Errors["t"] != nil && !strings.Contains(made.Errors["t"].Error(), "Exists") {
		err = made.Errors["t"]
	}
	if err != nil {
		t.Fatalf("create a topic: %v", err)
	}
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
			transport.CloseIdleConnections()
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
	if got := produce(t, addrs, 1); got != 0 {
		t.Errorf("the first record has offset %d", got)
	}
	if err := s.Kill("kafka"); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(t.Context(), "kafka"); err != nil {
		t.Fatal(err)
	}
	if got := produce(t, addrs, 1); got != 1 {
		t.Errorf("the second record has offset %d", got)
	}
}

func TestThreeBrokersLiveWithoutOne(t *testing.T) {
	needServers(t)
	s, _ := begin(t, Config{Kafka: 3})
	addrs := variable(t, s, "KAFKA")
	if got := produce(t, addrs, 3); got != 0 {
		t.Errorf("the first record has offset %d", got)
	}
	if err := s.Kill("kafka-1"); err != nil {
		t.Fatal(err)
	}
	others := strings.Join(strings.Split(addrs, ",")[1:], ",")
	if got := produce(t, others, 3); got < 1 { // a retry can make a duplicate
		t.Errorf("the second record has offset %d", got)
	}
	if err := s.Restart(t.Context(), "kafka-1"); err != nil {
		t.Fatal(err)
	}
}

// A node that is killed loses the rows of its last 100 ms, as long as it takes
// Cassandra to mark in its commit log what to read again: the reason why a site
// has three. What was written before, it keeps.
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
	written := time.Now()
	for i := 1; time.Since(written) < time.Second; i++ {
		count(t, addr, fmt.Sprintf("INSERT INTO k.t (a) VALUES (%d)", i))
	}
	if err := s.Restart(t.Context(), "cassandra"); err != nil {
		t.Fatal(err)
	}
	if got := count(t, addr, "SELECT a FROM k.t WHERE a = 0"); got != 1 {
		t.Errorf("a row that was a second old is there %d times after the restart", got)
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
	if got := count(t, addrs[2], "SELECT release_version FROM system.peers"); got != 2 {
		t.Errorf("the third node knows %d neighbors after its restart", got)
	}
}

func count(t *testing.T, addr, statement string) int {
	t.Helper()
	c, err := dialCQL(t.Context(), addr)
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
