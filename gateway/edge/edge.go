// Package edge owns the sockets: it accepts, upgrades, parses frames and writes
// them, on a few event loops, and knows nothing of chat. What a frame means, who
// may connect and when a silent peer is dead is its [Handler]'s business.
//
//	socket ⇄ epoll loop ⇄ slot ──Handshake, Message, Visit, Drained, Closed──▶ Handler
//	                           ◀──Accept, Reject, Write, Ping, Close──────────
//
// A connection costs one slot in a slab and nothing else: no goroutine, no
// timer, no buffer while it is idle. A [Conn] is a name, not a pointer: it
// carries the slot's generation, so that one kept too long names nobody instead
// of the wrong one.
//
// # Limits
//
//	PROXY header    8 KiB, HandshakeTimeout       closed without a word
//	request         8 KiB, HandshakeTimeout       431, 408
//	sockets         MaxConnections, descriptors   503; the listener pauses, and never ends
//	message         MaxMessage                    1009, as soon as a header says so
//	inside one      PartialTimeout                4004
//	all partial     PartialBytes                  4008
//	output          OutboundBytes                 Write reports false, Drained follows; at half of
//	                                              it the peer is not read from
//	end             a second without a byte       the socket is closed
//
// A frame is handed on if it is strictly RFC 6455 without extensions; anything
// else closes with 1002, text that cannot become UTF-8 with 1007. Pings are
// answered here. TLS ends in front of this server.
//
// # Threads
//
// Each connection belongs to one loop for life. All Handler methods are called
// on the connection's loop and must not block. Write, Ping and Close are called
// on that loop; from anywhere else, Post a task to it. Tasks of a loop run in the
// order in which they were posted, and between a task and what it posts the
// sockets have their turn.
package edge

import (
	"net/netip"
	"time"

	"switchboard/internal/chat"
)

// Conn names a connection: its loop, its slot there and the slot's generation.
type Conn struct {
	Loop uint16
	Slot uint32 // dense per loop: handlers keep arrays of their own by it
	Gen  uint32
}

// Request is an upgrade request that is well-formed by RFC 6455: GET, HTTP/1.1,
// the right headers, a key. It is valid during Handshake only.
type Request struct {
	Path          string // without the query
	Query         string
	Host          string
	Origin        string // empty when not sent
	Authorization string
	DeviceID      string         // X-Device-Id
	Protocols     []string       // as offered in Sec-WebSocket-Protocol
	Peer          netip.AddrPort // the client, or where no PROXY header names it the other end of the socket
}

// Handler is told what happens to connections. See the package comment for the
// rules of threads.
type Handler interface {
	// Handshake is asked once per upgrade request. The handler answers with
	// Accept or Reject, now or later, from any goroutine; until then the
	// connection reads nothing, and Closed says that it is no longer needed.
	Handshake(c Conn, r *Request)
	// Opened says that the 101 is written; frames may follow and be written.
	Opened(c Conn)
	// Message is a whole message, unmasked; text is valid UTF-8. The payload is
	// valid during the call only, and the handler may scribble on it.
	Message(c Conn, text bool, payload []byte)
	// Visit comes round for every open connection about every
	// Config.VisitEvery: the hand of the clock. idle is the time since the last
	// byte from the peer, to within a quarter of VisitEvery.
	Visit(c Conn, idle time.Duration)
	// Drained says that the queue which made Write refuse is empty again.
	Drained(c Conn)
	// Closed is the last call for c, exactly once for each Handshake. local
	// says that this side began it. code is what was sent or received: 1005 if
	// the peer's close frame had none, 1006 if there was no close frame, 0 after
	// a Reject. It is never called inside Write, Ping or Close.
	Closed(c Conn, code chat.CloseCode, local bool)
}
