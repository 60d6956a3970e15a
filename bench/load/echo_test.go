package load

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// desk is a worker without its loop: the test has the other ends of its connections,
// which are open, and its clock.
type desk struct {
	*worker
	t     *testing.T
	ends  []int
	time  time.Time
	every time.Duration // by which the clock goes on when it is looked at

	reports bytes.Buffer
	tally   *Tally
}

func newDesk(t *testing.T, connections int) *desk {
	t.Helper()
	d := &desk{t: t, time: time.Unix(1_700_000_000, 0), tally: newTally(time.Now())}
	d.worker = &worker{
		plan: Plan{Workers: 1}, plain: true, out: json.NewEncoder(&d.reports), clock: d.look, now: d.time, beat: d.time.Add(beatEvery), buffer: make([]byte, readBytes),
		counts: make(map[string]int), times: make(map[string]*hdrhistogram.PackedHistogram), reads: make(map[int64]Read),
		conns: make([]conn, connections), open: connections,
	}
	for i := range d.conns {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		d.conns[i] = conn{fd: int32(pair[0]), state: open, upped: true, owed: -1}
		d.ends = append(d.ends, pair[1])
	}
	t.Cleanup(func() {
		for i := range d.conns {
			d.drop(&d.conns[i])
			d.hangUp(i)
		}
	})
	return d
}

// look is the worker's clock.
func (d *desk) look() time.Time {
	d.time = d.time.Add(d.every)
	return d.time
}

// pass lets time pass, and the worker do what is due.
func (d *desk) pass(by time.Duration) {
	d.time = d.time.Add(by)
	d.turn(nil)
	d.due()
}

// reply echoes message k on the connection that it went over.
func (d *desk) reply(k int) {
	d.t.Helper()
	if _, err := unix.Write(d.ends[k%len(d.ends)], serverFrame(opText, strconv.Itoa(k)+" x")); err != nil {
		d.t.Fatal(err)
	}
}

// ready tells the worker, in one turn, that it can read from connections.
func (d *desk) ready(slots ...int32) {
	var events []unix.EpollEvent
	for _, slot := range slots {
		events = append(events, unix.EpollEvent{Events: unix.EPOLLIN, Fd: slot})
	}
	d.turn(events)
	d.due()
}

// hangUp closes the server's end of a connection.
func (d *desk) hangUp(slot int) {
	if d.ends[slot] >= 0 {
		_ = unix.Close(d.ends[slot]) // It is a socket of the test.
	}
	d.ends[slot] = -1
}

// fill writes to a connection until its buffers are full.
func (d *desk) fill(slot int) {
	for {
		if _, err := unix.Write(int(d.conns[slot].fd), make([]byte, 4096)); err != nil {
			return
		}
	}
}

// told is what the worker reported until now.
func (d *desk) told() *Tally {
	d.t.Helper()
	if err := d.report(0); err != nil {
		d.t.Fatal(err)
	}
	for lines := json.NewDecoder(&d.reports); ; {
		r := new(Report)
		err := lines.Decode(r)
		if errors.Is(err, io.EOF) {
			return d.tally
		}
		if err := errors.Join(err, d.tally.add(r)); err != nil {
			d.t.Fatal(err)
		}
	}
}

// want holds counts of echoes to what they must be.
func (d *desk) want(counts map[string]int) {
	d.t.Helper()
	told := d.told()
	for _, name := range []string{CountSent, CountEchoed, CountMissing, CountRepeated, CountMisrouted, CountCut, CountUnsent} {
		if got := told.Count(name); got != counts[name] {
			d.t.Errorf("%s: got %d, want %d", name, got, counts[name])
		}
	}
}

// What is sent is in one of the accounts even if the sending is what ends the
// connection, as it is when a server stands still; nothing is then waited for.
func TestAnEchoThatCannotBeSentIsCut(t *testing.T) {
	for name, spoil := range map[string]func(*desk){
		"server does not read": func(d *desk) { d.fill(1) },
		"connection is gone":   func(d *desk) { d.hangUp(1) },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, 2)
			spoil(d)
			d.obey(&Order{Echo: &Echo{Frame: Text, Rate: 10, Seconds: 0.4}})
			d.pass(time.Second)
			d.want(map[string]int{CountSent: 3, CountCut: 1, CountUnsent: 1})
			d.reply(0)
			d.ready(0)
			if d.echo == nil || d.echo.under != 1 {
				t.Fatalf("one is under way, got %+v", d.echo)
			}
			d.want(map[string]int{CountSent: 3, CountEchoed: 1, CountCut: 1, CountUnsent: 1})
			d.reply(2)
			d.ready(0)
			if d.echo != nil {
				t.Errorf("all is accounted for, and %d are waited for", d.echo.under)
			}
			d.want(map[string]int{CountSent: 3, CountEchoed: 2, CountCut: 1, CountUnsent: 1})
		})
	}
}

