// Command router takes outcomes from the accepted log to the servers where
// somebody waits for them: see package fanout.
package main

import (
	"context"
	"io"
	"log/slog"
	"os"

	"switchboard/internal/bus"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/chat"
	"switchboard/internal/daemon"
	"switchboard/internal/mediaurl"
	"switchboard/internal/metrics"
	"switchboard/internal/presence/redis"
	"switchboard/router/fanout"
	"switchboard/router/signals"
)

const manual = `router reads outcomes from chat.accepted, asks presence where the people
concerned are, and writes one record per server to chat.delivery.<server>; who
is away gets a record on chat.push. What has been read comes from chat.status and
goes the same way. Any number of routers share the partitions.

Members of a conversation of more than 100 are told once a second at most how far
it has come. Who they are it reads from the roster, -postgres, which a projection
keeps (storage-worker -serve projection). While PostgreSQL is away only these hints are
late; without -postgres there are none, and such conversations are seen by pulling.
The roster also says who is told that somebody types, comes or goes.

With -push-key or -push-webhook it notifies the devices of those who are away, which
are registered over REST in -postgres: by Web Push, and by calls to a sender of the
operator's. What cannot be delivered is put on chat.undelivered.

It keeps nothing: kill it at any moment, and another one goes on. While Kafka or
Redis is away it waits, /readyz is 503, and nothing is lost.

Kafka and Redis may want a login and TLS: -kafka-credentials, -kafka-ca, and the
same for -redis, and -postgres-password, -postgres-ca. A wrong password is one
line, and is tried again; a file that cannot be used ends it with status 2.

Exit status: 0 after SIGTERM, 1 when something failed, 2 for a wrong flag or
topics on which acknowledged records could be lost.`

func main() { os.Exit(daemon.Main(run)) }

// run wires one router:
//
//	accepted ─▶ group ─▶ fanout ─▶ producer ─▶ delivery, push
//	status ───▶ group ─▶   │  └──▶ producer ─▶ delivery
//	                       │
//	                    directory (Redis), roster (PostgreSQL)
//	                       │
//	signals ──▶ group ─▶ signals ─▶ channel (Redis)
//	   ▲                   └──▶ producer ─┐ for gateways that died
//	   └──────────────────────────────────┘
//	push, status ─▶ groups ─▶ notify ─▶ push services, webhook; producer ─▶ undelivered
func run(ctx context.Context, args []string, _ io.Writer) error {
	flags := daemon.NewFlags("router", manual)
	opsListen := flags.String("ops-listen", "127.0.0.1:9102", "`ADDRESS` of health, metrics and pprof")
	brokers, addresses := flags.Server("kafka", "`HOST:PORT,…` of Kafka brokers"), flags.Server("redis", "`HOST:PORT,…` of Redis, or of some nodes of a Redis Cluster")
	notes, tables := noticeFlags(flags), flags.Postgres("`URL` of PostgreSQL with the roster, postgres://user@host:port/database; empty: no hints of large conversations, of typing, coming and going")
	replication := flags.Int("replication", 3, "`NUMBER` of replicas that durable topics must have, 3 being always enough; fewer accepts that acknowledged records are lost with a broker")
	generation := flags.Uint("generation", bus.FirstGeneration, "`NUMBER` of the log's generation")
	media := mediaurl.Bind(flags.FlagSet)
	links, err := parse(flags, media, args)
	if err != nil {
		return err
	}
	if !brokers.Given() || !addresses.Given() || *replication < 1 || *generation < 1 {
		return daemon.Usagef("-kafka and -redis are needed; -replication and -generation are at least 1")
	}
	daemon.CollectLess()
	log, set := flags.Logger(os.Stderr), metrics.New()
	client, directory, channel, err := connect(brokers, addresses, log, set)
	if err != nil {
		return err
	}
	defer client.Close()
	defer directory.Close()
	defer channel.Close()
	people, handsets, closePeople, err := connectRoster(ctx, tables, log)
	if err != nil {
		return err
	}
	defer closePeople()
	notify, err := notes.notifier(handsets, client, log, set)
	if err != nil {
		return err
	}
	ops, err := daemon.NewOps(*opsListen, set, log)
	if err != nil {
		return err
	}
	ops.DrainAt(ctx)
	ops.Expect("kafka", "redis")

	producer, statuses, hints := client.Producer(kafka.ProducerConfig{}), client.Producer(kafka.ProducerConfig{}), client.Producer(kafka.ProducerConfig{Leader: true})
	group := daemon.NewGroup(ctx)
	for _, part := range []func(context.Context) error{ops.Run, producer.Run, statuses.Run, hints.Run} {
		group.Go(part)
	}
	group.Go(daemon.OnHangup(log, links.Reload))
	group.Go(func(ctx context.Context) error {
		partitions, err := await(ctx, log, ops, needs{client.Admin(), uint32(*generation), *replication, directory})
		if err != nil {
			return err
		}
		routers := daemon.NewGroup(ctx)
		notify.start(routers, partitions)
		if people != nil {
			routers.Go(signals.New(signals.Config{
				Log: client.Log(), Signals: client.Group(bus.TopicSignals, bus.SignalsGroup, kafka.GroupConfig{}),
				Roster: people, Directory: directory, Notices: directory, Wrecks: directory, Channel: channel,
				Producer: hints, Partitions: partitions, Logger: log, Metrics: set,
			}).Run)
		}
		routers.Go(fanout.New(fanout.Config{
			Log:      client.Log(),
			Accepted: client.Group(bus.AcceptedTopic(uint32(*generation)), bus.RouterGroup, kafka.GroupConfig{}),
			Status:   client.Group(bus.TopicStatus, bus.StatusGroup, kafka.GroupConfig{}),
			Producer: producer, Statuses: statuses, Directory: directory, Roster: people, Partitions: partitions, Links: links, Logger: log, Metrics: set,
		}).Run)
		return routers.Wait()
	})
	return group.Wait()
}

