package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/gateway/edge"
	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/presence"
)

// ether is the channel between the gateways of a test, which can lose words.
type ether struct {
	mu    sync.Mutex
	ears  map[string]*Keeper // of the gateways that listen
	boots map[string]uint64
	lose  int  // so many words are lost
	blind bool // nobody knows who listens
	words int
}

func (e *ether) Publish(_ context.Context, notes []presence.Note) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range notes {
		e.words++
		if e.lose > 0 {
			e.lose--
			continue
		}
		var word bus.Delivery
		if err := bus.ParseDelivery(n.Payload, &word); err != nil {
			return err
		}
		for _, c := range word.Closes {
			if k := e.ears[n.Server]; k != nil && e.boots[n.Server] == c.Boot {
				k.Replace(c.User, c.Session)
			}
		}
	}
	return nil
}

func (e *ether) Listening(_ context.Context, servers []string) ([]bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.blind {
		return nil, errors.New("away")
	}
	listening := make([]bool, len(servers))
	for i, s := range servers {
		listening[i] = e.ears[s] != nil
	}
	return listening, nil
}

func (e *ether) Listen(context.Context, string, func(), func([]byte)) error {
	panic("the downlink listens")
}

func (e *ether) said() int { e.mu.Lock(); defer e.mu.Unlock(); return e.words }

// fleet is some gateways over one directory and one channel.
type fleet struct {
	*ether
	t         *testing.T
	directory *directory
	gateways  []*world
}

// inFleet runs a test over so many gateways of two loops.
func inFleet(t *testing.T, n int, test func(f *fleet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{
			ether: &ether{ears: make(map[string]*Keeper), boots: make(map[string]uint64)},
			t:     t, directory: newDirectory(),
		}
		for i := range n {
			slot, boot := fmt.Sprintf("gw-%d", i), uint64(100-i)
			w := newWorld(t, 2, func(cfg *Config) {
				cfg.Server, cfg.Boot, cfg.Directory, cfg.Channel = slot, boot, f.directory, f.ether
			})
			defer w.end()
			f.gateways = append(f.gateways, w)
			f.ears[slot], f.boots[slot] = w.keeper, boot
		}
		test(f)
	})
}

// kill ends a gateway as kill -9 does: nothing is said, its entries and its lease stay.
func (f *fleet) kill(i int) {
	slot := fmt.Sprintf("gw-%d", i)
	f.mu.Lock()
	delete(f.ears, slot)
	f.mu.Unlock()
}

// lapse ends the lease of a gateway.
func (f *fleet) lapse(i int) {
	f.directory.do(func() { f.directory.dead[fmt.Sprintf("gw-%d", i)] = true })
}

func TestADeviceThatConnectsElsewhereClosesTheOldSocket(t *testing.T) {
	for _, device := range []string{"phone", "0198c0de-1234-7abc-8def-0123456789ab"} {
		inFleet(t, 3, func(f *fleet) {
			began := time.Now()
			first := f.gateways[0].connect(0, "alice", device)
			tablet := f.gateways[0].connect(1, "alice", "tablet")
			others := f.gateways[0].connect(0, "bob", device)
			for i := 1; i < 6; i++ { // Round and round.
				here, there := f.gateways[i%3], f.gateways[(i-1)%3]
				second := here.connect(uint16(i%2), "alice", device)
				there.want(first, "session_replaced")
				here.want(second)
				first = second
			}
			f.gateways[0].want(tablet)
			f.gateways[0].want(others)
			if took := time.Since(began); took >= time.Second {
				t.Errorf("five replacements took %v", took)
			}
		})
	}
}

