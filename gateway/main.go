// Gateway holds the clients' sockets and knows nothing but framing and routing:
// what clients send goes to the log, what the log has for them goes to their
// sockets. It keeps no message, no history and no membership.
//
//	clients ⇄ gateway ──▶ chat.inbound            (Kafka)
//	             ▲  └───▶ who is connected here   (Redis)
//	             └─────── chat.delivery.<server>  (Kafka)
//
// `gateway conformance` runs the same parser and writer as an echo server for
// RFC 6455 test suites.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"time"

	"switchboard/gateway/edge"
	"switchboard/gateway/edge/proxyproto"
	"switchboard/gateway/node"
	"switchboard/internal/auth"
	"switchboard/internal/bus"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/chat"
	"switchboard/internal/daemon"
	"switchboard/internal/mediaurl"
	"switchboard/internal/metrics"
	"switchboard/internal/presence/redis"
)

const manual = `gateway: the servers that clients are connected to

  gateway [flags]               serve clients on /api/v1/ws
  gateway conformance [flags]   echo frames, for RFC 6455 test suites; see its -help

A gateway needs Kafka (with the topics that "storage-worker migrate" makes), Redis
and a JWK set. While one of the servers is away at start it waits, and says so on
/readyz. SIGTERM drains: clients are asked to reconnect elsewhere within
-drain-timeout, then closed with 4001, and the exit status is 0. SIGHUP reads
-auth-keys again. A wrong flag or an unsafe topic ends it with status 2.

Kafka and Redis may want a login and TLS: -kafka-credentials, -kafka-ca, and the same
for -redis. A wrong password is one line, and is tried again; a file that cannot be
used ends it with status 2.

There is no TLS on -listen: end it in front. A balancer that passes connections on
may say whose they are by the PROXY protocol, version 1 or 2: from -proxy-protocol
each connection must begin with it, and from elsewhere it is refused.`

// options are the flags.
type options struct {
	listen, opsListen, server, advertise string
	kafka, redis                         *daemon.Server
	origins, proxyProtocol               *[]string
	proxies                              proxyproto.Trusted
	reusePort, opensMakeWay              bool
	authKeys, authIssuer, authAudience   string
	maxConnections, members, replication int
	partitions                           int
	generation                           uint
	heartbeat, drainTimeout, recheck     time.Duration
	media                                *mediaurl.Flags
}

func main() { os.Exit(daemon.Main(run)) }

// run is the program.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) > 0 && args[0] == "conformance" {
		return runConformance(ctx, args[1:], stdout)
	}
	return serve(ctx, args, os.Stderr)
}

// serve is the gateway. The parts stop in the reverse of this order, so that the
// producer outlives the last client's last message:
//
//	ops ◀─ readiness ── everything
//	SIGHUP ──▶ keys
//	producers ◀── node ──▶ directory, channel, log
func serve(ctx context.Context, args []string, logs io.Writer) error {
	opts, log, err := parse(args, logs)
	if err != nil {
		return err
	}
	keys, err := auth.Open(opts.authKeys, opts.authIssuer, opts.authAudience)
	if err != nil {
		return daemon.Usagef("-auth-keys: %v", err)
	}
	links, err := opts.media.Open()
	if err != nil {
		return daemon.Usagef("%v", err)
	}
	set := metrics.New()
	ops, err := daemon.NewOps(opts.opsListen, set, log)
	if err != nil {
		return err
	}
	ops.Expect("kafka", "redis", "gateway")
	ops.DrainAt(ctx)

	client, err := openKafka(opts, log, set)
	if err != nil {
		return err
	}
	defer client.Close()
	producer, receipts := client.Producer(kafka.ProducerConfig{}), client.Producer(kafka.ProducerConfig{})
	signals := client.Producer(kafka.ProducerConfig{Leader: true})
	directory, channel, err := openRedis(opts, set)
	if err != nil {
		return err
	}
	defer closeRedis(directory, log)
	defer closeRedis(channel, log)
	listener, err := opts.open(ctx) // Who comes before the gateway accepts waits.
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }() // The node has closed it already, if it ran.

	group := daemon.NewGroup(ctx)
	group.Go(ops.Run)
	group.Go(daemon.OnHangup(log, func() error { return errors.Join(keys.Reload(), links.Reload()) }))
	group.Go(producer.Run)
	group.Go(receipts.Run)
	group.Go(signals.Run)
	group.Go(func(ctx context.Context) error {
		partitions, err := await(ctx, opts, client.Admin(), ops, log)
		if err != nil {
			return err
		}
		gateway, err := newNode(opts, node.Config{
			Listener: listener, Partitions: partitions,
			Keys: keys, Producer: producer, Receipts: receipts, Log: client.Log(), Admin: client.Admin(), Directory: directory,
			Signals: signals, Channel: channel,
			Links: links, Ready: ops.SetReady, Logger: log, Metrics: set,
		})
		if err != nil {
			return err
		}
		return gateway.Run(ctx)
	})
	return group.Wait()
}

