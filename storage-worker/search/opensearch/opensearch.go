// Package opensearch keeps the search index in OpenSearch, for messages that do not
// fit on one machine, and for several that search. It speaks the few calls that it
// needs over HTTP itself.
//
//	Apply ──▶ _bulk: messages ──▶ _bulk: how far conversations and partitions are
//	Match ──▶ _search: words and scope, newest first, from one place on
//
// There are two indices: NAME-messages-V and NAME-state-V, V being a version of what
// is in them: an index of a new version is empty, and fills itself. Both are made if
// missing; whoever wants other numbers of shards and copies makes them before.
//
// OpenSearch makes an index that is missing when somebody writes to it, with mappings
// that it guesses. So what is written goes to an alias, with the demand that it is
// one, and the alias names the one index of messages that this process prepared: see
// [Store.Prepare]. The state names it as well, so what is said of messages that were
// deleted is not taken for that of others.
//
// Text is cut into words and folded before it comes here, so the engine splits at
// spaces and does no more; its own ranking is not used. Versions are external ones:
// what is not newer than what is there is refused with 409, which is as good as done.
package opensearch

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"switchboard/internal/chat"
	"switchboard/storage-worker/search"
)

// version is that of the mappings, of the ids in the state and of how text is folded.
const version = "3"

const (
	// callTimeout bounds one call, besides what ctx says.
	callTimeout = 30 * time.Second
	// answerBytes bounds an answer: a window of the longest messages, escaped.
	answerBytes = 64 << 20
	// connsPerHost bounds how many connections are kept open to a node.
	connsPerHost = 16
)

// Config says where OpenSearch is.
type Config struct {
	Addrs    []string // HOST:PORT of some nodes, one at least
	User     string   // empty: nobody logs in
	Password string
	TLS      *tls.Config // nil: plain HTTP
	Name     string      // of the indices; empty = switchboard
}

// Store is a [search.Store] in OpenSearch. Close it.
type Store struct {
	// Fixed after construction.
	cfg             Config
	client          *http.Client
	messages, state string // names of the indices

	next     atomic.Uint32          // node to ask first
	identity atomic.Pointer[string] // of the messages that Prepare found; nil before
}

var _ search.Store = (*Store)(nil)

// New returns a store; nothing is asked of OpenSearch yet.
func New(c Config) *Store {
	if c.Name == "" {
		c.Name = "switchboard"
	}
	transport := &http.Transport{TLSClientConfig: c.TLS, MaxIdleConnsPerHost: connsPerHost, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true}
	return &Store{
		cfg: c, client: &http.Client{Transport: transport, Timeout: callTimeout},
		messages: c.Name + "-messages-" + version, state: c.Name + "-state-" + version,
	}
}

// Close lets go of idle connections.
func (s *Store) Close() { s.client.CloseIdleConnections() }

// Refresh makes all that was written be found, for tests. It is a second late
// otherwise.
func (s *Store) Refresh(ctx context.Context) error {
	return s.call(ctx, http.MethodPost, "/"+s.messages+"/_refresh", nil, nil)
}

// refusal is an answer that is no success.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string {
	return fmt.Sprintf("OpenSearch answers %d: %.300s", r.status, r.text)
}

// gone is an error of what was asked by an alias. That is missing when the index is.
func gone(err error) error {
	if refused, ok := errors.AsType[*refusal](err); ok && refused.status == http.StatusNotFound {
		return fmt.Errorf("%w: %w", search.ErrGone, err)
	}
	return err
}

// call asks one node, and the next if that cannot be reached.
func (s *Store) call(ctx context.Context, method, path string, body []byte, out any) (err error) {
	first := int(s.next.Add(1))
	for i := range s.cfg.Addrs {
		err = s.ask(ctx, s.cfg.Addrs[(first+i)%len(s.cfg.Addrs)], method, path, body, out)
		if _, unreached := errors.AsType[*url.Error](err); !unreached || ctx.Err() != nil {
			break
		}
	}
	if ctx.Err() != nil && err != nil {
		return ctx.Err()
	}
	return err
}

func (s *Store) ask(ctx context.Context, addr, method, path string, body []byte, out any) error {
	scheme := "http://"
	if s.cfg.TLS != nil {
		scheme = "https://"
	}
	request, err := http.NewRequestWithContext(ctx, method, scheme+addr+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if s.cfg.User != "" {
		request.SetBasicAuth(s.cfg.User, s.cfg.Password)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, answerBytes))
	if err != nil {
		return fmt.Errorf("read the answer of OpenSearch: %w", err)
	}
	if response.StatusCode/100 != 2 {
		return &refusal{response.StatusCode, string(text)}
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("understand the answer of OpenSearch: %w", err)
	}
	return nil
}

// item is one line of a bulk.
type item struct {
	index, id string
	version   int64
	document  any
}

