// Package load is what a host shall carry, and what a connection costs it: the
// numbers from which the other packages derive what they ask of a host.
package load

import (
	"fmt"
	"slices"
)

// Role is what a host does with connections.
type Role string

// The roles.
const (
	Gateway  Role = "gateway"  // holds clients' connections
	Bench    Role = "bench"    // opens them, to measure
	Balancer Role = "balancer" // both: a proxy in front of gateways, with TLS
)

// Roles are all of them.
var Roles = []Role{Gateway, Bench, Balancer}

// Dials reports whether the host opens connections, which takes ports.
func (r Role) Dials() bool { return r != Gateway }

// Sockets returns how many sockets of the host one client's connection takes.
func (r Role) Sockets() int64 {
	if r == Balancer {
		return 2
	}
	return 1
}

// What an idle connection costs, in bytes; bench/RESULTS.md and docs/capacity.md
// say how it was measured. The first two are kernel_bytes and user_bytes there.
const (
	KernelBytes   = 4029   // of one socket, its file and its place in epoll
	GatewayBytes  = 253    // of a session in the gateway
	BalancerBytes = 19_500 // of a tunnel with TLS in HAProxy 2.6
)

// What a client that does not read costs on top.
const (
	SlowBytes = 89_709 // in all: a queue of 64 KiB, some garbage, the kernel's buffers
	// SlowBufferBytes is the most that the kernel's buffers for it can be, given
	// SO_SNDBUF of 16 KiB, which the kernel doubles.
	SlowBufferBytes = 32 << 10
)

// IdleMicroseconds is the CPU time of a gateway for a connection at rest, in a
// second: pings, and their answers.
const IdleMicroseconds = 0.77

// UserBytes returns what the program keeps for a connection. For bench nobody
// has measured it; it is taken for as much as the gateway's.
func (r Role) UserBytes() int64 {
	if r == Balancer {
		return BalancerBytes
	}
	return GatewayBytes
}

// Wish is what the host shall carry.
type Wish struct {
	Role        Role
	Connections int64 // of clients, on the whole host
	Processes   int64 // programs that share them evenly
	// Of a host that dials: addresses it dials from, and addresses and ports it
	// dials to. Each pair has a port range of its own.
	Sources, Destinations int64
	Untracked             bool    // netfilter does not track them
	Slow                  float64 // share of clients that do not read what is sent
}

// Default is a host of the size that docs/capacity.md reckons with.
var Default = Wish{Role: Gateway, Connections: 1_000_000, Processes: 1, Sources: 1, Destinations: 1, Slow: 0.01}

// The most that is believed of a wish.
const (
	maxConnections = 100_000_000
	maxProcesses   = 4096
	maxAddresses   = 65_536
)

// Check returns what is wrong with the wish.
func (w Wish) Check() error {
	switch {
	case !slices.Contains(Roles, w.Role):
		return fmt.Errorf("role %q: want one of %v", w.Role, Roles)
	case w.Connections < 1 || w.Connections > maxConnections:
		return fmt.Errorf("%d connections: want 1 to %d", w.Connections, maxConnections)
	case w.Processes < 1 || w.Processes > maxProcesses:
		return fmt.Errorf("%d processes: want 1 to %d", w.Processes, maxProcesses)
	case w.Sources < 1 || w.Sources > maxAddresses || w.Destinations < 1 || w.Destinations > maxAddresses:
		return fmt.Errorf("%d sources and %d destinations: want 1 to %d", w.Sources, w.Destinations, maxAddresses)
	case !(w.Slow >= 0 && w.Slow <= 1): // Not a number is neither.
		return fmt.Errorf("a share of %v slow readers: want 0 to 1", w.Slow)
	}
	return nil
}

// PerProcess returns the connections of one process, rounded up.
func (w Wish) PerProcess() int64 { return (w.Connections + w.Processes - 1) / w.Processes }

// BytesEach returns what a connection costs the host's memory on average: what it
// costs at rest, and its share of what slow readers may cost.
func (w Wish) BytesEach() int64 {
	return w.Role.UserBytes() + w.Role.Sockets()*KernelBytes + w.SlowBytesEach()
}

// SlowBytesEach returns a connection's share of what slow readers may cost.
func (w Wish) SlowBytesEach() int64 { return int64(w.Slow * SlowBytes) }

// SlowBuffersEach is the kernel's part of it, at most.
func (w Wish) SlowBuffersEach() int64 { return int64(w.Slow * SlowBufferBytes) }

// Reserve returns the memory that is kept from connections, for the system and
// everything else on the host: a tenth, and at least 1 GiB.
func Reserve(memory int64) int64 { return max(memory/10, 1<<30) }
