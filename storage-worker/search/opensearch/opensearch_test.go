package opensearch

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"switchboard/internal/chat"
	"switchboard/storage-worker/search"
	"switchboard/storage-worker/search/searchtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// unprepared returns a store with names of its own. What it made is dropped at the end.
func unprepared(t testing.TB) *Store {
	t.Helper()
	addrs := os.Getenv("SWITCHBOARD_TEST_OPENSEARCH")
	if addrs == "" {
		t.Skip("SWITCHBOARD_TEST_OPENSEARCH is not set")
	}
	s := New(Config{Addrs: strings.Split(addrs, ","), Name: "test-" + chat.NewRequestID().String()})
	t.Cleanup(func() {
		for _, index := range []string{s.messages, s.state} {
			if err := s.call(context.Background(), http.MethodDelete, "/"+index+"?ignore_unavailable=true", nil, nil); err != nil {
				t.Error(err)
			}
		}
		s.Close()
	})
	return s
}

// open returns a store that may be used.
func open(t testing.TB) *Store {
	t.Helper()
	s := unprepared(t)
	for range 2 { // What is there is left as it is.
		prepare(t, s)
	}
	return s
}

func prepare(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// another returns what another process has, or the same after a restart.
func another(t testing.TB, s *Store) *Store {
	t.Helper()
	other := New(s.cfg)
	t.Cleanup(other.Close)
	return other
}

func TestSuite(t *testing.T) {
	shared, used := open(t), make(map[string]bool) // To make an index takes longer than most tests.
	searchtest.Run(t, func(t *testing.T) search.Store {
		if used[t.Name()] {
			return open(t)
		}
		used[t.Name()] = true
		return shared
	})
}

func BenchmarkStore(b *testing.B) { searchtest.Benchmark(b, open(b)) }

// preparing answers what Prepare asks, and reports whether it was that.
func preparing(w http.ResponseWriter, r *http.Request) bool {
	name := strings.TrimPrefix(r.URL.Path, "/")
	body, index := map[string][]byte{"switchboard-messages-" + version: messagesIndex, "switchboard-state-" + version: stateIndex}[name]
	if index && r.Method == http.MethodGet {
		var made struct {
			Mappings any            `json:"mappings"`
			Settings map[string]any `json:"settings"`
		}
		if err := json.Unmarshal(body, &made); err != nil {
			panic(err)
		}
		made.Settings = map[string]any{"index": map[string]any{"uuid": "x"}}
		if err := json.NewEncoder(w).Encode(map[string]any{name: made}); err != nil {
			panic(err)
		}
	}
	return index || name == "_aliases"
}

// answering is a server that gives one answer to whatever makes no index.
func answering(t *testing.T, status int, body string) *Store {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if preparing(w, r) {
			return
		}
		if user, password, ok := r.BasicAuth(); !ok || user != "app" || password != "secret" {
			status = http.StatusUnauthorized
		}
		w.WriteHeader(status)
		if _, err := w.Write([]byte(body)); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	dead, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	s := New(Config{
		Addrs: []string{dead.Addr().String(), strings.TrimPrefix(server.URL, "http://")}, User: "app", Password: "secret",
	})
	if err := s.Prepare(t.Context()); err != nil {
		t.Fatalf("with a node that is dead: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

func question(t *testing.T) *search.Question {
	t.Helper()
	q, err := search.Parse("word", chat.UserID{1})
	if err != nil {
		t.Fatal(err)
	}
	return &search.Question{Query: q, Scope: search.Scope{chat.ConversationID{1}: {{From: 1}}}, Limit: 10}
}

func TestAnswersThatAreNone(t *testing.T) {
	batch := &search.Batch{Documents: []search.Document{{ID: chat.NewMessageID(1, 1, 1), Content: "word"}}}
	for _, test := range []struct {
		name, body string
		status     int
		want       string
	}{
		{"an error", `{"error":"broken"}`, 500, "OpenSearch answers 500"},
		{"a page", `<html>`, 200, "understand the answer"},
		{"fewer items", `{"errors":false,"items":[]}`, 200, "answers of 0"},
		{"an item that is refused", `{"errors":true,"items":[{"index":{"status":429,"error":{"reason":"queue is full"}}}]}`, 200, "queue is full"},
	} {
		if err := answering(t, test.status, test.body).Apply(t.Context(), batch); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: Apply says %v, want %q", test.name, err, test.want)
		}
	}
	if _, err := answering(t, 200, `{"timed_out":true}`).Match(t.Context(), question(t)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a search that was cut off: %v, want that the time is over", err)
	}
	const one = `"_shards":{"total":1,"successful":1,"skipped":0,"failed":0}`
	for body, want := range map[string]string{
		`{` + one + `,"hits":{"hits":[{"_id":"x"}]}}`:                         "no message",
		`{` + one + `,"hits":{"hits":[{"fields":{"message":["c2hvcnQ="]}}]}}`: "has 5 bytes",
		`{` + one + `,"hits":{"hits":[{"fields":{"message":["?"]}}]}}`:        "understand a message",
		`{"hits":{"hits":[]}}`: "0 of 0 shards",
		`{"_shards":{"total":2,"successful":1,"failed":0},"hits":{"hits":[]}}`:                                "1 of 2 shards",
		`{"_shards":{"total":2,"successful":1,"failed":1,"failures":[{"reason":"torn"}]},"hits":{"hits":[]}}`: "torn",
	} {
		if _, err := answering(t, 200, body).Match(t.Context(), question(t)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: Match says %v, want %q", body, err, want)
		}
	}
	c := chat.ConversationID{1}
	if _, err := answering(t, 200, `{"docs":[{"error":{"reason":"no shard"}}]}`).Reached(t.Context(), []chat.ConversationID{c}); err == nil || !strings.Contains(err.Error(), "no shard") {
		t.Errorf("Reached says %v, want why a conversation could not be read", err)
	}
	if _, _, err := answering(t, 404, `{"error":"no such index"}`).Progress(t.Context(), 1, 1); err == nil {
		t.Error("an index that is missing says that nothing is known, want an error")
	}
	if err := answering(t, 200, `{"errors":true,"items":[{"index":{"status":409}}]}`).Apply(t.Context(), batch); err != nil {
		t.Errorf("what is there already: %v, want that it is as good as done", err)
	}
}