// bulk writes items of which newer ones than they are stay.
func (s *Store) bulk(ctx context.Context, items []item) error {
	if len(items) == 0 {
		return nil
	}
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	for _, it := range items {
		action := map[string]any{"index": map[string]any{
			"_index": it.index, "_id": it.id, "version": it.version, "version_type": "external",
		}}
		if err := errors.Join(encoder.Encode(action), encoder.Encode(it.document)); err != nil {
			return err
		}
	}
	var answer struct {
		Items []map[string]struct {
			Status int
			Error  json.RawMessage
		}
	}
	if err := s.call(ctx, http.MethodPost, "/_bulk?require_alias=true", body.Bytes(), &answer); err != nil {
		return err
	}
	if len(answer.Items) != len(items) {
		return fmt.Errorf("wrote %d documents, OpenSearch answers of %d", len(items), len(answer.Items))
	}
	for _, done := range answer.Items {
		for _, one := range done {
			if one.Status/100 != 2 && one.Status != http.StatusConflict {
				return gone(&refusal{one.Status, string(one.Error)})
			}
		}
	}
	return nil
}

// Apply implements [search.Store].
func (s *Store) Apply(ctx context.Context, b *search.Batch) error {
	identity, err := s.prepared()
	if err != nil {
		return err
	}
	var messages, state []item
	into := alias(s.messages, identity)
	for i := range b.Documents {
		d := &b.Documents[i]
		messages = append(messages, item{into, d.ID.String(), int64(d.Version), documentOf(d)})
	}
	into = alias(s.state, identity)
	for c, seq := range b.Reached {
		state = append(state, item{into, reachedID(identity, c), int64(seq), stateDocument{Seq: seq}})
	}
	if p := &b.Progress; p.Generation != 0 {
		id := progressID(identity, p.Generation, p.Partition)
		state = append(state, item{into, id, p.Next + 1, stateDocument{Next: p.Next, Last: p.Last}})
	}
	for _, items := range [][]item{messages, state} {
		if err := s.bulk(ctx, items); err != nil {
			return fmt.Errorf("write the search index: %w", err)
		}
	}
	return ctx.Err()
}

// stateDocument is how far something is: a conversation or a partition.
type stateDocument struct {
	Seq  chat.Seq `json:"seq,omitempty"`
	Next int64    `json:"next,omitempty"`
	Last int64    `json:"last,omitempty"`
}

// The ids of the state say of which messages it is.
func reachedID(identity string, c chat.ConversationID) string { return identity + "-c-" + c.String() }

func progressID(identity string, generation uint32, partition int32) string {
	return fmt.Sprintf("%s-p-%d-%d", identity, generation, partition)
}

// found is a document that was asked for by its id.
type found struct {
	Found  bool            `json:"found"`
	Source stateDocument   `json:"_source"`
	Error  json.RawMessage `json:"error"` // of one among many
}

// Progress implements [search.Store].
func (s *Store) Progress(ctx context.Context, generation uint32, partition int32) (p search.Progress, ok bool, err error) {
	identity, err := s.prepared()
	if err != nil {
		return search.Progress{}, false, err
	}
	var answer found
	err = s.call(ctx, http.MethodGet, "/"+alias(s.state, identity)+"/_doc/"+progressID(identity, generation, partition), nil, &answer)
	if refused, yes := errors.AsType[*refusal](err); yes && refused.status == http.StatusNotFound && strings.Contains(refused.text, `"found":false`) {
		return search.Progress{}, false, nil
	}
	if err != nil {
		return search.Progress{}, false, fmt.Errorf("read the search index's progress: %w", gone(err))
	}
	return search.Progress{Generation: generation, Partition: partition, Next: answer.Source.Next, Last: answer.Source.Last}, answer.Found, nil
}

// Reached implements [search.Store].
func (s *Store) Reached(ctx context.Context, conversations []chat.ConversationID) (map[chat.ConversationID]chat.Seq, error) {
	reached := make(map[chat.ConversationID]chat.Seq)
	if len(conversations) == 0 {
		return reached, nil
	}
	identity, err := s.prepared()
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(conversations))
	for i, c := range conversations {
		ids[i] = reachedID(identity, c)
	}
	body, err := json.Marshal(map[string]any{"ids": ids})
	if err != nil {
		return nil, err
	}
	var answer struct{ Docs []found }
	if err := s.call(ctx, http.MethodPost, "/"+alias(s.state, identity)+"/_mget", body, &answer); err != nil {
		return nil, fmt.Errorf("read how far conversations are in the search index: %w", gone(err))
	}
	if len(answer.Docs) != len(conversations) {
		return nil, fmt.Errorf("asked for %d conversations, OpenSearch answers of %d", len(conversations), len(answer.Docs))
	}
	for i, one := range answer.Docs {
		if len(one.Error) > 0 {
			refused := &refusal{http.StatusServiceUnavailable, string(one.Error)}
			if bytes.Contains(one.Error, []byte("index_not_found_exception")) {
				refused.status = http.StatusNotFound
			}
			return nil, fmt.Errorf("read how far conversation %s is in the search index: %w", conversations[i], gone(refused))
		}
		if one.Found {
			reached[conversations[i]] = one.Source.Seq
		}
	}
	return reached, nil
}
