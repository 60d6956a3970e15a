package load

import (
	"bufio"
	"container/heap"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"

	"switchboard/bench/result"
	"switchboard/internal/auth"
	"switchboard/internal/socket"
)

const (
	// opening is how many connections a worker opens at a time: fewer than fit into
	// a listener's queue.
	opening = 128
	// besideEchoes is how many openings, and how many ends, come between two looks at the
	// sockets while echoes are under way.
	besideEchoes = 2
	// openTimeout bounds one opening.
	openTimeout = 30 * time.Second
	// mostTries of one connection fail before it is given up.
	mostTries = 20
	// readBytes are read at a time.
	readBytes = 64 << 10
	// settle is how long no echo may come back, when all are sent, until the rest is
	// given up, unless an order says another time.
	settle = 5 * time.Second
	// beatEvery is how often a loop looks whether it is late itself: because others have
	// the processor, or because it has too much to do.
	beatEvery = 100 * time.Millisecond
	// yieldEvery is how long a loop goes on before it yields, as gateway/edge has it: who
	// seems to run for 10 ms loses its place in each wait from then on.
	yieldEvery = 4 * time.Millisecond
	// tokenLife of the tokens that are minted: a run with agents, which get them at its
	// start, is no longer.
	tokenLife = 12 * time.Hour
)

// worker is one process's event loop. All of it is for one goroutine.
type worker struct {
	// Fixed after construction.
	plan     Plan
	gateways []netip.AddrPort
	sources  []netip.Addr
	keys     *auth.Keys // nil: the plan has the tokens, or none are wanted
	plain    bool       // no tokens: a server that echoes text
	masked   bool       // frames may leave this host
	orders   <-chan *Order
	out      *json.Encoder
	clock    func() time.Time
	poll     int // of epoll
	timer    int
	wake     int

	now    time.Time // of the last look at the clock: each event's own
	ended  bool
	conns  []conn
	unfree int      // connections that are being opened
	gone   []int    // slots whose servers send no more
	later  schedule // openings that wait for their time
	order  *Order   // openings that are asked for, until they are done
	next   int      // slot that is opened next
	until  int      // slots that are asked for
	total  int      // connections that all workers were asked for
	pace   pace
	stay   bool
	echo   *echoing // nil: none

	counts  map[string]int
	times   map[string]*hdrhistogram.PackedHistogram
	reads   map[int64]Read
	open    int
	dropped float64   // what dropSome carries over
	beat    time.Time // the next
	told    time.Time
	buffer  []byte
	frame   []byte
}

// pace is a schedule of things at a constant rate.
type pace struct {
	start time.Time
	each  time.Duration
	done  int
}

func (p *pace) next() time.Time { return p.start.Add(time.Duration(p.done) * p.each) }

// Work is the program of a worker: orders from in, the first of which is a Plan,
// reports to out. It returns when in ends.
func Work(ctx context.Context, in io.Reader, out io.Writer) error {
	// One loop needs one place; a second has threads look for work at each wake-up, which
	// doubled the workers' processor time. Unless the operator has set it.
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(1)
	}
	lines := bufio.NewReader(in)
	first, err := lines.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	w := &worker{
		out: json.NewEncoder(out), clock: time.Now, counts: make(map[string]int), times: make(map[string]*hdrhistogram.PackedHistogram),
		reads: make(map[int64]Read),
	}
	if err := json.Unmarshal(first, &w.plan); err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	if err := w.prepare(); err != nil {
		return err
	}
	defer w.close()
	orders := make(chan *Order, 16)
	w.orders = orders
	go func() { // It ends with the input, or with the process.
		defer w.knock()
		defer close(orders)
		for {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				return
			}
			order := new(Order)
			if json.Unmarshal(line, order) != nil {
				return
			}
			orders <- order
			w.knock()
		}
	}()
	return w.run(ctx)
}

// prepare reads addresses and keys and opens what the loop waits on.
func (w *worker) prepare() (err error) {
	for _, g := range w.plan.Gateways {
		at, err := netip.ParseAddrPort(g)
		if err != nil {
			return fmt.Errorf("address of a gateway: %w", err)
		}
		w.gateways = append(w.gateways, at)
		w.masked = w.masked || !at.Addr().IsLoopback()
	}
	for _, s := range w.plan.Sources {
		at, err := netip.ParseAddr(s)
		if err != nil || !at.Is4() {
			return errors.Join(fmt.Errorf("%q is no source address of version 4", s), err)
		}
		w.sources = append(w.sources, at)
	}
	if w.keys, err = openKeys(w.plan.Keys); err != nil {
		return err
	}
	w.plain = w.keys == nil && w.plan.Tokens == nil
	if n := len(w.plan.Tokens); w.plan.Tokens != nil && n < w.plan.Slots {
		return fmt.Errorf("%d tokens are too few for %d connections", n, w.plan.Slots)
	}
	if err := w.plan.fit(Host()); err != nil {
		return err
	}
	w.conns = make([]conn, w.plan.Slots)
	for i := range w.conns {
		w.conns[i] = conn{fd: -1, gateway: int32(w.plan.place(w.number(i)))}
	}
	w.buffer, w.frame = make([]byte, readBytes), make([]byte, 0, 2048)
	var errs [3]error
	w.poll, errs[0] = unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	w.timer, errs[1] = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	w.wake, errs[2] = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("prepare the loop: %w", err)
	}
	for _, fd := range []int{w.timer, w.wake} {
		if err := unix.EpollCtl(w.poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: -int32(fd)}); err != nil {
			return fmt.Errorf("prepare the loop: %w", err)
		}
	}
	return nil
}

