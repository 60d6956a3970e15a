package search_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"switchboard/internal/chat"
	"switchboard/storage-worker/search"
	"switchboard/storage-worker/search/opensearch"
)

// talk puts the same 700 messages of seven conversations on each world's log, a second
// apart.
func (w *world) talk() {
	at := time.Unix(1_700_000_000, 0)
	w.now = func() time.Time { return at }
	for i := range 700 {
		w.say(chat.GroupConversation(alice, chat.RequestID{byte(i % 7)}), alice, fmt.Sprintf("message %d of the number%d", i, i%13))
		at = at.Add(time.Second)
	}
}

// index runs an indexer, in real time, until after each step all of the log is in the
// index.
func (w *world) index(steps ...func()) {
	w.t.Helper()
	end := w.begin()
	defer end()
	w.await()
	for _, step := range steps {
		step()
		w.await()
	}
}

func (w *world) await() {
	w.t.Helper()
	for {
		p, _, err := w.store.Progress(w.t.Context(), generation, 0)
		if err != nil && !errors.Is(err, search.ErrGone) {
			w.t.Fatal(err)
		}
		if p.Next == w.start+int64(len(w.records)) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if late, ok := w.store.(*opensearch.Store); ok {
		if err := late.Refresh(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
	}
}

// answers asks for much, page by page.
func (w *world) answers() map[string][]search.Hit {
	w.t.Helper()
	all := make(map[string][]search.Hit)
	for _, query := range []string{"message", "number7", "numb*", `"message 77"`, "the of", "number1 message"} {
		all[query] = w.hits(query, everything(w.conversations()...))
	}
	return all
}

// same compares answers, which must be some.
func same(t *testing.T, got, want map[string][]search.Hit) {
	t.Helper()
	if len(want) == 0 {
		t.Error("there is nothing to compare with")
	}
	for query, hits := range want {
		if len(hits) == 0 || !reflect.DeepEqual(got[query], hits) {
			t.Errorf("query %q: %d answers, and before %d, or others, or in another order", query, len(got[query]), len(hits))
		}
	}
}

// cluster is an OpenSearch, and indices in it of this test alone.
type cluster struct {
	addrs []string
	name  string
}

func openSearch(t *testing.T) *cluster {
	t.Helper()
	addrs := os.Getenv("SWITCHBOARD_TEST_OPENSEARCH")
	if addrs == "" {
		t.Skip("SWITCHBOARD_TEST_OPENSEARCH is not set")
	}
	c := &cluster{strings.Split(addrs, ","), "test-" + chat.NewRequestID().String()}
	t.Cleanup(func() { c.remove(t, "*") })
	return c
}

// store returns what a process has that begins.
func (c *cluster) store(t *testing.T) *opensearch.Store {
	t.Helper()
	s := opensearch.New(opensearch.Config{Addrs: c.addrs, Name: c.name})
	t.Cleanup(s.Close)
	if err := s.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// remove deletes indices behind the program's back.
func (c *cluster) remove(t *testing.T, which string) {
	t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodDelete, "http://"+c.addrs[0]+"/"+c.name+"-"+which, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	if err := answer.Body.Close(); err != nil || answer.StatusCode != http.StatusOK {
		t.Errorf("delete %s: %s, error %v", which, answer.Status, err)
	}
}

// TestADroppedIndexGivesTheSameAnswersWhenItIsBuiltAnew is in real time, since OpenSearch is.
func TestADroppedIndexGivesTheSameAnswersWhenItIsBuiltAnew(t *testing.T) {
	rebuilt := func(t *testing.T, w *world, drop func()) (before map[string][]search.Hit) {
		t.Helper()
		w.talk()
		w.index()
		before = w.answers()
		drop()
		if got := w.find("message", everything(w.conversations()...)); len(got) != 0 {
			t.Fatalf("an empty index finds %d", len(got))
		}
		w.index()
		same(t, w.answers(), before)
		if w.asked != 0 {
			t.Errorf("the archive was asked %d times, although the log has everything", w.asked)
		}
		return before
	}
	var embedded map[string][]search.Hit
	t.Run("sqlite", func(t *testing.T) {
		w := newWorld(t)
		embedded = rebuilt(t, w, w.dropIndex)
	})
	for deleted, which := range map[string]string{"all of it": "*", "its messages": "messages-*"} {
		t.Run("opensearch, "+deleted, func(t *testing.T) {
			c, w := openSearch(t), newWorld(t)
			w.store = c.store(t)
			same(t, rebuilt(t, w, func() {
				c.remove(t, which)
				w.store = c.store(t)
			}), embedded)
		})
	}
	t.Run("opensearch, what it knows of itself", func(t *testing.T) {
		c, w := openSearch(t), newWorld(t)
		w.store = c.store(t)
		w.talk()
		w.index()
		before := w.answers()
		c.remove(t, "state-*")
		w.store = c.store(t)
		same(t, w.answers(), before)
		w.index()
		same(t, w.answers(), before)
	})
	for deleted, which := range map[string]string{"all of it": "*", "its messages": "messages-*"} {
		t.Run("opensearch, while it is filled, "+deleted, func(t *testing.T) {
			c, w := openSearch(t), newWorld(t)
			w.store = c.store(t)
			w.talk()
			w.index(func() {
				c.remove(t, which)
				w.say(kitchen, bob, "later") // Nobody notices before.
			})
			same(t, w.answers(), embedded)
			w.finds("later", everything(kitchen), "later")
		})
	}
}
