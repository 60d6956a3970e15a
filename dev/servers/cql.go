package servers

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// The part of the CQL binary protocol, version 4, that asks whether a node is
// ready: enough to say hello and to count the rows of an answer.
//
//	request   04 flags stream:2 opcode length:4 body
//	response  84 flags stream:2 opcode length:4 body
const (
	cqlVersion  = 0x04
	cqlResponse = 0x84

	opError        = 0x00
	opStartup      = 0x01
	opReady        = 0x02
	opAuthenticate = 0x03
	opQuery        = 0x07
	opResult       = 0x08
	opAuthResponse = 0x0f
	opAuthSuccess  = 0x10

	cqlHeader = 9
	// cqlMaxBody is far above what we ask for; something else may listen there.
	cqlMaxBody = 1 << 20

	consistencyOne  = 1
	skipMetadata    = 0x02 // flag of QUERY: only rows, we know the columns
	resultRows      = 2    // kind of RESULT
	morePages       = 0x02 // flag of RESULT
	metadataSkipped = 0x04 // likewise
)

// cqlConn is one conversation, one question at a time.
type cqlConn struct{ conn net.Conn }

// cqlLogin is how to come in. The zero value is for a node that wants nothing.
type cqlLogin struct {
	tls            *tls.Config
	user, password string
}

// dialCQL says hello to a node.
func dialCQL(ctx context.Context, addr string, login cqlLogin) (*cqlConn, error) {
	conn, err := dialTLS(ctx, addr, login.tls)
	if err != nil {
		return nil, err
	}
	c := &cqlConn{conn: conn}
	if err := c.hello(login); err != nil {
		return nil, errors.Join(fmt.Errorf("start with CQL: %w", err), conn.Close())
	}
	return c, nil
}

// hello goes through the greeting, and through the login if the node wants one.
func (c *cqlConn) hello(login cqlLogin) error {
	body := binary.BigEndian.AppendUint16(nil, 1)
	body = appendString(appendString(body, "CQL_VERSION"), "3.0.0")
	opcode, _, err := c.ask(opStartup, body)
	if err == nil && opcode == opAuthenticate && login.user != "" {
		token := "\x00" + login.user + "\x00" + login.password
		body = append(binary.BigEndian.AppendUint32(nil, uint32(len(token))), token...)
		if opcode, _, err = c.ask(opAuthResponse, body); opcode == opAuthSuccess {
			opcode = opReady
		}
	}
	if err == nil && opcode != opReady {
		err = fmt.Errorf("it answers with %#02x", opcode)
	}
	return err
}

func (c *cqlConn) close() { _ = c.conn.Close() } // nothing was under way

// query returns how many rows a statement finds; one that looks for none finds 0.
func (c *cqlConn) query(statement string) (int, error) {
	body := binary.BigEndian.AppendUint32(nil, uint32(len(statement)))
	body = append(body, statement...)
	body = append(binary.BigEndian.AppendUint16(body, consistencyOne), skipMetadata)
	opcode, answer, err := c.ask(opQuery, body)
	if err == nil && opcode != opResult {
		err = fmt.Errorf("it answers with %#02x", opcode)
	}
	if err != nil {
		return 0, fmt.Errorf("query %q: %w", statement, err)
	}
	rows, err := parseRowCount(answer)
	if err != nil {
		return 0, fmt.Errorf("query %q: %w", statement, err)
	}
	return rows, nil
}

// parseRowCount reads a RESULT: kind:4, and of rows flags:4 columns:4 rows:4.
func parseRowCount(body []byte) (int, error) {
	if len(body) < 4 {
		return 0, io.ErrUnexpectedEOF
	}
	if binary.BigEndian.Uint32(body) != resultRows {
		return 0, nil
	}
	if len(body) < 16 {
		return 0, io.ErrUnexpectedEOF
	}
	if flags := binary.BigEndian.Uint32(body[4:]); flags&metadataSkipped == 0 || flags&morePages != 0 {
		return 0, fmt.Errorf("a result with flags %#x", flags)
	}
	return int(binary.BigEndian.Uint32(body[12:])), nil
}

// ask sends one request and reads the answer to it.
func (c *cqlConn) ask(opcode byte, body []byte) (byte, []byte, error) {
	frame := []byte{cqlVersion, 0, 0, 0, opcode}
	frame = append(binary.BigEndian.AppendUint32(frame, uint32(len(body))), body...)
	if _, err := c.conn.Write(frame); err != nil {
		return 0, nil, err
	}
	var header [cqlHeader]byte
	if _, err := io.ReadFull(c.conn, header[:]); err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint32(header[5:])
	if header[0] != cqlResponse || length > cqlMaxBody {
		return 0, nil, fmt.Errorf("this is no CQL: %x", header)
	}
	answer := make([]byte, length)
	if _, err := io.ReadFull(c.conn, answer); err != nil {
		return 0, nil, err
	}
	if header[4] == opError {
		return 0, nil, cqlError(answer)
	}
	return header[4], answer, nil
}

// cqlError reads code:4 message:string.
func cqlError(body []byte) error {
	if len(body) < 6 || len(body) < 6+int(binary.BigEndian.Uint16(body[4:])) {
		return io.ErrUnexpectedEOF
	}
	return fmt.Errorf("refused, %#04x: %s", binary.BigEndian.Uint32(body), body[6:6+binary.BigEndian.Uint16(body[4:])])
}

// dialTLS is dial, with TLS unless config is nil.
func dialTLS(ctx context.Context, addr string, config *tls.Config) (net.Conn, error) {
	conn, err := dial(ctx, addr)
	if err != nil || config == nil {
		return conn, err
	}
	return encrypt(ctx, conn, addr, config)
}

// encrypt begins TLS on a connection, which it closes if that fails.
func encrypt(ctx context.Context, conn net.Conn, addr string, config *tls.Config) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	config = config.Clone()
	config.ServerName = host
	encrypted := tls.Client(conn, config)
	if err := encrypted.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("begin TLS: %w", err), conn.Close())
	}
	return encrypted, nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// dial opens a connection that lives no longer than ctx's deadline.
func dial(ctx context.Context, addr string) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(attempt)
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}
