package opensearch

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"switchboard/internal/chat"
	"switchboard/storage-worker/search"
)

// Whom the tests of this file write as, and where.
var (
	room = chat.ConversationID{1}
	me   = chat.UserID{1}
)

// words is messages that question finds.
func words(n int) *search.Batch {
	b := &search.Batch{Progress: search.Progress{Generation: 1, Partition: 2, Next: int64(n), Last: int64(n) - 1}}
	for i := range n {
		b.Documents = append(b.Documents, search.Document{
			ID: chat.NewMessageID(chat.ClockAt(int64(i+1)), 1, 1), Conversation: room, Seq: chat.Seq(i + 1), Sender: me,
			Kind: chat.KindText, Content: "word", Version: chat.ClockAt(int64(i + 1)),
		})
	}
	b.Reached = map[chat.ConversationID]chat.Seq{room: chat.Seq(n)}
	return b
}

func apply(t *testing.T, s *Store, b *search.Batch) {
	t.Helper()
	if err := errors.Join(s.Apply(t.Context(), b), s.Refresh(t.Context())); err != nil {
		t.Fatal(err)
	}
}

// finds compares how many messages question finds.
func finds(t *testing.T, s *Store, want int) {
	t.Helper()
	q := question(t)
	q.Limit = search.Window
	if m, err := s.Match(t.Context(), q); err != nil || len(m.Documents) != want {
		t.Errorf("%d found, error %v; want %d", len(m.Documents), err, want)
	}
}

// knows compares how far the store says that it is.
func knows(t *testing.T, s *Store, want int) {
	t.Helper()
	p, _, err := s.Progress(t.Context(), 1, 2)
	if err != nil || p.Next != int64(want) {
		t.Errorf("progress %d, error %v; want %d", p.Next, err, want)
	}
	reached, err := s.Reached(t.Context(), []chat.ConversationID{room})
	if err != nil || reached[room] != chat.Seq(want) {
		t.Errorf("reached %d, error %v; want %d", reached[room], err, want)
	}
}

// there reports whether there is an index.
func there(t *testing.T, s *Store, index string) bool {
	t.Helper()
	err := s.call(t.Context(), http.MethodGet, "/"+index, nil, nil)
	if refused, ok := errors.AsType[*refusal](err); ok && refused.status == http.StatusNotFound {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	return true
}

func do(t *testing.T, s *Store, method, path, body string) {
	t.Helper()
	if err := s.call(t.Context(), method, path, []byte(body), nil); err != nil {
		t.Fatal(err)
	}
}

func TestWritingMakesNoIndex(t *testing.T) {
	s := open(t)
	apply(t, s, words(3))
	finds(t, s, 3)
	do(t, s, http.MethodDelete, "/"+s.messages+","+s.state, "")
	for _, b := range []*search.Batch{words(4), {Progress: search.Progress{Generation: 1, Partition: 2, Next: 9}}} {
		if err := s.Apply(t.Context(), b); !errors.Is(err, search.ErrGone) {
			t.Errorf("%d messages into an index that was deleted: %v, want %v", len(b.Documents), err, search.ErrGone)
		}
	}
	if _, _, err := s.Progress(t.Context(), 1, 2); !errors.Is(err, search.ErrGone) {
		t.Errorf("Progress: got %v, want %v", err, search.ErrGone)
	}
	if _, err := s.Reached(t.Context(), []chat.ConversationID{room}); !errors.Is(err, search.ErrGone) {
		t.Errorf("Reached: got %v, want %v", err, search.ErrGone)
	}
	if there(t, s, s.messages) || there(t, s, s.state) {
		t.Error("writing made an index")
	}

	// Others make it anew. Who began before knows what was in the old one, and may not
	// say so of the new one.
	again := another(t, s)
	prepare(t, again)
	if err := s.Apply(t.Context(), words(4)); !errors.Is(err, search.ErrGone) {
		t.Errorf("into an index that others made: %v, want %v", err, search.ErrGone)
	}
	knows(t, again, 0)
	apply(t, again, words(2))
	finds(t, again, 2)
	knows(t, again, 2)
	prepare(t, s)
	knows(t, s, 2)
	apply(t, s, words(4))
	finds(t, again, 4)
}

func TestAStateOfMessagesThatWereDeletedIsNotBelieved(t *testing.T) {
	s := open(t)
	apply(t, s, words(3))
	do(t, s, http.MethodDelete, "/"+s.messages, "")
	again := another(t, s)
	prepare(t, again)
	knows(t, again, 0)
	apply(t, again, words(2))
	finds(t, again, 2)
	knows(t, again, 2)
}

func TestAStateThatIsDeletedAloneCostsNoMessage(t *testing.T) {
	s := open(t)
	apply(t, s, words(3))
	knows(t, s, 3)
	do(t, s, http.MethodDelete, "/"+s.state, "")
	again := another(t, s)
	prepare(t, again)
	knows(t, again, 0)
	finds(t, again, 3)
	apply(t, s, words(4)) // Who began before had them all, so it goes on.
	knows(t, again, 4)
	finds(t, again, 4)
}

func TestAnIndexThatIsNoneOfOursIsRefused(t *testing.T) {
	for name, body := range map[string]string{
		"that OpenSearch made while somebody wrote": `{}`,
		"with another type":                         strings.Replace(string(messagesIndex), `"binary", "doc_values": true`, `"keyword"`, 1),
		"that takes more":                           strings.Replace(string(messagesIndex), `"dynamic": "strict"`, `"dynamic": true`, 1),
		"with another analyzer":                     strings.Replace(string(messagesIndex), `"whitespace"`, `"standard"`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			if body == string(messagesIndex) {
				t.Fatal("nothing was changed")
			}
			s := unprepared(t)
			do(t, s, http.MethodPut, "/"+s.messages, body)
			err := s.Prepare(t.Context())
			if err == nil || !strings.Contains(err.Error(), s.messages+" is none of ours") || !strings.Contains(err.Error(), "mappings.") {
				t.Errorf("got %v, want what is wrong with it", err)
			}
			if err := s.Apply(t.Context(), words(1)); !errors.Is(err, errUnprepared) {
				t.Errorf("Apply: got %v, want %v", err, errUnprepared)
			}
			if _, _, err := s.Progress(t.Context(), 1, 2); !errors.Is(err, errUnprepared) {
				t.Errorf("Progress: got %v, want %v", err, errUnprepared)
			}
			if _, err := s.Reached(t.Context(), []chat.ConversationID{room}); !errors.Is(err, errUnprepared) {
				t.Errorf("Reached: got %v, want %v", err, errUnprepared)
			}
		})
	}
}

