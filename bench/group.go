package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"switchboard/bench/host"
	"switchboard/bench/live"
	"switchboard/bench/pulse"
	"switchboard/bench/result"
	"switchboard/client"
	"switchboard/internal/chat"
	"switchboard/internal/daemon"
	"switchboard/internal/wire"
)

const groupManual = `bench group talks in one large conversation. Of its -members some are -connected,
each with the client library: told of heads, they pull what is new, and every tenth
of them is away in the middle of the run and comes back with /sync. At the end each
must have applied the whole history, once and in its order, content and all.

Counted are CPU time, look-ups and statements, by the message and by the head. The
system must allow so many members: run ` + "`dev cluster`" + ` with SWITCHBOARD_MEMBERS=10000
in its environment. A signal ends the sending; the report is then of what was sent.
Exit status 1 when somebody was not complete, 99 when a threshold was not kept, 4 when
the generator was late, 105 after a signal.`

// gather is how long whoever is not complete may make no progress at the end.
const gather = 30 * time.Second

// group is one run of `bench group`.
type group struct {
	target
	members   int
	connected int
	rate      int
	warmup    time.Duration
	duration  time.Duration
	seed      uint64

	messages *road // numbers what is said; it opens no connection
	talk     chat.ConversationID
	http     *http.Client
	calls    calls
	people   []*listener

	total   int // messages
	pulse   pulse.Pulse
	sending sync.WaitGroup

	mu      sync.Mutex
	answers *result.Timing
	refused map[string]int
}

// runGroup reads the flags, talks and prints the report.
func runGroup(ctx context.Context, args []string, screen *live.Screen) error {
	flags := daemon.NewFlags("bench group", groupManual)
	whom := newTargetFlags(flags)
	g := &group{refused: make(map[string]int), answers: result.NewTiming("answer", "from the intended send to message_sent")}
	flags.IntVar(&g.members, "members", chat.MembersMax, "members of the conversation")
	flags.IntVar(&g.connected, "connected", 200, "members who are connected")
	flags.IntVar(&g.rate, "rate", 20, "messages per second, on a fixed schedule")
	flags.DurationVar(&g.warmup, "warmup", 10*time.Second, "load before anything is measured")
	flags.DurationVar(&g.duration, "duration", 60*time.Second, "measured load")
	flags.Uint64Var(&g.seed, "seed", 1, "seed of the plan")
	file := flags.String("json", "", "file for the report as JSON")
	out := result.NewOutput(flags.FlagSet, groupMetrics()...)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if g.connected < 1 || g.connected > g.members || g.rate < 1 {
		return daemon.Usagef("-connected is 1 to -members, and -rate at least 1")
	}
	var err error
	if g.target, err = whom.open(); err != nil {
		return fmt.Errorf("bench group: %w", err)
	}
	report, err := g.drive(ctx, screen)
	if err != nil {
		return err
	}
	if err := writeJSON(*file, report); err != nil {
		return err
	}
	report.print(screen)
	judged := out.Finish(report.result(), screen)
	if !report.Complete() {
		return errors.New("somebody is not complete")
	}
	return judged
}

