// Package node is one gateway: edge, sessions, uplink and downlink, put together
// over whatever log, directory and keys it is handed, and the order in which
// they start and stop. The program gateway makes one of the real servers, dev
// makes one inside its own process.
//
//	                 ┌──────────── Node ────────────┐
//	clients ⇄ edge ⇄ session ──▶ uplink ────────────┼──▶ Producer   chat.inbound, chat.receipts, chat.signals
//	                   ▲  ├────▶ registrar, lease ──┼──▶ Directory
//	                   │  └────▶ rivals ────────────┼──▶ Directory, Channel of another gateway
//	                   └──────── downlink ◀─────────┼─── Log        chat.delivery.<server>
//	                                 └──◀───────────┼─── Channel    what is fleeting
//	                 └──────────────────────────────┘
//
// # Start
//
// The delivery topic exists, the end of it is known as a number, and only then
// does the directory learn of this boot and the listener accept: from the moment
// on which a router may write to the topic, nothing that it writes is missed.
//
// # Stop, when the context ends
//
//  1. no new connections; everybody is asked to reconnect elsewhere within
//     DrainTimeout, while messages flow in both directions; who is left is
//     closed with 4001
//  2. the lease is renewed no longer, and the downlink stops, since nobody is
//     left to deliver to
//  3. the event loops end
//  4. presence is told of the last departures
//  5. marks that waited to be merged go to the log
//  6. the lease is released, so that the users are away at once
//
// Producer, Log and Directory belong to the caller, who ends them afterwards: a
// message that came in during the drain is still on its way to the log.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"switchboard/gateway/downlink"
	"switchboard/gateway/edge"
	"switchboard/gateway/edge/proxyproto"
	"switchboard/gateway/session"
	"switchboard/gateway/uplink"
	"switchboard/internal/auth"
	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/daemon"
	"switchboard/internal/mediaurl"
	"switchboard/internal/metrics"
	"switchboard/internal/presence"
)

// Config is what a Node needs. All fields are required unless they say more.
type Config struct {
	Listener *net.TCPListener // the node closes it
	Server   string           // slot, such as gw-1: stable over restarts, nobody else's
	Boot     uint64           // this life of it, such as the time in nanoseconds: boots ascend

	Keys      *auth.Keys
	Producer  bus.Producer
	Receipts  bus.Producer // of marks, so that they take no message's place; default Producer
	Log       bus.Log
	Admin     bus.Admin
	Directory presence.Directory
	// Signals takes what is fleeting towards the log, and Channel brings it: without
	// them nobody sees others type, come and go. Over Channel gateways also tell each
	// other whose place a newcomer takes.
	Signals bus.Producer
	Channel presence.Channel

	Generation  uint32 // of the inbound log
	Partitions  int32  // of the inbound log
	Replication int    // of the delivery topic, when it has to be made; default 1

	Origins        []string           // allowed when a browser sends one; none by default
	Heartbeat      time.Duration      // default 30 s
	Recheck        time.Duration      // default 6 h
	Sweep          time.Duration      // default session.SweepEvery; shorter in tests only
	DrainTimeout   time.Duration      // default 30 s
	MaxConnections int                // default: what descriptors and the kernel allow
	Loops          int                // default: the processors
	Proxies        proxyproto.Trusted // balancers whose connections begin with a PROXY header; none by default
	Members        int                // the member limit that clients are told; default chat.MembersDefault
	AllAtOnce      bool               // openings do not make way for the frames of who is connected

	// Links says which media_url was issued to whom; nil: none is taken.
	Links *mediaurl.Links

	// Ready is told how the parts "kafka", "redis" and "gateway" are; may be nil.
	Ready   func(part string, err error)
	Logger  *slog.Logger
	Metrics *metrics.Set
}

const (
	drainDefault = 30 * time.Second
	// visitEvery is how often each session is looked at; shorter when the
	// heartbeat is, as in tests.
	visitEvery = 2 * time.Second
	// visitsPerHeartbeat keeps silence measured finely enough.
	visitsPerHeartbeat = 4
	// outboundBytes bounds the queue of one connection.
	outboundBytes = 64 << 10
	// releaseTimeout bounds the last word to the directory.
	releaseTimeout = 2 * time.Second
)