// openKeys reads a key set, which is in no file on this host; nil for none.
func openKeys(set string) (*auth.Keys, error) {
	if set == "" {
		return nil, nil //nolint:nilnil // Nobody needs a token then.
	}
	fd, err := unix.MemfdCreate("keys", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("read the keys: %w", err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(set)); err != nil {
		return nil, fmt.Errorf("read the keys: %w", err)
	}
	return auth.Open(fmt.Sprintf("/proc/self/fd/%d", fd), "", "")
}

// mask is that of the next frame.
func (w *worker) mask() uint32 {
	if w.masked {
		return rand.Uint32()
	}
	return 0
}

// number is a slot's number among the connections of all workers.
func (w *worker) number(slot int) int { return w.plan.number(slot) }

// source is the address that connection n comes from, so that all serve each gateway.
func (w *worker) source(n int) netip.Addr {
	if w.plan.Fill == 0 {
		n /= len(w.gateways)
	}
	return w.sources[n%len(w.sources)]
}

// share is how many of the first total connections are this worker's.
func (w *worker) share(total int) int {
	if w.plan.Fill > 0 {
		return min(max(total-w.plan.First, 0), len(w.conns))
	}
	return min((total-w.plan.Worker+w.plan.Workers-1)/w.plan.Workers, len(w.conns))
}

// knock wakes the loop.
func (w *worker) knock() { _, _ = unix.Write(w.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

// close ends all connections.
func (w *worker) close() {
	for i := range w.conns {
		if fd := w.conns[i].fd; fd >= 0 {
			_ = unix.Close(int(fd)) // The process ends.
		}
	}
	for _, fd := range []int{w.poll, w.timer} {
		_ = unix.Close(fd) // Likewise. The goroutine that reads orders may still use wake.
	}
}

// run is the loop: sockets, orders, what is due, reports.
func (w *worker) run(ctx context.Context) error {
	events := make([]unix.EpollEvent, 512)
	w.now = w.clock()
	w.told, w.beat = w.now, w.now.Add(beatEvery)
	for yielded := w.now; !w.ended && ctx.Err() == nil; {
		if w.now.Sub(yielded) >= yieldEvery {
			yielded = w.now
			runtime.Gosched()
		}
		n, err := w.wait(events)
		if err != nil {
			return err
		}
		w.turn(events[:n])
		w.take()
		w.due()
		if w.now.Sub(w.told) >= w.plan.Every {
			if err := w.report(0); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// wait waits for sockets, or until something is due.
func (w *worker) wait(events []unix.EpollEvent) (n int, err error) {
	due := time.Until(w.soonest())
	if w.plan.Gather > 0 {
		// Asleep, the goroutine leaves its place to nobody. In a system call Go's watchdog
		// takes the place away, and looks around every 20 µs for a while when the call is
		// over: fifty workers paid a fifth of their time for that.
		time.Sleep(min(due, w.plan.Gather))
		n, err = socket.RawReady(w.poll, events)
	} else {
		spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(max(due, time.Nanosecond)))} // 0 would stop the timer.
		if err := unix.TimerfdSettime(w.timer, 0, &spec, nil); err != nil {
			return 0, fmt.Errorf("set the timer: %w", err)
		}
		n, err = unix.EpollWait(w.poll, events, -1)
	}
	if err != nil && !errors.Is(err, unix.EINTR) {
		return 0, fmt.Errorf("wait for sockets: %w", err)
	}
	return max(n, 0), nil
}

// turn does what sockets are ready for, and beats: for each beat that the loop missed
// as well, since a loop that stands still for long is late for all of them.
func (w *worker) turn(events []unix.EpollEvent) {
	w.now = w.clock()
	for _, e := range events {
		if e.Fd < 0 {
			_, _ = unix.Read(int(-e.Fd), w.buffer[:8]) // It only wakes.
			continue
		}
		w.ready(int(e.Fd), e.Events)
		if w.echo != nil && !w.echo.next().After(w.now) {
			w.sendDue() // However many events there are.
		}
	}
	w.now = w.clock()
	for ; !w.beat.After(w.now); w.beat = w.beat.Add(beatEvery) {
		w.record(TimeLag, w.now.Sub(w.beat))
	}
}

// take takes orders.
func (w *worker) take() {
	for {
		select {
		case order, ok := <-w.orders:
			if !ok {
				w.ended = true
				return
			}
			w.obey(order)
		default:
			return
		}
	}
}

func (w *worker) obey(o *Order) {
	switch {
	case o.Open != nil:
		w.order, w.until = o, w.share(o.Open.Total)
		w.pace = w.paceOf(o.Open)
		w.total = o.Open.Total
	case o.Echo != nil:
		w.echo = w.newEchoing(o)
	default:
		if o.Hush != nil && w.echo != nil {
			w.echo.all = w.echo.sent
			w.echo.until = w.now.Add(w.echo.still)
		}
		if o.Drop != nil {
			w.dropSome(o.Drop.Share)
		}
		w.stay = o.Stay != nil || w.stay
		_ = w.report(o.ID) // A coordinator that is gone ends the worker by itself.
	}
}

// paceOf is the schedule of this worker's openings: its own share of the rate, or when
// those before it have been opened at the whole rate.
func (w *worker) paceOf(o *Open) pace {
	each := float64(time.Second) / o.Rate
	if w.plan.Fill == 0 {
		return pace{start: w.now, each: time.Duration(each * float64(w.plan.Workers))}
	}
	before := max(w.plan.First-w.total, 0)
	return pace{start: w.now.Add(time.Duration(each * float64(before))), each: time.Duration(each)}
}

// due does what has its time.
func (w *worker) due() {
	most := math.MaxInt
	if w.echo != nil {
		most = besideEchoes
	}
	for range min(len(w.gone), most) {
		slot := w.gone[0]
		w.gone = w.gone[1:]
		w.bury(slot)
	}
	for n := 0; n < most && w.unfree < opening && len(w.later) > 0 && !w.later[0].at.After(w.now); n++ {
		w.keep(heap.Pop(&w.later).(appointment).slot)
	}
	for n := 0; n < most && w.unfree < opening && w.next < w.until && !w.pace.next().After(w.now); n++ {
		w.pace.done++
		w.next++
		w.dial(w.next - 1)
	}
	if w.order != nil && w.next >= w.until && w.unfree == 0 && len(w.later) == 0 {
		id := w.order.ID
		w.order = nil
		_ = w.report(id) // Likewise.
	}
	if w.echo != nil {
		w.sendDue()
	}
}

// soonest is when something is due next.
func (w *worker) soonest() time.Time {
	at := w.told.Add(w.plan.Every)
	sooner := func(t time.Time) {
		if t.Before(at) {
			at = t
		}
	}
	sooner(w.beat)
	if len(w.gone) > 0 {
		sooner(w.now)
	}
	if w.unfree < opening {
		if len(w.later) > 0 {
			sooner(w.later[0].at)
		}
		if w.next < w.until {
			sooner(w.pace.next())
		}
	}
	if w.echo != nil {
		sooner(w.echo.next())
	}
	return at
}

// report tells the coordinator what was done since the last report.
func (w *worker) report(done int) error {
	w.expire()
	r := Report{
		Worker: w.plan.Worker, Done: done, Open: w.open, Counts: w.counts,
		Times: make(map[string][]Bucket),
		Reads: w.reads,
	}
	for name, h := range w.times {
		if h.TotalCount() == 0 {
			continue
		}
		r.Times[name] = bucketsOf(h)
		h.Reset()
	}
	w.told = w.now
	if err := w.out.Encode(&r); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	clear(w.counts)
	clear(w.reads)
	return nil
}

// expire gives up openings that take too long.
func (w *worker) expire() {
	if w.unfree == 0 {
		return
	}
	for slot := range w.conns {
		c := &w.conns[slot]
		if (c.state == connecting || c.state == upgrading) && w.now.UnixNano()-c.began > int64(openTimeout) {
			w.fail(slot, "timeout")
		}
	}
}

// record counts a time.
func (w *worker) record(name string, d time.Duration) {
	h := w.times[name]
	if h == nil {
		h = result.NewInterval()
		w.times[name] = h
	}
	_ = h.RecordValue(result.Micros(d)) // It is in the range.
}

// appointment is an opening at its time.
type appointment struct {
	at   time.Time
	slot int
}

// schedule is a heap of appointments.
type schedule []appointment

// Len and the rest are for package heap.
func (s *schedule) Len() int { return len(*s) }

// Less puts the soonest first.
func (s *schedule) Less(i, j int) bool { return (*s)[i].at.Before((*s)[j].at) }

// Swap exchanges two.
func (s *schedule) Swap(i, j int) { (*s)[i], (*s)[j] = (*s)[j], (*s)[i] }

// Push adds one.
func (s *schedule) Push(x any) { *s = append(*s, x.(appointment)) }

// Pop takes the last.
func (s *schedule) Pop() any {
	last := (*s)[len(*s)-1]
	*s = (*s)[:len(*s)-1]
	return last
}

// backoff is the protocol's pause before connecting again: a random moment of 1 to
// 30 seconds, growing with each try.
func backoff(tries int) time.Duration {
	const first, last = time.Second, 30 * time.Second
	return rand.N(min(first<<min(tries, 10), last))
}
