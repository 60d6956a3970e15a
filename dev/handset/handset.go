package handset

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"switchboard/client"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// Config says who the device belongs to and where it connects.
type Config struct {
	Base  string // URL of REST
	Token func(ctx context.Context) (string, error)
	URL   string // of the WebSocket
	Name  string // of the device
	// Dial opens the connections to gateways, such as through a balancer; nil =
	// to where the URL leads.
	Dial func(ctx context.Context, kind, address string) (net.Conn, error)
}

// Device is one device, connected from Start to Stop.
type Device struct {
	*client.Client

	// Fixed after construction.
	network *network
	stop    context.CancelFunc
	ended   chan error

	mu      sync.Mutex
	applied map[chat.ConversationID][]wire.Message
	pushed  map[place]int // how often
	newest  map[chat.ConversationID]push
	astray  int           // pushes that were not above all before them on their socket
	reasons []string      // of each `behind`
	asked   int           // how often to `reconnect`
	changed chan struct{} // closed, and made anew, when anything of this changes
}

// push is the newest event of a conversation that came over a socket, and over
// which one.
type push struct {
	socket int
	seq    chat.Seq
}

// place is an event of a conversation.
type place struct {
	conversation chat.ConversationID
	seq          chat.Seq
}

// Start connects a device.
func Start(cfg Config) *Device {
	d := &Device{
		network: newNetwork(cfg.URL, cfg.Dial), ended: make(chan error, 1),
		applied: make(map[chat.ConversationID][]wire.Message), pushed: make(map[place]int),
		newest: make(map[chat.ConversationID]push), changed: make(chan struct{}),
	}
	d.Client = client.New(client.Config{
		REST: &client.REST{Base: cfg.Base, Token: cfg.Token, HTTP: &http.Client{Transport: d.network}},
		URL:  cfg.URL, Device: cfg.Name, Apply: d.apply, Signal: d.hear,
	})
	ctx, stop := context.WithCancel(context.Background())
	d.stop = stop
	go func() { d.ended <- d.Run(ctx) }()
	return d
}

// Stop ends the device. The error is the server's, if that had ended it before.
func (d *Device) Stop() error {
	d.network.mu.Lock()
	open := d.network.open
	d.network.mu.Unlock()
	open()
	d.stop()
	err := <-d.ended
	d.network.through.CloseIdleConnections()
	return err
}

// Shut keeps whatever gateways send from the device until open is called.
func (d *Device) Shut() (open func()) { return d.network.shut() }

// Opened returns when each of its connections was opened.
func (d *Device) Opened() []time.Time {
	d.network.mu.Lock()
	defer d.network.mu.Unlock()
	return slices.Clone(d.network.opened)
}

// Syncs returns how often it has asked for what it missed.
func (d *Device) Syncs() int {
	d.network.mu.Lock()
	defer d.network.mu.Unlock()
	return d.network.syncs
}

// Applied returns what was applied of a conversation, in that order.
func (d *Device) Applied(id chat.ConversationID) []wire.Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.applied[id])
}

// Pushed returns how often an event came over a socket.
func (d *Device) Pushed(id chat.ConversationID, seq chat.Seq) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pushed[place{id, seq}]
}

// Astray returns how many events came over a socket that had brought this one or a
// later one of the conversation before.
func (d *Device) Astray() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.astray
}

// Behinds returns the reasons of each `behind`, in that order.
func (d *Device) Behinds() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.reasons)
}

// Reconnects returns how often it was asked to connect elsewhere.
func (d *Device) Reconnects() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked
}

// Await waits until something holds of the device, which is asked after each
// thing that happens to it.
func (d *Device) Await(ctx context.Context, holds func() bool) error {
	for {
		d.mu.Lock()
		changed := d.changed
		d.mu.Unlock()
		if holds() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// AwaitSeq waits until the device has applied an event of a conversation.
func (d *Device) AwaitSeq(ctx context.Context, id chat.ConversationID, seq chat.Seq) error {
	err := d.Await(ctx, func() bool { return d.Have()[id] >= seq })
	if err != nil {
		return fmt.Errorf("it has %d of %s, not %d: %w", d.Have()[id], id, seq, err)
	}
	return nil
}

// apply notes what the client library makes of it all.
func (d *Device) apply(m wire.Message) {
	d.note(func() { d.applied[m.ConversationID] = append(d.applied[m.ConversationID], m) })
}

// hear notes what came over the socket.
func (d *Device) hear(e client.Event) {
	switch e.Type {
	case "new_message", "conversation_updated":
		var m wire.Message // What an update has of it is its place.
		if json.Unmarshal(e.Data, &m) == nil && m.Seq > 0 {
			socket := len(d.Opened())
			d.note(func() { d.push(socket, m.ConversationID, m.Seq) })
		}
	case "behind":
		var b wire.Behind
		if json.Unmarshal(e.Data, &b) == nil {
			d.note(func() { d.reasons = append(d.reasons, b.Reason) })
		}
	case "reconnect":
		d.note(func() { d.asked++ })
	}
}

// push notes an event. The caller holds the lock.
func (d *Device) push(socket int, id chat.ConversationID, seq chat.Seq) {
	d.pushed[place{id, seq}]++
	if last := d.newest[id]; last.socket == socket && last.seq >= seq {
		d.astray++
	}
	d.newest[id] = push{socket, seq}
}

// note changes something and says so to whoever awaits it.
func (d *Device) note(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
	close(d.changed)
	d.changed = make(chan struct{})
}