// parse reads the flags and refuses what cannot work.
func parse(args []string, logs io.Writer) (*options, *slog.Logger, error) {
	flags := daemon.NewFlags("gateway", manual)
	o := new(options)
	flags.StringVar(&o.listen, "listen", ":8081", "`ADDRESS` for clients")
	flags.StringVar(&o.opsListen, "ops-listen", "127.0.0.1:9101", "`ADDRESS` of health, metrics and profiles; loopback unless it names a host")
	flags.StringVar(&o.server, "server", "", "`SLOT` of this gateway, such as gw-1: stable over restarts, never used by two at once")
	flags.StringVar(&o.advertise, "advertise", "", "`URL` under which clients reach this gateway, such as wss://gw-1.example.org/api/v1/ws;\nshown in the log and in the metric switchboard_gateway_info")
	o.kafka = flags.Server("kafka", "`HOST:PORT,…` of Kafka brokers, some of them")
	o.redis = flags.Server("redis", "`HOST:PORT,…` of Redis, or of some nodes of a cluster")
	flags.StringVar(&o.authKeys, "auth-keys", "", "`FILE` with the JWK set that tokens are signed with; SIGHUP reads it again")
	flags.StringVar(&o.authIssuer, "auth-issuer", "", "`ISS` that every token must have; empty: any")
	flags.StringVar(&o.authAudience, "auth-audience", "", "`AUD` that every token must have; empty: any")
	o.origins = flags.List("origins", "`ORIGIN,…` of web pages that may connect, exactly as browsers send them; others get 403")
	o.proxyProtocol = flags.List("proxy-protocol", "`CIDR,…` of balancers, whose connections must begin with a PROXY header, version 1 or 2;\nempty: it is taken from nobody")
	flags.BoolVar(&o.opensMakeWay, "opens-make-way", true, "when processors are short, open connections as fast as the frames of those who are connected allow, 500 a second at least")
	flags.BoolVar(&o.reusePort, "reuse-port", false, "listen at an address where other gateways of this user do, all with this flag; the kernel spreads connections over them")
	flags.IntVar(&o.maxConnections, "max-connections", 0, "`NUMBER` of connections to accept, beyond which newcomers get 503; 0: what descriptors and the kernel allow")
	flags.IntVar(&o.members, "members", chat.MembersDefault, "`NUMBER` of members that a group may have, as clients are told; the same as that of storage-worker")
	flags.DurationVar(&o.heartbeat, "heartbeat", 30*time.Second, "`TIME` without a byte from a client after which it is pinged; two missed close it")
	flags.DurationVar(&o.drainTimeout, "drain-timeout", 30*time.Second, "`TIME` that clients have to leave after SIGTERM")
	flags.DurationVar(&o.recheck, "recheck", 6*time.Hour, "`TIME` after which each client is asked to sync, against faults that nobody noticed")
	o.media = mediaurl.Bind(flags.FlagSet)
	flags.IntVar(&o.partitions, "partitions", 0, "`NUMBER` of partitions that the log was made with; refused when it has another; 0: what it has")
	flags.UintVar(&o.generation, "generation", bus.FirstGeneration, "`NUMBER` of the inbound log's generation")
	flags.IntVar(&o.replication, "replication", 3, "`NUMBER` of replicas that durable topics must have, 3 being always enough; fewer accepts that acknowledged records are lost with a broker.\nThe delivery topic gets as many, if it has to be made")
	if err := flags.Parse(args); err != nil {
		return nil, nil, err
	}
	var err error
	if o.proxies, err = proxyproto.ParseTrusted(*o.proxyProtocol); err != nil {
		return nil, nil, daemon.Usagef("-proxy-protocol: %v", err)
	}
	return o, flags.Logger(logs), o.check()
}

