package session

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/gateway/edge"
	"switchboard/internal/auth"
	"switchboard/internal/chat"
	"switchboard/internal/presence"
)

// hold runs the lease and returns what ends it and what it reported.
func (w *world) hold() (end func() error, reports *[]error) {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	reports = new([]error)
	go func() { done <- w.keeper.Hold(ctx, func(err error) { *reports = append(*reports, err) }) }()
	return func() error { cancel(); return <-done }, reports
}

func TestSweepFindsWhatTheDirectoryForgot(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		c := w.connect(0, "alice", "phone")
		sweep := func() {
			for range SweepEvery / time.Second / 2 {
				time.Sleep(2 * time.Second)
				w.visit(c, 0)
			}
		}
		sweep()
		w.want(c) // It was there.
		w.directory.do(func() { w.directory.forget() })
		sweep()
		if e := w.want(c, "behind")[0]; e.Data["reason"] != "routing" {
			t.Errorf("behind = %+v", e)
		}
		if n := w.directory.size(); n != 1 {
			t.Errorf("the directory has %d entries, want 1", n)
		}
		sweep()
		w.want(c)
	})
}

func TestSweepDuringAnOutageCountsAsLost(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		c := w.connect(0, "alice", "phone")
		w.directory.do(func() { w.directory.away = true })
		time.Sleep(SweepEvery + time.Second)
		for range 5 {
			w.visit(c, 0) // One repetition is under way, not five.
		}
		time.Sleep(gatherEvery)
		w.want(c)
		if n := w.keeper.registrar.length(); n != 1 {
			t.Errorf("%d changes wait, want 1", n)
		}
		w.directory.do(func() { w.directory.away = false })
		time.Sleep(presenceLast)
		w.want(c, "behind")
	})
}

func TestRecheck(t *testing.T) {
	inWorld(t, 1, func(cfg *Config) { cfg.Recheck = 10 * time.Second }, func(w *world) {
		c := w.connect(0, "alice", "")
		checks := 0
		for range 600 {
			time.Sleep(100 * time.Millisecond)
			w.visit(c, 0)
			for _, e := range w.seen(c) {
				if e.Type != "behind" || e.Data["reason"] != "check" {
					t.Fatalf("the client saw %+v", e)
				}
				checks++
			}
		}
		if checks < 5 || checks > 8 {
			t.Errorf("%d checks in a minute at 10 s ± 20 %%", checks)
		}
	})
}

func TestLapsedLeaseRegistersAllAgain(t *testing.T) {
	inWorld(t, 2, nil, func(w *world) {
		a, b := w.connect(0, "alice", ""), w.connect(1, "bob", "")
		end, reports := w.hold()
		time.Sleep(2*presence.RenewEvery + time.Second)
		w.directory.do(func() { w.directory.lapsed = true; w.directory.batches = nil })
		time.Sleep(presence.RenewEvery)
		for _, c := range []edge.Conn{a, b} {
			w.visit(c, 0)
			if e := w.want(c, "behind")[0]; e.Data["reason"] != "routing" {
				t.Errorf("behind = %+v", e)
			}
			w.visit(c, 0)
			w.want(c)
		}
		if err := end(); err != nil {
			t.Errorf("Hold = %v", err)
		}
		for _, err := range *reports {
			if err != nil {
				t.Errorf("the lease was reported as %v", err)
			}
		}
	})
}

// While the lease had lapsed others may have been told that the users are gone, so it
// is said again that they are there. Of a directory that forgot them they were not.
func TestAfterALapsedLeaseItIsSaidAgainWhoIsThere(t *testing.T) {
	for _, forgot := range []bool{false, true} {
		inWorld(t, 2, nil, func(w *world) {
			a, b := w.connect(0, "alice", ""), w.connect(1, "bob", "")
			want := []string{"online " + alice.String(), "online " + bob.String()}
			end, _ := w.hold()
			w.uplink.hints = nil
			w.directory.do(func() {
				w.directory.lapsed = true
				if forgot {
					w.directory.forget()
					want = nil
				}
			})
			time.Sleep(presence.RenewEvery + time.Second)
			for range 2 {
				w.visit(a, 0)
				w.visit(b, 0)
				synctest.Wait()
			}
			if err := end(); err != nil {
				t.Errorf("Hold = %v", err)
			}
			w.uplink.mu.Lock()
			defer w.uplink.mu.Unlock()
			slices.Sort(w.uplink.hints)
			slices.Sort(want)
			if !slices.Equal(w.uplink.hints, want) {
				t.Errorf("the directory forgot: %v; hinted %v, want %v", forgot, w.uplink.hints, want)
			}
		})
	}
}

