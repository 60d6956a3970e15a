package servers

import (
	"context"
	"fmt"
	"io"
	"strconv"
)

// redis plans a server that keeps nothing: what is in Redis can be lost at any
// time, and a restart should show it.
func (p *planner) redis() ([]*node, string) {
	n := p.node("redis")
	port := p.port()
	addr := address("127.0.0.1", port)
	n.command = []string{
		p.software.redis, "--bind", "127.0.0.1", "--port", strconv.Itoa(port),
		"--save", "", "--appendonly", "no", "--dir", n.dir,
	}
	n.ready = func(ctx context.Context, _ bool) error { return askRedis(ctx, addr) }
	return []*node{n}, "SWITCHBOARD_TEST_REDIS=" + addr
}

// askRedis sends a PING. A server that still loads answers with an error.
func askRedis(ctx context.Context, addr string) error {
	conn, err := dial(ctx, addr)
	if err != nil {
		return err
	}
	defer conn.Close() // nothing was under way
	if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	const want = "+PONG\r\n"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	if string(got) != want {
		return fmt.Errorf("ping: it answers %q", got)
	}
	return nil
}
