package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"switchboard/bench/host"
	"switchboard/internal/auth"
	"switchboard/internal/bus"
	kfake "switchboard/internal/bus/embedded"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/chat"
	"switchboard/internal/daemon"
	"switchboard/internal/loopback"
	"switchboard/internal/metrics"
	redis "switchboard/internal/presence/embedded"
)

const connManual = `bench conn starts one gateway, with a log and a directory inside this process,
opens authenticated connections to it in equal steps and reads its memory after
each: the slope is what one more idle connection costs, whatever the process
weighs by itself. The first step counts as the start, since a process grows by
some megabytes with its first traffic. Kernel memory is counted from the slabs of
sockets; CPU time while idle is the difference to the gateway without a client.

The limit of descriptors binds first: one per connection here, one in the
gateway.`

// connReport is the result of `bench conn`.
type connReport struct {
	Host        host.Host `json:"host"`
	Connections int       `json:"connections"`
	Steps       []step    `json:"steps"`
	UserBytes   float64   `json:"user_bytes_per_connection"`   // slope of PSS
	KernelBytes float64   `json:"kernel_bytes_per_connection"` // slope of socket slabs, both ends, halved
	OpenCPU     float64   `json:"gateway_cpu_us_per_open"`
	IdleCPU     float64   `json:"gateway_cpu_us_per_connection_second"`
}

// step is the memory at one number of connections.
type step struct {
	Connections int   `json:"connections"`
	PSS         int64 `json:"pss_bytes"`
	Kernel      int64 `json:"kernel_bytes"`
}

// connBench is one run of `bench conn`.
type connBench struct {
	binary    string
	total     int
	steps     int
	idle      time.Duration
	heartbeat time.Duration

	keys    *auth.Keys
	gateway *exec.Cmd
	address string
	conns   []net.Conn
}

func runConn(ctx context.Context, args []string, stdout io.Writer) error {
	b := &connBench{}
	flags := daemon.NewFlags("bench conn", connManual)
	flags.StringVar(&b.binary, "gateway", "bin/gateway", "the gateway program, built")
	flags.IntVar(&b.total, "connections", 8000, "connections at the last step")
	flags.IntVar(&b.steps, "steps", 4, "steps in which they are opened")
	flags.DurationVar(&b.idle, "idle", 30*time.Second, "idle time at the end, for CPU per connection")
	flags.DurationVar(&b.heartbeat, "heartbeat", 25*time.Second, "heartbeat of the gateway")
	limit := flags.Float64("max-bytes", 300, "user bytes per connection that are still right; 0 = any")
	out := flags.String("json", "", "file for the report as JSON")
	if err := flags.Parse(args); err != nil {
		return err
	}
	report, err := b.run(ctx, stdout)
	if err != nil {
		return err
	}
	if err := writeJSON(*out, report); err != nil {
		return err
	}
	report.print(stdout)
	if *limit > 0 && report.UserBytes > *limit {
		return fmt.Errorf("%.0f user bytes per connection are over the limit of %.0f", report.UserBytes, *limit)
	}
	return nil
}

// run starts everything, opens the connections step by step and measures.
func (b *connBench) run(ctx context.Context, progress io.Writer) (*connReport, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	dir, err := os.MkdirTemp("", "switchboard-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := b.start(ctx, dir); err != nil {
		return nil, err
	}
	defer b.stop()
	pid := b.gateway.Process.Pid
	report := &connReport{Host: host.Describe(), Connections: b.total}
	alone, err := b.rest(ctx, pid)
	if err != nil {
		return nil, err
	}
	var opening time.Duration
	for i := 1; i <= b.steps; i++ {
		before := host.CPUTime(pid)
		if err := b.open(ctx, b.total*i/b.steps); err != nil {
			return nil, err
		}
		opening += host.CPUTime(pid) - before
		s, err := b.measure(ctx, pid)
		if err != nil {
			return nil, err
		}
		report.Steps = append(report.Steps, s)
		fmt.Fprintf(progress, "%6d connections: PSS %9d bytes, kernel %10d bytes\n", s.Connections, s.PSS, s.Kernel)
	}
	report.OpenCPU = float64(opening.Microseconds()) / float64(b.total)
	loaded, err := b.rest(ctx, pid)
	if err != nil {
		return nil, err
	}
	report.IdleCPU = float64((loaded - alone).Microseconds()) / float64(b.total) / b.idle.Seconds()
	report.slopes()
	return report, nil
}

// rest returns the CPU time that the gateway takes while nothing happens for the
// idle time.
func (b *connBench) rest(ctx context.Context, pid int) (time.Duration, error) {
	before := host.CPUTime(pid)
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(b.idle):
		return host.CPUTime(pid) - before, nil
	}
}

