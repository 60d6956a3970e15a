package rest

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
	"switchboard/storage-worker/archive"
)

// SecondEntries bounds by how much a page of `before` may exceed its limit to
// end on a second's border. A second that is longer is continued with
// `before_seq`.
const SecondEntries = 2000

// lastSecond is the last Unix second that has a message id (the year 5138):
// whoever asks for later ones has mistaken milliseconds for seconds.
const lastSecond = 100_000_000_000

// page is what a reading of history brings.
type page struct {
	rows []archive.Row
	more bool
}

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
	read, err := cursorOf(query)
	if err != nil {
		return reply{}, err
	}
	h := &history{store: s.Store, conversation: m.conversation, stays: m.stays}
	p, err := read(r.Context(), h, limit)
	if err != nil {
		return reply{}, err
	}
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

// cursor reads one page of a history.
type cursor func(ctx context.Context, h *history, limit int) (page, error)

// cursorOf returns the one cursor that a query has, or the newest page.
func cursorOf(query url.Values) (cursor, error) {
	var found cursor
	for _, name := range []string{"before", "before_id", "before_seq", "after_id", "after_seq", "around_seq"} {
		text, given, err := single(query, name)
		if err != nil {
			return nil, err
		}
		if !given {
			continue
		}
		if found != nil {
			return nil, badRequest("there is more than one cursor")
		}
		if found, err = parseCursor(query, name, text); err != nil {
			return nil, err
		}
	}
	if found == nil {
		found = func(ctx context.Context, h *history, limit int) (page, error) {
			return h.upTo(ctx, forever, limit)
		}
	}
	return found, nil
}

func parseCursor(query url.Values, name, text string) (cursor, error) {
	switch name {
	case "before_id", "after_id":
		id, err := chat.ParseMessageID(text)
		if err != nil || id[6]>>4 != 1 {
			return nil, badRequest("%s must be a message's id", name)
		}
		if name == "before_id" {
			return func(ctx context.Context, h *history, limit int) (page, error) { return h.before(ctx, id, limit) }, nil
		}
		return func(ctx context.Context, h *history, limit int) (page, error) { return h.afterID(ctx, id, limit) }, nil
	}
	n, _, err := number(query, name)
	if err != nil {
		return nil, err
	}
	seq := chat.Seq(n)
	switch name {
	case "before":
		if n > lastSecond {
			return nil, badRequest("before must be in Unix seconds")
		}
		return func(ctx context.Context, h *history, limit int) (page, error) { return h.beforeSecond(ctx, n, limit) }, nil
	case "before_seq":
		return func(ctx context.Context, h *history, limit int) (page, error) { return h.upTo(ctx, seq-1, limit) }, nil
	case "after_seq":
		return func(ctx context.Context, h *history, limit int) (page, error) { return h.after(ctx, seq, limit) }, nil
	}
	return func(ctx context.Context, h *history, limit int) (page, error) { return h.around(ctx, seq, limit) }, nil
}

// upTo returns the newest events with seq ≤ to.
func (h *history) upTo(ctx context.Context, to chat.Seq, limit int) (page, error) {
	rows, err := h.older(ctx, to, limit)
	return h.back(rows), err
}

// after returns the oldest events above a seq. One more than the limit is read
// to know whether there is more.
func (h *history) after(ctx context.Context, seq chat.Seq, limit int) (page, error) {
	if seq == forever {
		return page{}, nil
	}
	rows, err := h.newer(ctx, seq+1, forever, limit+1)
	if err != nil {
		return page{}, err
	}
	if len(rows) <= limit {
		return page{rows, false}, nil
	}
	return page{rows[:limit], true}, nil
}

// below returns the seq of the newest event whose id is below the border, be it
// visible or not.
func (h *history) below(ctx context.Context, border chat.MessageID) (chat.Seq, error) {
	tip, err := h.store.Tip(ctx, h.conversation, border)
	if err != nil {
		return 0, fmt.Errorf("find a place in history: %w", err)
	}
	return tip.Seq, nil
}

func (h *history) before(ctx context.Context, id chat.MessageID, limit int) (page, error) {
	to, err := h.below(ctx, id)
	if err != nil {
		return page{}, err
	}
	return h.upTo(ctx, to, limit)
}

// afterID returns the oldest events above an id; the one that has the id is not
// above it.
func (h *history) afterID(ctx context.Context, id chat.MessageID, limit int) (page, error) {
	seq, err := h.below(ctx, id)
	if err != nil {
		return page{}, err
	}
	next, err := h.store.Entries(ctx, h.conversation, seq+1, seq+1, 1, false)
	if err != nil {
		return page{}, fmt.Errorf("find a place in history: %w", err)
	}
	if len(next) == 1 && next[0].ID == id {
		seq++
	}
	return h.after(ctx, seq, limit)
}

// beforeSecond returns the newest events that are strictly older than a Unix
// second. The next page is asked for with the second of this one's oldest
// event, so all events of that second belong to this page.
func (h *history) beforeSecond(ctx context.Context, second int64, limit int) (page, error) {
	p, err := h.before(ctx, chat.FirstMessageID(chat.ClockAt(second)), limit)
	if err != nil || !p.more {
		return p, err
	}
	oldest := p.rows[0]
	border, err := h.below(ctx, chat.FirstMessageID(chat.ClockAt(chat.ClockOf(oldest.ID).Unix())))
	if err != nil {
		return page{}, err
	}
	n := min(size(h.stays, border+1, oldest.Seq-1), SecondEntries)
	rest, err := h.older(ctx, oldest.Seq-1, int(n))
	if err != nil {
		return page{}, err
	}
	return h.back(append(rest, p.rows...)), nil
}

// around returns the events about a seq, as many older as younger ones where
// there are enough; `more` speaks of the older ones.
func (h *history) around(ctx context.Context, seq chat.Seq, limit int) (page, error) {
	older, err := h.older(ctx, seq-1, limit)
	if err != nil {
		return page{}, err
	}
	younger, err := h.newer(ctx, seq, forever, limit)
	if err != nil {
		return page{}, err
	}
	take := min(limit/2, len(older))
	if spare := limit - take - len(younger); spare > 0 {
		take = min(take+spare, len(older))
	}
	younger = younger[:min(limit-take, len(younger))]
	return h.back(append(older[len(older)-take:], younger...)), nil
}
