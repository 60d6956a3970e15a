// Storage-worker decides what becomes of every record of the inbound log, keeps
// the history and serves it over REST.
//
//	chat.inbound ──▶ fold ──▶ archive ◀── REST ◀── clients
//	                  └──▶ chat.accepted    └──▶ chat.inbound, chat.receipts
//	chat.receipts ─▶ watermarks ─▶ archive, then chat.status
//	                            └──▶ projection ──▶ PostgreSQL
//	                            └──▶ search ──▶ an index, which REST asks
//
// The archive is a SQLite file or a keyspace in Cassandra or Scylla.
// `storage-worker migrate` makes the topics and tables that all programs share.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"switchboard/internal/auth"
	"switchboard/internal/bus"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/chat"
	"switchboard/internal/daemon"
	"switchboard/internal/mediaurl"
	"switchboard/internal/metrics"
	"switchboard/internal/presence"
	"switchboard/internal/presence/redis"
	"switchboard/internal/roster/postgres"
	"switchboard/storage-worker/archive"
	"switchboard/storage-worker/fold"
	"switchboard/storage-worker/media"
	"switchboard/storage-worker/media/s3"
	"switchboard/storage-worker/rest"
	"switchboard/storage-worker/rest/pace"
	"switchboard/storage-worker/search"
)

const manual = `storage-worker: order, history and REST

  storage-worker [flags]            work on the inbound log, serve REST
  storage-worker migrate [flags]    make topics and tables; see its -help

The worker reads chat.inbound, decides each record's outcome, keeps what is
durable in the archive and only then writes the outcome to chat.accepted. REST
reads the same archive; what a REST call changes takes the way over chat.inbound,
and its answer comes back on the topic chat.delivery.<-server>.

The archive is one SQLite file, -archive, which one process at a time may use: run
fold and rest together. Or it is a keyspace in Cassandra or Scylla, -cql, which any
number of processes share.

Receipts reads the marks of chat.receipts – who has received and read how far –, keeps
the highest of each member in the archive and says on chat.status what moved.

The projection reads chat.accepted and keeps the tables conversations and
conversation_members in -postgres, for whoever asks with SQL. While PostgreSQL is
away it waits and nothing else does: a process that also folds or serves REST stays
ready. Without -postgres it is left out.

Search reads chat.accepted too and keeps what messages can be found by in an index,
which REST asks: -search, a SQLite file, for both on one machine, or -opensearch, for any
number. An index that was removed is built anew. While it is away that REST call is
unavailable, and nothing else waits; without one search is left out.

Uploads are kept in a bucket, -s3-endpoint, or in -media-folder, and their URLs are
signed with -media-keys, which the gateways and routers must have as well. What nobody has
sent is removed after a day. Without a store the calls of media are unavailable.

Who is online is asked of Redis, -redis: while it is away that one REST call is
unavailable, and nothing else waits.

While Kafka or -cql is away at start, or topics or tables are missing, it waits and
says so on /readyz. SIGTERM drains: REST first, then the fold, then what is on its way to the
log; the exit status is 0. SIGHUP reads -auth-keys again. A wrong flag or topics on
which acknowledged records could be lost end it with status 2.

Its servers may want a login and TLS: -kafka-credentials, -kafka-ca, the same for -cql
and -redis, and -postgres-password, -postgres-ca. A wrong password is one line, and is tried again;
a file that cannot be used ends it with status 2.

There is no TLS on -listen: end it in front.`

// The parts that -serve names.
const (
	partFold       = "fold"
	partREST       = "rest"
	partProjection = "projection"
	partSearch     = "search"
)

var built = []string{partFold, partREST, partReceipts, partProjection, partSearch}

// restLimits says of each -rest-NAME what it limits.
var restLimits = map[string]string{
	"reads":    "`RATE/BURST` of one user's GET calls on this server: so many a second, and so many at once after a pause; 0: no limit.\nWho is faster gets 429 and is told when to go on",
	"syncs":    "`RATE/BURST` of one user's POST /sync",
	"searches": "`RATE/BURST` of one user's GET /search",
	"marks":    "`RATE/BURST` of one user's POST …/read",
	"writes":   "`RATE/BURST` of one user's other calls, which change something",
}

// options are the flags.
type options struct {
	serve, origins                     *[]string
	kafka, redis, opensearch           *daemon.Server
	server, listen, opsListen, archive string
	search                             string
	media                              *bucket
	cql                                *cluster
	postgres                           *daemon.Postgres
	authKeys, authIssuer, authAudience string
	gatewayURL, pushKey                string
	heartbeat                          time.Duration
	members, partitions, replication   int
	generation                         uint
	limits                             rest.Limits
}

func main() { os.Exit(daemon.Main(run)) }

