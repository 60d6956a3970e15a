package load

import (
	"net/netip"
	"testing"
)

// TestPlaces puts connections on gateways in turn, and one gateway after the other, from
// all sources at each.
func TestPlaces(t *testing.T) {
	for _, test := range []struct {
		name        string
		fill        int
		places, all []int // of connections 0 to 7, by two gateways; by two sources
	}{
		{"in turn", 0, []int{0, 1, 0, 1, 0, 1, 0, 1}, []int{0, 0, 1, 1, 0, 0, 1, 1}},
		{"filled", 3, []int{0, 0, 0, 1, 1, 1, 1, 1}, []int{0, 1, 0, 1, 0, 1, 0, 1}},
	} {
		w := &worker{
			plan:     Plan{Fill: test.fill},
			gateways: make([]netip.AddrPort, 2),
			sources:  []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")},
		}
		for n, place := range test.places {
			if got, from := w.place(n), w.source(n); got != place || from != w.sources[test.all[n]] {
				t.Errorf("%s: connection %d is on gateway %d from %v, want %d from %v", test.name, n, got, from, place, w.sources[test.all[n]])
			}
		}
	}
}