func TestAnEleventhConnectionClosesTheOldestWhereverItIs(t *testing.T) {
	inFleet(t, 3, func(f *fleet) {
		var conns []edge.Conn
		for i := range 2 * chat.ConnectionsPerUser {
			conns = append(conns, f.gateways[i%3].connect(uint16(i%2), "alice", ""))
			for j := range conns { // At once, not at the end.
				w := f.gateways[j%3]
				if j == len(conns)-1-chat.ConnectionsPerUser {
					w.want(conns[j], "session_replaced")
				} else {
					w.want(conns[j])
				}
			}
		}
	})
}

// Exactly one of two stays, and it is the same for both gateways: the one that the
// directory had last.
func TestTwoNewcomersOfOneDeviceOnTwoGateways(t *testing.T) {
	for round := range 50 {
		inFleet(t, 2, func(f *fleet) {
			f.directory.do(func() { f.directory.away = true })
			request := edge.Request{Authorization: "Bearer alice", DeviceID: "phone"}
			conns := []edge.Conn{f.gateways[0].open(0, request), f.gateways[1].open(0, request)}
			f.directory.do(func() { f.directory.away = false })
			time.Sleep(2 * presenceLast)
			synctest.Wait()
			alive := 0
			for i, c := range conns {
				if !f.gateways[i].socket(c).closed {
					alive++
				}
			}
			if alive != 1 {
				t.Fatalf("round %d: %d of two are left, want 1", round, alive)
			}
		})
	}
}

// The same on two loops of one gateway, while the user is elsewhere too: what the
// census and what the directory say of the two must not differ.
func TestTwoNewcomersOfOneDeviceOnTwoLoops(t *testing.T) {
	for round := range 50 {
		inFleet(t, 2, func(f *fleet) {
			tablet := f.gateways[1].connect(0, "alice", "tablet")
			w := f.gateways[0]
			conns := []edge.Conn{w.open(0, edge.Request{}), w.open(1, edge.Request{})}
			for _, c := range conns {
				w.send(c, `{"type":"connect","data":{"token":"alice","device_id":"phone"}}`)
			}
			time.Sleep(10 * rivalFirst)
			synctest.Wait()
			alive := 0
			for _, c := range conns {
				if !w.socket(c).closed {
					alive++
				}
			}
			if alive != 1 {
				t.Fatalf("round %d: %d of two are left, want 1", round, alive)
			}
			f.gateways[1].want(tablet)
		})
	}
}

// The word that a session has to go is fleeting; it is said until it was heard.
func TestAWordThatIsLostIsSaidAgain(t *testing.T) {
	inFleet(t, 2, func(f *fleet) {
		first := f.gateways[0].connect(0, "alice", "phone")
		f.lose = 2
		second := f.gateways[1].connect(0, "alice", "phone")
		f.gateways[0].want(first)
		time.Sleep(rivalFirst)
		f.gateways[0].want(first)
		time.Sleep(rivalFirst) // Each time after a longer pause.
		f.gateways[0].want(first)
		time.Sleep(rivalFirst)
		f.gateways[0].want(first, "session_replaced")
		f.gateways[1].want(second)
		said := f.said()
		if said != 3 {
			t.Errorf("it was said %d times, want 3", said)
		}
		time.Sleep(10 * rivalLast)
		synctest.Wait()
		if f.said() != said {
			t.Error("it is said for ever")
		}
	})
}

// Whoever has lost the newcomer says nothing more on its behalf.
func TestNothingIsSaidForWhoHasLeft(t *testing.T) {
	inFleet(t, 2, func(f *fleet) {
		first := f.gateways[0].connect(0, "alice", "phone")
		f.lose = 1
		f.gateways[1].leave(f.gateways[1].connect(0, "alice", "phone"))
		time.Sleep(10 * rivalLast)
		f.gateways[0].want(first)
		if f.said() != 1 {
			t.Errorf("it was said %d times, want once", f.said())
		}
	})
}