// drive makes the conversation, connects, talks, waits until all are complete and
// compares them with history.
func (g *group) drive(ctx context.Context, screen *live.Screen) (*groupReport, error) {
	g.messages = &road{run: chat.NewRequestID()}
	g.calls.through = &http.Transport{MaxIdleConnsPerHost: 128}
	defer g.calls.through.CloseIdleConnections()
	g.http = &http.Client{Transport: &g.calls}
	report := &groupReport{Members: g.members, Connected: g.connected, Rate: g.rate, Seed: g.seed, Host: host.Describe()}
	defer g.pulse.Show(screen, "bench group", g.processes, nil)()
	g.pulse.Now(fmt.Sprintf("making a group of %d", g.members), 0)
	began := time.Now()
	if err := g.create(ctx); err != nil {
		return nil, fmt.Errorf("make a group of %d: %w", g.members, err)
	}
	report.Created = time.Since(began).Seconds()
	fmt.Fprintf(screen, "made a group of %d members in %.1f s\n", g.members, report.Created)
	defer g.disconnect()
	g.pulse.Now("connecting", 0)
	if err := g.connect(ctx); err != nil {
		return nil, err
	}
	fmt.Fprintf(screen, "%d are connected and know of it; sending %d/s\n", g.connected, g.rate)
	if err := g.talkOn(ctx, report); err != nil {
		return nil, err
	}
	report.aborted = ctx.Err() != nil
	calm := context.WithoutCancel(ctx) // A signal ends the sending, and nothing else.
	hushed := time.Now()
	g.pulse.Now("reading history", 0)
	g.sending.Wait()
	report.Answer, report.Refused = summarize(g.answers.Total()), g.refused
	report.started, report.answers = hushed.Add(-time.Duration(report.Seconds*float64(time.Second))), g.answers
	history, err := g.history(calm, report)
	if err != nil {
		return nil, err
	}
	g.pulse.Now("until all are complete", 0)
	g.await(calm, len(history))
	report.CompleteAfter = time.Since(hushed).Seconds()
	g.disconnect()
	for _, p := range g.people {
		p.compare(report, history)
	}
	return report, nil
}

// user names the i-th member. The first made the conversation, and nobody was in
// one of an earlier run.
func (g *group) user(i int) chat.UserID {
	return chat.DemoUser(fmt.Sprintf("group-%s-%d", g.messages.run, i))
}

// callsOf returns the REST calls of a member; they are counted.
func (g *group) callsOf(i int) *client.REST {
	r := g.restOf(i, g.user(i))
	r.HTTP = g.http
	return r
}

// create makes the conversation in one call, repeated under the same id until it is
// answered: ten thousand rows may take longer than a server lets one wait.
func (g *group) create(ctx context.Context) error {
	others := make([]chat.UserID, 0, g.members)
	for i := 1; i < g.members; i++ {
		others = append(others, g.user(i))
	}
	request := chat.NewRequestID()
	return again(ctx, func() (err error) {
		g.talk, err = g.callsOf(0).Group(ctx, request, "bench", others)
		return err
	})
}

// connect connects the members and returns when each knows the conversation.
func (g *group) connect(ctx context.Context) error {
	urls, err := g.sockets(ctx, g.user(0))
	if err != nil {
		return err
	}
	for i := range g.connected {
		// The maker is among those who are away, if there are any.
		rest := g.callsOf((i + 1) % g.members)
		g.people = append(g.people, &listener{rest: rest, url: urls[i%len(urls)], talk: g.talk, pulse: &g.pulse})
	}
	return each(len(g.people), func(i int) error {
		g.people[i].begin(context.WithoutCancel(ctx)) // It ends when all are disconnected.
		g.people[i].knows(ctx)
		return ctx.Err()
	})
}

// disconnect ends all connections, once.
func (g *group) disconnect() {
	_ = each(len(g.people), func(i int) error { // None of it fails.
		if end := g.people[i].end; end != nil {
			end()
		}
		return nil
	})
}