// run is the program. Its parts stop in the reverse of this order:
//
//	ops ◀─ readiness ── everything
//	SIGHUP ──▶ keys, with REST
//	producers ◀── projection ◀── fold, receipts ──▶ archive ◀── REST's replies ◀── REST's listener
func run(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) > 0 && args[0] == "migrate" {
		return runMigrate(ctx, args[1:], stdout)
	}
	opts, log, err := parse(args)
	if err != nil {
		return err
	}
	daemon.CollectLess()
	set := metrics.New()
	ops, err := daemon.NewOps(opts.opsListen, set, log)
	if err != nil {
		return err
	}
	ops.Expect(append([]string{partArchive, "kafka"}, *opts.serve...)...)
	ops.DrainAt(ctx)
	w := &worker{options: opts, log: log, set: set, ops: ops}
	if err := w.open(ctx); err != nil {
		return err
	}
	defer w.close()

	group := daemon.NewGroup(ctx)
	group.Go(ops.Run)
	group.Go(daemon.OnHangup(log, w.reload))
	for _, p := range w.producers {
		group.Go(p.Run)
	}
	group.Go(w.run)
	return group.Wait()
}

// parse reads the flags and refuses what cannot work.
func parse(args []string) (*options, *slog.Logger, error) {
	flags := daemon.NewFlags("storage-worker", manual)
	o := new(options)
	o.serve = flags.List("serve", "`PART,…` of fold, rest, receipts, projection, search; empty: all, but projection only with -postgres and search only with -search or -opensearch")
	flags.StringVar(&o.server, "server", "rest-1", "`SLOT` whose delivery topic brings the answers to REST calls: stable over restarts, never used by two at once")
	flags.StringVar(&o.listen, "listen", ":8080", "`ADDRESS` of REST")
	flags.StringVar(&o.opsListen, "ops-listen", "127.0.0.1:9103", "`ADDRESS` of health, metrics and profiles; loopback unless it names a host")
	o.kafka = flags.Server("kafka", "`HOST:PORT,…` of Kafka brokers, some of them")
	flags.StringVar(&o.archive, "archive", "", "`FILE` of the SQLite archive; made if missing")
	o.cql = clusterFlags(flags, "`HOST:PORT,…` of Cassandra or Scylla, some of the nodes; instead of -archive",
		"`NAME` of the data centre of -cql that is near; empty: there is only one")
	o.postgres = flags.Postgres("`URL` of PostgreSQL for the projection and for REST's devices, postgres://user@host:port/database")
	flags.StringVar(&o.pushKey, "push-public-key", "", "public `KEY` of Web Push in base64, as the router logs it at its start, for browsers to subscribe with; empty: none is told")
	flags.StringVar(&o.search, "search", "", "`FILE` of the search index in SQLite; made if missing, and filled from the log")
	o.opensearch = flags.Server("opensearch", "`HOST:PORT,…` of OpenSearch, some of the nodes, for the search index; instead of -search")
	o.redis = flags.Server("redis", "`HOST:PORT,…` of Redis, or of some nodes of a cluster, for who is online;\nwithout it that REST call is unavailable")
	o.media = mediaFlags(flags)
	flags.StringVar(&o.authKeys, "auth-keys", "", "`FILE` with the JWK set that tokens are signed with; SIGHUP reads it again")
	flags.StringVar(&o.authIssuer, "auth-issuer", "", "`ISS` that every token must have; empty: any")
	flags.StringVar(&o.authAudience, "auth-audience", "", "`AUD` that every token must have; empty: any")
	o.origins = flags.List("origins", "`ORIGIN,…` of web pages that may call, exactly as browsers send them")
	flags.StringVar(&o.gatewayURL, "gateway-url", "", "`URL` where clients open the WebSocket, such as wss://chat.example.org/api/v1/ws;\nempty: on the host that they called")
	flags.DurationVar(&o.heartbeat, "heartbeat", 30*time.Second, "`TIME` that the gateways' -heartbeat has, for clients to know before they connect")
	o.limits = rest.DefaultLimits()
	for name, limit := range map[string]*pace.Pace{"reads": &o.limits.Reads, "syncs": &o.limits.Syncs, "searches": &o.limits.Searches, "marks": &o.limits.Marks, "writes": &o.limits.Writes} {
		flags.Var(limit, "rest-"+name, restLimits[name])
	}
	flags.IntVar(&o.members, "members", chat.MembersDefault, "`NUMBER` of members that a group may have")
	flags.IntVar(&o.partitions, "partitions", 0, "`NUMBER` of partitions that the log was made with; refused when it has another; 0: what it has")
	flags.IntVar(&o.replication, "replication", 3, "`NUMBER` of replicas that durable topics must have, 3 being always enough; fewer accepts that acknowledged records are lost with a broker.\nREST's delivery topic gets as many, if it has to be made")
	flags.UintVar(&o.generation, "generation", bus.FirstGeneration, "`NUMBER` of the inbound log's generation")
	if err := flags.Parse(args); err != nil {
		return nil, nil, err
	}
	log := flags.Logger(os.Stderr)
	if len(*o.serve) == 0 {
		*o.serve = slices.Clone(built)
		if !o.postgres.Given() {
			*o.serve = slices.DeleteFunc(*o.serve, func(part string) bool { return part == partProjection })
			log.Info("no -postgres: the projection is left out, everything else works without it")
		}
		if !o.indexed() {
			*o.serve = slices.DeleteFunc(*o.serve, func(part string) bool { return part == partSearch })
			log.Info("no -search and no -opensearch: nobody can search, everything else works without it")
		}
	}
	return o, log, o.check()
}

