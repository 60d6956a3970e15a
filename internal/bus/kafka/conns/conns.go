// Package conns makes a client's connections to brokers and closes them when the
// client ends. It says what a broker that hangs up may have expected, and which
// broker that was; it knows nothing of what is said on a connection.
//
//	kafka ──Dial──▶ TCP ──▶ TLS, if there is a configuration for it
package conns

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// dialTimeout bounds the TCP handshake.
	dialTimeout = 3 * time.Second
	// tlsTimeout bounds that of TLS. It is below the 2 s that a question for
	// metadata has, or whoever asks would never hear that it is TLS that a broker
	// does not answer.
	tlsTimeout = 1500 * time.Millisecond
)

// Set are a client's open connections. The transport leaves one that waits
// for an answer alone, however it is told to end; whoever closes the client must
// not leave a goroutine behind for as long as a broker is silent.
//
// TLS is made here and not by the library, whose errors come so late that they
// do not tell which broker they are about.
type Set struct {
	dialer net.Dialer
	tls    *tls.Config // nil: none

	mu     sync.Mutex
	open   map[*conn]struct{}
	closed bool
}

// conn is one of them.
type conn struct {
	net.Conn
	all *Set

	heard bool // owned by the one goroutine that reads
}

// New returns a set without connections, which makes them with TLS when config is
// not nil: the names of the brokers are then verified.
func New(config *tls.Config) *Set {
	return &Set{dialer: net.Dialer{Timeout: dialTimeout}, tls: config, open: make(map[*conn]struct{})}
}

// Dial makes a connection. Its errors name the broker and what failed; after Close
// it is [net.ErrClosed].
func (s *Set) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	inner, err := s.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: inner, all: s}
	if err := s.keep(c); err != nil {
		return nil, err
	}
	if s.tls == nil {
		return c, nil
	}
	encrypted, err := encrypt(ctx, c, s.tls, address)
	if err != nil {
		_ = c.Close() // Nothing but TLS was said on it.
		return nil, err
	}
	return encrypted, nil
}

// keep notes a connection, or closes it when it comes too late.
func (s *Set) keep(c *conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Conn.Close() // Nothing was said on it.
		return net.ErrClosed
	}
	s.open[c] = struct{}{}
	return nil
}

// encrypt makes TLS on a connection, with the broker whose name was asked for.
func encrypt(ctx context.Context, c net.Conn, config *tls.Config, address string) (net.Conn, error) {
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		config = config.Clone()
		config.ServerName = host
	}
	ctx, cancel := context.WithTimeout(ctx, tlsTimeout)
	defer cancel()
	encrypted := tls.Client(c, config)
	if err := encrypted.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("make TLS with broker %s: %w", address, err)
	}
	return encrypted, nil
}

// Read implements [net.Conn]. A broker that expects TLS, or none, closes the
// connection at our first bytes; "EOF" would be a riddle.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if errors.Is(err, io.EOF) && !c.heard {
		hint := "does it expect TLS?"
		if c.all.tls != nil {
			hint = "does it expect no TLS?"
		}
		err = fmt.Errorf("broker %s closed the connection without an answer (%s): %w", c.RemoteAddr(), hint, err)
	}
	c.heard = c.heard || n > 0
	return n, err
}

// Close implements [net.Conn].
func (c *conn) Close() error {
	c.all.mu.Lock()
	delete(c.all.open, c)
	c.all.mu.Unlock()
	return c.Conn.Close()
}

// Close closes what is open and refuses new ones.
func (s *Set) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for c := range s.open {
		_ = c.Conn.Close() // It is being given up.
	}
	clear(s.open)
}
