// Package rig starts what `bench` measures when it measures gateways alone: gateway
// processes, and behind them a log and a directory, which are inside this process
// unless others are given. There is no router and no worker: what a gateway does
// with a connection needs neither.
//
//	load ⇄ gateway 1…n ⇄ log, directory
//	            ▲
//	   Deliver ─┘ a record as a router would write it
//
// Everything ends with Close, and nothing of it is left; nor is it when this process
// is killed, since the kernel then ends the gateways, and a process that waits for that
// removes the folder. What is written to a log and a directory of others stays there.
package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"switchboard/bench/host"
	"switchboard/bench/scrape"
	"switchboard/internal/auth"
	"switchboard/internal/bus"
	kfake "switchboard/internal/bus/embedded"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/chat"
	"switchboard/internal/loopback"
	"switchboard/internal/metrics"
	redis "switchboard/internal/presence/embedded"
)

const (
	// startTimeout bounds the start of all gateways.
	startTimeout = time.Minute
	// partitions of the log: what is measured here does not pass through it.
	partitions = 4
)

// Config is what a Rig needs.
type Config struct {
	Program      string // the gateway, built
	Gateways     int
	Heartbeat    time.Duration
	DrainTimeout time.Duration
	AllAtOnce    bool      // openings do not make way for the frames of who is connected
	Kafka, Redis string    // HOST:PORT; empty: inside this process
	Log          io.Writer // of the gateways
}

// Rig is what was started.
type Rig struct {
	Addresses []string // of the gateways, for clients
	Keys      string   // file that they trust, with which tokens are minted; empty: they want none

	others   []host.Process
	config   Config
	dir      string
	gateways []*process
	ops      []string
	close    []func()
	client   *kafka.Client
	producer *kafka.Producer
	offset   int64
}

// process is a gateway.
type process struct {
	command *exec.Cmd
	ended   chan struct{} // closed when it has
	err     error         // how, then
}

// Start starts all and returns when each gateway is ready.
func Start(ctx context.Context, config Config) (*Rig, error) {
	r := &Rig{config: config}
	if err := r.start(ctx); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Elsewhere is servers that somebody else started, the file with the keys that they
// trust, empty if they want no token, and their processes on this host as far as they
// are known. Nothing can be delivered there, and nobody gets a signal.
func Elsewhere(addresses []string, keys string, processes []host.Process) *Rig {
	return &Rig{Addresses: addresses, Keys: keys, others: processes}
}

func (r *Rig) start(ctx context.Context) (err error) {
	if r.dir, err = os.MkdirTemp("", "switchboard-bench-"); err != nil {
		return err
	}
	r.close = append(r.close, func() { _ = os.RemoveAll(r.dir) }) // It is a temporary folder.
	swept, err := sweep(r.dir)
	if err != nil {
		return err
	}
	r.close = append(r.close, swept)
	r.Keys = filepath.Join(r.dir, "keys.json")
	if err := auth.Generate(r.Keys); err != nil {
		return err
	}
	if err := r.servers(); err != nil {
		return err
	}
	if err := r.topics(ctx); err != nil {
		return err
	}
	addresses, err := loopback.Addresses(ctx, 2*r.config.Gateways)
	if err != nil {
		return err
	}
	r.Addresses, r.ops = addresses[:r.config.Gateways], addresses[r.config.Gateways:]
	if err := r.spawn(); err != nil {
		return fmt.Errorf("start a gateway (build it with go build -o bin/ ./...): %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for i := range r.gateways {
		if err := r.ready(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// servers starts the log and the directory, where none are given.
func (r *Rig) servers() error {
	if r.config.Kafka == "" {
		cluster, err := kfake.Start(kfake.Config{Dir: filepath.Join(r.dir, "kafka")})
		if err != nil {
			return err
		}
		r.close = append(r.close, func() { cluster.Close() })
		r.config.Kafka = cluster.Addr()
	}
	if r.config.Redis == "" {
		directory, err := redis.Start()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() { _ = directory.Run(ctx) }) // It ends with ctx, and only so.
		r.close = append(r.close, func() { cancel(); running.Wait(); directory.Close() })
		r.config.Redis = directory.Addr()
	}
	return nil
}

// topics makes the log, and what writes deliveries.
func (r *Rig) topics(ctx context.Context) error {
	r.client = kafka.Open(kafka.Config{
		Brokers: []string{r.config.Kafka}, Log: slog.New(slog.DiscardHandler), Metrics: metrics.New(),
	})
	r.close = append(r.close, r.client.Close)
	if _, err := r.client.Admin().Ensure(ctx, bus.Topics(bus.FirstGeneration, partitions), 1); err != nil {
		return err
	}
	r.producer = r.client.Producer(kafka.ProducerConfig{})
	producing, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = r.producer.Run(producing) }) // Whoever waits for a delivery hears what failed.
	r.close = append(r.close, func() { cancel(); running.Wait() })
	return nil
}

// server is the slot of gateway i.
func server(i int) string { return fmt.Sprint("bench-", i+1) }

// sweep starts a process that removes a folder when this one has ended, however that
// came, and returns what ends it.
func sweep(dir string) (end func(), err error) {
	// Not with a context: it ends with its input.
	command := exec.Command("sh", "-c", `cat >/dev/null; rm -rf -- "$0"`, dir) //nolint:noctx // See above.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}                  // A signal from the terminal is not for it.
	input, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start what removes the folder in the end: %w", err)
	}
	return func() {
		_ = input.Close()
		_ = command.Wait() // What it left, if anything, is removed next.
	}, nil
}

// spawn starts the gateways, from a thread that lasts until Close: the kernel ends them
// with the thread that started them, not with the process.
func (r *Rig) spawn() error {
	started, closing := make(chan error), make(chan struct{})
	var thread sync.WaitGroup
	r.close = append(r.close, func() { close(closing); thread.Wait() })
	thread.Go(func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var err error
		for i := 0; i < r.config.Gateways && err == nil; i++ {
			err = r.gateway(i)
		}
		started <- err
		<-closing
	})
	return <-started
}

