package kafka

import (
	"context"
	"net"
	"sync"
)

// conns are the transport's open connections. The transport leaves one that
// waits for an answer alone, however it is told to end; whoever closes the
// client must not leave a goroutine behind for as long as a broker is silent.
type conns struct {
	dialer net.Dialer

	mu     sync.Mutex
	open   map[*conn]struct{}
	closed bool
}

// conn is one of them.
type conn struct {
	net.Conn
	all *conns
}

// dial is the transport's Dial.
func (s *conns) dial(ctx context.Context, network, address string) (net.Conn, error) {
	inner, err := s.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: inner, all: s}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = inner.Close() // Nothing was said on it.
		return nil, net.ErrClosed
	}
	s.open[c] = struct{}{}
	return c, nil
}

// Close implements [net.Conn].
func (c *conn) Close() error {
	c.all.mu.Lock()
	delete(c.all.open, c)
	c.all.mu.Unlock()
	return c.Conn.Close()
}

// closeAll closes what is open and refuses new ones.
func (s *conns) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for c := range s.open {
		_ = c.Conn.Close() // It is being given up.
	}
	clear(s.open)
}
