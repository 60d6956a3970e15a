package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"strings"

	"switchboard/internal/chat"
	"switchboard/storage-worker/search"
)

const (
	// fewConversations is up to how many conversations of a scope are words of the
	// question. Each is one more list to merge.
	fewConversations = 32
	// lookedAt is how many messages that have the words are looked at for one question,
	// whether they are in the scope or not.
	lookedAt = 20_000
)

// match reads what has the words, the newest first. The order of the two tables is
// not left to the planner.
const match = `SELECT m.place, m.message_id, m.conversation_id, m.seq, m.sender_id, m.kind, m.media, m.content, m.version
	FROM words CROSS JOIN messages AS m ON m.place = words.rowid
	WHERE words MATCH ? AND words.rowid >= ? AND words.rowid < ? ORDER BY words.rowid DESC LIMIT ?`

// Match implements [search.Store].
func (s *Store) Match(ctx context.Context, q *search.Question) (search.Matches, error) {
	if len(q.Scope) == 0 {
		return search.Matches{}, nil
	}
	found, err := s.match(ctx, q)
	if err == nil {
		err = ctx.Err() // An interrupted query may look like one at its end.
	}
	if err != nil {
		return search.Matches{}, fmt.Errorf("read the search index: %w", err)
	}
	return found, nil
}

func (s *Store) match(ctx context.Context, q *search.Question) (found search.Matches, err error) {
	bottom, top := bounds(q)
	if bottom >= top {
		return found, nil
	}
	rows, err := s.read.QueryContext(ctx, match, expression(q), bottom, top, lookedAt)
	if err != nil {
		return found, err
	}
	defer rows.Close()
	seen, last := 0, chat.MessageID{}
	for rows.Next() {
		var d search.Document
		seen++
		if err := scan(rows, &d); err != nil {
			return found, err
		}
		last = d.ID
		if !q.Scope.Covers(d.Conversation, d.Seq) {
			continue
		}
		if found.Documents = append(found.Documents, d); len(found.Documents) == q.Limit {
			break
		}
	}
	if len(found.Documents) == q.Limit || seen == lookedAt {
		found.Next = last
	}
	return found, rows.Err()
}

// bounds are the places that a question is about: from bottom, below top.
func bounds(q *search.Question) (bottom, top int64) {
	bottom, top = placeAt(q.After), math.MaxInt64
	if q.Before > 0 {
		top = placeAt(q.Before)
	}
	if !q.Bottom.IsZero() {
		bottom = max(bottom, placeOf(q.Bottom))
	}
	if !q.Top.IsZero() {
		top = min(top, placeOf(q.Top))
	}
	return bottom, top
}

// scan reads a row. Only what is in the scope is worth a copy of its content, but
// that is cheaper than a second statement.
func scan(rows *sql.Rows, d *search.Document) error {
	var id, conversation, sender, content sql.RawBytes
	var place int64
	if err := rows.Scan(&place, &id, &conversation, &d.Seq, &sender, &d.Kind, &d.Media, &content, &d.Version); err != nil {
		return err
	}
	if copy(d.ID[:], id) != len(d.ID) || copy(d.Conversation[:], conversation) != len(d.Conversation) || copy(d.Sender[:], sender) != len(d.Sender) {
		return fmt.Errorf("the message at %d has the ids %x, %x and %x", place, id, conversation, sender)
	}
	d.Content = string(content)
	return nil
}

// expression is a question in the language of FTS5. Words have no character that
// means something there, and stand in quotes.
func expression(q *search.Question) string {
	parts := []string{anyOf([]string{everything})}
	for _, t := range q.Sought() {
		part := `text : "` + strings.Join(t.Words, " ") + `"`
		if t.Prefix {
			part += " *"
		}
		parts = append(parts, part)
	}
	var senders, conversations []string
	for _, u := range q.From {
		senders = append(senders, senderFact(u))
	}
	if len(q.Scope) <= fewConversations {
		for c := range q.Scope {
			conversations = append(conversations, conversationFact(c))
		}
	}
	slices.Sort(conversations)
	for _, t := range q.Has {
		parts = append(parts, anyOf([]string{thingFact(t)}))
	}
	for _, names := range [][]string{senders, conversations} {
		if len(names) > 0 {
			parts = append(parts, anyOf(names))
		}
	}
	if len(parts) > 1 {
		parts = parts[1:]
	}
	return strings.Join(parts, " AND ")
}

// anyOf asks for one of the facts.
func anyOf(facts []string) string {
	return `facts : ("` + strings.Join(facts, `" OR "`) + `")`
}
