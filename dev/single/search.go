package single

import (
	"context"
	"path/filepath"

	"switchboard/internal/bus"
	"switchboard/internal/bus/kafka"
	"switchboard/storage-worker/search"
	index "switchboard/storage-worker/search/sqlite"
)

// openIndex opens the search index, with the driver of the archive. It may be deleted
// at any time between two runs: the log and the archive fill it again.
func (s *System) openIndex(ctx context.Context) (err error) {
	s.index, err = index.Open(ctx, filepath.Join(s.cfg.Data, "search.db"))
	if err == nil {
		s.onClose(func() { _ = s.index.Close() })
	}
	return err
}

// newIndexer returns what fills the index.
func (s *System) newIndexer() *search.Indexer {
	return search.NewIndexer(search.Config{
		Log: s.client.Log(), Generation: bus.FirstGeneration, Store: s.index, Archive: s.store,
		Accepted: s.client.Group(bus.AcceptedTopic(bus.FirstGeneration), bus.SearchGroup, kafka.GroupConfig{}),
		Logger:   s.cfg.Logger, Metrics: s.set,
	})
}
