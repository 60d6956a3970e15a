package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"switchboard/bench/host"
	"switchboard/bench/live"
	"switchboard/bench/result"
	"switchboard/internal/chat"
	"switchboard/internal/daemon"
	"switchboard/internal/wire"
)

const slowManual = `bench slow has -readers and -others in one large conversation, in which a message of
-bytes is said -every now and then; with heads no closer than a second each brings
its message. The others talk among themselves as well, -rate messages a second in
pairs and groups of 8. All read during -calm; then the readers stop reading, for
-hold, with small buffers of the kernel at their end. One in ten of them reads on,
slowly, when the first is closed, to see the close code.

It measures on ` + "`dev cluster`" + `, with as many members allowed (SWITCHBOARD_MEMBERS=2000
in its environment): what a reader costs its gateway, in queues, in memory of the
process and in the kernel; the latency of the others before and meanwhile; when the
readers were closed; and what is left of it afterwards. A signal ends the sending; the
report is then of what was done. Exit status 1 when a reader costs more than -max-bytes
or was not closed with 4003, when none read that code, or when somebody else missed
something; 99 when a threshold was not kept, 4 when the generator was late, 105 after a
signal.`

// slow is one run of `bench slow`.
type slow struct {
	others  *road // whom the rest of the system is for
	readers int
	bytes   int
	every   time.Duration
	calm    time.Duration
	hold    time.Duration
	most    int64

	idle       []*reader
	shut, drip chan struct{}
	watch      *watch
	talk       chat.ConversationID

	mu   sync.Mutex
	said map[chat.Seq]int64 // when each message of the large conversation should have been sent
	lost int                // of them, or not answered
}

// runSlow reads the flags, measures and prints the report.
func runSlow(ctx context.Context, args []string, screen *live.Screen) error {
	flags := daemon.NewFlags("bench slow", slowManual)
	whom := newTargetFlags(flags)
	s := &slow{
		others: &road{settle: 10 * time.Second, warmup: 10 * time.Second},
		shut:   make(chan struct{}), drip: make(chan struct{}), said: make(map[chat.Seq]int64),
	}
	flags.IntVar(&s.readers, "readers", 1000, "connections that stop reading")
	flags.IntVar(&s.others.users, "others", 50, "connected members who go on reading")
	flags.IntVar(&s.others.rate, "rate", 50, "messages per second among the others, on a fixed schedule")
	flags.IntVar(&s.bytes, "bytes", 8000, "content of a message in the large conversation")
	flags.DurationVar(&s.every, "every", 1100*time.Millisecond, "between two of them")
	flags.DurationVar(&s.calm, "calm", 30*time.Second, "how long all read, after 10 s that are not measured")
	flags.DurationVar(&s.hold, "hold", 70*time.Second, "how long the readers do not read")
	flags.Int64Var(&s.most, "max-bytes", 100_000, "memory for one reader, process and kernel, that is still right on average; 0 = any")
	flags.Uint64Var(&s.others.seed, "seed", 1, "seed of the plan")
	file := flags.String("json", "", "file for the report as JSON")
	out := result.NewOutput(flags.FlagSet, slowMetrics()...)
	if err := flags.Parse(args); err != nil {
		return err
	}
	var err error
	if s.others.target, err = whom.open(); err != nil {
		return fmt.Errorf("bench slow: %w", err)
	}
	if s.others.cluster == nil || s.others.users < groupSize || s.readers < 1 || s.bytes > chat.ContentBytes || s.hold <= 0 {
		return daemon.Usagef("-cluster is needed, %d -others at least, -bytes up to %d, and a time to -hold", groupSize, chat.ContentBytes)
	}
	report, err := s.run(ctx, screen)
	if err != nil {
		return err
	}
	if err := writeJSON(*file, report); err != nil {
		return err
	}
	report.print(screen)
	judged := out.Finish(report.result(), screen)
	if report.aborted {
		return judged // Nobody knows what would have become of the readers.
	}
	if err := report.judge(s.most); err != nil {
		return err
	}
	return judged
}

// course is what was sent, and when the readers stopped.
type course struct {
	start, from       time.Time // of the load, and of the measured time
	shut              time.Time // when the readers stopped; zero if a signal came before
	warm, calm, total int       // messages until the measured time, until the readers stopped, in all
}