func (o *options) check() error {
	switch {
	case !bus.ValidServer(o.server):
		return daemon.Usagef("-server %q: want a slot name of 1 to 64 of a-z, 0-9 and '-'", o.server)
	case !o.kafka.Given():
		return daemon.Usagef("-kafka: no broker given")
	case !o.redis.Given():
		return daemon.Usagef("-redis: no address given")
	case o.authKeys == "":
		return daemon.Usagef("-auth-keys: no file given")
	case o.generation < 1 || o.replication < 1 || o.partitions < 0:
		return daemon.Usagef("-generation and -replication are at least 1, -partitions is not negative")
	case o.heartbeat < time.Second || o.recheck < time.Second:
		return daemon.Usagef("-heartbeat and -recheck are at least 1s")
	case o.members < 2 || o.members > chat.MembersMax:
		return daemon.Usagef("-members: want 2 to %d", chat.MembersMax)
	case o.maxConnections < 0 || o.drainTimeout <= 0:
		return daemon.Usagef("-max-connections cannot be negative, -drain-timeout is more than 0")
	}
	return nil
}

// open opens the listener for clients.
func (o *options) open(ctx context.Context) (*net.TCPListener, error) {
	if o.reusePort {
		return edge.ListenShared(ctx, o.listen)
	}
	return edge.Listen(ctx, o.listen)
}

// openKafka returns the connection to Kafka, which is made when it is needed.
func openKafka(o *options, log *slog.Logger, set *metrics.Set) (*kafka.Client, error) {
	at, err := o.kafka.Access()
	if err != nil {
		return nil, err
	}
	return kafka.Open(kafka.Config{
		Brokers: at.Addrs, Username: at.User, Password: at.Password, TLS: at.TLS,
		ClientID: o.server, Log: log, Metrics: set,
	}), nil
}

// presenceTimeout bounds connecting to Redis and a round trip, of registrations and of
// the lease; in a Redis Cluster the library may repeat one three times. Giving up early
// does harm: the server carries out the registrations all the same, and after a second
// try all of them count as lost, are looked up and told to sync. A host that is short of
// processor time, where answers lie unread for a second, would get more to do by that,
// and never recover.
const presenceTimeout = 2 * time.Second

// openRedis returns the directory, and the channel of what is fleeting on the same
// servers. They connect when they are needed.
func openRedis(o *options, set *metrics.Set) (*redis.Directory, *redis.Channel, error) {
	at, err := o.redis.Access()
	if err != nil {
		return nil, nil, err
	}
	config := redis.Config{
		Addrs: at.Addrs, Username: at.User, Password: at.Password, TLS: at.TLS, Metrics: set, Timeout: presenceTimeout,
	}
	directory, err := redis.Open(config)
	if err != nil {
		return nil, nil, daemon.Usagef("-redis: %v", err)
	}
	config.Timeout = 0 // What is fleeting is not worth a wait.
	channel, err := redis.OpenChannel(config)
	if err != nil {
		return nil, nil, daemon.Usagef("-redis: %v", err)
	}
	return directory, channel, nil
}

// await waits until the log is there, and returns how many partitions it has.
func await(ctx context.Context, o *options, admin bus.Admin, ops *daemon.Ops, log *slog.Logger) (partitions int32, err error) {
	if o.partitions > 0 {
		return int32(o.partitions), nil // The node checks that it is so.
	}
	err = daemon.Retry(ctx, log, "look at the log on Kafka", func(ctx context.Context) error {
		var err error
		if partitions, err = admin.Partitions(ctx, bus.InboundTopic(uint32(o.generation))); err != nil {
			ops.SetReady("kafka", err)
		}
		return err
	})
	return partitions, err
}

// newNode hands everything to the node.
func newNode(o *options, cfg node.Config) (*node.Node, error) {
	cfg.Server, cfg.Loops = o.server, runtime.GOMAXPROCS(0)
	daemon.RoomForLoops(cfg.Loops)
	cfg.Boot = uint64(time.Now().UnixNano()) // Ascends from life to life.
	cfg.Generation, cfg.Replication = uint32(o.generation), o.replication
	cfg.Origins, cfg.Proxies, cfg.MaxConnections, cfg.Members = *o.origins, o.proxies, o.maxConnections, o.members
	cfg.Heartbeat, cfg.Recheck, cfg.DrainTimeout, cfg.AllAtOnce = o.heartbeat, o.recheck, o.drainTimeout, !o.opensMakeWay
	cfg.Metrics.Gauge(fmt.Sprintf("switchboard_gateway_info{server=%q,advertise=%q}", o.server, o.advertise),
		func() float64 { return 1 })
	cfg.Logger.Info("gateway starts", "server", o.server, "advertise", o.advertise, "boot", cfg.Boot)
	return node.New(cfg)
}

// closeRedis is the last thing that happens; nothing hangs on it.
func closeRedis(c io.Closer, log *slog.Logger) {
	if err := c.Close(); err != nil {
		log.Warn("closing the connections to Redis", "error", err)
	}
}