// start starts the log, the directory and the gateway.
func (b *connBench) start(ctx context.Context, dir string) error {
	cluster, err := kfake.Start(kfake.Config{Dir: filepath.Join(dir, "kafka")})
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { cluster.Close() })
	directory, err := redis.Start()
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, directory.Close)
	go directory.Run(ctx) //nolint:errcheck // ends with ctx, and only so
	client := kafka.Open(kafka.Config{
		Brokers: []string{cluster.Addr()}, Log: slog.New(slog.DiscardHandler), Metrics: metrics.New(),
	})
	defer client.Close()
	if _, err := client.Admin().Ensure(ctx, bus.Topics(bus.FirstGeneration, 4), 1); err != nil {
		return err
	}
	keyFile := filepath.Join(dir, "keys.json")
	if err := auth.Generate(keyFile); err != nil {
		return err
	}
	if b.keys, err = auth.Open(keyFile, "", ""); err != nil {
		return err
	}
	addresses, err := loopback.Addresses(ctx, 2)
	if err != nil {
		return err
	}
	b.address = addresses[0]
	b.gateway = exec.CommandContext(ctx, b.binary,
		"-listen", addresses[0], "-ops-listen", addresses[1], "-server", "gw-bench",
		"-kafka", cluster.Addr(), "-redis", directory.Addr(), "-auth-keys", keyFile, "-replication", "1",
		"-heartbeat", b.heartbeat.String(), "-drain-timeout", "1s", "-log-level", "warn")
	b.gateway.Stdout, b.gateway.Stderr = os.Stderr, os.Stderr
	if err := b.gateway.Start(); err != nil {
		return fmt.Errorf("start the gateway (build it with go build -o bin/ ./...): %w", err)
	}
	return awaitReady(ctx, "http://"+addresses[1]+"/readyz")
}

// startTimeout bounds the gateway's start.
const startTimeout = 30 * time.Second

// awaitReady asks until the answer is 200.
func awaitReady(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := get(ctx, url)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the gateway is not ready after %v: %w", startTimeout, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// get asks for a page and wants 200.
func get(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close() // it was read to the end
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	return err
}

func (b *connBench) stop() {
	for _, c := range b.conns {
		_ = c.Close()
	}
	_ = b.gateway.Process.Kill() // it may have ended by itself
	_ = b.gateway.Wait()         // says "killed", which is what was asked for
}

// open opens connections until there are n, each of a user of its own, and waits
// for each one's `connected`.
func (b *connBench) open(ctx context.Context, n int) error {
	first := len(b.conns)
	b.conns = append(b.conns, make([]net.Conn, n-first)...)
	var dialer net.Dialer
	return each(n-first, 8, func(i int) error {
		number := first + i
		token, err := b.keys.Mint(chat.DemoUser(fmt.Sprint("conn-", number)), time.Hour)
		if err != nil {
			return err
		}
		conn, err := dialer.DialContext(ctx, "tcp", b.address)
		if err != nil {
			return fmt.Errorf("connection %d: %w", number, err)
		}
		b.conns[number] = conn
		if err := upgrade(conn, b.address, token); err != nil {
			return err
		}
		go pong(conn)
		return nil
	})
}

// upgrade speaks the WebSocket handshake by hand: a full client per connection
// would cost this process more than the gateway under test.
func upgrade(conn net.Conn, address, token string) error {
	if _, err := io.WriteString(conn, upgradeRequest(address, token)); err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	buffer, have := make([]byte, 2048), 0
	for have < len(buffer) {
		n, err := conn.Read(buffer[have:])
		if err != nil {
			return fmt.Errorf("upgrade: %w after %q", err, buffer[:have])
		}
		have += n
		if strings.Contains(string(buffer[:have]), `"connected"`) {
			return nil
		}
	}
	return fmt.Errorf("upgrade: no connected in %q", buffer)
}

func upgradeRequest(address, token string) string {
	return "GET /api/v1/ws HTTP/1.1\r\nHost: " + address + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nAuthorization: Bearer " + token + "\r\n\r\n"
}

// pong answers pings until the connection ends, and drops whatever else comes.
func pong(conn net.Conn) {
	const ping, emptyMaskedPong = 0x89, "\x8a\x80\x00\x00\x00\x00"
	buffer := make([]byte, 64)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		if buffer[0] == ping && n >= 2 {
			if _, err := io.WriteString(conn, emptyMaskedPong); err != nil {
				return
			}
		}
	}
}

// settle is how long the gateway may take to come to rest before it is measured:
// it gives the memory of many handshakes back at most every ten seconds.
const settle = 12 * time.Second

func (b *connBench) measure(ctx context.Context, pid int) (step, error) {
	select {
	case <-ctx.Done():
		return step{}, ctx.Err()
	case <-time.After(settle):
	}
	pss, err := host.PSS(pid)
	if err != nil {
		return step{}, err
	}
	return step{Connections: len(b.conns), PSS: pss, Kernel: host.Slabs()}, nil
}

// slopes fits a line through the steps.
func (r *connReport) slopes() {
	user := func(s step) float64 { return float64(s.PSS) }
	kernel := func(s step) float64 { return float64(s.Kernel) }
	r.UserBytes = slope(r.Steps, user)
	r.KernelBytes = slope(r.Steps, kernel) / 2 // both ends of each connection are on this host
}

// slope is the least-squares slope of a value over the number of connections.
func slope(steps []step, value func(step) float64) float64 {
	var n, x, y, xx, xy float64
	for _, s := range steps {
		c := float64(s.Connections)
		n, x, y, xx, xy = n+1, x+c, y+value(s), xx+c*c, xy+c*value(s)
	}
	return (n*xy - x*y) / (n*xx - x*x)
}

func (r *connReport) print(w io.Writer) {
	fmt.Fprintf(w, "%s\n%d idle authenticated chat connections on one gateway\n", r.Host, r.Connections)
	fmt.Fprintf(w, "user memory    %.0f bytes per connection (slope of PSS)\n", r.UserBytes)
	fmt.Fprintf(w, "kernel memory  %.0f bytes per connection and end (slope of socket slabs)\n", r.KernelBytes)
	fmt.Fprintf(w, "gateway CPU    %.1f µs per open, %.3f µs per connection and second idle\n", r.OpenCPU, r.IdleCPU)
}
