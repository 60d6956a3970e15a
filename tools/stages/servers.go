package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// farewell is how long servers have to end.
	farewell = time.Minute
	// logBytes is how much is kept of what they log.
	logBytes = 64 << 10
)

// servers is a program that holds servers up: it prints a line `export
// NAME=VALUE` for each, then `ready`, and ends them at SIGINT.
type servers struct {
	name  string
	cmd   *exec.Cmd
	log   *tail
	said  *announcement
	ended chan struct{} // closed when the program is gone
	err   error         // how it ended; set before that
}

// hold starts the program and waits until it is ready. If it does not become
// so, what it logged goes to out.
func hold(ctx context.Context, dir string, s stage, out io.Writer) (*servers, error) {
	h := &servers{name: s.name, log: &tail{}, said: &announcement{ready: make(chan struct{})}, ended: make(chan struct{})}
	h.cmd = exec.Command(s.args[0], s.args[1:]...) //nolint:noctx // it outlives the context of its start
	h.cmd.Dir, h.cmd.Env = dir, append(environment(), s.env...)
	h.cmd.Stdout, h.cmd.Stderr = h.said, h.log
	// Ctrl-C is for us, who end it after the stage that runs on it; and should
	// we be killed, it is told to end.
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGINT}
	if err := h.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		h.err = h.cmd.Wait()
		close(h.ended)
	}()
	var err error
	select {
	case <-h.said.ready:
		return h, nil
	case <-h.ended:
		err = fmt.Errorf("it ended before it was ready: %s", h.cmd.ProcessState)
	case <-ctx.Done():
		err = errors.Join(fmt.Errorf("it was not ready: %w", ctx.Err()), h.end())
	}
	fmt.Fprint(out, h.log)
	return nil, err
}

// env is what it exported.
func (h *servers) env() []string { return h.said.exports() }

// end ends the program, which ends its servers. An end before that, or one that
// it complains about, is an error: a server has died.
func (h *servers) end() error {
	select {
	case <-h.ended:
		return fmt.Errorf("they ended before they were told to: %s", h.cmd.ProcessState)
	default:
	}
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		_ = h.cmd.Process.Signal(signal) // it may just have ended
		select {
		case <-h.ended:
			return h.err
		case <-time.After(farewell):
		}
	}
	return fmt.Errorf("process %d does not end", h.cmd.Process.Pid)
}

// announcement reads the lines of a program that holds servers up.
type announcement struct {
	ready chan struct{} // closed at the line that says so

	mu   sync.Mutex
	rest []byte
	env  []string
}

func (a *announcement) Write(b []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rest = append(a.rest, b...)
	for {
		line, rest, whole := bytes.Cut(a.rest, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		a.rest = rest
		if export, ok := strings.CutPrefix(string(line), "export "); ok {
			a.env = append(a.env, export)
		}
		if string(line) == "ready" {
			close(a.ready)
		}
	}
}

func (a *announcement) exports() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.env...)
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	t.text = t.text[max(0, len(t.text)-logBytes):]
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
