package main

import (
	"context"
	"slices"

	"switchboard/internal/daemon"
	"switchboard/internal/roster"
	"switchboard/internal/roster/postgres"
)

// rosterConfig says how to reach PostgreSQL. What is wrong with the flags or
// their files is a usage error.
func rosterConfig(flags *daemon.Postgres) (c postgres.Config, err error) {
	var errs [3]error
	c.URL, errs[0] = flags.URL()
	c.Password, errs[1] = flags.Password()
	c.TLS, errs[2] = flags.TLS()
	if i := slices.IndexFunc(errs[:], func(err error) bool { return err != nil }); i >= 0 {
		return c, errs[i]
	}
	if !flags.Given() {
		return c, nil
	}
	if err := c.Check(); err != nil {
		return c, daemon.Usagef("-postgres: %v", err)
	}
	return c, nil
}

// connectRoster returns who is in which conversation, nil without -postgres.
// PostgreSQL is asked when something is needed of it: it may be away, now and later.
func connectRoster(ctx context.Context, flags *daemon.Postgres) (people roster.Store, closePeople func(), err error) {
	config, err := rosterConfig(flags)
	if err != nil || !flags.Given() {
		return nil, func() {}, err
	}
	store, err := postgres.Connect(ctx, config)
	if err != nil {
		return nil, nil, err
	}
	return store, store.Close, nil
}
