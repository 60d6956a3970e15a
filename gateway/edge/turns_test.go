package edge

import (
	"testing"
	"time"
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
	if n := <-over; n < 100 {
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
