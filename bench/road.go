package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
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
)

// The mix of `bench road`: 70 % of the messages in direct conversations, the
// rest in groups of groupSize.
const (
	directShare = 0.7
	groupSize   = 8
)

// road drives the whole road, socket to socket, and checks every message of it.
type road struct {
	target
	users    int
	groups   int
	rate     int
	warmup   time.Duration
	duration time.Duration
	settle   time.Duration
	seed     uint64
	run      chat.RequestID // tells the messages of this run from those of earlier ones

	people []*person
	talks  []*conversation

	intended []atomic.Int64 // Unix nanoseconds by message number; 0 = not sent
	pulse    pulse.Pulse
}

// conversation is one conversation of the plan and what became of it.
type conversation struct {
	id      chat.ConversationID
	members []*person
}

// runRoad reads the flags, drives the road and prints the report.
func runRoad(ctx context.Context, args []string, screen *live.Screen) error {
	flags := daemon.NewFlags("bench road", roadManual)
	whom := newTargetFlags(flags)
	r := &road{settle: 5 * time.Second}
	flags.IntVar(&r.users, "users", 400, "connected users")
	flags.IntVar(&r.groups, "groups", 50, "groups of 8 among them")
	flags.IntVar(&r.rate, "rate", 2000, "messages per second, on a fixed schedule")
	flags.DurationVar(&r.warmup, "warmup", 10*time.Second, "load before anything is measured")
	flags.DurationVar(&r.duration, "duration", 60*time.Second, "measured load")
	flags.Uint64Var(&r.seed, "seed", 1, "seed of the plan")
	find := flags.Bool("find", false, "raise -rate by a quarter until p99 is 500 ms or a message is lost; reports each step and the highest that held")
	file := flags.String("json", "", "file for the report as JSON")
	out := result.NewOutput(flags.FlagSet, roadMetrics()...)
	if err := flags.Parse(args); err != nil {
		return err
	}
	var err error
	if r.target, err = whom.open(); err != nil {
		return fmt.Errorf("bench road: %w", err)
	}
	if *find {
		return r.find(ctx, screen, *file, out)
	}
	report, err := r.drive(ctx, screen)
	if err != nil {
		return err
	}
	if err := writeJSON(*file, report); err != nil {
		return err
	}
	report.print(screen)
	judged := out.Finish(report.result(), screen)
	if !report.Complete() {
		return errors.New("messages were lost, doubled or out of order")
	}
	return judged
}

// drive opens the connections, sends on schedule, waits for the last deliveries
// and audits what everybody saw.
func (r *road) drive(ctx context.Context, screen *live.Screen) (*roadReport, error) {
	r.run = chat.NewRequestID()
	r.intended = make([]atomic.Int64, int(r.warmup.Seconds()+r.duration.Seconds()+1)*r.rate)
	defer r.pulse.Show(screen, fmt.Sprintf("bench road, %d/s", r.rate), r.processes, nil)()
	r.pulse.Now("connecting", 0)
	if err := r.connect(ctx); err != nil {
		return nil, err
	}
	defer r.disconnect()
	r.pulse.Now("making conversations", 0)
	if err := r.converse(ctx); err != nil {
		return nil, err
	}
	fmt.Fprintf(screen, "connected %d users, %d conversations; sending %d/s\n", len(r.people), len(r.talks), r.rate)
	warm := int(r.warmup.Seconds() * float64(r.rate))
	total := warm + int(r.duration.Seconds()*float64(r.rate))
	random := rand.New(rand.NewPCG(r.seed, 2))
	start := time.Now()
	r.pulse.Now("warm-up", r.warmup)
	for i := range warm {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r.send(ctx, random, i, start)
	}
	before, err := r.look(ctx)
	if err != nil {
		return nil, err
	}
	before.late = r.pulse.Late.Load()
	began, calm := time.Now(), context.WithoutCancel(ctx) // A signal ends the sending, and nothing else.
	r.pulse.Now("measured load", r.duration)
	for i := warm; i < total; i++ {
		if ctx.Err() != nil && i > warm {
			total = i
			break
		}
		r.send(calm, random, i, start)
	}
	report, err := r.sum(calm, before, warm, total)
	if err != nil {
		return nil, err
	}
	report.started, report.aborted = began, ctx.Err() != nil
	return report, nil
}

// sum waits for the last deliveries and says what became of the measured
// messages.
func (r *road) sum(ctx context.Context, before sight, warm, total int) (*roadReport, error) {
	after, err := r.look(ctx)
	if err != nil {
		return nil, err
	}
	report := &roadReport{
		Rate: r.rate, Seconds: float64(total-warm) / float64(r.rate), Messages: total - warm, Seed: r.seed,
		Late: r.pulse.Late.Load() - before.late, BenchCPU: (after.self - before.self).Seconds(), Host: host.Describe(),
		CPU: perMessage(before.cpu, after.cpu, total-warm),
	}
	if r.cluster != nil {
		report.Inside = newInside(after.samples.Since(before.samples), total-warm)
	}
	r.pulse.Now("last deliveries", 0)
	r.await(ctx)
	r.measure(report, warm, total)
	r.pulse.Now("comparing with history", 0)
	return report, r.audit(ctx, report, total)
}