// run goes through the phases. A signal ends the sending, and what follows is short.
func (s *slow) run(ctx context.Context, screen *live.Screen) (*slowReport, error) {
	r := s.others
	r.run, r.groups, r.duration = chat.NewRequestID(), r.users/groupSize, s.calm+s.hold
	r.intended = make([]atomic.Int64, int(r.warmup.Seconds()+r.duration.Seconds()+1)*r.rate)
	var err error
	if s.watch, err = newWatch(r.cluster, s.drip); err != nil {
		return nil, err
	}
	defer r.pulse.Show(screen, "bench slow", r.processes, s.watch.rows)()
	defer r.disconnect()
	r.pulse.Now("connecting", 0)
	if err := s.gather(ctx); err != nil {
		return nil, err
	}
	defer s.release()
	fmt.Fprintf(screen, "%d read, and %d others\n", s.readers, r.users)
	var running sync.WaitGroup
	calmly := context.WithoutCancel(ctx)
	watching, end := context.WithCancel(calmly)
	running.Go(func() { s.watch.run(watching) })
	speaking, hush := context.WithCancel(calmly)
	running.Go(func() { s.speak(speaking) })
	stop := func() { hush(); end(); running.Wait() }
	defer stop()

	c := s.load(ctx, screen)
	hush()
	r.pulse.Now("last deliveries", 0)
	r.await(calmly)
	time.Sleep(time.Second) // The last head may be on its way.
	report := &slowReport{
		Readers: s.readers, Others: r.users, Bytes: s.bytes, Every: s.every.Seconds(), Rate: r.rate,
		Hold: s.hold.Seconds(), Seed: r.seed, Host: host.Describe(), Late: r.pulse.Late.Load(), course: c,
	}
	s.testify(report)
	s.release()
	r.pulse.Now("what remains", afterwards)
	select {
	case <-ctx.Done():
		report.aborted = true
	case <-time.After(afterwards):
	}
	stop()
	s.watch.sum(report, c.from, c.shut)
	r.pulse.Now("comparing with history", 0)
	return report, s.compare(calmly, report)
}

// load sends on schedule, and has the readers stop in the middle of it.
func (s *slow) load(ctx context.Context, screen *live.Screen) (c course) {
	r, calmly := s.others, context.WithoutCancel(ctx) // A signal ends the sending, and nothing else.
	random := rand.New(rand.NewPCG(r.seed, 2))
	c.start = time.Now()
	c.from = c.start.Add(r.warmup)
	c.warm, c.calm = int(r.warmup.Seconds()*float64(r.rate)), int((r.warmup+s.calm).Seconds()*float64(r.rate))
	r.pulse.Now("warm-up", r.warmup)
	for all := c.calm + int(s.hold.Seconds()*float64(r.rate)); c.total < all && ctx.Err() == nil; c.total++ {
		if c.total == c.warm {
			r.pulse.Now("all read", s.calm)
		}
		if c.total == c.calm {
			c.shut = time.Now()
			close(s.shut)
			fmt.Fprintln(screen, "they stop reading")
			r.pulse.Now("the readers do not read", s.hold)
		}
		r.send(calmly, random, c.total, c.start)
	}
	c.warm, c.calm = min(c.warm, c.total), min(c.calm, c.total)
	return c
}

// afterwards is how long after the end of the last connection memory is looked at:
// a gateway gives a burst's memory back at most every ten seconds.
const afterwards = 25 * time.Second

// gather connects everybody and makes the conversations.
func (s *slow) gather(ctx context.Context) error {
	r := s.others
	if err := r.connect(ctx); err != nil {
		return err
	}
	if err := r.converse(ctx); err != nil {
		return err
	}
	members := make([]chat.UserID, 0, s.readers+r.users)
	for _, p := range r.people {
		members = append(members, p.user)
	}
	s.idle = make([]*reader, s.readers)
	for i := range s.idle {
		s.idle[i] = &reader{valve: valve{shut: s.shut, drip: s.drip, witness: i%10 == 0}}
		members = append(members, s.user(i))
	}
	err := each(len(s.idle), func(i int) error {
		token, err := r.keys.Mint(s.user(i), time.Hour)
		if err != nil {
			return err
		}
		address, err := url.Parse(r.gateways[i%len(r.gateways)])
		if err != nil {
			return err
		}
		if err := s.idle[i].open(ctx, address.Host, token); err != nil {
			return fmt.Errorf("reader %d: %w", i, err)
		}
		go s.idle[i].listen()
		return nil
	})
	if err != nil {
		return err
	}
	request := chat.NewRequestID()
	return again(ctx, func() (err error) {
		s.talk, err = r.callsOf(0).Group(ctx, request, "busy", members[1:])
		return err
	})
}

