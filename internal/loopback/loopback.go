// Package loopback finds addresses for programs that tests and benchmarks start
// as processes of their own, and which are told where to listen: once for each
// of their lives, or because others must know it before they run. Whatever can
// listen on port 0 and say where does that instead.
package loopback

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// The ports lie below the range from which the kernel takes those of outgoing
// connections, 32768 and up: there, some client could take the port of a
// program that is just being restarted. dev/servers has those from 12000 on.
const (
	firstPort = 22000
	lastPort  = 32000
)

// Addresses returns n addresses of this machine, HOST:PORT, on which nothing
// listens. Nobody holds them: it is unlikely, not impossible, that somebody else
// listens on one before the caller's program does.
func Addresses(ctx context.Context, n int) ([]string, error) {
	if n > lastPort-firstPort {
		return nil, fmt.Errorf("find %d free ports: there are %d to choose from", n, lastPort-firstPort)
	}
	var listen net.ListenConfig
	var held []net.Listener
	var last error
	for _, offset := range rand.Perm(lastPort - firstPort) {
		if len(held) == n {
			break
		}
		l, err := listen.Listen(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPort+offset)))
		if err != nil {
			last = err
			continue
		}
		held = append(held, l)
	}
	var addresses []string
	var err error
	if len(held) < n {
		err = fmt.Errorf("find %d free ports: %w", n, last)
	}
	for _, l := range held { // held together until now, so that they differ
		addresses = append(addresses, l.Addr().String())
		err = errors.Join(err, l.Close())
	}
	if err != nil {
		return nil, err
	}
	return addresses, nil
}