// talkOn sends on schedule. A tenth of the members leave after the first third of
// the measured time and come back after the second.
func (g *group) talkOn(ctx context.Context, report *groupReport) error {
	random := rand.New(rand.NewPCG(g.seed, 2))
	warm, measured := int(g.warmup.Seconds()*float64(g.rate)), int(g.duration.Seconds()*float64(g.rate))
	g.total = warm + measured
	start := time.Now()
	g.pulse.Now("warm-up", g.warmup)
	for i := range warm {
		if err := ctx.Err(); err != nil {
			return err
		}
		g.send(ctx, random, i, start)
	}
	before, err := g.look(ctx)
	if err != nil {
		return err
	}
	before.late = g.pulse.Late.Load()
	g.pulse.Now("measured load", g.duration)
	pages, syncs := g.calls.pages.Load(), g.calls.syncs.Load()
	began, calm := time.Now(), context.WithoutCancel(ctx) // A signal ends the sending, and nothing else.
	away, back := measured/3, 2*measured/3
	for i := range measured {
		if ctx.Err() != nil && i > 0 {
			measured, g.total = i, warm+i
			break
		}
		switch i {
		case away:
			g.everyTenth(func(p *listener) { p.end() })
		case back:
			g.everyTenth(func(p *listener) { p.begin(calm) })
		}
		g.send(calm, random, warm+i, start)
	}
	if away < measured && measured <= back {
		g.everyTenth(func(p *listener) { p.begin(calm) })
	}
	after, err := g.look(calm)
	if err != nil {
		return err
	}
	report.Seconds, report.Messages = time.Since(began).Seconds(), measured
	report.Pages, report.Syncs = g.calls.pages.Load()-pages, g.calls.syncs.Load()-syncs
	report.Late, report.BenchCPU = int(g.pulse.Late.Load()-before.late), (after.self - before.self).Seconds()
	report.CPU = perMessage(before.cpu, after.cpu, measured)
	if g.cluster != nil {
		report.count(after.samples.Since(before.samples))
	}
	return nil
}

// everyTenth does something to a tenth of the people, none of whom sends.
func (g *group) everyTenth(do func(p *listener)) {
	for i := 5; i < len(g.people); i += 10 {
		do(g.people[i])
	}
}

// send has somebody say message i at its time; the answer is waited for elsewhere.
func (g *group) send(ctx context.Context, random *rand.Rand, i int, start time.Time) {
	at := start.Add(time.Duration(float64(i) / float64(g.rate) * float64(time.Second)))
	if wait := time.Until(at); wait > 0 {
		time.Sleep(wait)
	} else if wait < -10*time.Millisecond {
		g.pulse.Late.Add(1)
	}
	g.pulse.Sent.Add(1)
	g.pulse.Owed.Add(int64(len(g.people)))
	sender := g.people[random.IntN((len(g.people)+9)/10)*10].device
	g.sending.Go(func() {
		_, err := sender.Send(ctx, client.Outgoing{
			Conversation: g.talk, Content: g.messages.payload(i), Request: g.messages.requestOf(i),
		})
		g.mu.Lock()
		defer g.mu.Unlock()
		if err != nil {
			g.refused[string(chat.AsError(err).Code)]++
			return
		}
		g.answers.Record(int(at.Sub(start)/time.Second), time.Since(at))
		g.pulse.Took(time.Since(at))
	})
}

// history reads the whole conversation and checks that each message is in it once.
func (g *group) history(ctx context.Context, report *groupReport) (all []wire.Message, err error) {
	err = again(ctx, func() (err error) {
		all, err = g.restOf(0, g.user(0)).All(ctx, g.talk, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	stored := make(map[int]int)
	for i, m := range all {
		if m.Seq != chat.Seq(i+1) {
			report.Gaps++
		}
		if n := g.messages.numberOf(m.Content); n >= 0 {
			stored[n]++
		}
	}
	for n := range g.total {
		switch {
		case stored[n] == 0:
			report.Missing++
		case stored[n] > 1:
			report.Doubled++
		}
	}
	return all, nil
}

// await returns when everybody has applied so many events, or when nobody has
// applied one for a while.
func (g *group) await(ctx context.Context, events int) {
	last, since := -1, time.Now()
	for time.Since(since) < gather && ctx.Err() == nil {
		total, complete := 0, true
		for _, p := range g.people {
			n := p.count()
			total, complete = total+n, complete && n >= events
		}
		if complete {
			return
		}
		if total != last {
			last, since = total, time.Now()
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// calls counts the requests to REST, by what they ask for.
type calls struct {
	through      *http.Transport
	pages, syncs atomic.Int64
}

// RoundTrip makes it a transport.
func (c *calls) RoundTrip(r *http.Request) (*http.Response, error) {
	switch {
	case strings.HasSuffix(r.URL.Path, "/messages"):
		c.pages.Add(1)
	case strings.HasSuffix(r.URL.Path, "/sync"):
		c.syncs.Add(1)
	}
	return c.through.RoundTrip(r)
}
