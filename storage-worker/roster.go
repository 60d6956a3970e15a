package main

import (
	"context"

	"switchboard/internal/bus"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/daemon"
	"switchboard/internal/roster/postgres"
	"switchboard/storage-worker/projection"
)

// rosterConfig says how to reach PostgreSQL. What is wrong with the flags or
// their files is a usage error.
func rosterConfig(flags *daemon.Postgres) (c postgres.Config, err error) {
	at, err := flags.Access()
	if err != nil || !flags.Given() {
		return c, err
	}
	c = postgres.Config{URL: at.URL, Password: at.Password, TLS: at.TLS}
	if err := c.Check(); err != nil {
		return c, daemon.Usagef("-postgres: %v", err)
	}
	return c, nil
}

// runProjection waits for PostgreSQL and its tables, and then projects. Nothing
// else waits for it.
func (w *worker) runProjection(ctx context.Context) error {
	config, err := rosterConfig(w.postgres)
	if err != nil {
		return err
	}
	health := w.partHealth(partProjection)
	var store *postgres.Store
	err = daemon.Retry(ctx, w.log, "open the roster", func(ctx context.Context) (err error) {
		store, err = postgres.Open(ctx, config)
		health(err)
		return err
	})
	if err != nil {
		return err
	}
	defer store.Close()
	generation := uint32(w.generation)
	return projection.New(projection.Config{
		Log: w.client.Log(), Generation: generation, Roster: store, Archive: w.store, Health: health,
		Accepted: w.client.Group(bus.AcceptedTopic(generation), bus.ProjectionGroup, kafka.GroupConfig{}),
		Logger:   w.log, Metrics: w.set,
	}).Run(ctx)
}
