package load

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"switchboard/internal/auth"
)

// Config is what a Crew needs.
type Config struct {
	Command  []string // starts a worker here: it calls Work
	Agents   []string // commands of the shell that start one elsewhere, such as ssh HOST bench worker
	Workers  int      // all, agents among them
	Total    int      // the most connections
	Gateways []string
	Fill     bool // gateways one after the other, by workers one after the other: see Plan
	Path     string
	Greeting string // that servers without tokens hear first; empty: none
	Keys     string // file with the key set that tokens are minted from, which agents do not get; empty: no tokens
	Run      string
	Sources  []string
	Gather   time.Duration // how long a worker lets what arrives gather; 0: not at all
	Every    time.Duration // between reports; 0: a second
	Log      io.Writer     // of the workers
}

// Crew is the coordinator: workers, and what they have done.
type Crew struct {
	// Fixed after construction.
	config Config
	keys   *auth.Keys // nil: no agent needs tokens
	hands  []*hand
	all    *Tally
	ended  sync.WaitGroup
	failed chan error // the first that ended by itself

	mu    sync.Mutex
	phase *Tally
	order int
	done  map[int]int   // by order: workers
	woken chan struct{} // closed by the next report
}

// hand is one worker.
type hand struct {
	command *exec.Cmd
	orders  io.WriteCloser
	encoder *json.Encoder
}

// Start starts the workers. They end with Close, and with this process.
func Start(config Config) (*Crew, error) {
	if config.Every == 0 {
		config.Every = time.Second
	}
	var keys *auth.Keys
	if config.Keys != "" {
		set, err := os.ReadFile(config.Keys)
		if err != nil {
			return nil, fmt.Errorf("read the keys: %w", err)
		}
		config.Keys = string(set)
		if len(config.Agents) > 0 {
			if keys, err = openKeys(config.Keys); err != nil {
				return nil, err
			}
		}
	}
	now := time.Now()
	c := &Crew{
		config: config, keys: keys, all: newTally(now), phase: newTally(now), failed: make(chan error, config.Workers),
		done: make(map[int]int), woken: make(chan struct{}),
	}
	for i := range config.Workers {
		if err := c.hire(i); err != nil {
			return nil, errors.Join(fmt.Errorf("start a worker: %w", err), c.Close())
		}
	}
	return c, nil
}

// hire starts worker i.
func (c *Crew) hire(i int) error {
	words := c.config.Command
	if i < len(c.config.Agents) {
		words = []string{"sh", "-c", c.config.Agents[i]}
	}
	plan, err := c.plan(i)
	if err != nil {
		return err
	}
	// Not with a context: a signal ends the load in its order, and the crew last.
	command := exec.Command(words[0], words[1:]...) //nolint:noctx // See above.
	command.Stderr = c.config.Log
	command.WaitDelay = time.Second // What an agent has left running may hold the log open.
	// A signal from the terminal is for the coordinator alone.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	orders, err := command.StdinPipe()
	if err != nil {
		return err
	}
	reports, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	h := &hand{command: command, orders: orders, encoder: json.NewEncoder(orders)}
	c.hands = append(c.hands, h)
	c.ended.Go(func() {
		err := c.listen(reports)
		if err != nil {
			_ = command.Process.Kill() // Nobody reads what it says.
		}
		if ended := command.Wait(); ended != nil {
			err = errors.Join(err, ended)
		}
		c.failed <- fmt.Errorf("worker %d ended: %w", i, errors.Join(err, io.EOF))
	})
	return h.encoder.Encode(plan)
}

// shape is a plan without the right to carry it out.
func (c *Crew) shape(i int) *Plan {
	p := &Plan{
		Worker: i, Workers: c.config.Workers, Gateways: c.config.Gateways, Path: c.config.Path, Greeting: c.config.Greeting, Run: c.config.Run,
		Sources: c.config.Sources, Slots: (c.config.Total - i + c.config.Workers - 1) / c.config.Workers,
		Gather: c.config.Gather, Every: c.config.Every,
	}
	if c.config.Fill {
		block := ceil(c.config.Total, c.config.Workers)
		p.Fill, p.First = ceil(c.config.Total, len(c.config.Gateways)), i*block
		if c.config.Workers%len(c.config.Gateways) == 0 {
			p.Fill = block * (c.config.Workers / len(c.config.Gateways)) // No worker is to have connections of two.
		}
		p.Slots = min(max(c.config.Total-p.First, 0), block)
	}
	return p
}

// plan is what worker i is told first. Keys stay on this host: who has them can be
// anybody, and an agent need only be the users of its own connections, for a time.
func (c *Crew) plan(i int) (*Plan, error) {
	p := c.shape(i)
	if i >= len(c.config.Agents) {
		p.Keys = c.config.Keys
		return p, nil
	}
	if c.keys == nil {
		return p, nil
	}
	p.Tokens = make([]string, p.Slots)
	for slot := range p.Tokens {
		token, err := c.keys.Mint(UserOf(p.Run, p.number(slot)), tokenLife)
		if err != nil {
			return nil, fmt.Errorf("mint tokens for an agent: %w", err)
		}
		p.Tokens[slot] = token
	}
	return p, nil
}

