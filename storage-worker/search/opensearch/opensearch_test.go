package opensearch_test

import (
	"context"
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
	"switchboard/storage-worker/search/opensearch"
	"switchboard/storage-worker/search/searchtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open returns a store with indices of its own, which are dropped at the end.
func open(t testing.TB) *opensearch.Store {
	t.Helper()
	addrs := os.Getenv("SWITCHBOARD_TEST_OPENSEARCH")
	if addrs == "" {
		t.Skip("SWITCHBOARD_TEST_OPENSEARCH is not set")
	}
	s := opensearch.New(opensearch.Config{Addrs: strings.Split(addrs, ","), Name: "test-" + chat.NewRequestID().String()})
	for range 2 { // What is there is left as it is.
		if err := s.Prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := s.Drop(context.Background()); err != nil {
			t.Error(err)
		}
		s.Close()
	})
	return s
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

// answering is a server that gives one answer to whatever makes no index.
func answering(t *testing.T, status int, body string) *opensearch.Store {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
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
	s := opensearch.New(opensearch.Config{
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
		{"an item that is refused", `{"errors":true,"items":[{"index":{"status":429,"error":{"reason":"queue is full"}}}]}`, 200, "queue is full"},
	} {
		if err := answering(t, test.status, test.body).Apply(t.Context(), batch); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: Apply says %v, want %q", test.name, err, test.want)
		}
	}
	if _, err := answering(t, 200, `{"timed_out":true}`).Match(t.Context(), question(t)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a search that was cut off: %v, want that the time is over", err)
	}
	for hit, want := range map[string]string{
		`{"_id":"x"}`:                         "no message",
		`{"fields":{"message":["c2hvcnQ="]}}`: "has 5 bytes",
		`{"fields":{"message":["?"]}}`:        "understand a message",
	} {
		if _, err := answering(t, 200, `{"hits":{"hits":[`+hit+`]}}`).Match(t.Context(), question(t)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: Match says %v, want %q", hit, err, want)
		}
	}
	if _, _, err := answering(t, 404, `{"error":"no such index"}`).Progress(t.Context(), 1, 1); err == nil {
		t.Error("an index that is missing says that nothing is known, want an error")
	}
	if err := answering(t, 200, `{"errors":true,"items":[{"index":{"status":409}}]}`).Apply(t.Context(), batch); err != nil {
		t.Errorf("what is there already: %v, want that it is as good as done", err)
	}
}
