package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	pidFile = "pid"
	logFile = "log"

	// tailLines is how much of a failed server's log is shown.
	tailLines = 50
	// tailBytes bounds what is read for that: a JVM can say a lot.
	tailBytes = 64 << 10
	// grace is how long a server has to end before it is made to.
	grace = 5 * time.Second
	// attempt bounds one question whether a server is ready.
	attempt = 5 * time.Second
)

// farewell is the signal that ends a server for good. SIGKILL is the quickest,
// and all of them survive it; PostgreSQL leaves a piece of System V shared
// memory behind then, so it may end by itself.
func farewell(name string) syscall.Signal {
	if name == "postgres" {
		return syscall.SIGINT
	}
	return syscall.SIGKILL
}

// node is one server process over all its lives.
type node struct {
	// Fixed after construction.
	name      string
	dir       string // its own, and its working directory
	out       string // the file that gets what it says
	log       *slog.Logger
	format    func(ctx context.Context) error // makes its data in an empty dir; nil = nothing to make
	configure func() error                    // writes its configuration; nil = there is none
	command   []string
	mortal    bool          // the kernel ends it with us
	started   func(pid int) // hears of every process; nil = nobody
	// ready asks the server in its own protocol. At its first start it asks
	// for the whole cluster as well.
	ready func(ctx context.Context, first bool) error

	mu   sync.Mutex
	life *life // nil before the first start
}

// life is one process.
type life struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when the process is gone

	mu      sync.Mutex
	ordered bool // we ended it
}

func (l *life) gone() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

// order notes that the end which follows is ours.
func (l *life) order() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ordered = true
}

func (l *life) wasOrdered() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ordered
}

// begin prepares the folder, which holds data already unless it is fresh, and
// starts the server for the first time.
func (n *node) begin(ctx context.Context, fresh bool) error {
	begun := time.Now()
	if err := n.prepare(ctx, fresh); err != nil {
		return fmt.Errorf("start %s: %w", n.name, err)
	}
	return n.up(ctx, begun, true)
}

func (n *node) prepare(ctx context.Context, fresh bool) error {
	for _, dir := range []string{n.dir, filepath.Dir(n.out)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if n.format != nil && fresh {
		if err := n.format(ctx); err != nil {
			return err
		}
	}
	if n.configure == nil {
		return nil
	}
	return n.configure()
}

// again starts a server that was killed.
func (n *node) again(ctx context.Context) error { return n.up(ctx, time.Now(), false) }

// up starts the process and waits until it is ready. If that fails, the end of
// its log goes to ours.
func (n *node) up(ctx context.Context, begun time.Time, first bool) error {
	// Children of a PostgreSQL that was killed take a moment to notice, and beside
	// them it does not start. If it is somebody's shell, it does.
	if !poll(ctx, grace, func() bool { return !inhabited(n.path("data")) }) && ctx.Err() == nil {
		n.log.Warn("start a server although a process works in its data", "server", n.name)
	}
	l, err := n.launch(ctx)
	if err != nil {
		return fmt.Errorf("start %s: %w", n.name, err)
	}
	if err := n.await(ctx, l, first); err != nil {
		if !errors.Is(err, context.Canceled) { // else it is another server that failed
			n.showLog()
		}
		return fmt.Errorf("start %s: %w; its log is %s", n.name, err, n.out)
	}
	n.log.Info("ready", "server", n.name, "pid", n.pid(), "took", time.Since(begun).Round(time.Millisecond))
	return nil
}

// launch starts the process and leaves its pid for whoever comes after us.
func (n *node) launch(ctx context.Context) (*life, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	out, err := os.OpenFile(n.out, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close() // the process has its own copy
	// The server outlives the context of its start.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), n.command[0], n.command[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = n.dir, out, out
	// Ctrl-C in a terminal is for us; we end the servers.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if n.mortal {
		// It comes when the thread that we are on ends, not the process; Go
		// ends no thread early but that of a goroutine locked to it.
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	l := &life{cmd: cmd, ended: make(chan struct{})}
	n.life = l
	go n.watch(l)
	if err := os.WriteFile(n.path(pidFile), []byte(strconv.Itoa(cmd.Process.Pid)+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("leave the pid: %w", err)
	}
	if n.started != nil {
		n.started(cmd.Process.Pid)
	}
	return l, nil
}

// watch waits for the end of the process.
func (n *node) watch(l *life) {
	_ = l.cmd.Wait() // how it ended is in the state of the process
	if !l.wasOrdered() {
		n.log.Error("a server ended by itself", "server", n.name, "state", l.cmd.ProcessState.String(), "log", n.out)
	}
	close(l.ended)
}

// await asks until the server is ready, dies, or takes too long.
func (n *node) await(ctx context.Context, l *life, first bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var why error
	for {
		asking, done := context.WithTimeout(ctx, attempt)
		err := n.ready(asking, first)
		done()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || why == nil { // else our own impatience ended the question
			why = err
		}
		select {
		case <-l.ended:
			return fmt.Errorf("it ended: %s", l.cmd.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w: %w", ctx.Err(), why)
		case <-tick.C:
		}
	}
}

// pid returns the process id, or 0 if the server does not run.
func (n *node) pid() int {
	l := n.current()
	if l == nil || l.gone() {
		return 0
	}
	return l.cmd.Process.Pid
}

func (n *node) current() *life {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.life
}

// kill ends the process at once, if it runs.
func (n *node) kill() error { return n.finish(syscall.SIGKILL) }

// end ends the server for good.
func (n *node) end() error { return n.finish(farewell(n.name)) }

// died returns an error if the process ended and it was not us.
func (n *node) died() error {
	l := n.current()
	if l == nil || !l.gone() || l.wasOrdered() {
		return nil
	}
	return fmt.Errorf("%s ended by itself: %s; its log is %s", n.name, l.cmd.ProcessState, n.out)
}

// finish sends a signal, then SIGKILL, and waits for the end.
func (n *node) finish(gently syscall.Signal) error {
	l := n.current()
	if l == nil || l.gone() {
		return nil
	}
	l.order()
	for _, signal := range []syscall.Signal{gently, syscall.SIGKILL} {
		if err := l.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("end %s: %w", n.name, err)
		}
		select {
		case <-l.ended:
			return nil
		case <-time.After(grace):
		}
	}
	return fmt.Errorf("end %s: process %d does not end", n.name, l.cmd.Process.Pid)
}

func (n *node) path(name string) string { return filepath.Join(n.dir, name) }

// showLog passes on the end of the server's log.
func (n *node) showLog() {
	lines, err := tail(n.out)
	if err != nil {
		n.log.Error("cannot read the log of a server", "server", n.name, "error", err)
	}
	for _, line := range lines {
		n.log.Error("it said", "server", n.name, "line", line)
	}
}

// tail returns the last lines of a file.
func tail(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // it was only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	text := make([]byte, min(info.Size(), tailBytes))
	if _, err := f.ReadAt(text, info.Size()-int64(len(text))); err != nil {
		return nil, err
	}
	lines := strings.Split(string(bytes.TrimSpace(text)), "\n")
	return lines[max(0, len(lines)-tailLines):], nil
}

// run runs a program to its end; what it said is part of the error.
func run(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	cmd.WaitDelay = time.Second // a child that holds our pipe must not hold us
	out, err := cmd.CombinedOutput()
	if err != nil {
		text := strings.TrimSpace(string(out))
		return fmt.Errorf("run %s: %w: %s", filepath.Base(args[0]), err, text[max(0, len(text)-2000):])
	}
	return nil
}
