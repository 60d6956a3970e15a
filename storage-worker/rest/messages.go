package rest

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// lastSecond is the last Unix second that has a message id (the year 5138):
// whoever asks for later ones has mistaken milliseconds for seconds.
const lastSecond = 100_000_000_000

// listMessages answers with a page of history.
func (s *Server) listMessages(r *http.Request, m *membership) (reply, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return reply{}, badRequest("the query is malformed")
	}
	limit, err := limitOf(query)
	if err != nil {
		return reply{}, err
	}
	wanted, err := cursorOf(query)
	if err != nil {
		return reply{}, err
	}
	h := &history{store: s.Store, conversation: m.conversation, stays: m.stays}
	p, err := h.page(r.Context(), wanted, limit)
	if err != nil {
		return reply{}, err
	}
	s.sign(p.rows)
	return reply{http.StatusOK, pageOf(p, m.user)}, nil
}

// pageOf returns the page as the reader sees it.
func pageOf(p page, reader chat.UserID) wire.MessagePage {
	body := wire.MessagePage{Messages: make([]wire.Message, len(p.rows)), HasMore: p.more}
	for i := range p.rows {
		e := &p.rows[i].Entry
		body.Messages[i] = wire.EntryMessage(e, e.Sender == reader)
	}
	if n := len(p.rows); n > 0 {
		body.FirstSeq, body.LastSeq = p.rows[0].Seq, p.rows[n-1].Seq
	}
	return body
}

// cursor says which page of a history is wanted: the newest if it has no name.
type cursor struct {
	name   string // of the query's parameter
	number int64
	id     chat.MessageID // before_id, after_id
}

// cursorOf returns the one cursor that a query has.
func cursorOf(query url.Values) (c cursor, err error) {
	for _, name := range []string{"before", "before_id", "before_seq", "after_id", "after_seq", "around_seq"} {
		if !query.Has(name) {
			continue
		}
		if c.name != "" {
			return cursor{}, badRequest("there is more than one cursor")
		}
		c.name = name
		if strings.HasSuffix(name, "_id") {
			c.id, err = idOf(query, name)
		} else {
			c.number, _, err = number(query, name)
		}
		if err != nil {
			return cursor{}, err
		}
	}
	if c.name == "before" && c.number > lastSecond {
		return cursor{}, badRequest("before must be in Unix seconds")
	}
	return c, nil
}

// idOf reads a parameter that is a message's id, which is a UUID of version 1.
func idOf(query url.Values, name string) (chat.MessageID, error) {
	text, _, err := single(query, name)
	if err != nil {
		return chat.MessageID{}, err
	}
	id, err := chat.ParseMessageID(text)
	if err != nil || !chat.IsMessageID(id) {
		return chat.MessageID{}, badRequest("%s must be a message's id", name)
	}
	return id, nil
}

// page reads the page that a cursor names.
func (h *history) page(ctx context.Context, c cursor, limit int) (page, error) {
	seq := chat.Seq(c.number)
	switch c.name {
	case "before":
		return h.beforeSecond(ctx, c.number, limit)
	case "before_id":
		return h.before(ctx, c.id, limit)
	case "before_seq":
		return h.upTo(ctx, seq-1, limit)
	case "after_id":
		return h.afterID(ctx, c.id, limit)
	case "after_seq":
		return h.after(ctx, seq, limit)
	case "around_seq":
		return h.around(ctx, seq, limit)
	}
	return h.upTo(ctx, forever, limit)
}
