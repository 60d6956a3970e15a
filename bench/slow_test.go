package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"switchboard/bench/host"
	"switchboard/internal/chat"
)

func TestSlowRunIsJudged(t *testing.T) {
	right := slowReport{Readers: 10, Closed: 10, Witnesses: 2, Saw: 1, Peak: weight{Queued: 600_000, Kernel: 300_000}}
	for name, tt := range map[string]struct {
		change func(r *slowReport)
		right  bool
	}{
		"all is well":                 {func(*slowReport) {}, true},
		"too much in the kernel":      {func(r *slowReport) { r.Peak.Kernel = 500_000 }, false},
		"much, but it was so before":  {func(r *slowReport) { r.Peak.Kernel, r.Before.Kernel = 500_000, 200_000 }, true},
		"too much of the process":     {func(r *slowReport) { r.Peak.PSS = 900_000 }, false},
		"one was not closed":          {func(r *slowReport) { r.Closed = 9 }, false},
		"one was closed for another":  {func(r *slowReport) { r.Closed, r.ClosedElse = 9, 1 }, false},
		"nobody read why":             {func(r *slowReport) { r.Saw = 0 }, false},
		"nobody was to read why":      {func(r *slowReport) { r.Saw, r.Witnesses = 0, 0 }, true},
		"somebody else missed a push": {func(r *slowReport) { r.Missed = 1 }, false},
	} {
		r := right
		tt.change(&r)
		if err := r.judge(100_000); (err == nil) != tt.right {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestMomentsBecomeAReport(t *testing.T) {
	start := time.Now()
	w := &watch{}
	for i, m := range []moment{
		{queued: 9000}, // not measured yet
		{queued: 100},  // all read
		{queued: 0},
		{queued: 5000, kernel: host.SocketMemory{Bytes: 700, Most: 30}},
		{queued: 6000, kernel: host.SocketMemory{Bytes: 600, Most: 40}, skipped: 2},
		{queued: 6000, skipped: 3, closed: 4},
		{queued: 10, skipped: 3, closed: 5, others: 1},
	} {
		m.at = start.Add(time.Duration(i) * 10 * time.Second)
		w.moments = append(w.moments, m)
	}
	var r slowReport
	w.sum(&r, start.Add(5*time.Second), start.Add(25*time.Second))
	if r.Before.Queued != 50 || r.Peak != (weight{Queued: 6000, Kernel: 700, Most: 40}) || r.After.Queued != 10 {
		t.Errorf("before %+v, peak %+v, after %+v", r.Before, r.Peak, r.After)
	}
	if r.StalledAfter != 15 || r.ClosedFrom != 10 || r.ClosedTo != 20 || r.Closed != 5 || r.ClosedElse != 1 {
		t.Errorf("got %+v", r)
	}
}

// A witness reads nothing while the valve is shut, and the code when it drips.
func TestWitnessReadsOnWhenOthersAreClosed(t *testing.T) {
	server, conn := net.Pipe()
	defer server.Close()
	shut, drip := make(chan struct{}), make(chan struct{})
	r := &reader{valve: valve{Conn: conn, shut: shut, drip: drip, witness: true}, done: make(chan struct{})}
	r.in = bufio.NewReaderSize(&r.valve, dripBytes)
	go r.listen()
	text := append([]byte{0x81, 126, 0, 200}, bytes.Repeat([]byte("x"), 200)...)
	if _, err := server.Write(text); err != nil {
		t.Fatal(err)
	}
	close(shut)
	written := make(chan error, 1)
	go func() {
		// One more is read, since the reader waits in the middle of reading.
		_, err := server.Write(bytes.Repeat(text, 2))
		if err == nil {
			_, err = server.Write([]byte{0x88, 2, 0x0f, 0xa3})
		}
		written <- err
	}()
	select {
	case <-r.done:
		t.Fatal("it reads although nothing drips")
	case err := <-written:
		t.Fatalf("everything was read, %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(drip)
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	<-r.done
	if got := chat.CloseCode(r.code.Load()); got != chat.CloseSlowConsumer {
		t.Errorf("read code %d, want 4003", got)
	}
}

// No gateway closes anybody: the witnesses do not wait for that beyond the run.
func TestWitnessEndsWithTheRun(t *testing.T) {
	server, conn := net.Pipe()
	defer server.Close()
	s := &slow{shut: make(chan struct{}), watch: &watch{drip: make(chan struct{})}}
	close(s.shut)
	r := &reader{valve: valve{Conn: conn, shut: s.shut, drip: s.watch.drip, witness: true}, done: make(chan struct{})}
	r.in = bufio.NewReaderSize(&r.valve, dripBytes)
	s.idle = []*reader{r}
	go r.listen()
	s.release()
	s.release() // once more, as at the end of a run
	select {
	case <-r.done:
	case <-time.After(20 * time.Second):
		t.Error("it waits for a reader to be closed")
	}
}

func TestReaderAnswersPings(t *testing.T) {
	server, conn := net.Pipe()
	r := &reader{valve: valve{Conn: conn}, done: make(chan struct{})}
	r.in = bufio.NewReaderSize(&r.valve, dripBytes)
	go r.listen()
	if _, err := server.Write([]byte{0x89, 0}); err != nil {
		t.Fatal(err)
	}
	pong := make([]byte, 6)
	if _, err := io.ReadFull(server, pong); err != nil || pong[0] != 0x8a || pong[1] != 0x80 {
		t.Errorf("got %x, %v, want an empty masked pong", pong, err)
	}
	server.Close()
	<-r.done
}
