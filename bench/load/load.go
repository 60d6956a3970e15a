// Package load holds very many connections and sends through them. One process may
// have only so many descriptors and one core, so the work is that of workers:
// processes of their own under one coordinator, each with an event loop over epoll
// and a few dozen bytes a connection.
//
//	Crew (coordinator) ──orders──▶ worker ⇄ sockets ⇄ gateways
//	     ▲                           │
//	     └── Tally ◀──reports────────┘   a second each: counts, histograms, lateness
//
// Orders and reports are lines of JSON on the worker's stdin and stdout. A worker
// ends when its stdin does, and the kernel then closes what it held. So a worker on
// another host is a command that starts one there, and ssh is what authenticates it.
// Nothing depends on the clocks of hosts being the same.
//
// Sending is open-loop: message k has its time, and latency counts from there. Each
// echo carries k, and a connection knows which k it is owed next, so what is lost,
// doubled or out of order shows without a list of what is under way.
package load

import (
	"fmt"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"switchboard/bench/result"
)

// Plan is what a worker is told first.
type Plan struct {
	Worker   int      `json:"worker"`   // its number
	Workers  int      `json:"workers"`  // of how many
	Gateways []string `json:"gateways"` // HOST:PORT
	Path     string   `json:"path"`
	Keys     string   `json:"keys,omitempty"`   // key set from which tokens are minted, for a worker on this host
	Tokens   []string `json:"tokens,omitempty"` // or the tokens themselves, by slot; neither: no token, and no `connected`
	Run      string   `json:"run"`              // part of the users' names
	Sources  []string `json:"sources"`          // addresses to connect from; 0.0.0.0: as the host chooses
	Slots    int      `json:"slots"`            // the most connections of this worker
	// Fill is how many connections one gateway gets before the next does, and First the
	// number of this worker's first, whose others follow it: so workers open one after the
	// other, and have their connections at one gateway or two; at one, if the number of
	// workers is a multiple of that of gateways. 0: everything in turn.
	Fill  int `json:"fill,omitempty"`
	First int `json:"first,omitempty"`
	// Gather is how long a worker lets what arrives gather before it looks; what is due does
	// not wait. 0: it looks at once.
	Gather time.Duration `json:"gather,omitempty"`
	// Greeting is the text that a server without tokens hears first; its first answer
	// then opens the connection. Empty: the upgrade does.
	Greeting string `json:"greeting,omitempty"`

	Every time.Duration `json:"every"` // how often it reports
}

// number is a slot's number among the connections of all workers.
func (p *Plan) number(slot int) int {
	if p.Fill > 0 {
		return p.First + slot
	}
	return p.Worker + slot*p.Workers
}

// place is the gateway of connection n.
func (p *Plan) place(n int) int {
	if p.Fill > 0 {
		return min(n/p.Fill, len(p.Gateways)-1)
	}
	return n % len(p.Gateways)
}

// at is how many of the connections are to be at one of some gateways.
func (p *Plan) at(gateways ...int) (n int) {
	for slot := range p.Slots {
		if slices.Contains(gateways, p.place(p.number(slot))) {
			n++
		}
	}
	return n
}

// Order is what a worker is to do. Exactly one of the pointers is set.
type Order struct {
	ID   int   `json:"id"`
	Open *Open `json:"open,omitempty"`
	Echo *Echo `json:"echo,omitempty"`
	Stay *Stay `json:"stay,omitempty"`
	Hush *Hush `json:"hush,omitempty"`
	Drop *Drop `json:"drop,omitempty"`
}

// Open asks for connections until there are so many in all.
type Open struct {
	Total int     `json:"total"` // of all workers
	Rate  float64 `json:"rate"`  // a second, of all workers
}

// Echo asks for messages that come back on their connection.
type Echo struct {
	Frame string `json:"frame"` // heartbeat, ping or text
	Bytes int    `json:"bytes"` // of a text
	// Text is what a text says, with # for its number; the answer begins alike, up to
	// the number's end. Empty: the number, and x until there are Bytes.
	Text     string        `json:"text,omitempty"`
	Rate     float64       `json:"rate"`  // a second, of all these workers
	Ahead    time.Duration `json:"ahead"` // from the order until the first
	Seconds  float64       `json:"seconds"`
	Settle   float64       `json:"settle"`             // seconds without an echo after which the rest is missing; 0: 5
	Gateways []int         `json:"gateways,omitempty"` // only over connections to these; none: to all
	Workers  []int         `json:"workers,omitempty"`  // numbers of those who send; none: all. Crew.Echo fills it in
}

