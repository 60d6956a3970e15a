package embedded

import (
	"encoding/binary"
	"net"
	"os"
	"sync"
)

// Request is a kind of request, as the faults name it.
type Request int16

// The requests that faults can be about, by their numbers in Kafka's protocol.
const (
	Produce        Request = 0
	Fetch          Request = 1
	Metadata       Request = 3
	OffsetCommit   Request = 8
	InitProducerID Request = 22
)

// wire sits between the clients' sockets and the broker, and can lose things.
// A client of kafka-go has one request at a time on a connection, so a
// connection knows which request the next answer belongs to.
type wire struct {
	// lock is the directory's, or nil in memory. It is kept here since the
	// broker refers to its listeners for as long as it runs: a lock that only
	// the Cluster knew would be let go when a caller forgets the Cluster.
	lock *os.File

	mu     sync.Mutex
	conns  map[*conn]struct{}
	losing map[Request]int           // answers still to be lost
	gates  map[Request]chan struct{} // requests that wait until it is closed
	closed chan struct{}
}

func newWire() *wire {
	return &wire{
		conns:  make(map[*conn]struct{}),
		losing: make(map[Request]int),
		gates:  make(map[Request]chan struct{}),
		closed: make(chan struct{}),
	}
}

func (w *wire) listen(network, address string) (net.Listener, error) {
	//nolint:noctx // The broker library's hook has no context to hand on.
	inner, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	return &listener{Listener: inner, wire: w}, nil
}

// close lets go of whatever waits.
func (w *wire) close() { close(w.closed) }

// dropAll closes every connection.
func (w *wire) dropAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		_ = c.Conn.Close() // The point is that it is gone.
	}
}

// loses reports whether the answer to a request is to be lost, and counts it.
func (w *wire) loses(r Request) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.losing[r] == 0 {
		return false
	}
	w.losing[r]--
	return true
}

func (w *wire) gate(r Request) chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gates[r]
}

type listener struct {
	net.Listener
	wire *wire
}

func (l *listener) Accept() (net.Conn, error) {
	inner, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: inner, wire: l.wire}
	l.wire.mu.Lock()
	l.wire.conns[c] = struct{}{}
	l.wire.mu.Unlock()
	return c, nil
}

// conn follows the frames that come in: 4 bytes of length, 2 of request kind,
// the rest.
type conn struct {
	net.Conn
	wire *wire

	// Owned by the broker's reading goroutine.
	head [6]byte
	have int // bytes of head seen
	left int // bytes of the frame still to come, once head is complete

	mu   sync.Mutex
	last Request // the request that is being answered
}

func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	for rest := p[:n]; len(rest) > 0; {
		rest = c.follow(rest)
	}
	return n, err
}

// follow looks at one piece of the stream and returns what is behind it. It
// waits when this kind of request is being withheld.
func (c *conn) follow(p []byte) []byte {
	if c.have < len(c.head) {
		n := copy(c.head[c.have:], p)
		if c.have += n; c.have == len(c.head) {
			c.left = int(binary.BigEndian.Uint32(c.head[:])) - 2
			c.begin(Request(binary.BigEndian.Uint16(c.head[4:])))
		}
		p = p[n:]
	}
	if c.have == len(c.head) {
		n := min(c.left, len(p))
		if c.left -= n; c.left == 0 {
			c.have = 0
		}
		p = p[n:]
	}
	return p
}

func (c *conn) begin(r Request) {
	c.mu.Lock()
	c.last = r
	c.mu.Unlock()
	if gate := c.wire.gate(r); gate != nil {
		select {
		case <-gate:
		case <-c.wire.closed:
		}
	}
}

func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	last := c.last
	c.mu.Unlock()
	if c.wire.loses(last) {
		_ = c.Conn.Close() // The answer is lost with the connection.
		return 0, net.ErrClosed
	}
	return c.Conn.Write(p)
}

func (c *conn) Close() error {
	c.wire.mu.Lock()
	delete(c.wire.conns, c)
	c.wire.mu.Unlock()
	return c.Conn.Close()
}
