package main

import (
	"context"
	"errors"

	"switchboard/internal/bus"
	"switchboard/internal/bus/kafka"
	"switchboard/storage-worker/search"
	index "switchboard/storage-worker/search/sqlite"
)

// openIndex opens the search index, for who fills it and for who asks it. Whatever is
// wrong with a file does not heal by waiting.
func (w *worker) openIndex(ctx context.Context) (err error) {
	if w.search == "" || !w.serves(partSearch) && !w.serves(partREST) {
		return nil
	}
	w.index, err = index.Open(ctx, w.search)
	return err
}

// closeIndex closes what openIndex opened.
func (w *worker) closeIndex() {
	if w.index == nil {
		return
	}
	if err := w.index.Close(); err != nil {
		w.log.Warn("close the search index", "error", err)
	}
}

// finder returns what answers searches; nil without an index.
func (w *worker) finder() *search.Finder {
	if w.index == nil {
		return nil
	}
	return search.NewFinder(w.index, w.set)
}

// runSearch fills the index. Nothing else waits for it.
func (w *worker) runSearch(ctx context.Context) error {
	generation := uint32(w.generation)
	w.ops.SetReady(partSearch, nil)
	return search.NewIndexer(search.Config{
		Log: w.client.Log(), Generation: generation, Store: w.index, Archive: w.store, Health: w.partHealth(partSearch),
		Accepted: w.client.Group(bus.AcceptedTopic(generation), bus.SearchGroup, kafka.GroupConfig{}),
		Logger:   w.log, Metrics: w.set,
	}).Run(ctx)
}

// partHealth returns what is told how a part is that nothing waits for. A process that
// does nothing else is as ready as it; one that folds or serves REST is ready without
// it: messages flow, so load balancers must not turn away from REST, nor systemd or a
// rolling update wait; the lag and the errors are metrics.
func (w *worker) partHealth(part string) func(error) {
	if len(*w.serve) > 1 {
		w.ops.SetReady(part, nil)
		return func(error) {}
	}
	return func(err error) {
		if err != nil && errors.Is(err, context.Canceled) {
			return // It is the program that ends.
		}
		w.ops.SetReady(part, err)
	}
}