func TestNothingIsAskedOrSaidWithoutReason(t *testing.T) {
	inFleet(t, 2, func(f *fleet) {
		w := f.gateways[0]
		for _, name := range []string{"alice", "bob", "carol"} {
			for _, device := range []string{"phone", "phone", "tablet"} { // A reconnection among them.
				w.connect(0, name, device)
			}
		}
		synctest.Wait()
		if f.directory.looks != 0 || f.said() != 0 {
			t.Errorf("%d look-ups and %d words for users of one gateway, want none", f.directory.looks, f.said())
		}
		f.gateways[1].connect(0, "alice", "laptop")
		time.Sleep(10 * rivalLast)
		if f.directory.looks != 1 || f.said() != 0 {
			t.Errorf("%d look-ups and %d words for one who has another device elsewhere, want one and none", f.directory.looks, f.said())
		}
	})
}

// A gateway that died leaves its entries and, for a while, its lease.
func TestDeadEntriesCostNoLivingOneItsPlace(t *testing.T) {
	for name, die := range map[string]func(f *fleet){
		"killed a moment ago": func(f *fleet) { f.kill(0) },
		"its lease over":      func(f *fleet) { f.lapse(0) },
		"nobody can be asked": func(f *fleet) { f.blind = true },
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, 2, func(f *fleet) {
				var alive []edge.Conn
				for i := range chat.ConnectionsPerUser / 2 {
					alive = append(alive, f.gateways[1].connect(0, "alice", fmt.Sprint("old ", i)))
				}
				for i := range chat.ConnectionsPerUser / 2 {
					f.gateways[0].connect(0, "alice", fmt.Sprint("lost ", i))
				}
				die(f)
				for i := range chat.ConnectionsPerUser / 2 { // They come back without their names.
					alive = append(alive, f.gateways[1].connect(0, "alice", fmt.Sprint("new ", i)))
				}
				time.Sleep(rivalFirst)
				f.lapse(0)
				time.Sleep(10 * rivalLast)
				for _, c := range alive {
					f.gateways[1].want(c)
				}
				looks := f.directory.looks
				time.Sleep(10 * rivalLast)
				synctest.Wait()
				if f.directory.looks != looks {
					t.Error("it is looked for ever")
				}
			})
		})
	}
}

// Too many on gateways that could not be asked are closed when they can.
func TestTooManyAreClosedWhenTheOthersListenAgain(t *testing.T) {
	inFleet(t, 2, func(f *fleet) {
		oldest := f.gateways[0].connect(0, "alice", "oldest")
		for i := range chat.ConnectionsPerUser - 1 {
			f.gateways[1].connect(0, "alice", fmt.Sprint(i))
		}
		f.blind = true
		f.gateways[1].connect(0, "alice", "one more")
		f.gateways[0].want(oldest)
		f.mu.Lock()
		f.blind = false
		f.mu.Unlock()
		time.Sleep(2 * rivalFirst)
		f.gateways[0].want(oldest, "session_replaced")
	})
}

// A session that the directory had lost is older than whoever came meanwhile: the
// one that is left over on a dead line must not win.
func TestASessionThatTheDirectoryLostDoesNotWin(t *testing.T) {
	inFleet(t, 2, func(f *fleet) {
		left := f.gateways[0].connect(0, "alice", "phone")
		f.directory.do(func() { f.directory.forget() })
		back := f.gateways[1].connect(0, "alice", "phone")
		f.gateways[0].want(left) // Nobody knows of it.
		time.Sleep(SweepEvery + time.Second)
		f.gateways[0].visit(left, 0)
		time.Sleep(gatherEvery)
		events := f.gateways[0].seen(left)
		if n := len(events); n == 0 || events[n-1].Code != chat.CloseSessionReplaced {
			t.Errorf("the one that was left over saw %+v, want 4504", events)
		}
		f.gateways[1].want(back)
	})
}

