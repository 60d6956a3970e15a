package main

import (
	"context"

	"switchboard/internal/bus"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/daemon"
	"switchboard/storage-worker/archive"
	"switchboard/storage-worker/archive/scylla"
	"switchboard/storage-worker/receipts"
)

const (
	partReceipts = "receipts"
	// marksOfREST names the producer of what is marked over REST.
	marksOfREST = "marks"
)

// runReceipts keeps the watermarks. It is beside the messages' road in everything
// that it could crowd: its group, its producer and, where the archive is a
// cluster, its connections.
func (w *worker) runReceipts(ctx context.Context, partitions int32) error {
	store, end, err := w.openMarks(ctx)
	if err != nil {
		return err
	}
	defer end()
	w.ops.SetReady(partReceipts, nil)
	return receipts.New(receipts.Config{
		Store: store, Log: w.client.Log(), Producer: w.producers[partReceipts],
		Group:      w.client.Group(bus.TopicReceipts, bus.ReceiptsGroup, kafka.GroupConfig{}),
		Partitions: partitions, Logger: w.log, Metrics: w.set,
	}).Run(ctx)
}

// openMarks returns the archive for watermarks: connections of their own to a
// cluster, whose metrics are not mixed with those of messages, or the one file.
func (w *worker) openMarks(ctx context.Context) (store archive.Store, end func(), err error) {
	if !w.cql.server.Given() {
		return w.store, func() {}, nil
	}
	config, err := w.cql.config(w.log, nil)
	if err != nil {
		return nil, nil, err
	}
	var own *scylla.Store
	err = daemon.Retry(ctx, w.log, "open the archive for watermarks", func(ctx context.Context) (err error) {
		own, err = scylla.Open(ctx, config)
		w.ops.SetReady(partReceipts, err)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return own, own.Close, nil
}
