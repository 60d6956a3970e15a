package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
	"switchboard/storage-worker/archive"
)

// The limits of POST /sync.
const (
	// SyncDefault is how many events an answer has unless a limit is asked.
	SyncDefault = 200
	// SyncMax is the highest limit.
	SyncMax = 500
	// SyncGap is how many events one conversation may be behind before it is
	// paged instead of synced, and how many of a left one are told.
	SyncGap = 500
)

// sync answers with what the caller does not have. There is no cursor: the
// client says what it has, which it must know anyway, and nothing expires.
func (s *Server) sync(r *http.Request, who chat.UserID) (reply, error) {
	body, err := readBody(r, LargeBodyBytes, false)
	if err != nil {
		return reply{}, err
	}
	var asked struct {
		wire.SyncRequest
		Limit *int `json:"limit"` // nil and 0 differ
	}
	if err := decode(body, &asked); err != nil {
		return reply{}, err
	}
	limit := SyncDefault
	if asked.Limit != nil {
		limit = *asked.Limit
	}
	if limit < 1 || limit > SyncMax {
		return reply{}, badRequest("limit must be 1 to %d", SyncMax)
	}
	for _, seq := range asked.Have {
		if seq < 0 {
			return reply{}, badRequest("have names a seq below 0")
		}
	}
	stays, err := s.Store.Stays(r.Context(), who)
	if err != nil {
		return reply{}, fmt.Errorf("read the user index: %w", err)
	}
	behind, err := s.behind(r.Context(), stays, asked.Have)
	if err != nil {
		return reply{}, err
	}
	answer, err := s.caughtUp(r.Context(), who, behind, limit)
	return reply{http.StatusOK, answer}, err
}

// lag is what the caller lacks in one conversation: events, or a head, or nothing.
type lag struct {
	history
	from, to chat.Seq // of the events; 0 = none
	head     wire.Head
}

// behind returns a lag for each conversation of a user, in the index's order.
func (s *Server) behind(ctx context.Context, stays []archive.Stay, have map[chat.ConversationID]chat.Seq) ([]lag, error) {
	var lags []lag
	for len(stays) > 0 {
		n := 1
		for n < len(stays) && stays[n].Conversation == stays[0].Conversation {
			n++
		}
		lags = append(lags, lag{history: history{store: s.Store, conversation: stays[0].Conversation, stays: stays[:n]}})
		stays = stays[n:]
	}
	err := together(ctx, len(lags), func(ctx context.Context, i int) error {
		seq, named := have[lags[i].conversation]
		return lags[i].fill(ctx, seq, named)
	})
	return lags, err
}

// fill decides what to tell of one conversation: nothing, its events above have,
// or that the client must page it. What the index has and the archive has not
// yet is not told: it will be pushed.
func (l *lag) fill(ctx context.Context, have chat.Seq, named bool) error {
	last := l.stays[len(l.stays)-1]
	if !named {
		have = last.Joined - 1
	}
	top := indexed(last)
	if have >= top || last.Left != 0 && !named {
		return nil
	}
	tip, err := l.store.Tip(ctx, l.conversation, chat.MessageID{})
	if err != nil {
		return fmt.Errorf("read the head: %w", err)
	}
	top = min(top, tip.Seq)
	if last.Left == 0 && last.Large {
		// Its index row bounds nothing: the head may be from after a removal.
		now, err := l.store.StaysIn(ctx, last.User, l.conversation)
		if err != nil {
			return fmt.Errorf("read the stays again: %w", err)
		}
		if n := len(now); n > 0 && (now[n-1].Joined != last.Joined || now[n-1].Left != 0) {
			l.stays = now
			return l.fill(ctx, have, named)
		}
	}
	switch {
	case have >= top:
		return nil
	case last.Left != 0:
		l.from, l.to = max(have+1, lastOf(l.stays, top, SyncGap)), top
		return nil
	case named && !last.Large && size(l.stays, have+1, top) <= SyncGap:
		l.from, l.to = have+1, top
		return nil
	}
	mark, err := l.store.Watermark(ctx, l.conversation, last.User, last.Joined)
	if err != nil {
		return fmt.Errorf("read the watermark: %w", err)
	}
	l.head = wire.Head{ConversationID: l.conversation, HeadSeq: top, ReadSeq: min(mark.Read, top), Large: last.Large}
	return nil
}

// indexed is the newest event of a stay as far as the index knows: nothing above
// it can be visible.
func indexed(s archive.Stay) chat.Seq {
	switch {
	case s.Left != 0:
		return s.Left
	case s.Large:
		return forever
	}
	return s.Head.Seq
}

// caughtUp reads the events of the lags, up to limit, and encodes them as they
// were pushed.
func (s *Server) caughtUp(ctx context.Context, who chat.UserID, lags []lag, limit int) (wire.SyncResponse, error) {
	body := wire.SyncResponse{Events: []wire.Envelope{}, Heads: []wire.Head{}}
	takes := make([]int, len(lags))
	for i := range lags {
		l := &lags[i]
		if l.head.HeadSeq != 0 {
			body.Heads = append(body.Heads, l.head)
		}
		if l.to == 0 {
			continue
		}
		n := size(l.stays, l.from, l.to)
		takes[i] = int(min(n, int64(limit)))
		limit -= takes[i]
		body.HasMore = body.HasMore || int64(takes[i]) < n
	}
	events := make([][]archive.Row, len(lags))
	err := together(ctx, len(lags), func(ctx context.Context, i int) (err error) {
		if takes[i] > 0 {
			events[i], err = lags[i].newer(ctx, lags[i].from, lags[i].to, takes[i])
		}
		return err
	})
	for _, row := range slices.Concat(events...) {
		row.MediaURL = s.Links.Signed(row.MediaURL)
		var pushed wire.Envelope
		if err := json.Unmarshal(wire.AppendEntry(nil, &row.Entry, row.Sender == who), &pushed); err != nil {
			return body, fmt.Errorf("encode event %d of %s: %w", row.Seq, row.Conversation, err)
		}
		body.Events = append(body.Events, pushed)
	}
	return body, err
}
