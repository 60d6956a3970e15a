package opensearch

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"

	"switchboard/internal/chat"
	"switchboard/storage-worker/search"
)

const (
	// spansInQuestion is how many spans of a scope are in the question, of all its
	// conversations together. Each is a few of the 1,024 conditions that OpenSearch
	// takes unless told otherwise (indices.query.bool.max_clause_count), and the
	// words of the query are some, too. The conversations of the others are in it as
	// a whole, and their spans are looked at in the answers.
	spansInQuestion = 128
	// calls is how often OpenSearch is asked for one question, if most of what it finds
	// lies outside of the spans.
	calls = 4
	// searchTime is how long OpenSearch may take to answer one call.
	searchTime = "8s"
)

// Match implements [search.Store].
func (s *Store) Match(ctx context.Context, q *search.Question) (m search.Matches, err error) {
	if len(q.Scope) == 0 {
		return m, nil
	}
	top := q.Top
	for range calls {
		m.Next = chat.MessageID{}
		size := q.Limit - len(m.Documents)
		got, err := s.search(ctx, q, top, size)
		if err != nil {
			return search.Matches{}, fmt.Errorf("read the search index: %w", err)
		}
		for i := range got {
			d := &got[i]
			if chat.CompareMessageIDs(d.ID, q.Bottom) < 0 && !q.Bottom.IsZero() {
				return m, nil
			}
			if top = d.ID; q.Scope.Covers(d.Conversation, d.Seq) {
				m.Documents = append(m.Documents, *d)
			}
		}
		if len(got) < size {
			return m, nil
		}
		if m.Next = top; len(m.Documents) == q.Limit {
			return m, nil
		}
	}
	return m, nil
}

// search asks once for what lies below top. An answer without what some shard has
// would be a page that is short, and a cursor that steps over the rest, so it is an
// error. It is asked for all the same, since OpenSearch's own error does not say whether
// a shard is missing or the time was over.
func (s *Store) search(ctx context.Context, q *search.Question, top chat.MessageID, size int) ([]search.Document, error) {
	ask := map[string]any{
		"size": size, "timeout": searchTime, "track_total_hits": false,
		// Nothing of a hit but its message: not even its id, which is stored as _source would be.
		"stored_fields": "_none_", "docvalue_fields": []string{"message"},
		"sort":  []any{map[string]any{"clock": "desc"}, map[string]any{"node": "desc"}},
		"query": map[string]any{"bool": map[string]any{"filter": filters(q)}},
	}
	if !top.IsZero() {
		ask["search_after"] = []any{chat.ClockOf(top), nodeOf(top)}
	}
	body, err := json.Marshal(ask)
	if err != nil {
		return nil, err
	}
	var answer hits
	if err := s.call(ctx, http.MethodPost, "/"+s.messages+"/_search?allow_partial_search_results=true", body, &answer); err != nil {
		return nil, err
	}
	if err := answer.whole(); err != nil {
		return nil, err
	}
	return answer.documents()
}

// filters are what a message must answer to, all of them. Of a phrase whose last word
// is only begun they ask less than was asked, as [search.Query.Sought] does: the words
// side by side, and one that begins so, anywhere. Who gets the answer looks again.
func filters(q *search.Question) (all []any) {
	for _, t := range q.Sought() {
		whole := t.Words
		if t.Prefix {
			whole = t.Words[:len(t.Words)-1]
			all = append(all, map[string]any{"prefix": map[string]any{"words": t.Words[len(t.Words)-1]}})
		}
		if len(whole) > 0 {
			all = append(all, map[string]any{"match_phrase": map[string]any{"words": strings.Join(whole, " ")}})
		}
	}
	if len(q.From) > 0 {
		all = append(all, terms("sender", q.From))
	}
	for _, thing := range q.Has {
		all = append(all, terms("has", []search.Thing{thing}))
	}
	from, below := q.After, chat.Clock(math.MaxInt64)
	if !q.Bottom.IsZero() {
		from = max(from, chat.ClockOf(q.Bottom))
	}
	if q.Before > 0 {
		below = q.Before
	}
	return append(all, span("clock", from, below-1), scope(q.Scope))
}

func terms[T any](field string, values []T) any {
	return map[string]any{"terms": map[string]any{field: values}}
}

// span asks for from ≤ field ≤ to.
func span[T ~int64](field string, from, to T) any {
	return map[string]any{"range": map[string]any{field: map[string]any{"gte": from, "lte": to}}}
}

// scope asks for what may be seen, and perhaps for more of some conversations: see
// [spansInQuestion].
func scope(s search.Scope) any {
	var whole []chat.ConversationID
	var ways []any
	left := spansInQuestion
	for c, spans := range s {
		all := len(spans) == 1 && spans[0].From <= 1 && spans[0].To == 0
		if all || len(spans) > left {
			whole = append(whole, c)
			continue
		}
		left -= len(spans)
		for _, p := range spans {
			to := p.To
			if to == 0 {
				to = math.MaxInt64
			}
			ways = append(ways, map[string]any{"bool": map[string]any{"filter": []any{
				terms("conversation", []chat.ConversationID{c}), span("seq", p.From, to),
			}}})
		}
	}
	if len(whole) > 0 {
		ways = append(ways, terms("conversation", whole))
	}
	if len(ways) == 0 {
		return map[string]any{"match_none": map[string]any{}}
	}
	return map[string]any{"bool": map[string]any{"should": ways, "minimum_should_match": 1}}
}
