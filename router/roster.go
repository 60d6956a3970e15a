package main

import (
	"context"
	"log/slog"

	"switchboard/internal/daemon"
	"switchboard/internal/devices"
	"switchboard/internal/roster"
	"switchboard/internal/roster/postgres"
)

// connectRoster returns who is in which conversation and which devices are notified,
// nil without -postgres.
// PostgreSQL is asked when something is needed of it: it may be away, now and later.
// What is wrong with the flags or their files is a usage error.
func connectRoster(ctx context.Context, flags *daemon.Postgres, log *slog.Logger) (people roster.Store, handsets devices.Store, closePeople func(), err error) {
	at, err := flags.Access()
	if err != nil {
		return nil, nil, nil, err
	}
	if !flags.Given() {
		log.Info("no -postgres: members of large conversations pull, and nobody sees others type, come and go")
		return nil, nil, func() {}, nil
	}
	store, err := postgres.Connect(ctx, postgres.Config{URL: at.URL, Password: at.Password, TLS: at.TLS})
	if err != nil {
		return nil, nil, nil, daemon.Usagef("-postgres: %v", err)
	}
	return store, store.Devices(), store.Close, nil
}