// A session on a lapsed lease is not counted, so nobody closes it while its device is
// elsewhere; when the lease is held again, it is looked at.
func TestALapsedLeaseThatIsHeldAgainLeavesNoSecondSession(t *testing.T) {
	inFleet(t, 2, func(f *fleet) {
		w := f.gateways[0]
		left := w.connect(0, "alice", "phone")
		f.lapse(0)
		back := f.gateways[1].connect(0, "alice", "phone")
		time.Sleep(10 * rivalLast)
		w.want(left)
		f.directory.do(func() { delete(f.directory.dead, "gw-0"); f.directory.lapsed = true })
		end, _ := w.hold()
		time.Sleep(presence.RenewEvery + time.Second)
		w.visit(left, 0)
		events := w.seen(left)
		if n := len(events); n == 0 || events[n-1].Code != chat.CloseSessionReplaced {
			t.Errorf("the one that was left over saw %+v, want 4504", events)
		}
		f.gateways[1].want(back)
		if err := end(); err != nil {
			t.Errorf("Hold = %v", err)
		}
	})
}

// A word that comes too late names nobody, or somebody else.
func TestAWordForAnotherSessionIsNotHeard(t *testing.T) {
	inWorld(t, 2, nil, func(w *world) {
		c := w.connect(1, "alice", "phone")
		w.keeper.Replace(bob, numberOf(c))
		gone := c
		gone.Gen++
		w.keeper.Replace(alice, numberOf(gone))
		w.keeper.Replace(alice, numberOf(edge.Conn{Loop: 200, Slot: 5}))
		w.keeper.Replace(alice, numberOf(edge.Conn{Loop: 1, Slot: 1 << 20}))
		w.want(c)
		w.keeper.Replace(alice, numberOf(c))
		w.keeper.Replace(alice, numberOf(c))
		w.want(c, "session_replaced")
	})
}

func TestSurplus(t *testing.T) {
	route := func(slot string, session, order uint64, device string) presence.Route {
		return presence.Route{Slot: slot, Boot: 1, Session: session, Order: order, Device: device, Leased: true}
	}
	many := make([]presence.Route, 0, 12)
	for i := range uint64(12) {
		many = append(many, route("gw-"+fmt.Sprint(i%2), i+1, 20-i, fmt.Sprint(i)))
	}
	for name, test := range map[string]struct {
		live          []presence.Route
		deaf          map[string]bool
		device, count []uint64 // sessions
		doubt         bool
	}{
		"one":                 {live: many[:1]},
		"ten":                 {live: many[:10]},
		"twelve":              {live: many, count: []uint64{11, 12}},
		"six of them unsure":  {live: many, deaf: map[string]bool{"gw-1": true}, doubt: true},
		"a device of each":    {live: []presence.Route{route("a", 1, 1, "x"), route("b", 2, 2, "y")}},
		"a device twice":      {live: []presence.Route{route("a", 1, 2, "x"), route("b", 2, 1, "x")}, device: []uint64{2}},
		"a device three time": {live: []presence.Route{route("a", 1, 2, "x"), route("b", 2, 1, "x"), route("c", 3, 3, "x")}, device: []uint64{1, 2}},
		"no order":            {live: []presence.Route{route("b", 1, 0, "x"), route("a", 2, 0, "x")}, device: []uint64{2}},
		"devices go first":    {live: append(many[:10:10], route("gw-0", 50, 30, "9")), device: []uint64{10}},
		"dead ones of devices": {
			live: append(many[:10:10], route("gw-9", 50, 1, "9")), deaf: map[string]bool{"gw-9": true}, device: []uint64{50},
		},
	} {
		device, count, doubt := surplus(test.live, test.deaf)
		sessions := func(routes []presence.Route) (s []uint64) {
			for _, r := range routes {
				s = append(s, r.Session)
			}
			return s
		}
		if fmt.Sprint(sessions(device), sessions(count), doubt) != fmt.Sprint(test.device, test.count, test.doubt) {
			t.Errorf("%s: got %v, %v, %v; want %v, %v, %v", name, sessions(device), sessions(count), doubt, test.device, test.count, test.doubt)
		}
	}
}
