package main

import (
	"context"
	"log/slog"

	"switchboard/internal/daemon"
	"switchboard/internal/roster"
	"switchboard/internal/roster/postgres"
)

// connectRoster returns who is in which conversation, nil without -postgres.
// PostgreSQL is asked when something is needed of it: it may be away, now and later.
// What is wrong with the flags or their files is a usage error.
func connectRoster(ctx context.Context, flags *daemon.Postgres, log *slog.Logger) (people roster.Store, closePeople func(), err error) {
	at, err := flags.Access()
	if err != nil {
		return nil, nil, err
	}
	if !flags.Given() {
		log.Info("no -postgres: members of large conversations pull, and nobody sees others type, come and go")
		return nil, func() {}, nil
	}
	store, err := postgres.Connect(ctx, postgres.Config{URL: at.URL, Password: at.Password, TLS: at.TLS})
	if err != nil {
		return nil, nil, daemon.Usagef("-postgres: %v", err)
	}
	return store, store.Close, nil
}
