package main

import (
	"context"

	"switchboard/internal/daemon"
	"switchboard/internal/devices"
	"switchboard/internal/roster/postgres"
)

// openDevices prepares the tables of devices for REST. PostgreSQL is asked when a
// call needs it: it may be away, now and later.
func (w *worker) openDevices(ctx context.Context) error {
	if !w.serves(partREST) || !w.postgres.Given() {
		return nil
	}
	config, err := rosterConfig(w.postgres)
	if err != nil {
		return err
	}
	if w.handsets, err = postgres.Connect(ctx, config); err != nil {
		return daemon.Usagef("-postgres: %v", err)
	}
	return nil
}

// devices returns who is notified how, nil without -postgres.
func (w *worker) devices() devices.Store {
	if w.handsets == nil {
		return nil
	}
	return w.handsets.Devices()
}

func (w *worker) closeDevices() {
	if w.handsets != nil {
		w.handsets.Close()
	}
}
