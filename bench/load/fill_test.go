package load

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// TestPlaces puts connections on gateways in turn, and one gateway after the other, from
// all sources at each.
func TestPlaces(t *testing.T) {
	for _, test := range []struct {
		name          string
		fill          int
		places, comes []int // of connections 0 to 7: which of two gateways, from which of two sources
	}{
		{"in turn", 0, []int{0, 1, 0, 1, 0, 1, 0, 1}, []int{0, 0, 1, 1, 0, 0, 1, 1}},
		{"filled", 3, []int{0, 0, 0, 1, 1, 1, 1, 1}, []int{0, 1, 0, 1, 0, 1, 0, 1}},
	} {
		w := &worker{
			plan:     Plan{Fill: test.fill, Gateways: []string{"a", "b"}},
			gateways: make([]netip.AddrPort, 2),
			sources:  []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")},
		}
		for n, place := range test.places {
			if got, from := w.plan.place(n), w.source(n); got != place || from != w.sources[test.comes[n]] {
				t.Errorf("%s: connection %d is on gateway %d from %v, want %d from %v", test.name, n, got, from, place, w.sources[test.comes[n]])
			}
		}
	}
}

// TestFilling opens 10 connections by 3 workers, first 5, then all: each number once, in
// its order at the rate asked for, or in turn at a third of it each.
func TestFilling(t *testing.T) {
	for _, fill := range []bool{false, true} {
		crew := &Crew{config: Config{Workers: 3, Total: 10, Gateways: []string{"a", "b"}, Fill: fill}}
		var numbers []int
		workers := make([]*worker, 3)
		for i := range workers {
			plan, err := crew.plan(i)
			if err != nil {
				t.Fatal(err)
			}
			workers[i] = &worker{plan: *plan, conns: make([]conn, plan.Slots)}
		}
		start := time.Unix(1000, 0)
		for _, total := range []int{5, 10} {
			var first time.Time
			for i, w := range workers {
				w.now = start
				w.obey(&Order{Open: &Open{Total: total, Rate: 10}})
				for ; w.next < w.until; w.next++ {
					n := w.number(w.next)
					numbers = append(numbers, n)
					if at := start.Add(time.Duration(n%5) * 100 * time.Millisecond); fill && !w.pace.next().Equal(at) {
						t.Errorf("worker %d opens connection %d at %v, want %v", i, n, w.pace.next().Sub(start), at.Sub(start))
					}
					first, w.pace.done = w.pace.next(), w.pace.done+1
				}
			}
			if !fill && first.Sub(start) > 600*time.Millisecond {
				t.Errorf("the last of %d is opened after %v", total, first.Sub(start))
			}
		}
		slices.Sort(numbers)
		if want := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}; !slices.Equal(numbers, want) {
			t.Errorf("fill %v: opened %v, want %v", fill, numbers, want)
		}
	}
}

// TestApart has as many workers at each gateway, and none at two: each connection once.
func TestApart(t *testing.T) {
	for _, total := range []int{24, 25, 31} {
		crew := &Crew{config: Config{Workers: 6, Total: total, Gateways: []string{"a", "b", "c"}, Fill: true}}
		seen := make(map[int]bool)
		for i := range crew.config.Workers {
			plan, err := crew.plan(i)
			if err != nil {
				t.Fatal(err)
			}
			for slot := range plan.Slots {
				n := plan.number(slot)
				if got := plan.place(n); got != i/2 {
					t.Errorf("of %d: connection %d of worker %d is at gateway %d, want %d", total, n, i, got, i/2)
				}
				seen[n] = true
			}
			if has := plan.at(1, 2) > 0; has != (i >= 2 && plan.Slots > 0) {
				t.Errorf("of %d: worker %d has connections to the last two: %v", total, i, has)
			}
		}
		if len(seen) != total {
			t.Errorf("%d connections of %d", len(seen), total)
		}
		if a, b, c := crew.Planned(0), crew.Planned(1), crew.Planned(2); a+b+c != total || a < b || b < c || c == 0 {
			t.Errorf("of %d: %d, %d and %d", total, a, b, c)
		}
	}
}
