package scrape

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A program that was started again counts from 0; what it counts is not lost in
// a negative difference.
func TestRestartedProgramsCountFromTheirStart(t *testing.T) {
	if got := (Samples{"a": 3, "b": 9}).Since(Samples{"a": 10, "b": 4}); got["a"] != 3 || got["b"] != 5 {
		t.Errorf("got %v", got)
	}
}

func TestOnlyOurMetricsAndTheHeapOfAllProgramsAreAdded(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write([]byte("# HELP\nswitchboard_a{x=\"1\"} 2\nswitchboard_a{x=\"2\"} 3\ngo_goroutines 9\ngo_memstats_heap_inuse_bytes 100\n")) // The client shows.
	}))
	defer server.Close()
	s := make(Samples)
	if err := s.Read(t.Context(), server.URL+"/metrics", server.URL+"/metrics"); err != nil {
		t.Fatal(err)
	}
	if s.Sum("switchboard_a") != 10 || s.Sum("switchboard_a", `x="2"`) != 6 || s.Sum(Heap) != 200 || len(s) != 3 {
		t.Errorf("got %v", s)
	}
	if err := s.Read(t.Context(), server.URL+"/nothing"); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("got %v, want the status", err)
	}
}
