package session

import (
	"maps"
	"strconv"
	"testing"
	"time"

	"switchboard/gateway/edge"
	"switchboard/internal/auth"
)

// TestAllotment follows the openings of a turn.
func TestAllotment(t *testing.T) {
	const late = lateTurn + 1
	a := newAllotment()
	served := uint64(0)
	turn := func(late time.Duration, frames uint64, want int) {
		t.Helper()
		served += frames
		a.turn(verifyEvery+late, late, served, false)
		if a.most != want || a.left != want {
			t.Errorf("a turn has %d openings, %d left, want %d", a.most, a.left, want)
		}
	}
	take := func(n int) { a.left -= n }

	turn(late, 0, mostOpenings) // Nobody to make way for.
	take(100)
	turn(0, 1, 200) // Somebody, and twice the room that was needed.
	take(1)
	turn(0, 1, calmOpenings)
	take(calmOpenings)
	turn(0, 1, calmOpenings+1) // All were taken, in time.
	take(5)
	turn(lateTurn, 1, calmOpenings+1) // Not late yet; some were left.
	for want := 4; want >= fewestOpenings; want /= 2 {
		turn(late, 1, want)
		take(want)
	}
	turn(late, 1, fewestOpenings)
	take(fewestOpenings)
	turn(10*verifyEvery, 1, 11*fewestOpenings) // As many as in ten more turns.
	a.most, a.left = fewestOpenings, 0
	for range quietTurns - 1 {
		turn(late, 0, fewestOpenings)
	}
	turn(late, 0, mostOpenings)
}

// TestOpeningsShareTheWay has many come at once: a first is verified and registered at
// once, the others in whole batches a turn later, the rest in the turn after that, and the
// directory is asked once for each. While they make way it takes as many turns as it takes.
func TestOpeningsShareTheWay(t *testing.T) {
	const turn = verifyEvery
	atOnce := map[time.Duration]int{0: 1, turn: 2 * verifyBatch, 2 * turn: 40 - 2*verifyBatch}
	calm := map[time.Duration]int{0: 1, turn: 8, 2 * turn: 9, 3 * turn: 10, 4 * turn: 11, 5 * turn: 2}
	for name, c := range map[string]struct {
		openings  allotment
		allAtOnce bool
		want      map[time.Duration]int
	}{
		"nobody is in the way":          {newAllotment(), false, atOnce},
		"they make way":                 {allotment{most: fewestOpenings}, false, calm},
		"they do not, for the operator": {allotment{most: fewestOpenings}, true, atOnce},
	} {
		t.Run(name, func(t *testing.T) {
			verified := make(chan time.Time, 100)
			change := func(cfg *Config) {
				cfg.AllAtOnce = c.allAtOnce
				cfg.Verify = func(token string) (auth.Identity, error) {
					verified <- time.Now()
					return verify(token)
				}
			}
			inWorld(t, 2, change, func(w *world) {
				w.gathers()
				w.keeper.verifier.openings = c.openings
				begun := time.Now()
				var conns []edge.Conn
				for i := range 41 {
					conns = append(conns, w.open(uint16(i%2), edge.Request{Authorization: "Bearer user" + strconv.Itoa(i)}))
				}
				w.want(conns[0], "connected")
				time.Sleep(time.Duration(len(c.want))*verifyEvery + registerEvery)
				for _, c := range conns[1:] {
					w.want(c, "connected")
				}
				close(verified)
				at := make(map[time.Duration]int)
				for v := range verified {
					at[v.Sub(begun)]++
				}
				if !maps.Equal(at, c.want) {
					t.Errorf("tokens were verified after %v, want %v", at, c.want)
				}
				w.directory.do(func() {
					if n := len(w.directory.batches); n > len(c.want) {
						t.Errorf("the directory was asked %d times, want %d at most", n, len(c.want))
					}
				})
			})
		})
	}
}

// Tokens that are no good take no place in a turn.
func TestWrongTokensAreNoOpenings(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		w.gathers()
		w.connect(0, "alice", "") // Ends the quiet time.
		w.keeper.verifier.openings = allotment{most: fewestOpenings}
		for range 10 * verifyBatch {
			w.open(0, edge.Request{Authorization: "Bearer bad"})
		}
		bob := w.open(0, edge.Request{Authorization: "Bearer bob"})
		time.Sleep(8*verifyEvery + registerEvery) // With a place for each it would be 16.
		w.want(bob, "connected")
	})
}

// Who waits for the verifier when a drain begins would be asked by nobody to leave.
func TestWhoWaitsWhenADrainBeginsIsRefused(t *testing.T) {
	inWorld(t, 1, nil, func(w *world) {
		w.gathers()
		w.connect(0, "alice", "") // Ends the quiet time.
		frame := w.open(0, edge.Request{})
		w.send(frame, `{"type":"connect","data":{"token":"carol"}}`)
		header := w.open(0, edge.Request{Authorization: "Bearer bob"})
		w.want(frame)
		w.want(header)
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.keeper.Drain(w.t.Context(), time.Second)
		}()
		time.Sleep(verifyEvery)
		w.want(frame, "draining")
		if e := w.seen(header); len(e) != 1 || e[0].Status != 503 {
			t.Errorf("the client saw %v, want 503", e)
		}
		<-done
	})
}