// Node is one gateway.
type Node struct {
	cfg      Config
	edge     *edge.Server
	sessions *session.Keeper
	uplink   *uplink.Uplink
	downlink *downlink.Downlink
	hints    *downlink.Hints // nil without a channel
}

// New puts a gateway together; nothing runs and nothing is asked before Run.
func New(cfg Config) (*Node, error) {
	if !bus.ValidServer(cfg.Server) {
		return nil, daemon.Usagef("server name %q: want 1 to 64 of a-z, 0-9 and '-'", cfg.Server)
	}
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = 30 * time.Second
	}
	if cfg.DrainTimeout == 0 {
		cfg.DrainTimeout = drainDefault
	}
	if cfg.Replication == 0 {
		cfg.Replication = 1
	}
	if cfg.Receipts == nil {
		cfg.Receipts = cfg.Producer
	}
	if cfg.Ready == nil {
		cfg.Ready = func(string, error) {}
	}
	n := &Node{cfg: cfg}
	n.uplink = uplink.New(uplink.Config{
		Producer: cfg.Producer, Receipts: cfg.Receipts, Signals: cfg.Signals, Server: cfg.Server, Boot: cfg.Boot,
		Generation: cfg.Generation, Partitions: cfg.Partitions, Links: cfg.Links, Metrics: cfg.Metrics,
	})
	n.sessions = session.New(session.Config{
		Server: cfg.Server, Boot: cfg.Boot, Verify: cfg.Keys.Verify, Directory: cfg.Directory,
		Uplink: n.uplink, Channel: cfg.Channel,
		Origins: cfg.Origins, Heartbeat: cfg.Heartbeat, Recheck: cfg.Recheck, Sweep: cfg.Sweep, Members: cfg.Members,
		OutboundBytes: outboundBytes, AllAtOnce: cfg.AllAtOnce, Logger: cfg.Logger, Metrics: cfg.Metrics,
	})
	var err error
	n.edge, err = edge.New(edge.Config{
		Listener: cfg.Listener, Loops: cfg.Loops,
		MaxMessage: chat.FrameBytes, OutboundBytes: outboundBytes, MaxConnections: cfg.MaxConnections, Proxies: cfg.Proxies,
		VisitEvery: min(visitEvery, cfg.Heartbeat/visitsPerHeartbeat),
		Log:        cfg.Logger, Metrics: cfg.Metrics,
	}, n.sessions)
	if err != nil {
		return nil, fmt.Errorf("prepare the sockets: %w", err)
	}
	if err := n.sessions.Attach(n.edge); err != nil {
		return nil, err
	}
	n.downlink = downlink.New(downlink.Config{
		Log: cfg.Log, Server: cfg.Server, Boot: cfg.Boot, Partitions: cfg.Partitions,
		Sessions: n.sessions, Logger: cfg.Logger, Metrics: cfg.Metrics,
	})
	if cfg.Channel != nil {
		n.hints = downlink.NewHints(downlink.HintsConfig{
			Channel: cfg.Channel, Server: cfg.Server, Boot: cfg.Boot, Sessions: n.sessions, Logger: cfg.Logger, Metrics: cfg.Metrics,
		})
	}
	return n, nil
}

// Addr is where the gateway listens.
func (n *Node) Addr() netip.AddrPort { return n.edge.Addr() }

// Run starts the gateway as soon as its servers answer and serves until ctx
// ends and everybody has left. The error is nil after such an end. It wraps
// [presence.ErrReplaced] when another process took the slot, [bus.ErrUnsafe]
// when the log is not what it has to be.
func (n *Node) Run(ctx context.Context) error {
	if err := n.start(ctx); err != nil {
		return n.abandon(ctx, err)
	}
	group := daemon.NewGroup(ctx)
	group.Go(n.uplink.Run)
	group.Go(n.sessions.Run)
	group.Go(n.edge.Run)
	group.Go(n.downlink.Run)
	if n.hints != nil {
		group.Go(n.hints.Run)
	}
	group.Go(n.holdLease)
	group.Go(n.drainAtEnd)
	n.cfg.Logger.Info("gateway accepts", "address", n.Addr().String(), "server", n.cfg.Server)
	n.cfg.Ready("gateway", nil)
	err := group.Wait()
	n.release(ctx)
	return err
}

