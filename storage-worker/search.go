package main

import (
	"context"
	"errors"

	"switchboard/internal/bus"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/daemon"
	"switchboard/storage-worker/search"
	"switchboard/storage-worker/search/opensearch"
	"switchboard/storage-worker/search/sqlite"
)

// indexed reports whether there is an index, of either kind.
func (o *options) indexed() bool { return o.search != "" || o.opensearch.Given() }

// openIndex opens the search index, for who fills it and for who asks it. Whatever is
// wrong with a file does not heal by waiting. OpenSearch is asked when it is needed.
func (w *worker) openIndex(ctx context.Context) error {
	if !w.indexed() || !w.serves(partSearch) && !w.serves(partREST) {
		return nil
	}
	if w.search != "" {
		store, err := sqlite.Open(ctx, w.search)
		if err != nil {
			return err
		}
		w.index, w.prepareIndex = store, func(context.Context) error { return nil }
		w.closeIndex = func() {
			if err := store.Close(); err != nil {
				w.log.Warn("close the search index", "error", err)
			}
		}
		return nil
	}
	at, err := w.opensearch.Access()
	if err != nil {
		return err
	}
	store := opensearch.New(opensearch.Config{Addrs: at.Addrs, User: at.User, Password: at.Password, TLS: at.TLS})
	w.index, w.prepareIndex, w.closeIndex = store, store.Prepare, store.Close
	return nil
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
	generation, health := uint32(w.generation), w.partHealth(partSearch)
	err := daemon.Retry(ctx, w.log, "prepare the search index", func(ctx context.Context) error {
		err := w.prepareIndex(ctx)
		health(err)
		return err
	})
	if err != nil {
		return err
	}
	return search.NewIndexer(search.Config{
		Log: w.client.Log(), Generation: generation, Store: w.index, Prepare: w.prepareIndex, Archive: w.store, Health: health,
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
