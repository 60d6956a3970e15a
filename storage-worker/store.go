package main

import (
	"context"
	"errors"
	"fmt"

	"switchboard/internal/daemon"
	"switchboard/storage-worker/archive/scylla"
	"switchboard/storage-worker/archive/sqlite"
)

// partArchive names the archive on /readyz.
const partArchive = "archive"

// defaultKeyspace is where the archive lives in a cluster unless a flag says
// otherwise.
const defaultKeyspace = "switchboard"

// openFile opens the archive in SQLite. Whatever is wrong with a file does not
// heal by waiting.
func (w *worker) openFile(ctx context.Context) error {
	store, err := sqlite.Open(ctx, w.archive, sqlite.Config{Metrics: w.set})
	if err != nil {
		return fmt.Errorf("open the archive %s: %w", w.archive, err)
	}
	w.store = store
	w.closeStore = func() {
		if err := store.Close(); err != nil {
			w.log.Warn("close the archive", "error", err)
		}
	}
	return nil
}

// awaitCluster waits until the archive in a cluster can be opened; one in a file
// is open already.
func (w *worker) awaitCluster(ctx context.Context) error {
	if w.store != nil {
		w.ops.SetReady(partArchive, nil)
		return nil
	}
	config, err := w.cql.config(w.log, w.set)
	if err != nil {
		return err
	}
	return daemon.Retry(ctx, w.log, "open the archive", func(ctx context.Context) error {
		store, err := scylla.Open(ctx, config)
		if errors.Is(err, scylla.ErrDiffers) {
			return daemon.Usagef("-cql: %v", err) // As migrate does: no waiting heals it.
		}
		w.ops.SetReady(partArchive, err)
		if err == nil {
			w.store, w.closeStore = store, store.Close
		}
		return err
	})
}
