package scylla

import (
	"fmt"
	"slices"
	"strings"
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

func many(what string, times int) string { return strings.Repeat(what, times) }

func TestManyChainsToOneNodeAreFewRequests(t *testing.T) {
	ordered := chain{mutations: []mutation{{writes: []write{{values: []any{"a"}}}}, {writes: []write{{values: []any{"a"}}}}}}
	for _, test := range []struct {
		name   string
		chains []chain
		want   string
	}{
		{"few are not joined", single("abab", 0), "a| b| a| b| "},
		{"by node", single(many("ab", 2*spread), 0), many("aa| bb| ", spread)},
		{"at most ten partitions", single(many("a", 100*spread), 0), many("aaaaaaaaaa| ", 10*spread)},
		{"bounded in bytes", single(many("a", 3*spread), bundleBytes/2), many("aa| ", 3*spread/2)},
		{"an unknown node", single(many("a?", 2*spread), 0), many("aa| ?| ?| ", spread)},
		{"a large row stays alone, small ones go on", slices.Concat(single("a", 0), single("a", bundleBytes+1), single(many("a", 2*spread-1), 0)), "aa| a| " + many("aa| ", spread-1)},
		{"an order is kept", slices.Concat(single("a", 0), []chain{ordered}, single(many("a", 2*spread-1), 0)), "aa| a|a| " + many("aa| ", spread-1)},
	} {
		if got := shape(bundled(test.chains, spread, nodeNamed)); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

// Watermarks by themselves wait on their own lane; with a message's rows they do
// not keep those waiting.
func TestOnlyMarksGoOnTheLaneOfMarks(t *testing.T) {
	everywhere := func(*write) string { return "node" }
	b := &archive.Batch{}
	for i := range byte(2 * spread) {
		b.Marks = append(b.Marks, archive.Watermark{Conversation: chat.ConversationID{i}, Read: 1, Delivered: 1})
	}
	if got := bundled(plannedOf(t, b).chains, spread, everywhere); len(got) != spread || !got[0].marks {
		t.Errorf("marks alone: %+v", got)
	}
	b.Rows = []archive.Row{rowAt(1, 1)}
	if got := bundled(plannedOf(t, b).chains, spread, everywhere); len(got) > spread || got[0].marks {
		t.Errorf("marks with a row: %+v", got)
	}
}

// What messages to eight people cost: one by itself is quick, many are cheap.
func TestABusyNodeGetsFewerRequests(t *testing.T) {
	for _, test := range []struct{ spread, messages, want int }{
		{spreadSynced, 1, 6}, {spreadSynced, 2, 8}, {spreadSynced, 32, 36}, {spread, 1, 2}, {spread, 2, 3}, {spread, 32, 36},
	} {
		statements := 0
		requests := bundled(plannedOf(t, toEight(test.messages)).chains, test.spread, func(*write) string { return "node" })
		for _, c := range requests {
			statements += len(c.mutations[0].writes)
		}
		if len(requests) != test.want || statements != 11*test.messages {
			t.Errorf("%+v: got %d requests of %d statements, want %d", test, len(requests), statements, 11*test.messages)
		}
	}
}

// toEight is a batch of messages, each in a conversation of its own.
func toEight(messages int) *archive.Batch {
	b := &archive.Batch{}
	for n := range byte(messages) {
		c, r := chat.ConversationID{n}, rowAt(n, 41)
		r.Content = fmt.Sprintf("%0120d", 0)
		b.Rows = append(b.Rows, r)
		b.Seen = append(b.Seen, archive.Seen{Key: archive.Key{Conversation: c}, ID: r.ID})
		b.Marks = append(b.Marks, archive.Watermark{Conversation: c, Read: 41, Delivered: 41})
		for i := range byte(8) {
			b.Stays = append(b.Stays, archive.StayWrite{By: r.ID, Stay: archive.Stay{User: chat.UserID{n, i}, Conversation: c}})
		}
	}
	return b
}

// Requests is, for tests of the whole package, how many requests a node gets
// before rows share one.
func (s *Store) Requests() int { return s.spread }