func (o *options) check() error {
	for _, part := range *o.serve {
		if !slices.Contains(built, part) {
			return daemon.Usagef("-serve %q: this version has %s", part, strings.Join(built, ", "))
		}
	}
	switch {
	case o.serves(partProjection) && !o.postgres.Given():
		return daemon.Usagef("-postgres: no URL given, which -serve projection needs")
	case o.serves(partSearch) && !o.indexed():
		return daemon.Usagef("-search: no file given, nor -opensearch, which -serve search needs")
	case o.search != "" && o.opensearch.Given():
		return daemon.Usagef("-search and -opensearch: there is one search index")
	case o.archive == "" && !o.cql.server.Given():
		return daemon.Usagef("-archive: no file given, nor -cql")
	case o.archive != "" && o.cql.server.Given():
		return daemon.Usagef("-archive and -cql: there is one archive")
	case !o.kafka.Given():
		return daemon.Usagef("-kafka: no broker given")
	case o.generation < 1 || o.replication < 1 || o.partitions < 0:
		return daemon.Usagef("-generation and -replication are at least 1, -partitions is not negative")
	}
	if _, err := rosterConfig(o.postgres); err != nil {
		return err
	}
	switch {
	case !o.serves(partREST):
		return nil
	case !bus.ValidServer(o.server):
		return daemon.Usagef("-server %q: want a slot name of 1 to 64 of a-z, 0-9 and '-'", o.server)
	case o.authKeys == "":
		return daemon.Usagef("-auth-keys: no file given")
	case o.members < 2 || o.members > chat.MembersMax:
		return daemon.Usagef("-members: want 2 to %d", chat.MembersMax)
	case o.heartbeat < time.Second:
		return daemon.Usagef("-heartbeat is at least 1s")
	}
	return o.media.check()
}

func (o *options) serves(part string) bool { return slices.Contains(*o.serve, part) }

// worker is what the program has opened.
type worker struct {
	*options
	log *slog.Logger
	set *metrics.Set
	ops *daemon.Ops

	store        archive.Store
	closeStore   func() // nil until the store is open
	client       *kafka.Client
	keys         *auth.Keys       // nil without REST
	listener     net.Listener     // nil without REST
	directory    *redis.Directory // nil without REST or -redis
	handsets     *postgres.Store  // nil without REST or -postgres
	index        search.Store     // nil without -search and -opensearch, as are the next two
	prepareIndex func(context.Context) error
	closeIndex   func()
	uploads      *media.Library  // nil without REST or a store of media
	bucket       *s3.Store       // nil without -s3-endpoint
	links        *mediaurl.Links // nil without REST or -media-keys
	closeMedia   func() error    // nil without -media-folder
	// One producer for each part, so that a backlog of the fold does not hold
	// up REST.
	producers map[string]*kafka.Producer
}

// open opens what can fail for reasons that an operator must hear of at once:
// keys that are none, a port or an archive in use.
func (w *worker) open(ctx context.Context) (err error) {
	if w.serves(partREST) {
		if w.keys, err = auth.Open(w.authKeys, w.authIssuer, w.authAudience); err != nil {
			return daemon.Usagef("-auth-keys: %v", err)
		}
		var listening net.ListenConfig
		if w.listener, err = listening.Listen(ctx, "tcp", w.listen); err != nil {
			return fmt.Errorf("listen for REST: %w", err)
		}
	}
	if !w.cql.server.Given() {
		if err := w.openFile(ctx); err != nil {
			w.close()
			return err
		}
	}
	if err := errors.Join(w.openRedis(), w.openDevices(ctx), w.openIndex(ctx), w.openMedia()); err != nil {
		w.close()
		return err
	}
	if w.client, err = openKafka(w.kafka, "storage-worker", w.log, w.set); err != nil {
		w.close()
		return err
	}
	w.producers = make(map[string]*kafka.Producer)
	for _, part := range *w.serve {
		if part == partProjection || part == partSearch {
			continue // They only read.
		}
		w.producers[part] = w.client.Producer(kafka.ProducerConfig{})
	}
	if w.serves(partREST) {
		w.producers[marksOfREST] = w.client.Producer(kafka.ProducerConfig{})
	}
	return nil
}

