package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"

	"switchboard/gateway/edge/proxyproto"
	"switchboard/gateway/edge/room"
	"switchboard/gateway/edge/thrift"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
)

// Config is what a Server needs.
type Config struct {
	// Listener is taken over: the server closes it.
	Listener *net.TCPListener
	// Loops is how many event loops there are; 0 = GOMAXPROCS.
	Loops int
	// MaxMessage bounds a message from a client, all fragments together; one
	// that promises more is closed with 1009 before it is read.
	MaxMessage int
	// OutboundBytes bounds what waits for the socket of one connection; default
	// 64 KiB. At half of it the connection is not read from until all is
	// written. A frame larger than this is never taken.
	OutboundBytes int
	// PartialBytes bounds the memory of unfinished requests and messages of all
	// connections together; default 64 MiB. Whoever needs more is closed with
	// 4008.
	PartialBytes int64
	// MaxConnections bounds the sockets; 0 = what the descriptor limit allows. See room.
	// Whoever comes after that gets 503.
	MaxConnections int
	// Proxies are the balancers whose connections begin with a PROXY header; the
	// client that it names is Request.Peer. From all others none is taken.
	Proxies proxyproto.Trusted
	// HandshakeTimeout is the time for the request; default 5 s.
	HandshakeTimeout time.Duration
	// PartialTimeout is the time from the first to the last byte of a message;
	// default 30 s, then 4004.
	PartialTimeout time.Duration
	// VisitEvery is how often each connection is visited; default 2 s.
	VisitEvery time.Duration
	Log        *slog.Logger
	Metrics    *metrics.Set
}

func (c *Config) complete() error {
	if c.Listener == nil || c.MaxMessage <= 0 {
		return errors.New("edge: a listener and a limit for messages are needed")
	}
	if c.Loops <= 0 {
		c.Loops = runtime.GOMAXPROCS(0)
	}
	if c.OutboundBytes <= 0 {
		c.OutboundBytes = 64 << 10
	}
	if c.PartialBytes <= 0 {
		c.PartialBytes = 64 << 20
	}
	if c.HandshakeTimeout <= 0 {
		c.HandshakeTimeout = 5 * time.Second
	}
	if c.PartialTimeout <= 0 {
		c.PartialTimeout = 30 * time.Second
	}
	if c.VisitEvery <= 0 {
		c.VisitEvery = 2 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = metrics.New()
	}
	return nil
}

// The clock of the loops ticks ticksPerVisit times in VisitEvery, but not more
// coarsely than coarsestTick: it also measures the second of a close. What a tick
// costs is not its work but waking the loops, and the runtime's watchdog with them, which
// then looks fifty times and more until it sleeps again. What is due within a tick is
// done in one go: with 8,000 connections that are only pinged a gateway takes 32 ms of a
// core each second at 125 ms, and 14 at 500.
const (
	ticksPerVisit = 4
	coarsestTick  = 500 * time.Millisecond
	finestTick    = time.Millisecond
)

// endTimeout is how long Run waits for the close handshakes at its end.
const endTimeout = 2 * time.Second

// Server runs the loops.
type Server struct {
	// Fixed after construction.
	cfg            Config
	handler        Handler
	log            *slog.Logger
	meter          *meter
	addr           netip.AddrPort
	loops          []*loop
	acceptor       *acceptor
	fds            *fdTable
	reader         reader
	maxConnections int
	tick           time.Duration
	visitTicks     uint32
	start          time.Time
	stopped        chan struct{} // closed by StopAccepting
	stop           func()

	// Shared by the loops.
	extras  sync.Pool
	buffers buffers
	chunks  chunks
	live    atomic.Int64 // sockets
	opened  atomic.Int64 // WebSockets

	complained atomic.Int64 // when a balancer was, since start
}

// New prepares a server; nothing is accepted before Run, which has to be called
// to give back what New has taken.
func New(cfg Config, h Handler) (*Server, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	has, err := room.Look("/", cfg.MaxConnections)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, handler: h, log: cfg.Log, start: time.Now(), stopped: make(chan struct{}),
		addr: cfg.Listener.Addr().(*net.TCPAddr).AddrPort(),
		fds:  newFDTable(has.Descriptors), maxConnections: has.Bound.Connections,
		tick: max(min(cfg.VisitEvery/ticksPerVisit, coarsestTick), finestTick),
	}
	s.visitTicks = max(uint32(cfg.VisitEvery/s.tick), 1)
	s.buffers.bound = cfg.PartialBytes
	s.reader = reader{buffers: &s.buffers, maxMessage: cfg.MaxMessage}
	for i := range cfg.Loops {
		l, err := newLoop(s, i)
		if err != nil {
			s.closePollers()
			return nil, err
		}
		s.loops = append(s.loops, l)
	}
	if s.acceptor, err = newAcceptor(s, cfg.Listener); err != nil {
		s.closePollers()
		return nil, err
	}
	s.stop = sync.OnceFunc(func() {
		close(s.stopped)
		_ = s.acceptor.file.Close()
	})
	s.meter = newMeter(s)
	s.tellRoom(has)
	return s, nil
}

// tellRoom says which limit binds, and warns when there is less memory than that.
func (s *Server) tellRoom(has room.Room) {
	s.log.Info("room for connections", "connections", s.maxConnections, "bound_by", has.Bound.Name,
		"descriptors", has.Descriptors, "loops", len(s.loops))
	if has.Memory.Name != "" && has.Memory.Connections < s.maxConnections {
		s.log.Warn("there is less memory than that", "connections", has.Memory.Connections, "bound_by", has.Memory.Name)
	}
}

