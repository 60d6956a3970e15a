package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"switchboard/internal/bus"
)

// The exit statuses of every program.
const (
	statusDone   = 0
	statusFailed = 1
	statusUsage  = 2
)

// usageError is a mistake of whoever started the program: no waiting and no
// restart will heal it.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

// Usagef returns an error that ends the program with exit status 2.
func Usagef(format string, args ...any) error {
	return &usageError{text: fmt.Sprintf(format, args...)}
}

// answer is how Parse says that the command line asked for a text and not for
// work. It travels as an error so that run returns without doing anything.
type answer struct{ text string }

func (a *answer) Error() string { return "the command line asked for a text only" }

// ended is an end with a status that says all there is to say.
type ended struct{ status int }

func (e *ended) Error() string { return fmt.Sprintf("exit status %d", e.status) }

// Status returns an error that ends the program with a status of its own and no
// line on stderr, for programs whose status is their answer; nil for 0.
func Status(status int) error {
	if status == statusDone {
		return nil
	}
	return &ended{status}
}

// hopeless reports whether no waiting will heal err.
func hopeless(err error) bool {
	var usage *usageError
	var text *answer
	return errors.As(err, &usage) || errors.As(err, &text) || errors.Is(err, bus.ErrUnsafe)
}

// Main runs a program to its end and returns its exit status. The context that
// run gets ends at SIGTERM or SIGINT; run then drains and returns. A second
// signal does not wait for that.
func Main(run func(ctx context.Context, args []string, stdout io.Writer) error) int {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	p := process{
		name:    filepath.Base(os.Args[0]),
		args:    os.Args[1:],
		stdout:  os.Stdout,
		stderr:  os.Stderr,
		signals: signals,
		exit:    os.Exit,
	}
	return p.main(run)
}

// process is what Main takes from the operating system.
type process struct {
	name    string
	args    []string
	stdout  io.Writer
	stderr  io.Writer
	signals <-chan os.Signal
	exit    func(status int)
}

func (p *process) main(run func(ctx context.Context, args []string, stdout io.Writer) error) int {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		p.watch(stop, done)
	}()
	err := run(ctx, p.args, p.stdout)
	stopped := ctx.Err() != nil
	close(done)
	<-watching
	stop()
	return p.status(err, stopped)
}

// watch turns the first signal into the end of the context and the second into
// the end of the process.
func (p *process) watch(stop func(), done <-chan struct{}) {
	select {
	case <-p.signals:
		notify(stateStopping) //nolint:errcheck // systemd learns of the end from the end itself
		stop()
	case <-done:
		return
	}
	select {
	case s := <-p.signals:
		fmt.Fprintf(p.stderr, "%s: %s again: not waiting any longer\n", p.name, s)
		p.exit(statusFailed)
	case <-done:
	}
}

// status reports err and translates it. stopped says that a signal came, after
// which an error that only says so is a good end.
func (p *process) status(err error, stopped bool) int {
	var text *answer
	var own *ended
	switch {
	case errors.As(err, &own):
		return own.status
	case err == nil, stopped && errors.Is(err, context.Canceled):
		return statusDone
	case errors.As(err, &text):
		fmt.Fprint(p.stdout, text.text)
		return statusDone
	}
	// Errors that were joined are lines; whoever reads a journal wants one.
	fmt.Fprintf(p.stderr, "%s: %s\n", p.name, strings.ReplaceAll(err.Error(), "\n", "; "))
	if hopeless(err) {
		return statusUsage
	}
	return statusFailed
}
