package servers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"time"
)

// Ports are taken below the range from which the kernel gives ports to outgoing
// connections (32768 and up): there, some client's connection could sit on the
// port of a server that is just being restarted.
const (
	firstPort = 12000
	lastPort  = 22000
	blockSize = 20
)

// Ports are ports for programs beside a set: of a block that no set takes as long
// as it is held, whether anybody listens or not.
type Ports struct {
	// Block names the block, for HoldPorts to ask for it again.
	Block int
	// All are the ports; see MaxPorts.
	All []int

	holder net.Listener
}

// MaxPorts is how many ports a block has.
const MaxPorts = blockSize - 1

// HoldPorts returns the block of before, or another one if block is 0 or others
// use it now. Close gives it to others.
func HoldPorts(ctx context.Context, block int) (*Ports, error) {
	var holder net.Listener
	var ports []int
	err := errHeld
	if block != 0 {
		holder, ports, err = holdAgain(ctx, block, MaxPorts)
	}
	if err != nil {
		if holder, ports, err = freePorts(ctx, MaxPorts); err != nil {
			return nil, err
		}
	}
	return &Ports{Block: ports[0] - 1, All: ports, holder: holder}, nil
}

// The limits of waiting for ports of before. They were ours, so whoever sits on
// one is most likely a process that was killed and takes its time to end; but
// whoever holds the block has it for long.
const (
	leaving = 30 * time.Second
	settled = time.Second
)

// holdAgain holds the block of an earlier life.
func holdAgain(ctx context.Context, block, n int) (holder net.Listener, ports []int, err error) {
	begun := time.Now()
	poll(ctx, leaving, func() bool {
		holder, ports, err = holdBlock(ctx, block, n)
		return err == nil || errors.Is(err, errHeld) && time.Since(begun) > settled
	})
	return holder, ports, err
}

// Close gives the ports to others.
func (p *Ports) Close() error {
	if err := p.holder.Close(); err != nil {
		return fmt.Errorf("give ports back: %w", err)
	}
	return nil
}

// freePorts returns n ports that are free on 127.0.0.1 to 127.0.0.3, and stay
// ours for as long as the listener is open, even while no server listens there.
//
// The ports are a block, whose first one the listener holds. So sets keep apart
// machine-wide and without files, and a block is free again when its holder
// dies. If a server of that holder still runs, its port is seen to be taken.
func freePorts(ctx context.Context, n int) (net.Listener, []int, error) {
	if n >= blockSize {
		return nil, nil, fmt.Errorf("choose ports: %d are more than a block has", n)
	}
	var last error
	for _, block := range rand.Perm((lastPort - firstPort) / blockSize) {
		first := firstPort + block*blockSize
		holder, ports, err := holdBlock(ctx, first, n)
		if err == nil {
			return holder, ports, nil
		}
		last = err
	}
	return nil, nil, fmt.Errorf("choose ports: no block in %d to %d is free: %w", firstPort, lastPort, last)
}

// holdBlock binds the first port of a block and, while it looks, all others.
func holdBlock(ctx context.Context, first, n int) (net.Listener, []int, error) {
	var listen net.ListenConfig
	holder, err := listen.Listen(ctx, "tcp4", address("127.0.0.1", first))
	if err != nil {
		return nil, nil, fmt.Errorf("hold a block of ports: %w: %w", errHeld, err)
	}
	var held []net.Listener
	var ports []int
	err = func() error {
		for port := first + 1; port <= first+n; port++ {
			for _, host := range hosts {
				l, err := listen.Listen(ctx, "tcp4", address(host, port))
				if err != nil {
					return fmt.Errorf("hold a port: %w", err)
				}
				held = append(held, l)
			}
			ports = append(ports, port)
		}
		return nil
	}()
	for _, l := range held {
		err = errors.Join(err, l.Close())
	}
	if err != nil {
		return nil, nil, errors.Join(err, holder.Close())
	}
	return holder, ports, nil
}

// hosts are the addresses of up to three nodes that share their port numbers.
var hosts = [...]string{"127.0.0.1", "127.0.0.2", "127.0.0.3"}

func address(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
