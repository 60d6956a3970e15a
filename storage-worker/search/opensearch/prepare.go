package opensearch

import (
	"context"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// What both indices are made from. Strict: what the mappings do not name is an error.
var (
	//go:embed messages.json
	messagesIndex []byte
	//go:embed state.json
	stateIndex []byte
)

var errUnprepared = errors.New("the search index is not prepared")

// Prepare makes the indices that are missing, looks whether those that are there are
// ours, and gives them the aliases that are written to. Until this store has done it
// Apply, Progress and Reached fail, and until any has, Match does. It may be repeated,
// but not while an indexer is at work: that believes what it read of these messages.
//
//	GET NAME-messages-V ──▶ its uuid, which another index of that name does not have
//	   └─▶ aliases NAME-messages-V-UUID, NAME-state-V-UUID; ids in the state: UUID-…
//
// So when the messages are deleted, whoever filled them gets [search.ErrGone], whatever
// others have made in their place; and when they are made anew, nothing in the state is
// of them. A state that is deleted alone costs work, but no message.
func (s *Store) Prepare(ctx context.Context) error {
	identity, err := s.ensure(ctx, s.messages, messagesIndex)
	if err == nil {
		_, err = s.ensure(ctx, s.state, stateIndex)
	}
	if err != nil {
		return err
	}
	type action map[string]map[string]string
	body, err := json.Marshal(map[string][]action{"actions": {
		{"add": {"index": s.messages, "alias": alias(s.messages, identity)}},
		{"add": {"index": s.state, "alias": alias(s.state, identity)}},
	}})
	if err != nil {
		return err
	}
	if err := s.call(ctx, http.MethodPost, "/_aliases", body, nil); err != nil {
		return fmt.Errorf("give the search index its aliases: %w", err)
	}
	s.identity.Store(&identity)
	return nil
}

// prepared returns what Prepare found.
func (s *Store) prepared() (identity string, err error) {
	if found := s.identity.Load(); found != nil {
		return *found, nil
	}
	return "", errUnprepared
}

// alias returns the name under which an index is written to.
func alias(index, identity string) string { return index + "-" + identity }

// ensure makes an index if it is missing, and returns its identity. One that is there
// must have our mappings at least; numbers of shards and the like are the operator's.
func (s *Store) ensure(ctx context.Context, name string, body []byte) (identity string, err error) {
	err = s.call(ctx, http.MethodPut, "/"+name, body, nil)
	if refused, ok := errors.AsType[*refusal](err); ok && strings.Contains(refused.text, "resource_already_exists_exception") {
		err = nil
	}
	if err != nil {
		return "", fmt.Errorf("make the search index %s: %w", name, err)
	}
	var want struct{ Mappings any }
	if err := json.Unmarshal(body, &want); err != nil {
		return "", err
	}
	var answer map[string]struct {
		Mappings any
		Settings struct{ Index struct{ UUID string } }
	}
	if err := s.call(ctx, http.MethodGet, "/"+name, nil, &answer); err != nil {
		return "", fmt.Errorf("look at the search index %s: %w", name, err)
	}
	there := answer[name]
	if there.Settings.Index.UUID == "" {
		return "", fmt.Errorf("look at the search index %s: OpenSearch does not say which one it is", name)
	}
	if d := difference("mappings", there.Mappings, want.Mappings); d != "" {
		return "", fmt.Errorf("the search index %s is none of ours, delete it to have it made anew: %s", name, d)
	}
	return hex.EncodeToString([]byte(there.Settings.Index.UUID)), nil // In lower case, as names are.
}

// difference says where there is not what is wanted; "" if nowhere. What is there
// besides does no harm.
func difference(at string, there, want any) string {
	wanted, more := want.(map[string]any)
	if !more {
		if fmt.Sprint(there) == fmt.Sprint(want) {
			return ""
		}
		return fmt.Sprintf("%s is %v, want %v", at, there, want)
	}
	have, _ := there.(map[string]any) // Without one, all of it is missing.
	for _, key := range slices.Sorted(maps.Keys(wanted)) {
		if d := difference(at+"."+key, have[key], wanted[key]); d != "" {
			return d
		}
	}
	return ""
}