func TestWhatIsNotBackInTimeIsMissing(t *testing.T) {
	d := newDesk(t, 2)
	d.obey(&Order{Echo: &Echo{Frame: Text, Rate: 10, Seconds: 0.4, Settle: 3}})
	d.pass(time.Second)
	for k := range 3 {
		d.reply(k)
	}
	d.ready(0, 1)
	d.pass(3*time.Second - time.Nanosecond)
	if d.echo == nil {
		t.Fatal("it was given up before its time")
	}
	d.want(map[string]int{CountSent: 4, CountEchoed: 3})
	d.pass(time.Nanosecond)
	if d.echo != nil {
		t.Error("it was not given up")
	}
	d.want(map[string]int{CountSent: 4, CountEchoed: 3, CountMissing: 1})
}

// A server with a protocol of its own is greeted in it; it may answer several texts in
// one frame, and say other things.
func TestServersWithWordsOfTheirOwn(t *testing.T) {
	d := newDesk(t, 1)
	d.plan.Greeting = `{"id":1,"connect":{}}`
	d.conns[0].state, d.conns[0].upped, d.open, d.unfree = upgrading, false, 0, 1
	say := func(text string) {
		t.Helper()
		if _, err := unix.Write(d.ends[0], []byte(text)); err != nil {
			t.Fatal(err)
		}
		d.ready(0)
	}
	heard := func() (all []string) {
		t.Helper()
		in := make([]byte, 4096)
		n, err := unix.Read(d.ends[0], in)
		if err != nil {
			t.Fatal(err)
		}
		for rest := bufio.NewReader(bytes.NewReader(in[:n])); ; {
			_, payload, err := clientFrame(rest)
			if err != nil {
				return all
			}
			all = append(all, string(payload))
		}
	}
	say("HTTP/1.1 101 Switching Protocols\r\n\r\n")
	if got := heard(); !slices.Equal(got, []string{d.plan.Greeting}) || d.open != 0 {
		t.Fatalf("greeted with %q, and %d connections are open", got, d.open)
	}
	say(string(serverFrame(opText, `{"id":1,"connect":{"client":"c"}}`)))
	if d.open != 1 {
		t.Fatal("the answer did not open the connection")
	}
	d.obey(&Order{Echo: &Echo{Frame: Text, Text: `{"id":2#,"rpc":{}}`, Rate: 10, Seconds: 0.3}})
	d.pass(time.Second)
	if got, want := heard(), []string{`{"id":20,"rpc":{}}`, `{"id":21,"rpc":{}}`, `{"id":22,"rpc":{}}`}; !slices.Equal(got, want) {
		t.Errorf("said %q, want %q", got, want)
	}
	say(string(serverFrame(opText, `{"id":20,"rpc":{"data":1}}`+"\n"+`{"id":21,"rpc":{}}`+"\n")))
	say(string(serverFrame(opText, `{}`)))
	say(string(serverFrame(opText, `{"id":22,"rpc":{}}`)))
	d.want(map[string]int{CountSent: 3, CountEchoed: 3})
	if got := d.tally.Causes(CountSaid)["another text"]; got != 1 {
		t.Errorf("%d other texts are counted, want 1", got)
	}
}

// Many sockets are ready at once, and what is done for the first is a delay of the last.
func TestEachEventHasItsOwnTime(t *testing.T) {
	const work = 10 * time.Millisecond
	d := newDesk(t, 5)
	d.obey(&Order{Echo: &Echo{Frame: Text, Rate: 1000, Seconds: 0.005}})
	d.pass(4 * time.Millisecond)
	for k := range 5 {
		d.reply(k)
	}
	d.every = work
	d.ready(0, 1, 2, 3, 4)
	d.every = 0
	d.want(map[string]int{CountSent: 5, CountEchoed: 5})
	for _, name := range []string{TimeEcho, TimeService} {
		timing := d.tally.Timing(name, "")
		// A look when the turn begins, and one for each event.
		if got := timing.Max(); timing.Count() != 5 || got < 6*work || timing.Quantile(1) > 3*work {
			t.Errorf("%s: got %d of %v to %v, want 5 of 20 to 60 ms", name, timing.Count(), timing.Quantile(1), got)
		}
	}
}

