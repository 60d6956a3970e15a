package main

import (
	"context"
	"io"
	"log/slog"

	"switchboard/internal/bus"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/daemon"
	"switchboard/internal/metrics"
	"switchboard/internal/presence/redis"
	"switchboard/internal/roster"
	"switchboard/router/signals"
)

// openChannel returns the channel of what is fleeting, on the Redis of the
// directory. It connects when it is needed.
func openChannel(addresses *daemon.Server, set *metrics.Set) (*redis.Channel, error) {
	at, err := addresses.Access()
	if err != nil {
		return nil, err
	}
	channel, err := redis.OpenChannel(redis.Config{Addrs: at.Addrs, Username: at.User, Password: at.Password, TLS: at.TLS, Metrics: set})
	if err != nil {
		return nil, daemon.Usagef("-redis: %v", err)
	}
	return channel, nil
}

// fleeting is what the router of signals stands on.
type fleeting struct {
	client    *kafka.Client
	directory *redis.Directory
	addresses *daemon.Server
	people    roster.Store // nil without -postgres
	log       *slog.Logger
	set       *metrics.Set
}

// run routes typing, coming and going. Nobody is told of them without a roster.
func (f *fleeting) run(ctx context.Context) error {
	if f.people == nil {
		return nil
	}
	channel, err := openChannel(f.addresses, f.set)
	if err != nil {
		return err
	}
	defer closeQuietly(channel, f.log)
	return signals.New(signals.Config{
		Log: f.client.Log(), Signals: f.client.Group(bus.TopicSignals, bus.SignalsGroup, kafka.GroupConfig{}),
		Roster: f.people, Directory: f.directory, Notices: f.directory, Channel: channel, Logger: f.log, Metrics: f.set,
	}).Run(ctx)
}

// closeQuietly is the last thing that happens; nothing hangs on it.
func closeQuietly(c io.Closer, log *slog.Logger) {
	if err := c.Close(); err != nil {
		log.Warn("closing the connections to Redis", "error", err)
	}
}