// Stay asks for connections that come back when they are lost, or when they are
// asked to connect elsewhere, at the moments that the protocol says.
type Stay struct{}

// Drop asks for connections to be dropped without a word, as a network does it. They
// come back if they stay.
type Drop struct {
	Share float64 `json:"share"` // of those that are open
}

// Hush ends an Echo before its time; what is under way may come back.
type Hush struct{}

// The frames of an Echo.
const (
	Heartbeat = "heartbeat" // the protocol's own event, answered by the session
	Ping      = "ping"      // RFC 6455's, answered by the socket
	Text      = "text"      // of servers that echo text, or answer it
)

// Report is what a worker did since its last report.
type Report struct {
	Worker int `json:"worker"`
	Done   int `json:"done,omitempty"`

	Open   int            `json:"open"`   // connections at this time
	Counts map[string]int `json:"counts"` // see the Count constants; failures and closes with their cause
	// Times are histograms of microseconds, by the names of the Time constants.
	Times map[string][]Bucket `json:"times,omitempty"`
	// Reads are deliveries by their number: how many connections read it, and when
	// the last did, in Unix nanoseconds.
	Reads map[int64]Read `json:"reads,omitempty"`
	Error string         `json:"error,omitempty"` // it ends with this
}

// Bucket is a value of a histogram, and how often it was. HdrHistogram's own encoding is
// shorter, and its compression took more of the processor than all else that a worker
// with little to do does in a second.
type Bucket [2]int64

// bucketsOf are those of a histogram.
func bucketsOf(h *hdrhistogram.PackedHistogram) []Bucket {
	buckets := make([]Bucket, 0, h.Populated())
	for value, count := range h.ForEachBucket {
		buckets = append(buckets, Bucket{value, count})
	}
	return buckets
}

// histogramOf is a histogram of buckets.
func histogramOf(buckets []Bucket) (*hdrhistogram.PackedHistogram, error) {
	h := result.NewInterval()
	for _, b := range buckets {
		if err := h.RecordValues(b[0], b[1]); err != nil {
			return nil, fmt.Errorf("a histogram: %w", err)
		}
	}
	return h, nil
}

// Read is what became of one delivery.
type Read struct {
	Count int   `json:"count"`
	Due   int64 `json:"due"`  // Unix nanoseconds: its time
	Last  int64 `json:"last"` // when the last connection read it
}

// What is counted. The first three are the beginning of a cause.
const (
	CountFailed    = "failed "   // openings, with why
	CountClosed    = "closed "   // connections, with the close code or the error
	CountSaid      = "said "     // frames that are no echo and no delivery, by type
	CountOpened    = "opened"    // openings that ended in `connected`
	CountLost      = "lost"      // connections that ended without our asking
	CountGivenUp   = "given up"  // openings that failed too often
	CountSent      = "sent"      // echoes
	CountEchoed    = "echoed"    // that came back in their turn
	CountMissing   = "missing"   // that did not come back although a later one did, or until the end
	CountRepeated  = "repeated"  // that came back again, or after a later one
	CountMisrouted = "misrouted" // that came back on another connection
	CountDropped   = "dropped"   // connections, because we asked for it
	CountCut       = "cut"       // whose connection was lost under way
	CountUnsent    = "unsent"    // that had no connection to go over
	CountLate      = "late"      // that were sent over 10 ms after their time
	CountReceived  = "received"  // deliveries
	CountGaps      = "gaps"      // deliveries that a connection did not get
	CountAgain     = "again"     // deliveries that it got twice, or after a later one
	CountMoved     = "moved"     // connections that left because they were asked to
	CountAsked     = "asked"     // and those that were asked to
	CountBytesIn   = "bytes in"  // read
	CountBytesOut  = "bytes out" // written
)

// What is timed.
const (
	TimeTCP      = "tcp"      // connect, until the socket is writable
	TimeUpgrade  = "upgrade"  // the request, until `connected`
	TimeOpen     = "open"     // both
	TimeEcho     = "echo"     // from its time until it is back
	TimeService  = "service"  // from when it was really sent
	TimeLate     = "late"     // from its time until it is sent
	TimeDelivery = "delivery" // from its time until it is read
	TimeLag      = "lag"      // from the time of a beat of the worker's loop until it beats
	TimeBack     = "back"     // from the loss of a connection until `connected` elsewhere
)

// lateAfter is what counts as late.
const lateAfter = 10 * time.Millisecond
