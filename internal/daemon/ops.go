package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"
	"sync"
	"time"

	"switchboard/internal/complaint"
	"switchboard/internal/metrics"
)

// The limits of the ops listener. There is no limit on writing, since a profile
// takes as long as it was asked to.
const (
	opsHeaderTimeout = 5 * time.Second
	opsIdleTimeout   = 2 * time.Minute
	opsHeaderBytes   = 16 << 10
	opsShutdown      = 2 * time.Second
)

// States that Ops gives to parts by itself.
var (
	errNotReported = errors.New("starting") // expected, and has said nothing
	errStopping    = errors.New("stopping")
)

// Ops is the listener for those who operate a program, never for its users:
//
//	/livez         200 as long as restarting would not help; else 503 and why
//	/readyz        200 when traffic is welcome; else 503, one line for each part that is not ready
//	/metrics       Prometheus text format
//	/debug/pprof/  profiles
//
// It listens on loopback unless it is told otherwise: profiles show memory.
type Ops struct {
	// Fixed after construction.
	listener net.Listener
	log      *slog.Logger
	set      *metrics.Set
	watchdog time.Duration

	mu        sync.Mutex
	parts     map[string]error // nil = ready
	began     map[string]bool  // has been ready
	checks    map[string]func() error
	announced bool // READY=1 is sent once

	telling sync.Mutex // taken before mu
	told    string     // what systemd shows of us
}

