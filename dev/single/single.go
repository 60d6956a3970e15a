// Package single is the whole system in one process: the same gateway, router,
// storage worker and client libraries that run on many hosts, against servers
// inside this process that speak the real ones' protocols.
//
//	client ⇄ gateway ──▶ Kafka (kfake) ──▶ fold ──▶ archive (SQLite)
//	   ▲                    │  ▲             │
//	   └──── delivery ◀── router ◀───────────┘        presence: Redis (miniredis)
//	                        ▲                │
//	                        └──── roster ◀── projection   (SQLite): members of large conversations
//
//	search: Kafka ──▶ index (SQLite) ◀── REST
//	marks: gateway, REST ──▶ Kafka ──▶ receipts ──▶ archive, and by Kafka to the router
//
// Everything lies below one folder and survives a kill of the process at any
// moment; a power cut may cost the last second unless Config.Durable asks to wait
// for the disk. Presence alone is rebuilt, as it is after a real Redis forgot it.
package single

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"switchboard/gateway/edge"
	"switchboard/gateway/node"
	"switchboard/internal/auth"
	"switchboard/internal/bus"
	kfake "switchboard/internal/bus/embedded"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/daemon"
	devices "switchboard/internal/devices/sqlite"
	"switchboard/internal/mediaurl"
	"switchboard/internal/metrics"
	miniredis "switchboard/internal/presence/embedded"
	"switchboard/internal/presence/redis"
	roster "switchboard/internal/roster/sqlite"
	"switchboard/router/push"
	"switchboard/storage-worker/archive/sqlite"
	"switchboard/storage-worker/media"
	"switchboard/storage-worker/rest"
	index "switchboard/storage-worker/search/sqlite"
)

// Partitions is how many partitions the log of a single process has. It is part
// of every id, so a folder keeps it for life.
const Partitions = 16

// startTimeout bounds each step of the start: everything is in this process, so
// what takes longer is broken.
const startTimeout = 30 * time.Second

// Config says where to listen and where to keep things.
type Config struct {
	Listen        string // REST
	GatewayListen string // WebSocket
	OpsListen     string // health, metrics
	Data          string // folder; made if missing
	AuthKeys      string // empty = a key of its own in Data, and POST /dev/token
	Durable       bool   // wait for the disk before each acknowledgement
	Origins       []string
	Loops         int           // event loops of the gateway; 0 = one for each processor
	Heartbeat     time.Duration // 0 = the gateway's default
	Recheck       time.Duration // 0 = the gateway's default
	Members       int           // that a group may have; 0 = chat.MembersDefault
	Sweep         time.Duration // 0 = the gateway's default
	PushPrivate   bool          // Web Push to private addresses and without TLS, for tests
	Logger        *slog.Logger
}

// URLs say where a running system is.
type URLs struct{ REST, WebSocket, Ops string }

// System is a system that was opened; Run serves it.
type System struct {
	cfg     Config
	set     *metrics.Set
	closers []func() // in the order of opening

	ops       *daemon.Ops
	keys      *auth.Keys
	demo      bool // keys are our own: tokens may be given away
	broker    *kfake.Cluster
	redis     *miniredis.Server
	client    *kafka.Client
	directory *redis.Directory
	channel   *redis.Channel
	devices   *devices.Store
	webPush   *push.WebPush
	store     *sqlite.Store
	roster    *roster.Store
	media     *media.Library
	links     *mediaurl.Links
	index     *index.Store

	// One producer for each program: a slow one holds up only its own.
	fromGateway, fromREST, fromFold, fromRouter *kafka.Producer
	// Receipts have their own along the whole way, as in the programs.
	marksOfGateway, fromReceipts, statusesOfRouter *kafka.Producer
	signalsOfGateway, hintsOfRouter                *kafka.Producer

	public  net.Listener
	sockets *net.TCPListener
	rest    *rest.Server
	gateway *node.Node
}