// connect opens one connection for each user, some at a time, spread over the
// gateways.
func (r *road) connect(ctx context.Context) error {
	urls, err := r.sockets(ctx, r.userID(0))
	if err != nil {
		return err
	}
	r.people = make([]*person, r.users)
	return each(r.users, func(i int) error {
		user := r.userID(i)
		token, err := r.keys.Mint(user, time.Hour)
		if err != nil {
			return err
		}
		conn, err := client.Dial(ctx, urls[i%len(urls)], token, "bench")
		if err != nil {
			return fmt.Errorf("user %d: %w", i, err)
		}
		r.people[i] = newPerson(r, i, user, conn)
		r.pulse.Open.Add(1)
		go r.people[i].listen(context.WithoutCancel(ctx)) // It ends with its connection.
		return nil
	})
}

// userID names the i-th user of this seed's plan.
func (r *road) userID(i int) chat.UserID {
	return chat.DemoUser(fmt.Sprintf("bench-%d-%d", r.seed, i))
}

// callsOf returns the REST calls of the i-th user.
func (r *road) callsOf(i int) *client.REST { return r.restOf(i, r.userID(i)) }

// converse makes the conversations: neighbours talk directly, groups are drawn.
func (r *road) converse(ctx context.Context) error {
	directs := r.users / 2
	r.talks = make([]*conversation, directs+r.groups)
	return each(len(r.talks), func(i int) error {
		if i < directs {
			a, b := r.people[2*i], r.people[2*i+1]
			r.talks[i] = &conversation{members: []*person{a, b}}
			return again(ctx, func() (err error) {
				r.talks[i].id, err = r.callsOf(2*i).Direct(ctx, b.user)
				return err
			})
		}
		random := rand.New(rand.NewPCG(r.seed, uint64(i)))
		var members []*person
		var ids []chat.UserID
		for _, j := range random.Perm(r.users)[:min(groupSize, r.users)] {
			members, ids = append(members, r.people[j]), append(ids, r.people[j].user)
		}
		request := chat.NewRequestID()
		r.talks[i] = &conversation{members: members}
		return again(ctx, func() (err error) {
			r.talks[i].id, err = r.callsOf(members[0].number).Group(ctx, request, "bench", ids)
			return err
		})
	})
}

// again tries what REST refuses because a server is busy a few times: the set-up
// comes before anything is warm, and it is not what is measured.
func again(ctx context.Context, try func() error) error {
	const tries, pause = 10, 500 * time.Millisecond
	for n := 1; ; n++ {
		err := try()
		status := (*client.StatusError)(nil)
		if !errors.As(err, &status) || !status.Temporary() || n == tries || ctx.Err() != nil {
			return err
		}
		time.Sleep(pause)
	}
}

// send sends message number i at its time, not earlier; a generator that is
// late says so, and latency counts from the intended time all the same.
func (r *road) send(ctx context.Context, random *rand.Rand, i int, start time.Time) {
	directs := r.users / 2
	talk := r.talks[random.IntN(directs)]
	if r.groups > 0 && random.Float64() >= directShare {
		talk = r.talks[directs+random.IntN(r.groups)]
	}
	sender := talk.members[random.IntN(len(talk.members))]
	at := start.Add(time.Duration(float64(i) / float64(r.rate) * float64(time.Second)))
	if wait := time.Until(at); wait > 0 {
		time.Sleep(wait)
	} else if wait < -10*time.Millisecond {
		r.pulse.Late.Add(1)
	}
	r.intended[i].Store(at.UnixNano())
	r.pulse.Sent.Add(1)
	sender.send(ctx, talk, i)
}

// await returns when every send is answered and every copy has arrived, or when
// nothing more has come for a while.
func (r *road) await(ctx context.Context) {
	expected := int64(0)
	for _, p := range r.people {
		expected += p.expected.Load()
	}
	last, since := int64(-1), time.Now()
	for time.Since(since) < r.settle && ctx.Err() == nil {
		got := int64(0)
		for _, p := range r.people {
			got += p.received.Load()
		}
		if got >= expected {
			return
		}
		if got != last {
			last, since = got, time.Now()
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (r *road) disconnect() {
	for _, p := range r.people {
		if p != nil {
			p.conn.Drop()
		}
	}
}

// width is how many calls each has under way.
const width = 16

// each runs do for 0…n−1, at most width at a time, and returns the first error.
func each(n int, do func(i int) error) error {
	var (
		group sync.WaitGroup
		once  sync.Once
		first error
		next  atomic.Int64
	)
	for range min(width, n) {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					once.Do(func() { first = err })
					return
				}
			}
		})
	}
	group.Wait()
	return first
}

// payload is what a message of the benchmark says: which run it belongs to, its
// number, and padding to the size of an average message.
func (r *road) payload(i int) string { return fmt.Sprintf("%s %d %0100d", r.run, i, 0) }

// numberOf reads what payload wrote; −1 for anything else, such as a message of
// an earlier run.
func (r *road) numberOf(content string) int {
	run, rest, _ := strings.Cut(content, " ")
	number, _, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(number)
	if err != nil || run != r.run.String() {
		return -1
	}
	return n
}

func decode[T any](data json.RawMessage) (v T) {
	_ = json.Unmarshal(data, &v) // what does not decode stays zero and fails the audit
	return v
}
