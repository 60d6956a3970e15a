package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"
)

// statusUsage is how a program ends when restarting does not help.
const statusUsage = 2

// program is one of our programs over all its lives.
type program struct {
	// Fixed after construction.
	name, kind string
	ops        string // URL
	url        string // for clients; empty if it has none
	command    []string
	dir        string // working directory
	run, logs  string // folders
	limit      time.Duration
	log        *slog.Logger

	// Owned by its keeper's goroutine.
	life *exec.Cmd
	end  chan struct{} // closed when the process is gone

	refusal atomic.Pointer[string] // how it last ended with statusUsage
}

func (p *program) out() string { return filepath.Join(p.logs, p.name+".log") }

// start starts the process and leaves word of it. A process of which no word can
// be left, on a full disk, runs all the same.
func (p *program) start(ctx context.Context) error {
	out, err := os.OpenFile(p.out(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	defer out.Close() // The process has its own copy.
	// It outlives ctx: stop ends it in its turn.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), p.command[0], p.command[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, out, out
	// Ctrl-C in a terminal is for us. If we are killed, it must not live on.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	end := make(chan struct{})
	p.life, p.end = cmd, end
	go func() {
		_ = cmd.Wait() // How it ended is in the state of the process.
		close(end)
	}()
	leaveWord(p.run, p.logs, p.name, cmd.Process.Pid, p.log)
	return nil
}

func (p *program) wait(ctx context.Context) (string, error) {
	select {
	case <-p.end:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	how := p.life.ProcessState.String()
	if p.life.ProcessState.ExitCode() == statusUsage {
		p.refusal.Store(&how)
	}
	return how, nil
}

// refused says how the program ended if it did so because it never can run.
func (p *program) refused() string {
	if how := p.refusal.Load(); how != nil {
		return *how
	}
	return ""
}

// stop ends the process: it may drain, but not for ever.
func (p *program) stop() error {
	select {
	case <-p.end:
		return nil
	default:
	}
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		err := p.life.Process.Signal(signal)
		if err == nil && signal == syscall.SIGTERM {
			err = p.life.Process.Signal(syscall.SIGCONT) // It cannot heed while it is stopped.
		}
		if err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stop %s: %w", p.name, err)
		}
		if p.endsWithin(p.limit) {
			return nil
		}
	}
	return fmt.Errorf("stop %s: process %d does not end", p.name, p.life.Process.Pid)
}

func (p *program) endsWithin(limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.end:
		return true
	case <-timer.C:
		return false
	}
}
