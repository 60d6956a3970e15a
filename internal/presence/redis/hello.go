package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	goredis "github.com/redis/go-redis/v9"
)

// hello sees to it that what goes wrong at the beginning of a connection without
// TLS is no riddle. It is a hook of the client.
type hello struct{}

// DialHook implements the client's hook.
func (hello) DialHook(next goredis.DialHook) goredis.DialHook {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := next(ctx, network, address)
		if tcp, ok := conn.(*net.TCPConn); ok && err == nil {
			return &plain{TCPConn: tcp}, nil
		}
		return conn, err
	}
}

// ProcessHook implements the client's hook.
func (hello) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook { return next }

// ProcessPipelineHook implements the client's hook.
func (hello) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return next
}

// plain is a connection without TLS. The client looks into the socket of one
// that was idle, so all methods of the socket are there.
type plain struct {
	*net.TCPConn

	heard bool // owned by the one goroutine that reads
}

// Read implements [net.Conn]. A server that expects TLS closes the connection at
// our first words; "EOF" would not say so.
func (c *plain) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	if errors.Is(err, io.EOF) && !c.heard {
		err = fmt.Errorf("server %s closed the connection without an answer (does it expect TLS?): %w", c.RemoteAddr(), err)
	}
	c.heard = c.heard || n > 0
	return n, err
}