// When a server dies, what the others' connections bring comes before the burials of its
// own, few of which come between two looks; each is counted once, with its last words.
func TestEndsMakeWayForEchoes(t *testing.T) {
	const dead = 3 * besideEchoes
	d := newDesk(t, dead+1)
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(poll)
	d.poll = poll
	d.obey(&Order{Echo: &Echo{Frame: Text, Rate: 10, Seconds: (dead + 1) / 10.}})
	d.pass(time.Second)
	var events []unix.EpollEvent
	for slot := range dead {
		if err := unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, int(d.conns[slot].fd), &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP}); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Write(d.ends[slot], serverFrame(opClose, "\x0f\xa1")); err != nil {
			t.Fatal(err)
		}
		d.hangUp(slot)
		events = append(events, unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(slot)})
	}
	d.reply(dead)
	d.turn(append(events, unix.EpollEvent{Events: unix.EPOLLIN, Fd: dead}))
	if d.open != dead+1 || d.told().Count(CountEchoed) != 1 {
		t.Errorf("%d connections are left and %d echoes are back, want %d and 1", d.open, d.told().Count(CountEchoed), dead+1)
	}
	d.due()
	if d.open != dead+1-besideEchoes {
		t.Errorf("%d connections are left after one look, want %d", d.open, dead+1-besideEchoes)
	}
	d.end(dead-1, io.EOF) // As a write would that fails meanwhile.
	for range 3 {
		d.due()
	}
	if n := d.told().Count(CountLost); n != dead || d.open != 1 {
		t.Errorf("%d connections were lost and %d are left, want %d and 1", n, d.open, dead)
	}
	if n := d.told().Count(CountClosed + "with 4001"); n != dead-1 {
		t.Errorf("%d had the server's last word, want %d", n, dead-1)
	}
}

// A loop that stands still is late for each beat of that time, not for one.
func TestMissedBeatsAreRecorded(t *testing.T) {
	d := newDesk(t, 0)
	d.pass(10 * time.Second)
	lag := d.told().Timing(TimeLag, "")
	if got := lag.Quantile(50); lag.Count() != 100 || got < 4*time.Second || got > 6*time.Second || lag.Max() < 9*time.Second {
		t.Errorf("got %d beats, half of them %v late, one %v; want 100, 5 s and 9.9 s", lag.Count(), got, lag.Max())
	}
	d.pass(beatEvery)
	lagged := lag.Count()
	if got := d.told().Timing(TimeLag, ""); got.Count() != 101 || got.Quantile(0.5) > time.Millisecond {
		t.Errorf("the beat after it is in time, got %d, %v", got.Count(), got.Quantile(0.5))
	}
	if got := lag.Count(); got != lagged {
		t.Errorf("a timing that was taken before has %d of %d beats: it is no copy", got, lagged)
	}
}

// What leaves the host is masked as RFC 6455 wants it; on a loopback the mask is zero.
func TestFramesThatLeaveTheHostAreMasked(t *testing.T) {
	for length := range 300 {
		text := strings.Repeat("ab", length)[:length]
		const mask = 0x01020304
		frame := appendFrame([]byte("before"), mask, opText, []byte(text))
		in := frame[len("before"):]
		head := 2
		if length > 125 {
			head = 4
		}
		if in[1]&0x80 == 0 || binary.BigEndian.Uint32(in[head:]) != mask || len(in) != head+4+length {
			t.Fatalf("%d bytes: got % x", length, in[:head+4])
		}
		for i, b := range in[head+4:] {
			if b^byte(i%4+1) != text[i] {
				t.Fatalf("byte %d of %d is masked as %x", i, length, b)
			}
		}
	}
	for gateway, want := range map[string]bool{"127.0.0.1:80": false, "127.3.0.1:80": false, "10.0.0.7:80": true} {
		w := &worker{plan: Plan{Gateways: []string{gateway}, Sources: []string{"0.0.0.0"}, Slots: 1, Workers: 1}}
		if err := w.prepare(); err != nil {
			t.Fatal(err)
		}
		w.close()
		if one, other := w.mask(), w.mask(); (one != other) != want || !want && one != 0 {
			t.Errorf("to %s: got masks %x and %x", gateway, one, other)
		}
	}
}

// A worker sleeps for as long as what arrives may gather, or until something is due.
func TestWhatIsDueDoesNotWaitForWhatGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, events := newDesk(t, 1), make([]unix.EpollEvent, 4)
		var err error
		if d.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(d.poll)
		end := d.conns[0].fd
		if err := unix.EpollCtl(d.poll, unix.EPOLL_CTL_ADD, int(end), &unix.EpollEvent{Events: unix.EPOLLIN, Fd: end}); err != nil {
			t.Fatal(err)
		}
		d.worker.told, d.plan.Every, d.plan.Gather = time.Now(), time.Hour, time.Minute
		for _, due := range []time.Duration{2 * time.Minute, 10 * time.Second, 0, -time.Second} {
			if _, err := unix.Write(d.ends[0], []byte("x")); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			d.beat = began.Add(due)
			n, err := d.wait(events)
			if want := min(max(due, 0), time.Minute); n != 1 || err != nil || time.Since(began) != want {
				t.Errorf("due in %v: got %d events and %v after %v, want one after %v", due, n, err, time.Since(began), want)
			}
		}
	})
}
