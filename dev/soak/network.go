package soak

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// network is what lies between one device and the system: a load balancer that
// passes over servers that nobody answers at, and somebody who writes down what
// goes by. It is an http.RoundTripper.
type network struct {
	rest, ws []string // hosts
	through  *http.Transport
	watch    watcher // nil = nobody looks
	cut      atomic.Bool

	away atomic.Bool         // there is none
	last atomic.Pointer[tap] // the newest WebSocket
}

// errAway is what a device meets that has no network.
var errAway = errors.New("there is no network here")

// watcher is told what passes. Calls of one connection do not overlap.
type watcher interface {
	open() (connection int)
	closed(connection int)
	received(connection int, e wire.Envelope)
	sent(e wire.Envelope)
	synced(begun time.Time, asked wire.SyncRequest, answer wire.SyncResponse)
	paged(above chat.Seq, page wire.MessagePage)
}

// newNetwork returns the network of one device.
func newNetwork(s *Site, watch watcher) *network {
	transport := &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 1}
	return &network{rest: hosts(s.REST), ws: hosts(s.WS), through: transport, watch: watch}
}

// dial opens a connection whose end is a reset and no goodbye, as when a network
// goes away.
func dial(ctx context.Context, kind, address string) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, kind, address)
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		err = tcp.SetLinger(0)
	}
	return conn, err
}

func hosts(urls []string) []string {
	var found []string
	for _, u := range urls {
		if parsed, err := url.Parse(u); err == nil {
			found = append(found, parsed.Host)
		}
	}
	return found
}

// close lets idle connections go.
func (n *network) close() { n.through.CloseIdleConnections() }

// leave takes the network away, or brings it back.
func (n *network) leave(away bool) {
	n.away.Store(away)
	if t := n.last.Load(); away && t != nil {
		_ = t.Close() // it may be closed already
	}
}

// RoundTrip passes a request to a server, and its answer back.
func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	if n.away.Load() {
		return nil, errAway
	}
	begun := time.Now()
	upgrade := r.Header.Get("Upgrade") != ""
	servers := n.rest
	if upgrade {
		servers = n.ws
	}
	response, err := n.balance(r, servers)
	switch {
	case err != nil || n.watch == nil:
		return response, err
	case upgrade && response.StatusCode == http.StatusSwitchingProtocols:
		if socket, ok := response.Body.(io.ReadWriteCloser); ok {
			t := &tap{ReadWriteCloser: socket, network: n, connection: n.watch.open()}
			n.last.Store(t)
			response.Body = t
		}
		return response, nil
	case response.StatusCode == http.StatusOK:
		return n.look(r, response, begun)
	}
	return response, nil
}

// balance tries the servers, from a random one on. Only when nobody listens is it
// certain that the request was not heard.
func (n *network) balance(r *http.Request, servers []string) (response *http.Response, err error) {
	first := rand.IntN(len(servers))
	for i := range servers {
		try := r.Clone(r.Context())
		try.URL.Host = servers[(first+i)%len(servers)]
		if r.GetBody != nil {
			if try.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
		response, err = n.through.RoundTrip(try)
		var op *net.OpError
		if err == nil || !errors.As(err, &op) || op.Op != "dial" {
			return response, err
		}
	}
	return response, err
}

// look reads the bodies that carry events, and puts them back.
func (n *network) look(r *http.Request, response *http.Response, begun time.Time) (*http.Response, error) {
	syncs := r.Method == http.MethodPost && r.URL.Path == "/api/v1/sync"
	page := r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/messages")
	if !syncs && !page {
		return response, nil
	}
	body, err := io.ReadAll(response.Body)
	if closed := response.Body.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	if syncs {
		var answer wire.SyncResponse
		asked, err := syncRequest(r)
		if err := errors.Join(err, json.Unmarshal(body, &answer)); err != nil {
			return nil, err
		}
		n.watch.synced(begun, asked, answer)
		return response, nil
	}
	var answer wire.MessagePage
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, err
	}
	above, _ := strconv.ParseInt(r.URL.Query().Get("after_seq"), 10, 64) // 0 for a page of another kind
	n.watch.paged(chat.Seq(above), answer)
	return response, nil
}

// syncRequest reads what a device asked for.
func syncRequest(r *http.Request) (asked wire.SyncRequest, err error) {
	body, err := r.GetBody() // whoever has none could not be balanced either
	if err != nil {
		return asked, err
	}
	defer body.Close()
	return asked, json.NewDecoder(body).Decode(&asked)
}

// tap is a WebSocket's connection with somebody looking on.
type tap struct {
	io.ReadWriteCloser

	network    *network
	connection int
	in, out    frames
	ended      sync.Once
}

// end notes that the connection is no more, whoever closed it.
func (t *tap) end() { t.ended.Do(func() { t.network.watch.closed(t.connection) }) }

// Close ends the connection.
func (t *tap) Close() error {
	t.end()
	return t.ReadWriteCloser.Close()
}

// Read shows what the server says.
func (t *tap) Read(p []byte) (int, error) {
	n, err := t.ReadWriteCloser.Read(p)
	t.in.feed(p[:n], func(text []byte) {
		t.network.watch.received(t.connection, envelope(text))
	})
	if err != nil {
		t.end()
	}
	return n, err
}

// Write shows what the device says, and breaks the connection after a message if
// that was asked for.
func (t *tap) Write(p []byte) (int, error) {
	message := false
	t.out.feed(p, func(text []byte) {
		e := envelope(text)
		message = message || e.Type == "send_message"
		t.network.watch.sent(e)
	})
	n, err := t.ReadWriteCloser.Write(p)
	if err == nil && message && t.network.cut.CompareAndSwap(true, false) {
		err = t.Close()
	}
	return n, err
}

// envelope reads a frame; what cannot be read has no type and is nobody's event.
func envelope(text []byte) (e wire.Envelope) {
	_ = json.Unmarshal(text, &e) // the client finds it out too, and fails
	return e
}