// parse reads the flags, and the keys that they name.
func parse(flags *daemon.Flags, media *mediaurl.Flags, args []string) (*mediaurl.Links, error) {
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	links, err := media.Open()
	if err != nil {
		return nil, daemon.Usagef("%v", err)
	}
	return links, nil
}

// connect returns the connections, which are made when they are needed.
func connect(brokers, addresses *daemon.Server, log *slog.Logger, set *metrics.Set) (*kafka.Client, *redis.Directory, *redis.Channel, error) {
	broker, err := brokers.Access()
	if err != nil {
		return nil, nil, nil, err
	}
	store, err := addresses.Access()
	if err != nil {
		return nil, nil, nil, err
	}
	config := redis.Config{Addrs: store.Addrs, Username: store.User, Password: store.Password, TLS: store.TLS, Metrics: set}
	directory, err := redis.Open(config)
	if err != nil {
		return nil, nil, nil, daemon.Usagef("-redis: %v", err)
	}
	channel, err := redis.OpenChannel(config)
	if err != nil {
		return nil, nil, nil, daemon.Usagef("-redis: %v", err)
	}
	return kafka.Open(kafka.Config{
		Brokers: broker.Addrs, Username: broker.User, Password: broker.Password, TLS: broker.TLS,
		ClientID: "router", Log: log, Metrics: set,
	}), directory, channel, nil
}

// needs is what a router waits for.
type needs struct {
	admin       bus.Admin
	generation  uint32
	replication int
	directory   *redis.Directory
}

// await waits for Kafka and Redis, checks the topics and returns how many
// partitions the log has.
func await(ctx context.Context, log *slog.Logger, ops *daemon.Ops, n needs) (partitions int32, err error) {
	err = daemon.Retry(ctx, log, "check the topics on Kafka", func(ctx context.Context) error {
		partitions, err = n.admin.Partitions(ctx, bus.AcceptedTopic(n.generation))
		if err == nil {
			err = n.admin.Check(ctx, bus.Topics(n.generation, partitions), n.replication)
		}
		ops.SetReady("kafka", err)
		return err
	})
	if err != nil {
		return 0, err
	}
	err = daemon.Retry(ctx, log, "ask Redis", func(ctx context.Context) error {
		_, err := n.directory.Where(ctx, []chat.UserID{{}})
		ops.SetReady("redis", err)
		return err
	})
	return partitions, err
}
