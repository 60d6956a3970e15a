package handset

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// receiveBytes is the room for what the kernel takes off a gateway before the
// device has read it: little, so that a device that is shut is soon a slow reader.
const receiveBytes = 4 << 10

// network is what lies between one device and the system. It is an
// http.RoundTripper.
type network struct {
	through *http.Transport
	gateway string // host of its URL; whatever it connects to is a gateway
	dial    func(ctx context.Context, kind, address string) (net.Conn, error)

	mu     sync.Mutex
	syncs  int
	opened []time.Time   // when each socket was
	gate   chan struct{} // closed while what gateways send is brought
	open   func()        // closes it
}

func newNetwork(socket string, dial func(context.Context, string, string) (net.Conn, error)) *network {
	n := &network{dial: dial}
	n.shut()()
	if at, err := url.Parse(socket); err == nil {
		n.gateway = at.Host
	}
	if n.dial == nil {
		n.dial = new(net.Dialer).DialContext
	}
	n.through = &http.Transport{DialContext: n.connect, MaxIdleConnsPerHost: 1}
	return n
}

// connect opens a connection. What comes from a gateway passes the gate.
func (n *network) connect(ctx context.Context, kind, address string) (net.Conn, error) {
	if address != n.gateway {
		return new(net.Dialer).DialContext(ctx, kind, address)
	}
	c, err := n.dial(ctx, kind, address)
	if err != nil {
		return nil, err
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		err = tcp.SetReadBuffer(receiveBytes)
	}
	return &gated{Conn: c, network: n}, err
}

// RoundTrip passes a request on and counts it.
func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := n.through.RoundTrip(r)
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case err != nil:
	case answer.StatusCode == http.StatusSwitchingProtocols:
		n.opened = append(n.opened, time.Now())
	case r.URL.Path == "/api/v1/sync":
		n.syncs++
	}
	return answer, err
}

// shut closes the gate until open is called.
func (n *network) shut() (open func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	gate := make(chan struct{})
	n.gate, n.open = gate, sync.OnceFunc(func() { close(gate) })
	return n.open
}

// gated is a connection to a gateway.
type gated struct {
	net.Conn
	network *network
}

// Read waits at the gate. A read that waits for the kernel already is not held up.
func (g *gated) Read(p []byte) (int, error) {
	g.network.mu.Lock()
	gate := g.network.gate
	g.network.mu.Unlock()
	<-gate
	return g.Conn.Read(p)
}
