package soak

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

const (
	// readyWithin bounds the start of a cluster, downloads included.
	readyWithin = 10 * time.Minute
	// endWithin bounds its end; then it is killed.
	endWithin = 2 * time.Minute
)

// Cluster is a `dev cluster` process that this one started.
type Cluster struct {
	process *exec.Cmd
	ended   chan error // holds how it ended
}

// StartCluster starts `program cluster -data data args…` and returns when it says
// that it is ready. Whatever it says goes to output.
func StartCluster(ctx context.Context, program, data string, output io.Writer, args ...string) (*Cluster, error) {
	c := exec.Command(program, append([]string{"cluster", "-data", data}, args...)...) //nolint:noctx // it is asked to end, and drains
	c.Stderr = output
	// A test that runs into its time limit stops nothing: the cluster is told to end.
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start the cluster: %w", err)
	}
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("start the cluster: %w", err)
	}
	started := &Cluster{process: c, ended: make(chan error, 1)}
	ready := make(chan struct{}, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			fmt.Fprintln(output, lines.Text())
			if lines.Text() == "ready" {
				ready <- struct{}{}
			}
		}
		started.ended <- c.Wait()
	}()
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	select {
	case <-ready:
		return started, nil
	case err := <-started.ended:
		return nil, fmt.Errorf("the cluster ended before it was ready: %w", errors.Join(err, io.ErrUnexpectedEOF))
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("wait for the cluster: %w", ctx.Err()), started.Stop())
	}
}

// Stop asks the cluster to end and waits for it.
func (c *Cluster) Stop() error {
	if err := c.process.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the cluster: %w", err)
	}
	select {
	case err := <-c.ended:
		if err != nil {
			return fmt.Errorf("the cluster did not end well: %w", err)
		}
		return nil
	case <-time.After(endWithin):
		_ = c.process.Process.Kill() // its servers are ended by whoever uses the folder next
		return fmt.Errorf("the cluster did not end within %s", endWithin)
	}
}
