package push

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/devices"
)

// tarpit is a carrier to addresses that never answer, as long as it is closed, and
// to others as they are.
type tarpit struct {
	Carrier
	t      *testing.T
	hangs  func(*devices.Registration) bool
	opened chan struct{}

	mu    sync.Mutex
	stuck map[place]int
	more  chan struct{}
}

func newTarpit(t *testing.T, hangs func(*devices.Registration) bool) *tarpit {
	return &tarpit{t: t, hangs: hangs, opened: make(chan struct{}), stuck: make(map[place]int), more: make(chan struct{}, 1)}
}

// Carry does not mind the time that it has: how long a test takes does not matter.
func (p *tarpit) Carry(ctx context.Context, to *devices.Registration, n *Notice) (Verdict, time.Duration, error) {
	if !p.hangs(to) {
		return p.Carrier.Carry(ctx, to, n)
	}
	p.mu.Lock()
	for _, at := range placesOf(to) {
		p.stuck[at]++
	}
	p.mu.Unlock()
	select {
	case p.more <- struct{}{}:
	default:
	}
	select {
	case <-p.opened:
		return Delivered, 0, nil
	case <-p.t.Context().Done():
		return Later, 0, errors.New("the test is over")
	}
}

// at returns how many requests are stuck in a place.
func (p *tarpit) at(where place) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stuck[where]
}

// neighbours are people whose records are in the same partition.
func neighbours(n int) (all []chat.UserID) {
	for i := 0; len(all) < n; i++ {
		if u := chat.DemoUser(fmt.Sprint("neighbour ", i)); bus.PartitionOfUser(u, partitions) == 0 {
			all = append(all, u)
		}
	}
	return all
}

// A device that does not answer keeps nobody waiting: no other conversation, and no
// other device in the same one.
func TestADeviceThatHangsHoldsNobodyUp(t *testing.T) {
	w := newWorld(t)
	w.browser(bob, "slow", "slow")
	w.browser(bob, "fast", "fast")
	pit := newTarpit(t, func(to *devices.Registration) bool { return to.Device == "slow" })
	stop := w.start(func(c *Config) { pit.Carrier, c.WebPush = c.WebPush, pit })
	for seq := range 3 {
		w.put(note(bob, talk(1), seq+1))
		w.said(seq + 1)
	}
	w.put(note(bob, talk(2), 1), note(bob, talk(3), 1))
	w.said(5)
	if got := pit.at(place{user: bob, device: "slow"}); got != DeviceMax {
		t.Errorf("%d requests hang", got)
	}
	close(pit.opened)
	w.settled(stop)
	// Its first and its last of one conversation, and one of each other.
	if got := pit.at(place{user: bob, device: "slow"}); got != 4 {
		t.Errorf("%d requests came", got)
	}
}

// Who is called out of line and finds no room elsewhere leaves its place to the
// next, and stands in line there.
func TestALineGoesOn(t *testing.T) {
	g := gates{all: make(map[place]*gate)}
	first, second, third := new(task), new(task), new(task)
	here, there := place{user: bob, device: "here"}, place{user: bob, device: "there"}
	for range DeviceMax {
		if !g.enter(first, []place{here}) || !g.enter(first, []place{there}) {
			t.Fatal("there was no room")
		}
	}
	for _, next := range []*task{first, second, third} {
		for range 2 {
			if g.enter(next, []place{here, there}) {
				t.Fatal("there was room")
			}
		}
	}
	g.leave([]place{here})
	second.done = true
	for _, next := range []*task{first, third} {
		if got := g.awake(); !slices.Equal(got, []*task{next}) {
			t.Fatalf("got %v, want %v", got, next)
		}
		if g.enter(next, []place{here, there}) {
			t.Fatal("there was room")
		}
	}
	if got := g.awake(); len(got) != 0 {
		t.Errorf("got %v of nobody", got)
	}
	for range DeviceMax {
		g.leave([]place{there})
	}
	if got := g.awake(); !slices.Equal(got, []*task{first, third}) {
		t.Errorf("got %v", got)
	}
	for range DeviceMax - 1 {
		g.leave([]place{here})
	}
	if got := g.awake(); len(got)+len(g.all)+len(g.open) != 0 {
		t.Errorf("left are %v, %v and %v", got, g.all, g.open)
	}
}

// A device that is to be tried much later keeps no other one waiting, and the
// commit waits for it.
func TestADeviceThatFailsHoldsNobodyUp(t *testing.T) {
	w := newWorld(t)
	w.browser(bob, "down", "down")
	w.browser(bob, "fine", "fine")
	w.answer = func(h heard) int {
		if h.device == "down" {
			return http.StatusServiceUnavailable
		}
		return 0
	}
	stop := w.start(func(c *Config) { c.First, c.Last = time.Hour, time.Hour })
	w.put(note(bob, talk(1), 1))
	w.said(2)
	for seq := range 3 {
		w.put(note(bob, talk(1), seq+2))
		w.said(seq + 3)
	}
	stop()
	if got := w.commits()[bus.PartitionOfUser(bob, partitions)]; got != 0 {
		t.Errorf("committed up to %d, and one device has nothing", got)
	}
	w.answer = nil
	stop = w.start(plain)
	again := w.said(7)[5:]
	w.settled(stop)
	for _, h := range again {
		if h.notice.Seq != 4 {
			t.Errorf("the next sender says %+v", h)
		}
	}
}