// The sweep puts an entry back, and its answer is lost: the second try finds nothing
// amiss, but whoever relies on the first must hear that the user is there.
func TestAfterALostAnswerItIsSaidWhoIsThere(t *testing.T) {
	for _, forgot := range []bool{false, true} {
		inWorld(t, 1, nil, func(w *world) {
			c := w.connect(0, "alice", "")
			end, _ := w.hold()
			w.uplink.hints = nil
			w.directory.do(func() {
				w.directory.lapsed, w.directory.unheard = true, true
				if forgot {
					w.directory.forget()
				}
			})
			time.Sleep(presence.RenewEvery + time.Second)
			w.visit(c, 0)
			time.Sleep(presenceLast)
			w.want(c, "behind")
			if err := end(); err != nil {
				t.Errorf("Hold = %v", err)
			}
			w.uplink.mu.Lock()
			defer w.uplink.mu.Unlock()
			if want := []string{"online " + alice.String()}; !slices.Equal(w.uplink.hints, want) {
				t.Errorf("the directory forgot: %v; hinted %v, want %v", forgot, w.uplink.hints, want)
			}
		})
	}
}

// Of a renewal whose answer was lost nobody knows whether the lease had lapsed before
// it. The next one says that it has not.
func TestALapseThatNobodyHeardOfRegistersAllAgain(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		c := w.connect(0, "alice", "")
		end, _ := w.hold()
		w.directory.do(func() { w.directory.away = true })
		time.Sleep(presence.LeaseTTL - time.Second)
		w.directory.do(func() { w.directory.away = false })
		time.Sleep(presence.RenewEvery)
		w.visit(c, 0)
		w.want(c) // It was in time.
		w.directory.do(func() { w.directory.away = true })
		time.Sleep(presence.LeaseTTL + 2*time.Second) // No renewal is due at the moment of its end.
		w.directory.do(func() { w.directory.away = false })
		time.Sleep(presence.RenewEvery)
		w.visit(c, 0)
		w.want(c, "behind")
		if err := end(); err != nil {
			t.Errorf("Hold = %v", err)
		}
	})
}

func TestDirectoryAwayIsReportedWhenTheLeaseIsOver(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		end, reports := w.hold()
		time.Sleep(presence.RenewEvery + time.Second)
		w.directory.do(func() { w.directory.away = true })
		time.Sleep(presence.LeaseTTL + 3*presence.RenewEvery)
		w.directory.do(func() { w.directory.away = false })
		time.Sleep(2 * presence.RenewEvery)
		if err := end(); err != nil {
			t.Errorf("Hold = %v", err)
		}
		var away, good int
		for _, err := range *reports {
			if errors.Is(err, errAway) {
				away++
			} else {
				good++
			}
		}
		// Of six renewals that fail, the first three are within the lease.
		if got := *reports; away != 3 || good < 2 || got[len(got)-1] != nil {
			t.Errorf("reports = %v, want three of an outage, and its end", got)
		}
	})
}

func TestYoungerBootTakesTheSlot(t *testing.T) {
	inWorld(t, 2, nil, func(w *world) {
		a, b := w.connect(0, "alice", ""), w.connect(1, "bob", "")
		end, _ := w.hold()
		w.directory.do(func() { w.directory.younger = true })
		time.Sleep(presence.RenewEvery + time.Second)
		w.want(a, "server_error")
		w.want(b, "server_error")
		late := w.open(0, edge.Request{Authorization: "Bearer alice"})
		if e := w.seen(late); e[0].Status != 503 {
			t.Errorf("a newcomer saw %+v, want 503", e)
		}
		if err := end(); !errors.Is(err, presence.ErrReplaced) {
			t.Errorf("Hold = %v, want ErrReplaced", err)
		}
	})
}

func TestBehindGoesToAll(t *testing.T) {
	inWorld(t, 2, nil, func(w *world) {
		var conns []edge.Conn
		for i := range 2 * chunkSlots { // More than one chunk on each loop.
			conns = append(conns, w.open(uint16(i%2), edge.Request{Authorization: "Bearer " + string(rune('a'+i%26)) + string(rune('0'+i/26%90))}))
		}
		for _, c := range conns {
			w.want(c, "connected")
		}
		waiting := w.open(0, edge.Request{})
		w.keeper.Behind("routing")
		for _, c := range conns {
			if e := w.want(c, "behind")[0]; e.Data["reason"] != "routing" {
				t.Fatalf("behind = %+v", e)
			}
		}
		w.want(waiting)
	})
}

