package scylla

import (
	"fmt"
	"testing"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// single makes chains of one write each, to the nodes that are named.
func single(nodes string, bytes int) (chains []chain) {
	for _, n := range nodes {
		w := write{values: []any{string(n)}, bytes: bytes}
		chains = append(chains, chain{mutations: []mutation{{writes: []write{w}, bytes: bytes}}})
	}
	return chains
}

func nodeNamed(w *write) string {
	if name := w.values[0].(string); name != "?" {
		return name
	}
	return ""
}

// shape writes each chain as the nodes of its writes.
func shape(chains []chain) string {
	text := ""
	for _, c := range chains {
		for _, m := range c.mutations {
			for _, w := range m.writes {
				text += w.values[0].(string)
			}
			text += "|"
		}
		text += " "
	}
	return text
}

func TestChainsToOneNodeAreOneRequest(t *testing.T) {
	ordered := chain{mutations: []mutation{{writes: []write{{values: []any{"a"}}}}, {writes: []write{{values: []any{"a"}}}}}}
	for _, test := range []struct {
		name   string
		chains []chain
		want   string
	}{
		{"by node", single("abaab", 0), "aaa| bb| "},
		{"at most ten partitions", single("aaaaaaaaaaaaa", 0), "aaaaaaaaaa| aaa| "},
		{"bounded in bytes", single("aaa", bundleBytes/2), "aa| a| "},
		{"an unknown node", single("a??a", 0), "aa| ?| ?| "},
		{"a large row stays alone, small ones go on", append(single("a", 100), append(single("a", bundleBytes+1), single("ab", 100)...)...), "aa| a| b| "},
		{"an order is kept", append(single("a", 0), ordered, single("a", 0)[0]), "aa| a|a| "},
	} {
		if got := shape(bundled(test.chains, nodeNamed)); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

// Watermarks by themselves wait on their own lane; with a message's rows they do
// not keep those waiting.
func TestOnlyMarksGoOnTheLaneOfMarks(t *testing.T) {
	everywhere := func(*write) string { return "node" }
	b := &archive.Batch{}
	for i := range byte(4) {
		b.Marks = append(b.Marks, archive.Watermark{Conversation: chat.ConversationID{i}, Read: 1, Delivered: 1})
	}
	if got := bundled(plannedOf(t, b).chains, everywhere); len(got) != 1 || !got[0].marks {
		t.Errorf("marks alone: %+v", got)
	}
	b.Rows = []archive.Row{rowAt(1, 1)}
	if got := bundled(plannedOf(t, b).chains, everywhere); len(got) != 1 || got[0].marks {
		t.Errorf("marks with a row: %+v", got)
	}
}

// What a message to eight people costs: the number that docs/capacity.md
// reckons with.
func TestAMessageToEightIsTwoRequests(t *testing.T) {
	c := chat.ConversationID{7}
	r := rowAt(7, 41)
	r.Content = fmt.Sprintf("%0120d", 0)
	b := &archive.Batch{
		Rows:  []archive.Row{r},
		Seen:  []archive.Seen{{Key: archive.Key{Conversation: c}, ID: r.ID}},
		Marks: []archive.Watermark{{Conversation: c, Read: 41, Delivered: 41}},
	}
	for i := range byte(8) {
		b.Stays = append(b.Stays, archive.StayWrite{By: r.ID, Stay: archive.Stay{User: chat.UserID{i}, Conversation: c}})
	}
	statements := 0
	requests := bundled(plannedOf(t, b).chains, func(*write) string { return "node" })
	for _, c := range requests {
		statements += len(c.mutations[0].writes)
	}
	if len(requests) != 2 || statements != 11 {
		t.Errorf("got %d requests of %d statements, want 2 of 11", len(requests), statements)
	}
}