// NewOps opens the listener; Run serves it. An address without a host, such as
// ":9100", means loopback; to be reached from elsewhere takes an address, such
// as "0.0.0.0:9100". Port 0 picks one: see Addr.
func NewOps(listen string, set *metrics.Set, log *slog.Logger) (*Ops, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, Usagef("ops address %q: %v", listen, err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	watchdog, err := watchdogInterval()
	if err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(context.Background(), "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("listen for ops: %w", err)
	}
	b := readBuild()
	set.Gauge(fmt.Sprintf(`switchboard_build_info{version=%q,commit=%q}`, b.version, b.commit), func() float64 { return 1 })
	return &Ops{
		listener: listener,
		log:      log,
		set:      set,
		watchdog: watchdog,
		parts:    make(map[string]error),
		began:    make(map[string]bool),
		checks:   make(map[string]func() error),
	}, nil
}

// Addr returns the address that is listened on.
func (o *Ops) Addr() string { return o.listener.Addr().String() }

// Expect names parts that must report before the program is ready. Name all of
// them before the first can report, or /readyz turns 200 too early.
func (o *Ops) Expect(parts ...string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range parts {
		if _, ok := o.parts[p]; !ok {
			o.parts[p] = errNotReported
		}
	}
}

// SetReady says how a part is: nil is ready, an error says why not. A program
// that drains says so here, so that load balancers turn away in time.
//
// What keeps a part from its first start is not logged here: whoever tries again
// says it, see [Retry], and one line is enough.
func (o *Ops) SetReady(part string, err error) {
	o.mu.Lock()
	before, known := o.parts[part]
	o.parts[part] = err
	began := o.began[part]
	o.began[part] = began || err == nil
	announce := !o.announced && len(o.unready()) == 0
	o.announced = o.announced || announce
	o.mu.Unlock()
	switch {
	case err != nil && began && (before == nil || complaint.Reason(before.Error()) != complaint.Reason(err.Error())):
		o.log.Warn("part is not ready", "part", part, "error", err)
	case err == nil && (!known || before != nil):
		o.log.Info("part is ready", "part", part)
	}
	if announce {
		if err := notify(stateReady); err != nil {
			o.log.Warn("systemd does not listen", "error", err)
		}
	}
	o.tell()
}

// statusBytes bounds the line that `systemctl status` shows.
const statusBytes = 512

// tell gives systemd the line that it shows, when that has changed.
func (o *Ops) tell() {
	o.telling.Lock()
	defer o.telling.Unlock()
	o.mu.Lock()
	text := strings.Join(o.unready(), "; ")
	o.mu.Unlock()
	if text == "" {
		text = "ready"
	}
	if text = strings.ToValidUTF8(text[:min(len(text), statusBytes)], ""); text == o.told {
		return
	}
	o.told = text
	if err := notify(stateStatus + text); err != nil {
		o.log.Debug("systemd does not listen", "error", err)
	}
}

// DrainAt makes the program unready when ctx, the one that a signal ends, ends:
// from then on load balancers turn away, while Run goes on answering.
func (o *Ops) DrainAt(ctx context.Context) {
	context.AfterFunc(ctx, func() { o.SetReady("program", errStopping) })
}

// Check adds a question to /livez and to the watchdog: an error means that only
// a restart helps, such as an event loop that does not turn. check must answer
// at once. A server that is away is no reason to restart: that is SetReady's.
func (o *Ops) Check(part string, check func() error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.checks[part] = check
}

// unready returns one line for each part that is not ready; the caller holds mu.
func (o *Ops) unready() []string {
	if len(o.parts) == 0 {
		return []string{"program: " + errNotReported.Error()}
	}
	return lines(o.parts)
}

// dead returns one line for each check that failed.
func (o *Ops) dead() []string {
	o.mu.Lock()
	checks := maps.Clone(o.checks)
	o.mu.Unlock()
	answers := make(map[string]error, len(checks))
	for part, check := range checks {
		answers[part] = check() // not under mu: it may take locks of its own
	}
	return lines(answers)
}

func lines(answers map[string]error) []string {
	var bad []string
	for part, err := range answers {
		if err != nil {
			bad = append(bad, part+": "+strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}
	slices.Sort(bad)
	return bad
}

// Run serves until ctx ends. As the first part of a Group it answers until
// everything else has stopped.
func (o *Ops) Run(ctx context.Context) error {
	server := &http.Server{
		Handler:           o.handler(),
		ReadHeaderTimeout: opsHeaderTimeout,
		IdleTimeout:       opsIdleTimeout,
		MaxHeaderBytes:    opsHeaderBytes,
		ErrorLog:          slog.NewLogLogger(o.log.Handler(), slog.LevelDebug),
	}
	o.log.Info("ops listener is open", "address", o.Addr())
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(o.listener) }()
	beats, stopBeats := o.beats()
	defer stopBeats()
	for {
		select {
		case <-beats:
			o.beat()
		case err := <-failed:
			return fmt.Errorf("serve ops: %w", err)
		case <-ctx.Done():
			return o.shutdown(ctx, server, failed)
		}
	}
}

// shutdown gives running requests a moment; a profile that takes longer is cut.
func (o *Ops) shutdown(ctx context.Context, server *http.Server, failed <-chan error) error {
	brief, cancel := context.WithTimeout(context.WithoutCancel(ctx), opsShutdown)
	defer cancel()
	if server.Shutdown(brief) != nil {
		if err := server.Close(); err != nil {
			o.log.Debug("cut the ops connections", "error", err)
		}
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve ops: %w", err)
	}
	return ctx.Err()
}

// beats returns the ticks at which systemd wants a sign of life, nil when it
// wants none.
func (o *Ops) beats() (beats <-chan time.Time, stop func()) {
	if o.watchdog == 0 {
		return nil, func() {}
	}
	ticker := time.NewTicker(o.watchdog)
	return ticker.C, ticker.Stop
}

// beat tells systemd that the program is alive, if it is.
func (o *Ops) beat() {
	if bad := o.dead(); len(bad) > 0 {
		o.log.Error("not alive, the watchdog is not fed", "parts", bad)
		return
	}
	if err := notify(stateAlive); err != nil {
		o.log.Warn("systemd does not listen", "error", err)
	}
}

func (o *Ops) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { health(w, o.dead()) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		o.mu.Lock()
		bad := o.unready()
		o.mu.Unlock()
		health(w, bad)
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		o.set.Write(w)
	})
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// health answers with the bad news, one a line, or with ok.
func health(w http.ResponseWriter, bad []string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if len(bad) == 0 {
		io.WriteString(w, "ok\n") //nolint:errcheck // the asker is gone
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	io.WriteString(w, strings.Join(bad, "\n")+"\n") //nolint:errcheck // the asker is gone
}
