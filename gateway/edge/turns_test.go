package edge

import (
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestTasksLeaveSocketsTheirTurn posts a task that posts itself, as walks over
// all sessions and busy delivery topics do, and talks to the loop meanwhile.
func TestTasksLeaveSocketsTheirTurn(t *testing.T) {
	s := start(t, &echo{}, func(c *Config) { c.Loops = 1 })
	conn := upgrade(t, s)
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		t.Fatal(err)
	}
	l, rounds, over := s.loops[0], 0, make(chan int, 1)
	stop := false // the loop's
	var again func(any)
	again = func(any) {
		if rounds++; stop {
			over <- rounds
			return
		}
		l.post(again, nil)
	}
	l.post(again, nil)
	// What waits ends sooner or later, so that a loop without turns fails the test
	// and does not hang it.
	end := time.AfterFunc(3*time.Second, func() { l.post(func(any) { stop = true }, nil) })
	defer end.Stop()
	for range 100 {
		send(t, conn, frame(0x81, "is anybody there"))
		expect(t, conn, text("is anybody there"))
	}
	l.post(func(any) { stop = true }, nil)
	if n := <-over; n < 10 {
		t.Errorf("the tasks had %d rounds beside 100 frames: now they starve", n)
	}
}

// TestMailThatComesWhileTheDoorIsAnswered is neither lost nor late.
func TestMailThatComesWhileTheDoorIsAnswered(t *testing.T) {
	s := start(t, &echo{}, func(c *Config) { c.Loops = 1; c.VisitEvery = time.Hour })
	for range 1000 {
		first, second := make(chan struct{}), make(chan struct{})
		s.Post(0, func(any) {
			first <- struct{}{}
			<-first
		}, nil)
		<-first
		s.Post(0, func(any) { close(second) }, nil) // The first task is running.
		first <- struct{}{}
		select {
		case <-second:
		case <-time.After(5 * time.Second):
			t.Fatal("a task is lost")
		}
	}
}

// TestVisitsComeInBursts owes more visits than fit into one burst: each slot is
// visited once, and tasks that came in the meantime are not behind all of them.
func TestVisitsComeInBursts(t *testing.T) {
	const many = 3*visitBurst + 1
	visits, between := make([]int, many), -1 // the loop's
	total := 0
	h := &echo{visit: func(c Conn, _ time.Duration) { visits[c.Slot]++; total++ }}
	s := start(t, h, func(c *Config) { c.Loops = 1; c.VisitEvery = time.Hour })
	l, done := s.loops[0], make(chan struct{})
	onLoop(s, Conn{}, func() {
		for range many {
			_, slot := l.slots.take()
			slot.fd, slot.state = -1, open
		}
		l.visit(s.visitTicks)
		l.post(func(any) { between = total }, nil)
	})
	var wait func(any)
	wait = func(any) {
		if l.swept >= uint64(s.visitTicks) {
			l.post(wait, nil)
			return
		}
		for i := range uint32(many) {
			l.slots.put(i) // Nobody closes what was never open.
		}
		close(done)
	}
	l.post(wait, nil)
	<-done
	for i, n := range visits {
		if n != 1 {
			t.Fatalf("slot %d was visited %d times, want once", i, n)
		}
	}
	if between < 0 || between > 2*visitBurst {
		t.Errorf("a task had to wait for %d visits, want at most %d", between, 2*visitBurst)
	}
}

// TestAllThatCameInOneEventIsRead has the loop stand still while a client sends more than
// one read takes, or its last words and its end, and nothing afterwards.
func TestAllThatCameInOneEventIsRead(t *testing.T) {
	const aRead = 512
	last := frame(0x82, "and that was all")
	long := frame(0x82, string(make([]byte, aRead)))
	for name, test := range map[string]struct {
		sent   string
		frames int
		end    bool
	}{
		"an end behind a frame":              {last, 1, true},
		"a frame behind more than a read":    {long + last, 2, false},
		"an end behind more than one read":   {long + last, 2, true},
		"exactly what a read takes":          {frame(0x82, string(make([]byte, aRead-8))), 1, false},
		"an end behind half of a last frame": {last + last[:7], 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			said := 0 // the loop's
			h := &echo{message: func(Conn, bool, []byte) { said++ }}
			s := start(t, h, func(c *Config) { c.Loops = 1 })
			conn := upgrade(t, s)
			fd, still := make(chan int, 1), make(chan struct{})
			goOn := sync.OnceFunc(func() { close(still) })
			t.Cleanup(goOn) // The server could not end.
			s.Post(0, func(any) {
				l := s.loops[0]
				l.buf = l.buf[:aRead]
				fd <- int(l.slots.at(0).fd)
				<-still
			}, nil)
			there := <-fd
			send(t, conn, test.sent)
			if test.end {
				if err := conn.CloseWrite(); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "all has arrived", func() bool {
				n, err := unix.IoctlGetInt(there, unix.TIOCINQ)
				return err == nil && n >= len(test.sent)
			})
			goOn()
			heard := func() (n int) {
				onLoop(s, Conn{}, func() { n = said })
				return n
			}
			eventually(t, "all is heard", func() bool { return heard() == test.frames })
			if test.end {
				eventually(t, "the end is noticed", func() bool { return len(h.calls()) == 1 })
			}
		})
	}
}
