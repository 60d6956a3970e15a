package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"switchboard/bench/host"
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
readers were closed; and what is left of it afterwards. Exit status 1 when a reader
costs more than -max-bytes or was not closed with 4003, when none read that code, or
when somebody else missed something.`

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
func runSlow(ctx context.Context, args []string, stdout io.Writer) error {
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
	out := flags.String("json", "", "file for the report as JSON")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var err error
	if s.others.target, err = whom.open(); err != nil {
		return fmt.Errorf("bench slow: %w", err)
	}
	if s.others.cluster == nil || s.others.users < groupSize || s.readers < 1 || s.bytes > chat.ContentBytes {
		return daemon.Usagef("-cluster is needed, %d -others at least, and -bytes up to %d", groupSize, chat.ContentBytes)
	}
	report, err := s.run(ctx, stdout)
	if err != nil {
		return err
	}
	if err := writeJSON(*out, report); err != nil {
		return err
	}
	report.print(stdout)
	return report.judge(s.most)
}

// run goes through the phases.
func (s *slow) run(ctx context.Context, progress io.Writer) (*slowReport, error) {
	r := s.others
	r.run, r.groups, r.duration = chat.NewRequestID(), r.users/groupSize, s.calm+s.hold
	r.intended = make([]atomic.Int64, int(r.warmup.Seconds()+r.duration.Seconds()+1)*r.rate)
	defer r.disconnect()
	if err := s.gather(ctx); err != nil {
		return nil, err
	}
	defer s.release()
	fmt.Fprintf(progress, "%d read, and %d others\n", s.readers, r.users)
	var running sync.WaitGroup
	watching, end := context.WithCancel(ctx)
	running.Go(func() { s.watch.run(watching) })
	speaking, hush := context.WithCancel(ctx)
	running.Go(func() { s.speak(speaking) })
	stop := func() { hush(); end(); running.Wait() }
	defer stop()

	random := rand.New(rand.NewPCG(r.seed, 2))
	start := time.Now()
	warm, calm := int(r.warmup.Seconds()*float64(r.rate)), int((r.warmup+s.calm).Seconds()*float64(r.rate))
	total := calm + int(s.hold.Seconds()*float64(r.rate))
	for i := range calm {
		r.send(ctx, random, i, start)
	}
	shut := time.Now()
	close(s.shut)
	fmt.Fprintf(progress, "they stop reading\n")
	for i := calm; i < total; i++ {
		r.send(ctx, random, i, start)
	}
	hush()
	r.await(ctx)
	time.Sleep(time.Second) // The last head may be on its way.
	report := &slowReport{
		Readers: s.readers, Others: r.users, Bytes: s.bytes, Every: s.every.Seconds(), Rate: r.rate,
		Hold: s.hold.Seconds(), Seed: r.seed, Host: host.Describe(), Late: r.late.Load(),
	}
	s.testify(report)
	s.release()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(afterwards):
	}
	stop()
	s.watch.sum(report, start.Add(r.warmup), shut)
	return report, s.compare(ctx, report, start, shut, warm, calm, total)
}

// afterwards is how long after the end of the last connection memory is looked at:
// a gateway gives a burst's memory back at most every ten seconds.
const afterwards = 25 * time.Second

// gather connects everybody and makes the conversations.
func (s *slow) gather(ctx context.Context) error {
	r := s.others
	var err error
	if s.watch, err = newWatch(r.cluster, s.drip); err != nil {
		return err
	}
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
	err = each(len(s.idle), func(i int) error {
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
func (s *slow) compare(ctx context.Context, report *slowReport, start, shut time.Time, warm, calm, total int) error {
	r := s.others
	road := &roadReport{}
	r.measure(road, warm, calm)
	report.Calm.Messages = road.Delivery
	r.measure(road, calm, total)
	report.Meanwhile.Messages = road.Delivery
	report.Calm.Heads, report.Meanwhile.Heads = s.heads(start.Add(r.warmup), shut)
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
	if err := r.audit(ctx, road, total); err != nil {
		return err
	}
	if !road.Complete() {
		report.Missed += road.wrong()
	}
	return nil
}

// heads returns the latency of the large conversation's messages to the others,
// between two times and after the second.
func (s *slow) heads(from, shut time.Time) (before, after latency) {
	early, late := newHistogram(), newHistogram()
	for _, p := range s.others.people {
		for _, a := range p.seen {
			at, ok := s.said[a.seq]
			if !ok || a.talk != s.talk || at < from.UnixNano() {
				continue
			}
			h := early
			if at >= shut.UnixNano() {
				h = late
			}
			_ = h.RecordValue(min(max((a.nanos-at)/1000, 1), 60_000_000)) // within the range
		}
	}
	return summarize(early), summarize(late)
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