// Open opens everything that can fail for reasons that a user must hear of:
// ports in use, a folder in use, keys that are none. Close undoes it.
func Open(ctx context.Context, cfg Config) (*System, error) {
	s := &System{cfg: cfg, set: metrics.New()}
	for _, step := range []func(context.Context) error{
		s.listen, s.openKeys, s.openServers, s.openStore, s.openMedia, s.openRoster, s.openDevices, s.openIndex, s.openLog, s.assemble,
	} {
		if err := step(ctx); err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

// Close closes what Open opened, the last first.
func (s *System) Close() {
	for _, c := range slices.Backward(s.closers) {
		c()
	}
	s.closers = nil
}

func (s *System) onClose(c func()) { s.closers = append(s.closers, c) }

// URLs returns where this machine reaches the system; ports are known after Open.
func (s *System) URLs() URLs {
	return URLs{
		REST:      "http://" + near(s.public.Addr()),
		WebSocket: "ws://" + near(s.sockets.Addr()) + "/api/v1/ws",
		Ops:       "http://" + s.ops.Addr(),
	}
}

func (s *System) listen(ctx context.Context) (err error) {
	var config net.ListenConfig
	if s.public, err = config.Listen(ctx, "tcp", s.cfg.Listen); err != nil {
		return fmt.Errorf("-listen: %w", err)
	}
	s.onClose(func() { _ = s.public.Close() })
	if s.sockets, err = edge.Listen(ctx, s.cfg.GatewayListen); err != nil {
		return fmt.Errorf("-gateway-listen: %w", err)
	}
	s.onClose(func() { _ = s.sockets.Close() })
	if s.ops, err = daemon.NewOps(s.cfg.OpsListen, s.set, s.cfg.Logger); err != nil {
		return fmt.Errorf("-ops-listen: %w", err)
	}
	s.ops.Expect("kafka", "redis", "gateway", "system")
	return nil
}

func (s *System) openKeys(context.Context) (err error) {
	file := s.cfg.AuthKeys
	if file == "" {
		s.demo, file = true, filepath.Join(s.cfg.Data, "auth-keys.json")
		if err := os.MkdirAll(s.cfg.Data, 0o755); err != nil {
			return fmt.Errorf("-data: %w", err)
		}
		if err := auth.Generate(file); err != nil {
			return err
		}
	}
	s.keys, err = auth.Open(file, "", "")
	return err
}

// openServers starts Kafka and Redis inside this process. The broker's folder
// keeps a second process out of the data.
func (s *System) openServers(context.Context) (err error) {
	if s.broker, err = kfake.Start(kfake.Config{Dir: filepath.Join(s.cfg.Data, "kafka"), Sync: s.cfg.Durable}); err != nil {
		return err
	}
	s.onClose(s.broker.Close)
	if s.redis, err = miniredis.Start(); err != nil {
		return err
	}
	s.onClose(s.redis.Close)
	s.directory, err = redis.Open(redis.Config{Addrs: []string{s.redis.Addr()}, Metrics: s.set})
	if err != nil {
		return err
	}
	s.onClose(func() { _ = s.directory.Close() })
	s.channel, err = redis.OpenChannel(redis.Config{Addrs: []string{s.redis.Addr()}, Metrics: s.set})
	if err == nil {
		s.onClose(func() { _ = s.channel.Close() })
	}
	return err
}

func (s *System) openStore(ctx context.Context) (err error) {
	sync := sqlite.Normal
	if s.cfg.Durable {
		sync = sqlite.Full
	}
	s.store, err = sqlite.Open(ctx, filepath.Join(s.cfg.Data, "archive.db"), sqlite.Config{Sync: sync, Metrics: s.set})
	if err == nil {
		s.onClose(func() { _ = s.store.Close() })
	}
	return err
}

// openRoster opens the tables of who is in which conversation, with the driver of
// the archive. A power cut may take them back by a moment: their own progress says
// from where they go on.
func (s *System) openRoster(ctx context.Context) error {
	file := url.URL{
		Scheme: "file", Opaque: url.PathEscape(filepath.Join(s.cfg.Data, "roster.db")),
		RawQuery: "_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)",
	}
	db, err := sql.Open("sqlite", file.String())
	if err != nil {
		return fmt.Errorf("open the roster: %w", err)
	}
	s.onClose(func() { _ = db.Close() })
	s.roster, err = roster.New(ctx, db)
	return err
}

// openLog connects to the broker and makes the topics that are missing.
func (s *System) openLog(ctx context.Context) error {
	s.client = kafka.Open(kafka.Config{
		Brokers: []string{s.broker.Addr()}, ClientID: "dev", Log: s.cfg.Logger, Metrics: s.set,
	})
	s.onClose(s.client.Close)
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	topics := bus.Topics(bus.FirstGeneration, Partitions)
	if _, err := s.client.Admin().Ensure(ctx, topics, 1); err != nil {
		return err
	}
	return s.client.Admin().Check(ctx, topics, 1)
}
