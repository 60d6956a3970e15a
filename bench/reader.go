package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"switchboard/internal/chat"
)

const (
	// readerBuffer is the kernel's buffer of a reader that will not read. The kernel
	// doubles it.
	readerBuffer = 4 << 10
	// dripEvery and dripBytes are how slowly a witness reads when others are being
	// closed: too slowly for its queue to empty before its own turn comes, and fast
	// enough for its gateway to see that it moves.
	dripEvery = 100 * time.Millisecond
	dripBytes = 4 << 10
)

// reader is a connection that reads what comes and answers pings, until it is told
// to read nothing more. It is a socket and hardly more, so that a thousand of them
// cost this process less than they cost the system under test.
type reader struct {
	valve valve
	in    *bufio.Reader
	code  atomic.Int32  // with which it was closed, as it read
	done  chan struct{} // closed when it reads no more
}

// valve is the reader's end of its connection. Shut, it lets nothing through; a
// witness then waits for the word to drip.
type valve struct {
	net.Conn
	shut, drip <-chan struct{} // closed when it is time
	witness    bool
}

// Read reads when it may.
func (v *valve) Read(p []byte) (int, error) {
	select {
	case <-v.shut:
		if !v.witness {
			return 0, errShut
		}
		<-v.drip
		time.Sleep(dripEvery)
		p = p[:min(len(p), dripBytes)]
	default:
	}
	return v.Conn.Read(p)
}

var errShut = errors.New("it reads no more")

// open connects and waits for `connected`.
func (r *reader) open(ctx context.Context, address, token string) error {
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		var refused error
		err := c.Control(func(fd uintptr) {
			refused = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, readerBuffer)
		})
		return errors.Join(err, refused)
	}}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	r.valve.Conn, r.done = conn, make(chan struct{})
	r.in = bufio.NewReaderSize(&r.valve, dripBytes)
	if _, err := io.WriteString(conn, upgradeRequest(address, token)); err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	status, err := r.in.ReadString('\n')
	if err != nil || !strings.Contains(status, " 101 ") {
		return errors.Join(fmt.Errorf("upgrade: got %q", status), err)
	}
	for line := status; line != "\r\n"; {
		if line, err = r.in.ReadString('\n'); err != nil {
			return fmt.Errorf("upgrade: %w", err)
		}
	}
	_, first, err := r.frame()
	if err == nil && !strings.Contains(string(first), `"connected"`) {
		err = fmt.Errorf("got %q first", first)
	}
	return err
}

// listen reads until the connection ends or it reads no more.
func (r *reader) listen() {
	const ping, closing, emptyMaskedPong = 9, 8, "\x8a\x80\x00\x00\x00\x00"
	defer close(r.done)
	for {
		op, payload, err := r.frame()
		switch {
		case err != nil:
			return
		case op == ping:
			_, err = io.WriteString(r.valve.Conn, emptyMaskedPong)
		case op == closing && len(payload) >= 2:
			r.code.Store(int32(binary.BigEndian.Uint16(payload)))
			return
		}
		if err != nil {
			return
		}
	}
}

// frame reads one frame of a server, and of its payload the beginning.
func (r *reader) frame() (op byte, payload []byte, err error) {
	var head [8]byte
	if _, err = io.ReadFull(r.in, head[:2]); err != nil {
		return 0, nil, err
	}
	op = head[0] & 15
	size := uint64(head[1] & 127)
	switch size {
	case 126:
		_, err = io.ReadFull(r.in, head[:2])
		size = uint64(binary.BigEndian.Uint16(head[:]))
	case 127:
		_, err = io.ReadFull(r.in, head[:8])
		size = binary.BigEndian.Uint64(head[:])
	}
	if err == nil && size > chat.ServerFrameBytes {
		err = fmt.Errorf("a frame of %d bytes", size)
	}
	if err != nil {
		return 0, nil, err
	}
	payload = make([]byte, min(size, 64))
	if _, err = io.ReadFull(r.in, payload); err != nil {
		return 0, nil, err
	}
	_, err = r.in.Discard(int(size) - len(payload))
	return op, payload, err
}

// upgradeRequest is the WebSocket handshake by hand: a full client for each connection
// would cost this process more than the gateway under test.
func upgradeRequest(address, token string) string {
	return "GET /api/v1/ws HTTP/1.1\r\nHost: " + address + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nAuthorization: Bearer " + token + "\r\n\r\n"
}
