package scylla_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/gocql/gocql"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive/scylla"
)

// fresh names a keyspace that is not there, and drops what the test makes of it.
func fresh(t *testing.T) (scylla.Config, *gocql.Session) {
	t.Helper()
	c := config(t, "switchboard_test_"+strings.ReplaceAll(chat.NewRequestID().String(), "-", "")[:12])
	session := raw(t, scylla.Config{Hosts: c.Hosts})
	t.Cleanup(func() { do(t, session, `DROP KEYSPACE IF EXISTS `+c.Keyspace) })
	return c, session
}

func do(t *testing.T, session *gocql.Session, text string) {
	t.Helper()
	if err := session.Query(text).Exec(); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

func TestMigrateIsRepeatable(t *testing.T) {
	c, session := fresh(t)
	if _, err := scylla.Open(t.Context(), c); err == nil {
		t.Fatal("opened a keyspace that is not there")
	}
	made, err := scylla.Migrate(t.Context(), c, 1)
	if err != nil || len(made) != 10 || !strings.HasPrefix(made[0], "made keyspace "+c.Keyspace+" with 1 replicas in ") {
		t.Fatalf("made %q, %v, want a keyspace and 9 tables", made, err)
	}
	do(t, session, `DROP TABLE `+c.Keyspace+`.heads`)
	do(t, session, `ALTER TABLE `+c.Keyspace+`.messages DROP reply_to`)
	do(t, session, `ALTER TABLE `+c.Keyspace+`.messages ADD of_a_later_version text`)
	if _, err := scylla.Open(t.Context(), c); !errors.Is(err, scylla.ErrNoTables) {
		t.Errorf("without a table: got %v, want ErrNoTables", err)
	}
	for _, want := range []string{"[added column reply_to to table messages made table heads]", "[]"} {
		made, err := scylla.Migrate(t.Context(), c, 1)
		if got := fmt.Sprint(made); err != nil || got != want {
			t.Errorf("again: made %s, %v, want %s", got, err, want)
		}
	}
	s, err := scylla.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := scylla.Migrate(t.Context(), c, 0); err == nil {
		t.Error("a keyspace without a replica was made")
	}
}

// What no program may change by itself is named, all of it, and nothing is done.
func TestMigrateNamesWhatDiffers(t *testing.T) {
	c, session := fresh(t)
	if _, err := scylla.Migrate(t.Context(), c, 1); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		`DROP TABLE %s.progress`,
		`DROP TABLE %s.heads`,
		`CREATE TABLE %s.heads (conversation_id uuid, seq int, message_id timeuuid, PRIMARY KEY (conversation_id, seq)) WITH CLUSTERING ORDER BY (seq DESC)`,
		`ALTER TABLE %s.messages WITH default_time_to_live = 60`,
		`ALTER TABLE %s.message_keys WITH gc_grace_seconds = 1`,
		`ALTER TABLE %s.watermarks WITH compaction = {'class': 'SizeTieredCompactionStrategy'}`,
	} {
		do(t, session, fmt.Sprintf(text, c.Keyspace))
	}
	made, err := scylla.Migrate(t.Context(), c, 1)
	if !errors.Is(err, scylla.ErrDiffers) || len(made) != 0 {
		t.Fatalf("made %q, %v, want ErrDiffers and nothing made", made, err)
	}
	for _, want := range []string{
		"column seq of table heads is int, clustering column 1 desc, want bigint;",
		"table messages has default_time_to_live = 60, want 0 (ALTER TABLE messages WITH default_time_to_live = 0)",
		"table message_keys has gc_grace_seconds = 1, want 86400",
		"table watermarks has compaction = {'class': 'org.apache.cassandra.db.compaction.SizeTieredCompactionStrategy'",
		"want {'class': 'LeveledCompactionStrategy'}",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
	if _, err := scylla.Open(t.Context(), c); !errors.Is(err, scylla.ErrDiffers) {
		t.Errorf("open: got %v, want ErrDiffers", err)
	}
}

func TestMigrateChecksReplication(t *testing.T) {
	c, session := fresh(t)
	for _, test := range []struct{ with, want string }{
		{`replication = {'class': 'SimpleStrategy', 'replication_factor': 1}`, "SimpleStrategy"},
		{`replication = {'class': 'NetworkTopologyStrategy', 'datacenter1': 2}`, "'datacenter1': '2'}, want 'NetworkTopologyStrategy' with 'datacenter1': '1'"},
		{`replication = {'class': 'NetworkTopologyStrategy', 'elsewhere': 1}`, "want 'NetworkTopologyStrategy' with 'datacenter1': '1'"},
		{`replication = {'class': 'NetworkTopologyStrategy', 'datacenter1': 1} AND durable_writes = false`, "durable_writes is false"},
	} {
		if err := session.Query(`CREATE KEYSPACE ` + c.Keyspace + ` WITH ` + test.with).Exec(); err != nil {
			t.Logf("not possible on this server: %s: %v", test.with, err)
			continue
		}
		made, err := scylla.Migrate(t.Context(), c, 1)
		if !errors.Is(err, scylla.ErrDiffers) || !strings.Contains(err.Error(), test.want) || len(made) != 0 {
			t.Errorf("%s: made %q, %v, want %s", test.with, made, err, test.want)
		}
		do(t, session, `DROP KEYSPACE `+c.Keyspace)
	}
}
