package servers

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// postgres plans a server that forgets everything in a power cut: no test makes
// one, and without it a transaction costs no time on the disk.
func (p *planner) postgres() ([]*node, string) {
	n := p.node("postgres")
	port, data := p.port(), n.path("data")
	addr := address("127.0.0.1", port)
	n.format = func(ctx context.Context) error {
		return run(ctx, n.dir, asUser(false, p.software.initdb, "-D", data, "-U", "app", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")...)
	}
	// What a life that was killed left here names a process that may be somebody
	// else's by now, and PostgreSQL would not start beside it. Its own is gone:
	// see open.
	n.configure = func() error {
		if err := os.Remove(filepath.Join(data, "postmaster.pid")); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("configure: %w", err)
		}
		return nil
	}
	n.command = asUser(p.cfg.Mortal, p.software.postgres, "-D", data, "-c", "listen_addresses=127.0.0.1", "-c", "port="+strconv.Itoa(port),
		"-c", "unix_socket_directories=", "-c", "shared_buffers=32MB",
		"-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
	n.ready = func(ctx context.Context, _ bool) error { return askPostgres(ctx, addr, nil) }
	mode := "disable"
	if p.seal != nil {
		p.securePostgres(n, addr, data)
		mode = "verify-full" // with the certificates of Secrets.CA, which clients name by themselves
	}
	return []*node{n}, "SWITCHBOARD_TEST_POSTGRES=postgres://" + secureUser + "@" + addr + "/postgres?sslmode=" + mode
}

// securePostgres lets in one user, with a password and by TLS.
func (p *planner) securePostgres(n *node, addr, data string) {
	n.format = func(ctx context.Context) error {
		err := run(ctx, n.dir, asUser(false, p.software.initdb, "-D", data, "-U", secureUser, "-A", "scram-sha-256",
			"--pwfile", p.seal.files.Postgres, "-E", "UTF8", "--locale=C", "--no-sync")...)
		if err != nil {
			return err
		}
		return write(filepath.Join(data, "pg_hba.conf"), []byte("hostssl all all all scram-sha-256\n"))
	}
	n.command = append(n.command, "-c", "ssl=on", "-c", "ssl_cert_file="+p.seal.server, "-c", "ssl_key_file="+p.seal.server)
	n.ready = func(ctx context.Context, _ bool) error { return askPostgres(ctx, addr, p.seal.tls) }
}

// asUser lets root start programs that refuse to run as root: they see another
// user, their files belong to root, and no other folder has to be opened up for
// them. unshare becomes the program, so its pid is the server's. Becoming another
// user makes the kernel forget that the process shall end with us; setpriv says
// so again.
func asUser(mortal bool, command ...string) []string {
	if os.Geteuid() != 0 {
		return command
	}
	if mortal {
		command = append([]string{"setpriv", "--pdeathsig", "KILL", "--"}, command...)
	}
	// Whom they see must have a name, or initdb fails: 1 has one on every Linux,
	// while the first person's 1000 may not exist.
	return append([]string{"unshare", "--user", "--map-user=1", "--map-group=1", "--"}, command...)
}

// postgresMaxMessage is far above what a server says in a greeting.
const postgresMaxMessage = 1 << 16

// askPostgres goes through the greeting until the server awaits a query, or, if
// it is secured, until it asks for a password. A server that still recovers
// refuses with an error instead.
func askPostgres(ctx context.Context, addr string, config *tls.Config) error {
	conn, err := dial(ctx, addr)
	if err != nil {
		return err
	}
	if config != nil {
		if conn, err = encryptPostgres(ctx, conn, addr, config); err != nil {
			return err
		}
	}
	defer conn.Close() // nothing was under way
	body := append(binary.BigEndian.AppendUint32(nil, 3<<16), "user\x00app\x00database\x00postgres\x00\x00"...)
	hello := append(binary.BigEndian.AppendUint32(nil, uint32(4+len(body))), body...)
	if _, err := conn.Write(hello); err != nil {
		return fmt.Errorf("greet: %w", err)
	}
	if err := awaitQuery(conn); err != nil {
		return fmt.Errorf("greet: %w", err)
	}
	if config != nil {
		return nil // It waits for a password; hanging up is what people do there.
	}
	// Terminate, or the server's log complains about a client that vanished.
	if _, err := conn.Write([]byte{'X', 0, 0, 0, 4}); err != nil {
		return fmt.Errorf("say goodbye: %w", err)
	}
	return nil
}

// postgresSASL is the kind of password that a secured server asks for.
const postgresSASL = 10

// encryptPostgres asks the server for TLS and begins it.
func encryptPostgres(ctx context.Context, conn net.Conn, addr string, config *tls.Config) (net.Conn, error) {
	const please = 80877103
	ask := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 8), please)
	var answer [1]byte
	_, err := conn.Write(ask)
	if err == nil {
		_, err = io.ReadFull(conn, answer[:])
	}
	if err == nil && answer[0] != 'S' {
		err = fmt.Errorf("it answers %q", answer[:])
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ask for TLS: %w", err), conn.Close())
	}
	return encrypt(ctx, conn, addr, config)
}

// awaitQuery reads messages, kind:1 length:4 body, up to ReadyForQuery or to the
// question for a password.
func awaitQuery(conn net.Conn) error {
	for {
		var header [5]byte
		if _, err := io.ReadFull(conn, header[:]); err != nil {
			return err
		}
		length := binary.BigEndian.Uint32(header[1:])
		if length < 4 || length > postgresMaxMessage {
			return fmt.Errorf("this is no PostgreSQL: %x", header)
		}
		body := make([]byte, length-4)
		if _, err := io.ReadFull(conn, body); err != nil {
			return err
		}
		switch header[0] {
		case 'Z':
			return nil
		case 'R':
			if len(body) >= 4 && binary.BigEndian.Uint32(body) == postgresSASL {
				return nil
			}
		case 'E':
			return fmt.Errorf("refused: %q", body)
		}
	}
}
