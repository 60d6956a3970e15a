package scylla

import (
	"strings"
	"testing"

	"github.com/gocql/gocql"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

func idAt(n int) chat.MessageID {
	return chat.NewMessageID(chat.ClockAt(1_700_000_000)+chat.Clock(n), 1, 3)
}

func rowAt(c byte, seq chat.Seq) archive.Row {
	return archive.Row{Entry: chat.Entry{Conversation: chat.ConversationID{c}, Seq: seq, ID: idAt(int(seq)), Kind: chat.KindText, Content: "x"}}
}

func plannedOf(t *testing.T, b *archive.Batch) *plan {
	t.Helper()
	p, err := planned(b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// seqs returns what a chain of rows writes: the seqs of each mutation.
func seqs(c chain) (all [][]int64) {
	for _, m := range c.mutations {
		var some []int64
		for _, w := range m.writes {
			some = append(some, w.values[2].(int64))
		}
		all = append(all, some)
	}
	return all
}

func TestRowsOfAConversationAreOneChainInOrder(t *testing.T) {
	const last = chat.BucketSize
	b := &archive.Batch{Rows: []archive.Row{
		rowAt(1, last+2), rowAt(2, 7), rowAt(1, last), rowAt(1, last+1), rowAt(2, 6), rowAt(1, last-1),
	}}
	p := plannedOf(t, b)
	if len(p.chains) != 3 || p.chains[0].mutations[0].writes[0].text != putHead.text {
		t.Fatalf("%d chains for 2 conversations, of which one begins a bucket", len(p.chains))
	}
	for i, want := range [][][]int64{{{last - 1, last}, {last + 1, last + 2}}, {{6, 7}}} {
		got := seqs(p.chains[1+i])
		if len(got) != len(want) {
			t.Fatalf("conversation %d: %v, want %v", i+1, got, want)
		}
		for j := range want {
			if len(got[j]) != 2 || got[j][0] != want[j][0] || got[j][1] != want[j][1] {
				t.Errorf("conversation %d: %v, want %v", i+1, got, want)
			}
		}
	}
}

// A mutation is bounded by its statements and its bytes; what does not fit
// follows in the same chain.
func TestMutationsAreBounded(t *testing.T) {
	for _, test := range []struct {
		rows, bytes, mutations int
	}{
		{batchStatements, 10, 1},
		{batchStatements + 1, 10, 2},
		{batchStatements, chat.ContentBytes, 4},
	} {
		b := &archive.Batch{}
		for seq := range test.rows {
			r := rowAt(1, chat.Seq(seq+1))
			r.Content = strings.Repeat("x", test.bytes)
			b.Rows = append(b.Rows, r)
		}
		p := plannedOf(t, b)
		if len(p.chains) != 1 || len(p.chains[0].mutations) != test.mutations {
			t.Errorf("%d rows of %d bytes: %d chains, the first of %d mutations, want 1 of %d",
				test.rows, test.bytes, len(p.chains), len(p.chains[0].mutations), test.mutations)
		}
		for _, m := range p.chains[0].mutations {
			if len(m.writes) > batchStatements || m.bytes > batchBytes {
				t.Errorf("a mutation has %d statements and %d bytes", len(m.writes), m.bytes)
			}
		}
	}
}

func TestOnePartitionIsOneMutation(t *testing.T) {
	b := &archive.Batch{}
	for i := range byte(10) {
		stay := archive.Stay{User: chat.UserID{i % 2}, Conversation: chat.ConversationID{i}, Joined: 1}
		b.Stays = append(b.Stays, archive.StayWrite{Stay: stay, By: idAt(1)})
		b.Marks = append(b.Marks, archive.Watermark{Conversation: chat.ConversationID{i % 2}, User: chat.UserID{i}, Joined: 1, Read: 4, Delivered: 5})
		b.Opened = append(b.Opened, archive.SpanOpened{Conversation: chat.ConversationID{i % 2}, Span: archive.Span{User: chat.UserID{i}, At: idAt(1)}})
		b.Closed = append(b.Closed, archive.SpanClosed{Conversation: chat.ConversationID{i % 2}, User: chat.UserID{i}, By: idAt(1)})
	}
	p := plannedOf(t, b)
	if len(p.chains) != 6 {
		t.Fatalf("%d chains for 2 users, 2 conversations' marks and 2 conversations' members", len(p.chains))
	}
	for i, c := range p.chains {
		if isMarks := c.mutations[0].writes[0].text == putRead.text; c.marks != isMarks {
			t.Errorf("chain %d on the lane of watermarks: %v, want %v", i, c.marks, isMarks)
		}
	}
	for range batchStatements * 2 {
		b.Stays = append(b.Stays, b.Stays[0])
	}
	for _, c := range plannedOf(t, b).chains {
		if len(c.mutations) != 1 || len(c.mutations[0].writes) > batchStatements {
			t.Errorf("a chain without an order has %d mutations, the first of %d", len(c.mutations), len(c.mutations[0].writes))
		}
	}
}

// A null would be a tombstone in the table for ever.
func TestNothingIsNull(t *testing.T) {
	b := &archive.Batch{
		Rows:   []archive.Row{{Entry: chat.Entry{Seq: 1}}, {Entry: chat.Entry{Conversation: chat.ConversationID{1}, Seq: chat.BucketSize + 1}}},
		Seen:   []archive.Seen{{}},
		Stays:  []archive.StayWrite{{}},
		Marks:  []archive.Watermark{{}, {User: chat.UserID{1}, Read: 1, Delivered: 2}},
		Infos:  []archive.InfoWrite{{}},
		Opened: []archive.SpanOpened{{}},
		Closed: []archive.SpanClosed{{}},
	}
	unset := 0
	for _, c := range plannedOf(t, b).chains {
		for _, w := range c.mutations[0].writes {
			if len(w.values) != len(w.names) {
				t.Errorf("%d values for %s", len(w.values), w.text)
			}
			for i, v := range w.values {
				if v == nil {
					t.Errorf("%s is null in %s", w.names[i], w.text)
				}
				if v == gocql.UnsetValue {
					unset++
				}
			}
		}
	}
	if unset != 17 {
		t.Errorf("%d values are unset, want the 6 of each message, 2 of a stay, 3 of a conversation", unset)
	}
}

func TestARowWithoutSeqIsRefused(t *testing.T) {
	if _, err := planned(&archive.Batch{Rows: []archive.Row{rowAt(1, 0)}}); err == nil {
		t.Error("an entry with seq 0 was planned")
	}
}

// Each write names its own timestamp; the driver's are off.
func TestEveryWriteHasATimestamp(t *testing.T) {
	for _, st := range []statement{
		putMessage, putKey, putConversation, putHead, putOpened, putClosed, putStay, putRead, putDelivered, putBoth, putProgress,
	} {
		if !strings.Contains(st.text, "USING TIMESTAMP ?") {
			t.Errorf("no timestamp in %s", st.text)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []Config{
		{Keyspace: "switchboard"},
		{Hosts: []string{"h"}},
		{Hosts: []string{"h"}, Keyspace: "Upper"},
		{Hosts: []string{"h"}, Keyspace: "1st"},
		{Hosts: []string{"h"}, Keyspace: "_private"},
		{Hosts: []string{"h"}, Keyspace: "a b"},
		{Hosts: []string{"h"}, Keyspace: "a; DROP KEYSPACE b"},
		{Hosts: []string{"h"}, Keyspace: strings.Repeat("a", 49)},
		{Hosts: []string{"h"}, Keyspace: "a", LocalDC: "dc'"},
	} {
		if err := c.check(); err == nil {
			t.Errorf("%+v was not refused", c)
		}
	}
	if err := (Config{Hosts: []string{"h"}, Keyspace: "switch_board9", LocalDC: "dc-1"}).check(); err != nil {
		t.Error(err)
	}
}

func TestSchemaIsSplit(t *testing.T) {
	tables := schemaTables()
	if len(tables) != strings.Count(archive.SchemaCQL, "CREATE TABLE") {
		t.Errorf("%d statements", len(tables))
	}
	for _, tb := range tables {
		if !strings.HasPrefix(tb.text, "CREATE TABLE IF NOT EXISTS "+tb.name) || strings.Count(tb.text, "CREATE") != 1 {
			t.Errorf("statement of %s: %s", tb.name, tb.text)
		}
	}
}
