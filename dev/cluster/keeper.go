package cluster

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"switchboard/dev/servers"
)

// process is what a keeper keeps running: a program, or a server of the set.
type process interface {
	// start starts it again.
	start(ctx context.Context) error
	// wait returns when it has ended, and says how. The error is that of ctx.
	wait(ctx context.Context) (how string, err error)
}

// keeper starts a process again after each of its ends.
type keeper struct {
	// Fixed after construction.
	name      string
	run, logs string
	pause     time.Duration
	process   process
	log       *slog.Logger
}

// holdTick is how often it is asked whether a hold is gone.
const holdTick = 50 * time.Millisecond

// keep returns when ctx ends. The process runs already.
func (k *keeper) keep(ctx context.Context) {
	for {
		how, err := k.process.wait(ctx)
		if err != nil {
			return
		}
		k.say("a process ended and is started again", "ended", how)
		for again := true; again; {
			if !k.awaitTurn(ctx) {
				return
			}
			if err = k.process.start(ctx); ctx.Err() != nil {
				return
			}
			if again = err != nil; again {
				k.say("a process cannot be started", "cannot be started", err.Error())
			}
		}
	}
}

// awaitTurn waits for the pause, and then until nobody holds the process back.
// It reports whether the process is to be started.
func (k *keeper) awaitTurn(ctx context.Context) bool {
	wait := time.NewTimer(k.pause)
	defer wait.Stop()
	for held := true; held; {
		select {
		case <-ctx.Done():
			return false
		case <-wait.C:
		}
		_, err := os.Stat(filepath.Join(k.run, k.name+".hold"))
		held = err == nil
		wait.Reset(holdTick)
	}
	return true
}

// say tells the person in front and the reader of the process's own log.
func (k *keeper) say(message, what, how string) {
	k.log.Warn(message, "name", k.name, "how", how) //nolint:sloglint // Each caller has its constant.
	if err := note(filepath.Join(k.logs, k.name+".log"), fmt.Sprintf("%s %s: %s", k.name, what, how)); err != nil {
		k.log.Error("a log is not complete", "name", k.name, "error", err)
	}
}

// server is one server of a set.
type server struct {
	set  *servers.Set
	name string
}

func (s server) start(ctx context.Context) error { return s.set.Restart(ctx, s.name) }

func (s server) wait(ctx context.Context) (string, error) { return s.set.Wait(ctx, s.name) }

// keepServers keeps all servers running until ctx ends.
func (c *cluster) keepServers(ctx context.Context) error {
	var group errgroup.Group
	for _, name := range c.set.Names() {
		group.Go(func() error {
			c.keeper(name, server{set: c.set, name: name}).keep(ctx)
			return nil
		})
	}
	return group.Wait()
}

func (c *cluster) keeper(name string, p process) *keeper {
	return &keeper{name: name, run: c.path("run"), logs: c.path("logs"), pause: c.pause, process: p, log: c.cfg.Log}
}

// keepPrograms starts the programs of a kind, keeps them running until ctx ends
// and then stops them, all at the same time. One that cannot even be started
// takes the others with it.
func (c *cluster) keepPrograms(ctx context.Context, kind string) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range c.programs {
		if p.kind == kind {
			group.Go(func() error {
				// The kernel ends the program with the thread that started it.
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				if err := p.start(ctx); err != nil {
					return err
				}
				c.keeper(p.name, p).keep(ctx)
				return p.stop()
			})
		}
	}
	return group.Wait()
}

// await waits until every program says that it is ready.
func (c *cluster) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("not ready after %s", startLimit))
	defer cancel()
	for _, p := range c.programs {
		for {
			err := askReady(ctx, p.ops)
			if err == nil {
				break
			}
			if code := p.refused(); code != "" {
				return fmt.Errorf("%s will not run: %s; its log is %s", p.name, code, p.out())
			}
			if !sleep(ctx, 50*time.Millisecond) {
				return fmt.Errorf("%s: %w: %w; its log is %s", p.name, context.Cause(ctx), err, p.out())
			}
		}
	}
	return nil
}

// sleep reports whether the time went by before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// askReady asks a program whether traffic is welcome.
func askReady(ctx context.Context, ops string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, ops+"/readyz", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	why, err := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
	if err != nil {
		return err
	}
	return fmt.Errorf("it answers %s: %s", answer.Status, strings.TrimSpace(string(why)))
}