func (s *Server) closePollers() {
	for _, l := range s.loops {
		_ = l.closePoller()
	}
}

// Run serves until ctx ends, then closes every connection with 1001 and returns
// nil once all have been told Closed. It returns an error if a loop fails, which
// ends all. A panic in the handler is not caught: the program's state is in
// doubt then, and clients find another gateway within a second.
func (s *Server) Run(ctx context.Context) error {
	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var loops, others sync.WaitGroup
	failures := make([]error, len(s.loops))
	for i, l := range s.loops {
		loops.Go(func() {
			if failures[i] = l.run(); failures[i] != nil {
				cancel(failures[i])
			}
		})
	}
	others.Go(func() { s.acceptor.run(running) })
	ticking, stopTicks := context.WithCancel(context.WithoutCancel(ctx))
	others.Go(func() { s.ticker(ticking) })

	<-running.Done()
	s.StopAccepting()
	for _, l := range s.loops {
		l.post(func(arg any) { arg.(*loop).drain() }, l)
	}
	s.awaitEmpty()
	stopTicks()
	others.Wait()
	for _, l := range s.loops {
		l.post(func(arg any) { arg.(*loop).over = true }, l)
	}
	loops.Wait()
	if err := errors.Join(failures...); err != nil {
		return fmt.Errorf("serve %s: %w", s.addr, err)
	}
	return nil
}

// awaitEmpty waits for the last connection to go, or for endTimeout.
func (s *Server) awaitEmpty() {
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for end := time.Now().Add(endTimeout); s.live.Load() > 0 && time.Now().Before(end); {
		<-poll.C
	}
}

// ticker is the one timer of a server.
func (s *Server) ticker(ctx context.Context) {
	ticks := time.NewTicker(s.tick)
	defer ticks.Stop()
	memory := thrift.New()
	defer memory.End()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		for _, l := range s.loops {
			l.deliver(func(m *mail) { m.tick = true })
		}
		memory.Heed(s.buffers.lent.Load()+s.chunks.queued.Load(), time.Now())
	}
}

// clock returns how many ticks the server is old.
func (s *Server) clock() uint32 { return uint32(time.Since(s.start) / s.tick) }

// ticks returns d in ticks, rounded up, and one more since a tick is as wide as
// it is.
func (s *Server) ticks(d time.Duration) uint32 { return uint32((d+s.tick-1)/s.tick) + 1 }

// Addr is where the server listens.
func (s *Server) Addr() netip.AddrPort { return s.addr }

// Loops returns how many loops there are.
func (s *Server) Loops() int { return len(s.loops) }

// StopAccepting closes the listener; the connections live on. Any goroutine.
func (s *Server) StopAccepting() { s.stop() }

// Open returns how many connections are open. Any goroutine.
func (s *Server) Open() int { return int(s.opened.Load()) }

// Post runs task on a loop. Any goroutine; tasks of a loop run in order of Post.
// What is posted after Run has ended is dropped.
func (s *Server) Post(loop int, task func(arg any), arg any) { s.loops[loop].post(task, arg) }

// Accept answers a Handshake with 101 and the chosen subprotocol ("" = none). Any goroutine.
func (s *Server) Accept(c Conn, protocol string) {
	l := s.loops[c.Loop]
	l.post(give, &answer{loop: l, conn: c, protocol: protocol})
}

// Reject answers a Handshake with an HTTP status and a body of one line;
// retryAfter 0 = no header. Closed follows, with code 0. Any goroutine.
func (s *Server) Reject(c Conn, status int, retryAfter time.Duration, body string) {
	l := s.loops[c.Loop]
	l.post(give, &answer{loop: l, conn: c, refusal: &refusal{status, body}, retryAfter: retryAfter})
}

// find returns the loop and slot of c, or a nil slot if the handler has been
// told that c is no more, or never of it.
func (s *Server) find(c Conn) (*loop, *slot) {
	l := s.loops[c.Loop]
	if found := l.lookup(c); found != nil && found.flags&told != 0 {
		return l, found
	}
	return l, nil
}

// Write queues or sends a whole frame made by AppendText or AppendBinary. It
// reports false, and nothing was taken, when the queue has no room or c is not
// open; Drained will follow in the first case. The bytes are not kept. What is
// written while c's input is handled leaves together afterwards. On c's loop only.
func (s *Server) Write(c Conn, frame []byte) bool {
	l, found := s.find(c)
	if found == nil || found.state != open || !l.send(c.Slot, found, frame, 0) {
		return false
	}
	l.counts.framesOut++
	return true
}

// Queued returns how many bytes wait for the socket. On c's loop only.
func (s *Server) Queued(c Conn) int {
	l, found := s.find(c)
	if found == nil {
		return 0
	}
	return l.queued(c.Slot, found)
}

// Ping sends a ping, unless the queue has no room even for that. On c's loop only.
func (s *Server) Ping(c Conn) {
	if l, found := s.find(c); found != nil && found.state == open {
		l.control(c.Slot, found, ws.OpPing, nil)
	}
}

// Close sends a close frame with the code and its word, behind what is queued,
// waits for the peer's and closes the socket, at the latest when the peer has
// taken no byte for a second. No Message follows; Closed does, later. On c's
// loop only.
func (s *Server) Close(c Conn, code chat.CloseCode) {
	if l, found := s.find(c); found != nil {
		l.close(c.Slot, found, code)
	}
}
