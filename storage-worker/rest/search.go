package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
	"switchboard/storage-worker/archive"
	"switchboard/storage-worker/search"
)

// search looks for messages in what the caller may see. The index says where they
// are; what is shown is what the archive has, and what the caller may see still.
func (s *Server) search(r *http.Request, who chat.UserID) (reply, error) {
	request, err := search.ReadRequest(r.URL.RawQuery, who)
	if err != nil {
		return reply{}, err
	}
	if s.Finder == nil {
		return reply{}, without("this server does not search")
	}
	if request.Scope, err = s.scope(r.Context(), who); err != nil {
		return reply{}, err
	}
	if !request.Scope.HasAll(request.Query.In) {
		return reply{}, notMember()
	}
	page, err := s.Finder.Find(r.Context(), request)
	if err != nil {
		return reply{}, s.unsearched(err)
	}
	results, err := s.results(r.Context(), who, page.Hits)
	return reply{http.StatusOK, wire.SearchPage{Results: results, Cursor: page.Cursor}}, err
}

// scope reads what the user may see.
func (s *Server) scope(ctx context.Context, u chat.UserID) (search.Scope, error) {
	stays, err := s.Store.Stays(ctx, u)
	if err != nil {
		return nil, fmt.Errorf("read the user index: %w", err)
	}
	return search.ScopeOf(stays), nil
}

// unsearched is what may be told of a search that failed.
func (s *Server) unsearched(err error) error {
	if _, refused := errors.AsType[*chat.Error](err); refused || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return err
	}
	s.Logger.Warn("the search index does not answer", "error", err)
	return unavailable("nobody can search, at the moment")
}

// results reads the messages that were found. One that the archive does not have, or
// has with other words, is left out, and one that the caller may not see any more.
func (s *Server) results(ctx context.Context, who chat.UserID, hits []search.Hit) ([]wire.SearchResult, error) {
	rows := make([]archive.Row, len(hits))
	err := together(ctx, len(hits), func(ctx context.Context, i int) error {
		h := &hits[i]
		found, err := s.Store.Entries(ctx, h.Conversation, h.Seq, h.Seq, 1, false)
		copy(rows[i:i+1], found)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read what was found: %w", err)
	}
	scope, err := s.scope(ctx, who)
	if err != nil {
		return nil, err
	}
	results := []wire.SearchResult{}
	for i := range hits {
		h, e := &hits[i], &rows[i].Entry
		if e.ID != h.ID || e.Content != h.Content || !scope.Covers(e.Conversation, e.Seq) {
			continue
		}
		e.MediaURL = s.Links.Signed(e.MediaURL)
		result := wire.SearchResult{Message: wire.EntryMessage(e, e.Sender == who), Highlights: []wire.Highlight{}}
		for _, piece := range h.Highlights {
			result.Highlights = append(result.Highlights, wire.Highlight(piece))
		}
		results = append(results, result)
	}
	return results, nil
}