// reload reads again what may change under a running worker. Without REST there
// is nothing, but SIGHUP, which a unit sends to all workers alike, must not end it.
func (w *worker) reload() error {
	if w.keys == nil {
		return nil
	}
	return errors.Join(w.keys.Reload(), w.links.Reload())
}

// close is the last thing that happens; what is durable was made so before.
func (w *worker) close() {
	if w.client != nil {
		w.client.Close()
	}
	w.closeRedis()
	w.closeDevices()
	w.endMedia()
	if w.closeIndex != nil {
		w.closeIndex()
	}
	if w.closeStore != nil {
		w.closeStore()
	}
	if w.listener != nil {
		_ = w.listener.Close() // Serve has closed it already, if it ran.
	}
}

// run waits for the archive and the log, and then runs the parts.
func (w *worker) run(ctx context.Context) error {
	if err := w.awaitCluster(ctx); err != nil {
		return err
	}
	partitions, err := w.await(ctx)
	if err != nil {
		return err
	}
	group := daemon.NewGroup(ctx)
	if w.serves(partProjection) {
		group.Go(w.runProjection)
	}
	if w.serves(partSearch) {
		group.Go(w.runSearch)
	}
	if w.serves(partFold) {
		group.Go(w.newFold(partitions).Run)
		w.ops.SetReady(partFold, nil)
	}
	if w.serves(partReceipts) {
		group.Go(func(ctx context.Context) error { return w.runReceipts(ctx, partitions) })
	}
	if w.serves(partREST) {
		group.Go(func(ctx context.Context) error { return w.runREST(ctx, partitions) })
	}
	return group.Wait()
}

// runREST accepts as soon as answers can come home. The replies are read until
// the last request has ended.
func (w *worker) runREST(ctx context.Context, partitions int32) error {
	server := w.newREST(partitions)
	err := daemon.Retry(ctx, w.log, "prepare REST's delivery topic", server.Prepare)
	w.ops.SetReady(partREST, err)
	if err != nil {
		return err
	}
	group := daemon.NewGroup(ctx)
	group.Go(w.sweepMedia)
	group.Go(server.Run)
	group.Go(func(ctx context.Context) error { return server.Serve(ctx, w.listener) })
	w.log.Info("REST accepts", "address", w.listener.Addr().String(), "server", w.server)
	return group.Wait()
}

// await waits until the topics are there and safe, and returns how many
// partitions the log has.
func (w *worker) await(ctx context.Context) (partitions int32, err error) {
	admin, generation := w.client.Admin(), uint32(w.generation)
	err = daemon.Retry(ctx, w.log, "check the topics on Kafka", func(ctx context.Context) error {
		err := func() (err error) {
			if partitions = int32(w.partitions); partitions == 0 {
				if partitions, err = admin.Partitions(ctx, bus.InboundTopic(generation)); err != nil {
					return err
				}
			}
			return admin.Check(ctx, bus.Topics(generation, partitions), w.replication)
		}()
		w.ops.SetReady("kafka", err)
		return err
	})
	return partitions, err
}

func (w *worker) newFold(partitions int32) *fold.Fold {
	generation := uint32(w.generation)
	return fold.New(fold.Config{
		Store: w.store, Log: w.client.Log(), Producer: w.producers[partFold],
		Group:      w.client.Group(bus.InboundTopic(generation), bus.FoldGroup, kafka.GroupConfig{}),
		Generation: generation, Partitions: partitions, Logger: w.log, Metrics: w.set,
	})
}

func (w *worker) newREST(partitions int32) *rest.Server {
	var sightings presence.Sightings
	if w.directory != nil {
		sightings = w.directory
	}
	return rest.New(rest.Config{
		Sightings: sightings, Media: w.uploads, Links: w.links, Finder: w.finder(),
		Store: w.store, Producer: w.producers[partREST], Receipts: w.producers[marksOfREST], Log: w.client.Log(), Admin: w.client.Admin(), Keys: w.keys,
		Server: w.server, Generation: uint32(w.generation), Partitions: partitions, Replication: w.replication,
		Devices: w.devices(), PushKey: w.pushKey,
		GatewayURL: w.gatewayURL, Heartbeat: w.heartbeat, Origins: *w.origins, Members: w.members, Limits: w.limits,
		Logger: w.log, Metrics: w.set,
	})
}
