package scylla

import (
	"fmt"
	"time"

	"switchboard/internal/metrics"
)

// tableID names a table of the archive in statements and in metrics.
type tableID uint8

const (
	messages tableID = iota
	messageKeys
	conversations
	heads
	members
	conversationsOf
	watermarks
	progress
	mediaRefs
	tables // how many there are
)

// String returns the table's name in the schema.
func (t tableID) String() string {
	return [tables]string{
		"messages", "message_keys", "conversations", "heads",
		"members", "conversations_of", "watermarks", "progress", "media_refs",
	}[t]
}

// meter counts what is asked of the cluster. A statement is one row written or
// one question; a request is one message to a coordinator, which carries one
// statement or an unlogged batch of them. What a message costs, and how many a
// cluster can take, is counted in both.
type meter struct {
	writes            *metrics.Histogram // seconds of a Write
	records, failures *metrics.Counter

	read, written           [tables]*metrics.Counter // statements
	reads, singles, batches *metrics.Histogram       // seconds of a request
}

func newMeter(set *metrics.Set) meter {
	m := meter{
		writes:   set.Histogram(`switchboard_archive_write_seconds`),
		records:  set.Counter(`switchboard_archive_records_total`),
		failures: set.Counter(`switchboard_archive_failures_total`),
		reads:    set.Histogram(`switchboard_archive_request_seconds{op="read"}`),
		singles:  set.Histogram(`switchboard_archive_request_seconds{op="write"}`),
		batches:  set.Histogram(`switchboard_archive_request_seconds{op="batch"}`),
	}
	for t := range tables {
		m.read[t] = set.Counter(fmt.Sprintf(`switchboard_archive_statements_total{op="read",table=%q}`, t))
		m.written[t] = set.Counter(fmt.Sprintf(`switchboard_archive_statements_total{op="write",table=%q}`, t))
	}
	return m
}

// asked counts one question that began at a time.
func (m *meter) asked(st *statement, began time.Time) {
	m.read[st.table].Inc()
	m.reads.UpdateDuration(began)
}

// wrote counts one request that began at a time.
func (m *meter) wrote(writes []write, began time.Time) {
	for i := range writes {
		m.written[writes[i].table].Inc()
	}
	if len(writes) == 1 {
		m.singles.UpdateDuration(began)
	} else {
		m.batches.UpdateDuration(began)
	}
}
