package single

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"switchboard/client"
	"switchboard/dev/reference"
	"switchboard/gateway/node"
	"switchboard/internal/auth"
	"switchboard/internal/bus"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/chat"
	"switchboard/internal/daemon"
	"switchboard/router/fanout"
	"switchboard/router/signals"
	"switchboard/storage-worker/fold"
	"switchboard/storage-worker/projection"
	"switchboard/storage-worker/receipts"
	"switchboard/storage-worker/rest"
	"switchboard/storage-worker/rest/listen"
	"switchboard/storage-worker/search"
	"switchboard/web"
)

// The slots of the one gateway and the one REST server.
const (
	gatewaySlot = "gw-1"
	restSlot    = "rest-1"
)

// drainTimeout is how long clients may take to leave after Ctrl-C: there is no
// other gateway that they could go to.
const drainTimeout = time.Second

// assemble makes the programs' parts; nothing runs yet.
func (s *System) assemble(context.Context) error {
	for _, p := range []**kafka.Producer{&s.fromGateway, &s.fromREST, &s.fromFold, &s.fromRouter, &s.marksOfGateway, &s.fromReceipts, &s.statusesOfRouter} {
		*p = s.client.Producer(kafka.ProducerConfig{})
	}
	s.signalsOfGateway, s.hintsOfRouter = s.client.Producer(kafka.ProducerConfig{Leader: true}), s.client.Producer(kafka.ProducerConfig{Leader: true})
	s.rest = rest.New(rest.Config{
		Store: s.store, Producer: s.fromREST, Log: s.client.Log(), Admin: s.client.Admin(), Keys: s.keys,
		Sightings: s.directory, Media: s.media, Links: s.links, Finder: search.NewFinder(s.index, s.set),
		Devices: s.devices, PushKey: s.webPush.PublicKey(),
		Server: restSlot, Generation: bus.FirstGeneration, Partitions: Partitions, Replication: 1,
		GatewayURL: s.gatewayURL(), Heartbeat: s.cfg.Heartbeat, Origins: s.cfg.Origins, Members: s.cfg.Members, Limits: rest.DefaultLimits(),
		Logger: s.cfg.Logger, Metrics: s.set,
	})
	gateway, err := node.New(node.Config{
		Listener: s.sockets, Server: gatewaySlot, Boot: uint64(time.Now().UnixNano()), Keys: s.keys,
		Producer: s.fromGateway, Receipts: s.marksOfGateway, Log: s.client.Log(), Admin: s.client.Admin(), Directory: s.directory,
		Signals: s.signalsOfGateway, Channel: s.channel, Links: s.links,
		Generation: bus.FirstGeneration, Partitions: Partitions, Replication: 1,
		Origins: slices.Concat(s.cfg.Origins, s.ownOrigins()), Members: s.cfg.Members, Heartbeat: s.cfg.Heartbeat, Recheck: s.cfg.Recheck, Sweep: s.cfg.Sweep, DrainTimeout: drainTimeout, Loops: s.cfg.Loops,
		Ready: s.ops.SetReady, Logger: s.cfg.Logger, Metrics: s.set,
	})
	s.gateway = gateway
	return err
}

