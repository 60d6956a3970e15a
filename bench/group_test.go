package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"switchboard/bench/pulse"
	"switchboard/bench/result"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// A short run against the whole system: who leaves and comes back is complete too.
func TestGroupOnTheEmbeddedSystem(t *testing.T) {
	var out bytes.Buffer
	dir := t.TempDir()
	file := filepath.Join(dir, "report.json")
	err := run(t.Context(), append([]string{"group"}, append(embedded(t),
		"-members", "150", "-connected", "20", "-rate", "20", "-warmup", "1s", "-duration", "4s", "-json", file, "-out", dir)...), &out)
	if err != nil && !late(err) {
		t.Fatalf("%v\n%s", err, &out)
	}
	var report groupReport
	encoded, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(encoded, &report)
	}
	if err != nil {
		t.Fatal(err)
	}
	if r, err := result.Load(dir); err != nil || r.Bench != "group" || r.Timings[0].Count() != 100 {
		t.Errorf("got %+v, %v", r, err)
	}
	// Everybody pulls in the measured time, and two are back by /sync.
	if report.Messages != 80 || report.HeadsHeard == 0 || report.Pages < 20 || report.Syncs < 2 {
		t.Errorf("got %+v", report)
	}
}

// A signal in the middle of the load ends it while a tenth is away, and all are complete
// all the same.
func TestGroupIsAborted(t *testing.T) {
	flags := embedded(t)
	ctx, cancel := context.WithCancel(t.Context())
	dir := t.TempDir()
	out := &noticing{what: regexp.MustCompile(`measured load: 18 open .* sent, `), then: cancel}
	err := run(ctx, append([]string{"group"}, append(flags,
		"-members", "30", "-connected", "20", "-rate", "20", "-warmup", "1s", "-duration", "12s", "-out", dir)...), out)
	if err == nil || err.Error() != "exit status 105" {
		t.Errorf("got %v, want exit status 105", err)
	}
	r, err := result.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Aborted || r.Seconds >= 11 || r.Timings[0].Count() < 80 {
		t.Errorf("aborted: %t, after %v s, %d answers", r.Aborted, r.Seconds, r.Timings[0].Count())
	}
}

func TestWhoIsNotCompleteIsFound(t *testing.T) {
	talk, another := chat.ConversationID{1}, chat.ConversationID{2}
	var history []wire.Message
	for i := range 4 {
		history = append(history, wire.Message{
			ConversationID: talk, Seq: chat.Seq(i + 1), MessageID: chat.MessageID{byte(i)}, Content: "hello",
		})
	}
	other := history[2]
	other.Content = "goodbye"
	elsewhere := history[0]
	elsewhere.ConversationID = another
	for name, tt := range map[string]struct {
		got                   []wire.Message
		incomplete, misplaced int
	}{
		"all":                   {history, 0, 0},
		"all, and another talk": {append([]wire.Message{elsewhere}, history...), 0, 0},
		"not the last":          {history[:3], 1, 0},
		"not the second":        {slices.Concat(history[:1], history[2:]), 1, 2},
		"the last twice":        {append(slices.Clone(history), history[3]), 0, 1},
		"two swapped":           {[]wire.Message{history[0], history[2], history[1], history[3]}, 0, 2},
		"other content":         {[]wire.Message{history[0], history[1], other, history[3]}, 0, 1},
	} {
		l := &listener{talk: talk, pulse: new(pulse.Pulse)}
		for _, m := range tt.got {
			l.apply(m)
		}
		var report groupReport
		l.compare(&report, history)
		if report.Incomplete != tt.incomplete || report.Misplaced != tt.misplaced || report.Complete() != (tt.incomplete+tt.misplaced == 0) {
			t.Errorf("%s: got %+v, want %d incomplete, %d misplaced", name, report, tt.incomplete, tt.misplaced)
		}
	}
}