// Planned is how many connections a gateway is to have when all are open.
func (c *Crew) Planned(gateway int) (n int) {
	for i := range c.config.Workers {
		n += c.shape(i).at(gateway)
	}
	return n
}

// listen takes a worker's reports until it ends.
func (c *Crew) listen(reports io.Reader) error {
	lines := json.NewDecoder(bufio.NewReader(reports))
	for {
		r := new(Report)
		if err := lines.Decode(r); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		c.mu.Lock()
		phase := c.phase
		c.mu.Unlock()
		// In this order: whoever sees in the whole that a phase is over finds all of it there.
		if err := errors.Join(phase.add(r), c.all.add(r)); err != nil {
			return fmt.Errorf("a report: %w", err)
		}
		c.mu.Lock()
		if r.Done != 0 {
			c.done[r.Done]++
		}
		close(c.woken)
		c.woken = make(chan struct{})
		c.mu.Unlock()
	}
}

// do gives an order to all workers, and returns when all have done it.
func (c *Crew) do(ctx context.Context, o Order) error {
	if err := c.give(&o); err != nil {
		return fmt.Errorf("give an order: %w", err)
	}
	done := func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.done[o.ID] == len(c.hands)
	}
	return c.Hold(ctx, done, 0)
}

// give numbers an order and gives it to all workers.
func (c *Crew) give(o *Order) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.order++
	o.ID = c.order
	for _, h := range c.hands {
		if err := h.encoder.Encode(o); err != nil {
			return err
		}
	}
	return nil
}

// Open opens connections until there are total, at a rate a second, and returns
// when each is open or given up.
func (c *Crew) Open(ctx context.Context, total int, rate float64) error {
	if err := c.do(ctx, Order{Open: &Open{Total: total, Rate: rate}}); err != nil {
		return err
	}
	if open := c.all.Open(); open < total {
		return fmt.Errorf("%d of %d connections are open: failed %v, closed %v", open, total,
			c.all.Causes(CountFailed), c.all.Causes(CountClosed))
	}
	return nil
}

// ahead is how long before its first message an Echo is ordered, so that all
// workers know of it in time.
const ahead = 200 * time.Millisecond

// Echo sends messages that come back, and returns when all are, or are missing. Its
// start is now. Workers that were to have no connection to e.Gateways send nothing.
func (c *Crew) Echo(ctx context.Context, e Echo) error {
	e.Ahead = ahead
	for i := 0; i < c.config.Workers && len(e.Gateways) > 0; i++ {
		if c.shape(i).at(e.Gateways...) > 0 {
			e.Workers = append(e.Workers, i)
		}
	}
	if len(e.Gateways) > 0 && len(e.Workers) == 0 {
		return fmt.Errorf("no connection is to a gateway of %v: there are too few", e.Gateways)
	}
	return c.do(ctx, Order{Echo: &e})
}

// Stay has connections come back from now on.
func (c *Crew) Stay(ctx context.Context) error { return c.do(ctx, Order{Stay: &Stay{}}) }

// Drop drops a share of the open connections, 0 to 1.
func (c *Crew) Drop(ctx context.Context, share float64) error {
	return c.do(ctx, Order{Drop: &Drop{Share: share}})
}

// Hush ends an Echo that another goroutine waits for.
func (c *Crew) Hush(ctx context.Context) error { return c.do(ctx, Order{Hush: &Hush{}}) }

// Hold waits until something holds, which it looks at with each report, or for the
// longest time, 0 being none. It fails when a worker ends.
func (c *Crew) Hold(ctx context.Context, until func() bool, longest time.Duration) error {
	var end <-chan time.Time
	if longest > 0 {
		end = time.After(longest)
	}
	for {
		c.mu.Lock()
		woken := c.woken
		c.mu.Unlock()
		if until() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-c.failed:
			return err
		case <-end:
			return nil
		case <-woken:
		}
	}
}

// All is what was done in the whole run.
func (c *Crew) All() *Tally { return c.all }

// Phase is what was done since the last NewPhase.
func (c *Crew) Phase() *Tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.phase
}

// NewPhase ends a phase and begins another, in which as many connections are open.
func (c *Crew) NewPhase() {
	fresh := newTally(time.Now())
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.phase
	old.mu.Lock()
	maps.Copy(fresh.open, old.open)
	old.mu.Unlock()
	c.phase = fresh
}

// PIDs are the processes of workers on this host, and of what started the others.
func (c *Crew) PIDs() (pids []int) {
	for _, h := range c.hands {
		pids = append(pids, h.command.Process.Pid)
	}
	return pids
}

// Close ends the workers, and with them their connections.
func (c *Crew) Close() error {
	for _, h := range c.hands {
		_ = h.orders.Close() // It ends by that.
	}
	c.ended.Wait()
	return nil
}
