package scylla_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gocql/gocql"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
	"switchboard/storage-worker/archive/scylla"
)

// raw is a session that asks what the store does not tell.
func raw(t *testing.T, c scylla.Config) *gocql.Session {
	t.Helper()
	cluster := gocql.NewCluster(c.Hosts...)
	cluster.Keyspace, cluster.Timeout, cluster.ProtoVersion = c.Keyspace, 20*time.Second, 4
	session, err := cluster.CreateSession()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.Close)
	return session
}

func newConversation() chat.ConversationID { return chat.ConversationID(chat.NewRequestID()) }

func idAt(n int) chat.MessageID {
	return chat.NewMessageID(chat.ClockAt(1_700_000_000)+chat.Clock(n)*1001, 1, 3)
}

func rowAt(c chat.ConversationID, seq chat.Seq) archive.Row {
	return archive.Row{
		Entry: chat.Entry{
			Conversation: c, Seq: seq, ID: idAt(int(seq)), Sender: chat.UserID{1}, Kind: chat.KindText,
			Content: fmt.Sprint("message ", seq), MembersVersion: 1,
		},
		Position: chat.Position{Generation: 1, Offset: int64(seq)},
	}
}

func write(t *testing.T, s *scylla.Store, batches ...*archive.Batch) {
	t.Helper()
	for _, b := range batches {
		if err := s.Write(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
}

// Clients may answer to any UUID; one that the table refused would stop a
// partition for ever.
func TestAReplyMayNameAnyUUID(t *testing.T) {
	s, c := open(t), newConversation()
	r := rowAt(c, 1)
	r.ReplyTo = chat.MessageID(chat.NewRequestID())
	write(t, s, &archive.Batch{Rows: []archive.Row{r}})
	rows, err := s.Entries(t.Context(), c, 1, 1, 1, false)
	if err != nil || len(rows) != 1 || rows[0] != r {
		t.Errorf("got %+v, %v, want %+v", rows, err, r)
	}
}

// The clock of the record is the write timestamp, to the microsecond, and what
// has no value has no cell.
func TestWritesCarryTheClockOfTheirRecord(t *testing.T) {
	s, c := open(t), newConversation()
	u := chat.UserID(chat.NewRequestID())
	r := rowAt(c, 1)
	write(t, s, &archive.Batch{
		Rows:   []archive.Row{r},
		Stays:  []archive.StayWrite{{By: r.ID, Stay: archive.Stay{User: u, Conversation: c, Joined: 1, Head: archive.Tip{Seq: 1, ID: r.ID}}}},
		Marks:  []archive.Watermark{{Conversation: c, User: u, Joined: 1, Read: 3, Delivered: 8}},
		Closed: []archive.SpanClosed{{Conversation: c, User: u, Joined: 1, Left: 9, By: idAt(2)}},
	})
	if err := s.SetProgress(t.Context(), 7, archive.Progress{Position: chat.Position{Generation: 77, Offset: 41}, Clock: 5}); err != nil {
		t.Fatal(err)
	}
	session := raw(t, config(t, "switchboard_test"))
	clock := int64(chat.ClockOf(r.ID))
	for _, test := range []struct {
		text   string
		values []any
		want   int64 // 0 = null
	}{
		{`SELECT WRITETIME(content) FROM messages WHERE conversation_id = ? AND bucket = 0`, []any{gocql.UUID(c)}, clock},
		{`SELECT WRITETIME(reply_to) FROM messages WHERE conversation_id = ? AND bucket = 0`, []any{gocql.UUID(c)}, 0},
		{`SELECT WRITETIME(head_seq) FROM conversations_of WHERE user_id = ?`, []any{gocql.UUID(u)}, clock},
		{`SELECT WRITETIME(left_seq) FROM conversations_of WHERE user_id = ?`, []any{gocql.UUID(u)}, 0},
		{`SELECT WRITETIME(read_seq) FROM watermarks WHERE conversation_id = ?`, []any{gocql.UUID(c)}, 3},
		{`SELECT WRITETIME(delivered_seq) FROM watermarks WHERE conversation_id = ?`, []any{gocql.UUID(c)}, 8},
		{`SELECT WRITETIME(left_seq) FROM members WHERE conversation_id = ?`, []any{gocql.UUID(c)}, int64(chat.ClockOf(idAt(2)))},
		{`SELECT WRITETIME(clock) FROM progress WHERE generation = 77 AND partition = 7`, nil, 41},
	} {
		var got int64
		if err := session.Query(test.text, test.values...).Scan(&got); err != nil || got != test.want {
			t.Errorf("%s: got %d, %v, want %d", test.text, got, err, test.want)
		}
	}
}

// A stored head is a hint: it may be missing, too low by buckets, or ahead of
// events that are still on their way.
func TestAHeadIsOnlyWhereTheSearchBegins(t *testing.T) {
	s, c := open(t), newConversation()
	session := raw(t, config(t, "switchboard_test"))
	const last = 2*chat.BucketSize + 10
	for from := chat.Seq(1); from <= last; from += 1000 {
		b := &archive.Batch{}
		for seq := from; seq < from+1000 && seq <= last; seq++ {
			b.Rows = append(b.Rows, rowAt(c, seq))
		}
		write(t, s, b)
	}
	var head int64
	if err := session.Query(`SELECT seq FROM heads WHERE conversation_id = ?`, gocql.UUID(c)).Scan(&head); err != nil || head != 2*chat.BucketSize+1 {
		t.Errorf("the stored head is %d, %v, want the first event of the third bucket", head, err)
	}
	for _, head := range []chat.Seq{0, 5, chat.BucketSize, chat.BucketSize + 1, last, 4 * chat.BucketSize} {
		if head > 0 {
			if err := session.Query(`INSERT INTO heads (conversation_id, seq) VALUES (?, ?)`, gocql.UUID(c), int64(head)).Exec(); err != nil {
				t.Fatal(err)
			}
		}
		tip, err := s.Tip(t.Context(), c, chat.MessageID{})
		if err != nil || tip.Seq != last {
			t.Errorf("with a head of %d: got %+v, %v, want seq %d", head, tip, err, last)
		}
		tip, err = s.Tip(t.Context(), c, idAt(chat.BucketSize+1))
		if err != nil || tip.Seq != chat.BucketSize {
			t.Errorf("with a head of %d and a border: got %+v, %v, want seq %d", head, tip, err, chat.BucketSize)
		}
	}
	rows, err := s.Entries(t.Context(), c, 1, 1<<50, last+5, false)
	if err != nil || len(rows) != last {
		t.Errorf("all events upwards: %d, %v", len(rows), err)
	}
	rows, err = s.Entries(t.Context(), c, 1, 1<<50, last+5, true)
	if err != nil || len(rows) != last || rows[0].Seq != 1 {
		t.Errorf("all events downwards: %d, %v", len(rows), err)
	}
}

// The mutation of a batch is larger than what Cassandra lets a batch of many
// partitions be, 50 KiB.
func TestALargeBatchOfOnePartition(t *testing.T) {
	s, c := open(t), newConversation()
	b := &archive.Batch{}
	for seq := range chat.Seq(150) {
		r := rowAt(c, seq+1)
		r.Content = strings.Repeat("ё", chat.ContentBytes/2)
		b.Rows = append(b.Rows, r)
	}
	write(t, s, b)
	rows, err := s.Entries(t.Context(), c, 1, 200, 200, true)
	if err != nil || !slices.Equal(rows, b.Rows) {
		t.Errorf("%d events came back, %v", len(rows), err)
	}
}

// The caller tries again; so it must learn soon.
func TestNobodyAnswers(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := scylla.Config{Hosts: []string{listener.Addr().String()}, Keyspace: "switchboard"}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := scylla.Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), c.Hosts[0]) {
		t.Errorf("got %v, want an error that names the host", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := scylla.Open(ended, c); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: got %v", err)
	}
}

// Rows that wait for the disk one after another share few requests; rows that do
// not share many. Which it is, the cluster says.
func TestRequestsFollowTheCommitLog(t *testing.T) {
	s := open(t)
	var sync string
	if err := raw(t, config(t, "system")).Query("SELECT value FROM system_views.settings WHERE name = 'commitlog_sync'").Scan(&sync); err != nil {
		t.Skip("no settings to be seen, so no Cassandra:", err)
	}
	want := map[string]int{"periodic": 2, "group": 8, "batch": 8}[sync]
	if got := s.Requests(); got != want {
		t.Errorf("commitlog_sync: %s: got %d requests before rows share one, want %d", sync, got, want)
	}
}
