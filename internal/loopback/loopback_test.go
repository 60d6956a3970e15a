package loopback_test

import (
	"net"
	"net/netip"
	"testing"

	"switchboard/internal/loopback"
)

func TestAddressesAreFreeAndDiffer(t *testing.T) {
	const n = 50
	addresses, err := loopback.Addresses(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	ports := make(map[uint16]bool)
	for _, address := range addresses {
		a, err := netip.ParseAddrPort(address)
		if err != nil || !a.Addr().IsLoopback() || a.Port() < 22000 || a.Port() >= 32000 {
			t.Errorf("%q is no address for a program: %v", address, err)
		}
		ports[a.Port()] = true
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Errorf("listen on it: %v", err)
			continue
		}
		defer l.Close()
	}
	if len(ports) != n {
		t.Errorf("%d ports differ, want %d", len(ports), n)
	}
}

func TestMoreAddressesThanThereAre(t *testing.T) {
	if addresses, err := loopback.Addresses(t.Context(), 10_001); err == nil {
		t.Errorf("got %d", len(addresses))
	}
}
