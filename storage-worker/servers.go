package main

import (
	"log/slog"

	"switchboard/internal/bus/kafka"
	"switchboard/internal/daemon"
	"switchboard/internal/metrics"
	"switchboard/storage-worker/archive/scylla"
)

// openKafka returns the connection to Kafka, which is made when it is needed.
func openKafka(server *daemon.Server, clientID string, log *slog.Logger, set *metrics.Set) (*kafka.Client, error) {
	at, err := server.Access()
	if err != nil {
		return nil, err
	}
	return kafka.Open(kafka.Config{
		Brokers: at.Addrs, Username: at.User, Password: at.Password, TLS: at.TLS,
		ClientID: clientID, Log: log, Metrics: set,
	}), nil
}

// cluster is where the archive lives when it is not a file.
type cluster struct {
	server       *daemon.Server
	keyspace, dc string
}

// clusterFlags adds the flags of Cassandra or Scylla. manual is that of -cql.
func clusterFlags(flags *daemon.Flags, manual, dc string) *cluster {
	c := &cluster{server: flags.Server("cql", manual)}
	flags.StringVar(&c.keyspace, "cql-keyspace", defaultKeyspace, "`NAME` of the keyspace in -cql")
	flags.StringVar(&c.dc, "cql-dc", "", dc)
	return c
}

// config returns the configuration of the archive there.
func (c *cluster) config(log *slog.Logger, set *metrics.Set) (scylla.Config, error) {
	at, err := c.server.Access()
	if err != nil {
		return scylla.Config{}, err
	}
	return scylla.Config{
		Hosts: at.Addrs, Username: at.User, Password: at.Password, TLS: at.TLS,
		Keyspace: c.keyspace, LocalDC: c.dc, Logger: log, Metrics: set,
	}, nil
}