func (s *slow) user(i int) chat.UserID {
	return chat.DemoUser(fmt.Sprintf("slow-%s-%d", s.others.run, i))
}

// release ends the readers, also those who wait for one to be closed.
func (s *slow) release() {
	defer s.watch.closing()
	for _, r := range s.idle {
		if r != nil && r.valve.Conn != nil {
			_ = r.valve.Conn.Close() // It may be closed already.
		}
	}
}

// speak has the others say something in the large conversation now and then.
func (s *slow) speak(ctx context.Context) {
	ticker := time.NewTicker(s.every)
	defer ticker.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case at := <-ticker.C:
			s.say(context.WithoutCancel(ctx), n, at)
		}
	}
}

// say says one thing, until it is answered.
func (s *slow) say(ctx context.Context, n int, at time.Time) {
	id := chat.NewRequestID()
	content := fmt.Sprintf("busy %d %s", n, strings.Repeat("x", max(0, s.bytes-12)))
	var sent wire.MessageSent
	err := again(ctx, func() error {
		return s.others.callsOf(n%s.others.users).Do(ctx, http.MethodPost, "/api/v1/conversations/"+s.talk.String()+"/messages",
			wire.SendMessage{Content: content, Type: chat.KindText.String(), ClientMessageID: &id}, &sent)
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.lost++
		return
	}
	s.said[sent.Seq] = at.UnixNano()
}

// testify asks the witnesses.
func (s *slow) testify(report *slowReport) {
	for _, r := range s.idle {
		if !r.valve.witness {
			continue
		}
		report.Witnesses++
		if chat.CloseCode(r.code.Load()) == chat.CloseSlowConsumer {
			report.Saw++
		}
	}
}

// compare looks what the others got and when.
func (s *slow) compare(ctx context.Context, report *slowReport) error {
	r, c := s.others, report.course
	road := &roadReport{}
	r.measure(road, c.warm, c.calm)
	before := road.delivery.Clone("messages_before")
	r.measure(road, c.calm, c.total)
	meanwhile := result.NewTiming("messages", "")
	for second, h := range road.delivery.Intervals() {
		meanwhile.Merge(second+(c.calm-c.warm)/r.rate, h)
	}
	before.What = "from the intended send of a message of the others to a member's socket, before"
	meanwhile.What = "from the intended send of a message of the others to a member's socket, meanwhile"
	earlier, later := s.heads(c.from, c.shut)
	report.timings = []*result.Timing{meanwhile, later, before, earlier}
	report.Calm = phase{summarize(before.Total()), summarize(earlier.Total())}
	report.Meanwhile = phase{summarize(meanwhile.Total()), summarize(later.Total())}
	newest := chat.Seq(0)
	s.mu.Lock()
	for seq := range s.said {
		newest = max(newest, seq)
	}
	report.Missed = s.lost
	s.mu.Unlock()
	for _, p := range r.people {
		if last := p.lastOf(s.talk); last < newest {
			report.Missed++
		}
	}
	if err := r.audit(ctx, road, c.total); err != nil {
		return err
	}
	if !road.Complete() {
		report.Missed += road.wrong()
	}
	return nil
}

// heads returns how long the large conversation's messages took to the others, between
// two times and after the second; zero is never.
func (s *slow) heads(from, shut time.Time) (before, after *result.Timing) {
	before = result.NewTiming("heads_before", "from a message in the large conversation until a member is told, before")
	after = result.NewTiming("heads", "from a message in the large conversation until a member is told, meanwhile")
	for _, p := range s.others.people {
		for _, a := range p.seen {
			at, ok := s.said[a.seq]
			if !ok || a.talk != s.talk || at < from.UnixNano() {
				continue
			}
			timing := before
			if !shut.IsZero() && at >= shut.UnixNano() {
				timing = after
			}
			timing.Record(int((at-from.UnixNano())/int64(time.Second)), time.Duration(a.nanos-at))
		}
	}
	return before, after
}

// judge returns what is not as it should be.
func (r *slowReport) judge(most int64) error {
	switch {
	case most > 0 && r.Each() > float64(most):
		return fmt.Errorf("a reader that does not read costs %.0f bytes, more than %d", r.Each(), most)
	case r.Closed != r.Readers:
		return fmt.Errorf("%d of %d readers were closed with 4003", r.Closed, r.Readers)
	case r.Witnesses > 0 && r.Saw == 0:
		return fmt.Errorf("none of %d readers who read on read 4003", r.Witnesses)
	case r.Missed > 0:
		return errors.New("the others missed something")
	}
	return nil
}
