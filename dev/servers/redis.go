package servers

import (
	"context"
	"crypto/tls"
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
	n.ready = func(ctx context.Context, _ bool) error { return askRedis(ctx, addr, nil, "") }
	if p.seal != nil {
		p.secureRedis(n, addr, port)
	}
	return []*node{n}, "SWITCHBOARD_TEST_REDIS=" + addr
}

// secureRedis lets in one user, by TLS. The password is in a file, where no list
// of processes shows it.
func (p *planner) secureRedis(n *node, addr string, port int) {
	password := p.seal.password(p.seal.files.Redis)
	n.configure = func() error {
		return write(n.path("users"), fmt.Appendf(nil, "user default off\nuser %s on >%s ~* &* +@all\n", secureUser, password))
	}
	for i, arg := range n.command {
		if arg == "--port" {
			n.command[i+1] = "0"
		}
	}
	n.command = append(n.command, "--tls-port", strconv.Itoa(port), "--tls-auth-clients", "no", "--aclfile", n.path("users"),
		"--tls-cert-file", p.seal.server, "--tls-key-file", p.seal.server, "--tls-ca-cert-file", p.seal.files.CA)
	n.ready = func(ctx context.Context, _ bool) error {
		return askRedis(ctx, addr, p.seal.tls, "AUTH "+secureUser+" "+password)
	}
}

// askRedis logs in, if it is told how, and sends a PING. A server that still
// loads answers with an error.
func askRedis(ctx context.Context, addr string, config *tls.Config, login string) error {
	conn, err := dialTLS(ctx, addr, config)
	if err != nil {
		return err
	}
	defer conn.Close() // nothing was under way
	ask, want := "PING\r\n", "+PONG\r\n"
	if login != "" {
		ask, want = login+"\r\n"+ask, "+OK\r\n"+want
	}
	if _, err := io.WriteString(conn, ask); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	if string(got) != want {
		return fmt.Errorf("ping: it answers %q", got)
	}
	return nil
}