// TestALostShardIsAnError takes an index that an operator made of two shards, of which
// OpenSearch has one.
func TestALostShardIsAnError(t *testing.T) {
	s := unprepared(t)
	var index map[string]map[string]any
	if err := json.Unmarshal(messagesIndex, &index); err != nil {
		t.Fatal(err)
	}
	// The one node may have no more than a shard of it.
	index["settings"]["number_of_shards"], index["settings"]["number_of_replicas"] = 2, 0
	index["settings"]["routing.allocation.total_shards_per_node"] = 1
	body, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	do(t, s, http.MethodPut, "/"+s.messages+"?wait_for_active_shards=0", string(body))
	do(t, s, http.MethodGet, "/_cluster/health/"+s.messages+"?wait_for_active_shards=1&timeout=25s", "")
	prepare(t, s)

	var here, lost search.Batch
	for _, d := range words(20).Documents {
		var where struct{ Shards json.RawMessage }
		if err := s.call(t.Context(), http.MethodGet, "/"+s.messages+"/_search_shards?routing="+d.ID.String(), nil, &where); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(where.Shards), "STARTED") {
			here.Documents = append(here.Documents, d)
		} else {
			lost.Documents = append(lost.Documents, d)
		}
	}
	if len(here.Documents) == 0 || len(lost.Documents) == 0 {
		t.Fatalf("%d messages are of the shard that is there, %d of the other; want some of each", len(here.Documents), len(lost.Documents))
	}
	if err := s.Apply(t.Context(), &here); err != nil { // A refresh would wait for the other shard.
		t.Fatal(err)
	}
	m, err := s.Match(t.Context(), question(t))
	if err == nil || !strings.Contains(err.Error(), "1 of 2 shards") {
		t.Errorf("%d found, next %v, error %v; want that a shard is missing", len(m.Documents), m.Next, err)
	}

	do(t, s, http.MethodPut, "/"+s.messages+"/_settings", `{"index.routing.allocation.total_shards_per_node": 2}`)
	do(t, s, http.MethodGet, "/_cluster/health/"+s.messages+"?wait_for_active_shards=2&timeout=25s", "")
	apply(t, s, &lost)
	finds(t, s, 20)
	q := question(t)
	q.After = chat.ClockAt(1_000) // Shards with nothing so late are not even asked.
	if m, err := s.Match(t.Context(), q); err != nil || len(m.Documents) != 0 {
		t.Errorf("%d found after the last, error %v; want none", len(m.Documents), err)
	}
}
