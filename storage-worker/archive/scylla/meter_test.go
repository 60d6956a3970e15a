package scylla_test

import (
	"bytes"
	"strings"
	"testing"

	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/storage-worker/archive"
	"switchboard/storage-worker/archive/scylla"
)

// What a message costs a cluster is counted by table, and by request as well,
// since a batch is one.
func TestStatementsAndRequestsAreCounted(t *testing.T) {
	config, set := config(t, "switchboard_test"), metrics.New()
	open(t) // makes the tables
	config.Metrics = set
	s, err := scylla.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, user := newConversation(), chat.UserID(chat.NewRequestID())
	first, second := rowAt(c, 1), rowAt(c, 2)
	write(t, s, &archive.Batch{
		Rows: []archive.Row{first, second},
		Stays: []archive.StayWrite{{
			By:   second.ID,
			Stay: archive.Stay{User: user, Conversation: c, Joined: 1, Head: archive.Tip{Seq: 2, ID: second.ID}},
		}},
		Records: 2,
	})
	if _, err := s.StaysIn(t.Context(), user, c); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	set.Write(&out)
	for _, want := range []string{
		`switchboard_archive_statements_total{op="write",table="messages"} 2`,
		`switchboard_archive_statements_total{op="write",table="heads"} 0`,
		`switchboard_archive_statements_total{op="write",table="conversations_of"} 1`,
		`switchboard_archive_statements_total{op="read",table="conversations_of"} 1`,
		`switchboard_archive_request_seconds_count{op="batch"} 1`,
		`switchboard_archive_request_seconds_count{op="write"} 1`,
		`switchboard_archive_request_seconds_count{op="read"} 1`,
		`switchboard_archive_records_total 2`,
	} {
		if !strings.Contains(out.String(), want+"\n") {
			t.Errorf("%s is missing in:\n%s", want, out.String())
		}
	}
}