// crowd is somebody and more neighbours than there is room for.
var crowd = neighbours(UnderWayMax + 7)

// What hangs takes its own room and no more: a kind, a host, a user, a device.
func TestWhatHangsTakesItsOwnRoomOnly(t *testing.T) {
	for name, c := range map[string]struct {
		full   place
		want   int
		people int
		talks  int
		// register makes the devices of one of them.
		register func(w *world, n int)
	}{
		"the webhook": {place{kind: devices.Webhook}, UnderWayMax, len(crowd) - 1, 1, func(w *world, n int) {
			w.phone(crowd[n], "phone", fmt.Sprint("hang ", n))
		}},
		"a host": {place{kind: devices.WebPush, host: "hang.example"}, HostMax, len(crowd) - 1, 1, func(w *world, n int) {
			w.endpoint(crowd[n], "browser", fmt.Sprint("https://hang.example/", n))
		}},
		"a user": {place{user: crowd[0]}, UserMax, 1, 20, func(w *world, n int) {
			for i := range devices.PerUser {
				w.endpoint(crowd[n], fmt.Sprint("browser ", i), fmt.Sprintf("https://hang%d.example/", i))
			}
		}},
		"a device": {place{user: crowd[0], device: "browser"}, DeviceMax, 1, 20, func(w *world, n int) {
			w.endpoint(crowd[n], "browser", "https://hang.example/")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			var all []bus.Message
			for n := range c.people {
				c.register(w, n)
				for i := range c.talks {
					all = append(all, note(crowd[n], talk(i), 1))
				}
			}
			pit, stop := w.startWithTarpit()
			w.put(all...)
			w.until(func() bool { return pit.at(c.full) == c.want })
			somebody := crowd[len(crowd)-1]
			w.browser(somebody, "browser", "fine")
			w.put(note(somebody, talk(1), 1))
			w.said(1)
			if got := pit.at(c.full); got != c.want {
				t.Errorf("%d requests hang, want %d", got, c.want)
			}
			close(pit.opened)
			w.settled(stop)
			if got := pit.at(c.full); got < len(all) {
				t.Errorf("%d of %d requests came to their turn", got, len(all))
			}
		})
	}
}

// startWithTarpit starts a sender by whose carriers some addresses hang.
func (w *world) startWithTarpit() (*tarpit, func()) {
	pit := newTarpit(w.t, func(to *devices.Registration) bool { return strings.Contains(to.Address, "hang") })
	return pit, w.start(func(c *Config) {
		pit.Carrier, c.WebPush, c.Webhook = c.WebPush, pit, pit // None but browsers do not hang.
	})
}

// endpoint registers a browser anywhere.
func (w *world) endpoint(u chat.UserID, device, address string) {
	w.t.Helper()
	w.register(devices.Registration{User: u, Device: device, Kind: devices.WebPush, Address: address, Settings: w.settings()})
}

// Whatever fails for a while, in the end each device has the last of each
// conversation, and everything is committed.
func TestInTheEndAllHaveTheLast(t *testing.T) {
	const people, talks, last = 6, 4, 30
	w := newWorld(t)
	chance := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // It need not be secret.
	want := make(map[string]chat.Seq)
	for i, u := range neighbours(people) {
		w.phone(u, "phone", fmt.Sprint("phone ", i))
		for d := range 3 {
			w.browser(u, fmt.Sprint("browser ", d), fmt.Sprint(i, "-", d))
		}
	}
	got := make(map[string]chat.Seq)
	w.answer = func(h heard) int {
		if chance.IntN(2) == 0 {
			return http.StatusServiceUnavailable
		}
		key := fmt.Sprint(h.device, h.notice.ConversationID)
		got[key] = max(got[key], h.notice.Seq)
		return 0
	}
	stop := w.start(func(c *Config) { c.Tries, c.Gather = 1_000_000, time.Millisecond })
	for seq := range last {
		var all []bus.Message
		for i, u := range neighbours(people) {
			for c := range talks {
				all = append(all, note(u, talk(c), seq+1))
				for _, device := range []string{fmt.Sprint("phone ", i), fmt.Sprint(i, "-0"), fmt.Sprint(i, "-1"), fmt.Sprint(i, "-2")} {
					want[fmt.Sprint(device, talk(c))] = last
				}
			}
		}
		w.put(all...)
	}
	w.until(func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return maps.Equal(got, want)
	})
	w.settled(stop)
}