func (r *Rig) gateway(i int) error {
	// Not with a context: a signal ends the load first.
	command := exec.Command(r.config.Program, //nolint:noctx // See above.
		"-listen", r.Addresses[i], "-ops-listen", r.ops[i], "-server", server(i), "-kafka", r.config.Kafka, "-redis", r.config.Redis,
		"-auth-keys", r.Keys, "-replication", "1", "-heartbeat", r.config.Heartbeat.String(),
		"-drain-timeout", r.config.DrainTimeout.String(), "-log-level", "warn")
	if r.config.AllAtOnce {
		command.Args = append(command.Args, "-opens-make-way=false")
	}
	command.Stdout, command.Stderr = r.config.Log, r.config.Log
	// A signal from the terminal is not for it. If we are killed, it must not live on.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		return err
	}
	p := &process{command: command, ended: make(chan struct{})}
	go func() { // It ends with the process, which Close kills.
		p.err = command.Wait()
		close(p.ended)
	}()
	r.gateways = append(r.gateways, p)
	return nil
}

// ready waits until a gateway is.
func (r *Rig) ready(ctx context.Context, i int) error {
	for {
		err := get(ctx, "http://"+r.ops[i]+"/readyz")
		if err == nil {
			return nil
		}
		select {
		case <-r.gateways[i].ended:
			return fmt.Errorf("gateway %s ended: %w", server(i), errors.Join(r.gateways[i].err, err))
		case <-ctx.Done():
			return fmt.Errorf("gateway %s is not ready after %v: %w", server(i), startTimeout, err)
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

// Processes are the gateways that run.
func (r *Rig) Processes() (all []host.Process) {
	all = slices.Clone(r.others)
	for i, p := range r.gateways {
		select {
		case <-p.ended:
		default:
			all = append(all, host.Process{Name: server(i), PID: p.command.Process.Pid})
		}
	}
	return all
}

// Heap is what the heaps of the gateways that run have in use, in bytes; 0 of those that
// somebody else started. It asks each of them, which costs them some of it: it is for
// the ends of phases.
func (r *Rig) Heap(ctx context.Context) (int64, error) {
	all := make(scrape.Samples)
	for i, p := range r.gateways {
		select {
		case <-p.ended:
			continue
		default:
		}
		if err := all.Read(ctx, "http://"+r.ops[i]+"/metrics"); err != nil {
			return 0, err
		}
	}
	return int64(all.Sum(scrape.Heap)), nil
}

// Signal sends gateway i a signal. What SIGKILL ends gets the lowest priority first: its end
// closes thousands of sockets, which takes no time of others where it has a host of its own.
func (r *Rig) Signal(i int, s os.Signal) error {
	if s == syscall.SIGKILL {
		lowest(r.gateways[i].command.Process.Pid)
	}
	if err := r.gateways[i].command.Process.Signal(s); err != nil {
		return fmt.Errorf("signal gateway %s: %w", server(i), err)
	}
	return nil
}

// Ended is closed when gateway i has ended; then its error, of exec, tells how.
func (r *Rig) Ended(i int) <-chan struct{} { return r.gateways[i].ended }

// Failure is how gateway i ended, nil for exit status 0.
func (r *Rig) Failure(i int) error { return r.gateways[i].err }

// Deliver writes one record for gateway i, as a router does: the frame of an entry,
// encoded once, and whom it is for. It returns when the log has it.
func (r *Rig) Deliver(ctx context.Context, i int, frame []byte, recipients []chat.UserID) error {
	r.offset++
	record := bus.Delivery{
		Class: bus.Durable, Position: chat.Position{Generation: bus.FirstGeneration, Offset: r.offset},
		Frames: []bus.Frame{{Payload: frame, Recipients: recipients}},
	}
	acknowledged := make(chan error, 1)
	err := r.producer.Produce(bus.Message{Topic: bus.DeliveryTopic(server(i)), Value: record.Append(nil)}, func(_ int64, err error) {
		acknowledged <- err
	})
	if err != nil {
		return fmt.Errorf("deliver to %s: %w", server(i), err)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-acknowledged:
		return err
	}
}

// Close ends the gateways and then the rest, in the reverse order of the start.
func (r *Rig) Close() {
	for _, p := range r.gateways {
		_ = p.command.Process.Kill() // It may have ended.
		<-p.ended
	}
	for _, end := range slices.Backward(r.close) {
		end()
	}
	r.close = nil
}

// lowest gives all threads of a process the lowest priority.
func lowest(pid int) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid)) // The pattern is right.
	for _, t := range threads {
		if id, err := strconv.Atoi(filepath.Base(t)); err == nil {
			_ = syscall.Setpriority(syscall.PRIO_PROCESS, id, 19) // It may have ended.
		}
	}
}