// abandon gives back what New has taken, for a gateway that could not start.
// That it was told to end before it began is no error.
func (n *Node) abandon(ctx context.Context, why error) error {
	n.downlink.Close()
	told := ctx.Err() != nil
	ended, cancel := context.WithCancel(ctx)
	cancel()
	err := n.edge.Run(ended)
	if told {
		return err
	}
	return errors.Join(why, err)
}

// start asks the servers for what must be there before the first connection.
func (n *Node) start(ctx context.Context) error {
	if err := n.retry(ctx, "kafka", "prepare the delivery topic", n.prepareLog); err != nil {
		return err
	}
	n.cfg.Ready("kafka", nil)
	if err := n.retry(ctx, "redis", "claim the slot", n.claim); err != nil {
		return err
	}
	n.cfg.Ready("redis", nil)
	return nil
}

// prepareLog makes the delivery topic, checks what this gateway writes to and
// reads from, and notes where its reading begins.
func (n *Node) prepareLog(ctx context.Context) error {
	own := bus.DeliveryLog(n.cfg.Server)
	created, err := n.cfg.Admin.Ensure(ctx, []bus.Topic{own}, n.cfg.Replication)
	if err != nil {
		return fmt.Errorf("make %s: %w", own.Name, err)
	}
	if len(created) > 0 {
		n.cfg.Logger.Info("made the delivery topic", "topic", own.Name)
	}
	needed := []bus.Topic{own}
	for _, t := range bus.Topics(n.cfg.Generation, n.cfg.Partitions) {
		switch t.Name {
		case bus.InboundTopic(n.cfg.Generation), bus.TopicReceipts, bus.TopicSignals:
			needed = append(needed, t)
		}
	}
	if err := n.cfg.Admin.Check(ctx, needed, n.cfg.Replication); err != nil {
		return fmt.Errorf("check the topics: %w", err)
	}
	return n.downlink.Seek(ctx)
}

func (n *Node) claim(ctx context.Context) error {
	return n.cfg.Directory.Claim(ctx, n.cfg.Server, n.cfg.Boot)
}

// retry repeats try until it works, but not against a younger boot of this
// slot: that one will not go away. What keeps the part waiting is shown.
func (n *Node) retry(ctx context.Context, part, what string, try func(context.Context) error) error {
	var replaced error
	err := daemon.Retry(ctx, n.cfg.Logger, what, func(ctx context.Context) error {
		err := try(ctx)
		if errors.Is(err, presence.ErrReplaced) {
			replaced = fmt.Errorf("%s: %w", what, err)
			return nil
		}
		if err != nil {
			n.cfg.Ready(part, err)
		}
		return err
	})
	return errors.Join(replaced, err)
}

func (n *Node) holdLease(ctx context.Context) error {
	return n.sessions.Hold(ctx, func(err error) { n.cfg.Ready("redis", err) })
}

// errDraining is what readiness says from the first moment of the end.
var errDraining = errors.New("draining")

// drainAtEnd waits for the end and sends everybody elsewhere.
func (n *Node) drainAtEnd(ctx context.Context) error {
	<-ctx.Done()
	n.cfg.Ready("gateway", errDraining)
	n.edge.StopAccepting()
	n.sessions.Drain(context.WithoutCancel(ctx), n.cfg.DrainTimeout)
	return nil
}

// release gives the lease back. Without it the users of this gateway would look
// online until it lapses.
func (n *Node) release(ctx context.Context) {
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	if err := n.cfg.Directory.Release(last, n.cfg.Server, n.cfg.Boot); err != nil {
		n.cfg.Logger.Warn("the lease will have to lapse by itself", "error", err)
	}
}