func TestDrain(t *testing.T) {
	inWorld(t, 2, nil, func(w *world) {
		polite, stubborn := w.connect(0, "alice", ""), w.connect(1, "bob", "")
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.keeper.Drain(w.t.Context(), 20*time.Second)
		}()
		e := w.want(polite, "reconnect")[0]
		if e.Data["reason"] != "drain" || e.Data["jitter_ms"] != 15000.0 {
			t.Errorf("reconnect = %+v", e)
		}
		late := w.open(0, edge.Request{Authorization: "Bearer alice"})
		if e := w.seen(late); e[0].Status != 503 {
			t.Errorf("a newcomer saw %+v, want 503", e)
		}
		w.leave(polite)
		w.want(stubborn, "reconnect")
		w.push(bob, `{"type":"new_message"}`) // Messages flow until the end.
		w.want(stubborn, "new_message")
		time.Sleep(19 * time.Second)
		w.want(stubborn)
		time.Sleep(time.Second)
		w.want(stubborn, "draining")
		<-done
		w.stopRun()
		if n := w.directory.size(); n != 0 {
			t.Errorf("the directory has %d entries, want none", n)
		}
	})
}

func TestDrainEndsWhenAllHaveLeft(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		c := w.connect(0, "alice", "")
		began := time.Now()
		time.AfterFunc(3*time.Second, func() { w.leave(c) })
		w.keeper.Drain(w.t.Context(), time.Minute)
		if took := time.Since(began); took < 3*time.Second || took > 4*time.Second {
			t.Errorf("the drain took %v, want 3 s", took)
		}
		w.want(c, "reconnect")
	})
}

func TestUpgradeThatWasUnderWayAtTheEnd(t *testing.T) {
	judged, end := make(chan struct{}), make(chan struct{})
	slowly := func(cfg *Config) {
		cfg.Verify = func(token string) (auth.Identity, error) {
			close(judged)
			<-end
			return verify(token)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		judged, end = make(chan struct{}), make(chan struct{})
		w := newWorld(t, 1, slowly)
		defer w.end()
		c := w.open(0, edge.Request{Authorization: "Bearer alice"})
		<-judged
		w.keeper.End(chat.CloseDraining)
		w.want(c)
		close(end)
		w.want(c, "this server is going away")
		if n := w.directory.size(); n != 0 {
			t.Errorf("the directory has %d entries, want none", n)
		}
	})
}

func TestEndCodeIsTheOneAskedFor(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		c := w.connect(0, "alice", "")
		w.keeper.End(chat.CloseServerError)
		w.want(c, "server_error")
		w.keeper.Drain(w.t.Context(), time.Minute) // Nothing more is said.
		w.want(c)
	})
}

// Sessions whose turn comes one after another are registered again together. Who comes
// or is lost does not wait, and takes those along.
func TestSweepsShareARoundTrip(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		conns := []edge.Conn{w.connect(0, "alice", "phone"), w.connect(0, "bob", "phone"), w.connect(0, "carol", "phone")}
		trips := func() (sizes []int) {
			synctest.Wait()
			w.directory.do(func() {
				for _, b := range w.directory.batches {
					sizes = append(sizes, len(b))
				}
				w.directory.batches = nil
			})
			return sizes
		}
		time.Sleep(SweepEvery + time.Second + gatherEvery/10)
		trips()
		for _, c := range conns {
			w.visit(c, 0)
			time.Sleep(gatherEvery / 10)
		}
		if got := trips(); got != nil {
			t.Errorf("round trips of %v sessions at once, want none yet", got)
		}
		time.Sleep(gatherEvery)
		if got := trips(); !slices.Equal(got, []int{3}) {
			t.Errorf("round trips of %v sessions, want one of all three", got)
		}
		time.Sleep(SweepEvery)
		w.visit(conns[0], 0)
		w.connect(0, "alice", "laptop")
		if got := trips(); !slices.Equal(got, []int{2}) {
			t.Errorf("with a newcomer round trips of %v sessions, want one of two at once", got)
		}
	})
}