// Run serves until ctx ends, then drains. ready is called once everything
// answers.
//
// The order of the start is the order of need: servers, producers, fold, router,
// then those whom clients see. They stop in the reverse of it.
func (s *System) Run(ctx context.Context, ready func()) error {
	s.ops.DrainAt(ctx)
	group := daemon.NewGroup(ctx)
	group.Go(s.ops.Run)
	group.Go(s.redis.Run)
	for _, p := range []*kafka.Producer{
		s.fromFold, s.fromReceipts, s.fromRouter, s.statusesOfRouter, s.fromREST, s.fromGateway, s.marksOfGateway, s.signalsOfGateway, s.hintsOfRouter,
	} {
		group.Go(p.Run)
	}
	group.Go(fold.New(fold.Config{
		Store: s.store, Log: s.client.Log(), Producer: s.fromFold,
		Group:      s.client.Group(bus.InboundTopic(bus.FirstGeneration), bus.FoldGroup, kafka.GroupConfig{}),
		Generation: bus.FirstGeneration, Partitions: Partitions, Logger: s.cfg.Logger, Metrics: s.set,
	}).Run)
	group.Go(receipts.New(receipts.Config{
		Store: s.store, Log: s.client.Log(), Producer: s.fromReceipts, Partitions: Partitions,
		Group:  s.client.Group(bus.TopicReceipts, bus.ReceiptsGroup, kafka.GroupConfig{}),
		Logger: s.cfg.Logger, Metrics: s.set,
	}).Run)
	group.Go(projection.New(projection.Config{
		Log: s.client.Log(), Generation: bus.FirstGeneration, Roster: s.roster, Archive: s.store,
		Accepted: s.client.Group(bus.AcceptedTopic(bus.FirstGeneration), bus.ProjectionGroup, kafka.GroupConfig{}),
		Logger:   s.cfg.Logger, Metrics: s.set,
	}).Run)
	group.Go(s.newIndexer().Run)
	group.Go(fanout.New(fanout.Config{
		Log: s.client.Log(), Producer: s.fromRouter, Directory: s.directory, Partitions: Partitions,
		Accepted: s.client.Group(bus.AcceptedTopic(bus.FirstGeneration), bus.RouterGroup, kafka.GroupConfig{}),
		Status:   s.client.Group(bus.TopicStatus, bus.StatusGroup, kafka.GroupConfig{}),
		Statuses: s.statusesOfRouter, Roster: s.roster, Links: s.links,
		Logger: s.cfg.Logger, Metrics: s.set,
	}).Run)
	group.Go(signals.New(signals.Config{
		Log: s.client.Log(), Signals: s.client.Group(bus.TopicSignals, bus.SignalsGroup, kafka.GroupConfig{}),
		Roster: s.roster, Directory: s.directory, Notices: s.directory, Wrecks: s.directory, Channel: s.channel,
		Producer: s.hintsOfRouter, Partitions: Partitions, Logger: s.cfg.Logger, Metrics: s.set,
	}).Run)
	group.Go(s.media.Run)
	s.notify(group)
	group.Go(s.rest.Run)
	group.Go(s.gateway.Run)
	group.Go(s.serve)
	group.Go(func(ctx context.Context) error {
		err := daemon.Retry(ctx, s.cfg.Logger, "start", s.probe)
		s.ops.SetReady("system", err)
		if err == nil {
			ready()
		}
		return err
	})
	return group.Wait()
}

// serve answers REST calls, and the demonstration's own beside them.
func (s *System) serve(ctx context.Context) error {
	tokens := &tokens{keys: s.keys, origins: s.cfg.Origins}
	page, err := web.New(nil, nil)
	if err != nil {
		return err
	}
	contracts, err := reference.New()
	if err != nil {
		return err
	}
	return listen.Serve(ctx, s.public, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch { // A mux would answer some paths itself, and not as REST does.
		case page.Serves(r):
			s.pageFor(page, r).ServeHTTP(w, r)
		case r.URL.Path == "/dev" && (r.Method == http.MethodGet || r.Method == http.MethodHead):
			s.welcome(w, r)
		case r.URL.Path == "/dev/token" && r.Method == http.MethodPost && s.demo:
			tokens.ServeHTTP(w, r)
		case reference.Handles(r.URL.Path):
			contracts.ServeHTTP(w, r)
		default:
			s.rest.Handler().ServeHTTP(w, s.atSockets(r))
		}
	}), s.cfg.Logger)
}

// probe asks both public ports, from outside, whether they answer. With keys that
// only verify it cannot sign a token, and trusts the parts' own words.
func (s *System) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	token, err := s.keys.Mint(chat.DemoUser("probe"), startTimeout)
	if errors.Is(err, auth.ErrNoSigner) {
		return nil
	}
	if err != nil {
		return err
	}
	device := &client.REST{Base: s.URLs().REST, Token: func(context.Context) (string, error) { return token, nil }}
	url, err := device.Gateway(ctx)
	if err != nil {
		return err
	}
	conn, err := client.Dial(ctx, url, token, "probe")
	if err != nil {
		return err
	}
	return conn.Close()
}
