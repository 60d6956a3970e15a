package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"switchboard/internal/bus"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// started is a process whose signals and exit belong to the test.
type started struct {
	process
	out, err strings.Builder
	signals  chan os.Signal
	exits    chan int
}

func newProcess(args ...string) *started {
	s := &started{signals: make(chan os.Signal, 2), exits: make(chan int, 1)}
	s.process = process{
		name: "router", args: args, stdout: &s.out, stderr: &s.err,
		signals: s.signals, exit: func(status int) { s.exits <- status },
	}
	return s
}

func TestExitStatus(t *testing.T) {
	for _, tt := range []struct {
		name   string
		err    error
		status int
		line   string
	}{
		{"the work is done", nil, 0, ""},
		{"a failure", errors.New("the disk is full"), 1, "router: the disk is full\n"},
		{"several failures are still one line", errors.Join(errors.New("a"), errors.New("b")), 1, "router: a; b\n"},
		{"a wrong flag", Usagef("invalid value %q", "x"), 2, "router: invalid value \"x\"\n"},
		{"a wrong flag, wrapped", fmt.Errorf("start: %w", Usagef("no")), 2, "router: start: no\n"},
		{"an unsafe topic", fmt.Errorf("check chat.inbound: %w", bus.ErrUnsafe), 2, "router: check chat.inbound: unsafe topic\n"},
		{"an end that nobody asked for", context.Canceled, 1, "router: context canceled\n"},
		{"the manual", &answer{text: "manual\n"}, 0, ""},
		{"a status that is the answer", Status(3), 3, ""},
		{"a status that is none", Status(0), 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProcess()
			got := p.main(func(context.Context, []string, io.Writer) error { return tt.err })
			if got != tt.status {
				t.Errorf("status: got %d, want %d", got, tt.status)
			}
			if got := p.err.String(); got != tt.line {
				t.Errorf("stderr: got %q, want %q", got, tt.line)
			}
		})
	}
}

func TestSignalDrainsAndEndsWithZero(t *testing.T) {
	for _, signal := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		p := newProcess("-x")
		status := p.main(func(ctx context.Context, args []string, stdout io.Writer) error {
			if len(args) != 1 || args[0] != "-x" {
				t.Errorf("args: got %q, want [-x]", args)
			}
			p.signals <- signal
			<-ctx.Done()
			fmt.Fprintln(stdout, "drained")
			return fmt.Errorf("sessions: %w", ctx.Err())
		})
		if status != 0 || p.out.String() != "drained\n" || p.err.String() != "" {
			t.Errorf("%s: got status %d, stdout %q, stderr %q", signal, status, p.out.String(), p.err.String())
		}
	}
}

func TestFailureWhileDrainingIsReported(t *testing.T) {
	p := newProcess()
	status := p.main(func(ctx context.Context, _ []string, _ io.Writer) error {
		p.signals <- syscall.SIGTERM
		<-ctx.Done()
		return errors.New("flush the producer: broker is gone")
	})
	if status != 1 {
		t.Errorf("status: got %d, want 1", status)
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	p := newProcess()
	p.main(func(ctx context.Context, _ []string, _ io.Writer) error {
		p.signals <- syscall.SIGTERM
		<-ctx.Done()
		p.signals <- syscall.SIGTERM
		if got := <-p.exits; got != 1 { // while run is still at work
			t.Errorf("exit status: got %d, want 1", got)
		}
		return nil
	})
	if got := p.err.String(); !strings.Contains(got, "not waiting") {
		t.Errorf("stderr: got %q, want the reason", got)
	}
}

func TestMainReadsTheRealProcess(t *testing.T) {
	got := Main(func(ctx context.Context, _ []string, _ io.Writer) error {
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	})
	if got != 0 {
		t.Errorf("status after SIGTERM: got %d, want 0", got)
	}
}
