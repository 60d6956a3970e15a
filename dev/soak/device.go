package soak

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"switchboard/client"
	"switchboard/dev/audit"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// tokenLife outlives any run, so that no device has to ask for a new token.
const tokenLife = 12 * time.Hour

// device is one of a person's two devices: the client library on a network that
// is watched.
type device struct {
	// Fixed after construction.
	user    chat.UserID
	name    string
	client  *client.Client
	rest    *client.REST
	network *network

	mu          sync.Mutex
	connections int
	opened      []time.Time // when each connection was
	last        audit.Connection
	seen        []audit.Sighting
	applied     []wire.Message
	answers     []audit.Answer
	attempts    map[chat.RequestID]int // less those that were refused for good
	count       counts
	broken      []string // what no server may say
}

// counts is what happened at a device, or at all of them.
type counts struct {
	Attempts    int // send_message frames
	Acks        int
	Refusals    int
	Temporary   int // errors after which the device tries again
	Connections int
	Syncs       int
	Behinds     int
	Pages       int
}

func (c *counts) add(other counts) {
	c.Attempts += other.Attempts
	c.Acks += other.Acks
	c.Refusals += other.Refusals
	c.Temporary += other.Temporary
	c.Connections += other.Connections
	c.Syncs += other.Syncs
	c.Behinds += other.Behinds
	c.Pages += other.Pages
}

// newDevice returns a device that is not connected yet.
func newDevice(s *Site, user chat.UserID, name string) *device {
	d := &device{user: user, name: name, attempts: make(map[chat.RequestID]int)}
	d.network = newNetwork(s, d)
	d.rest = restOf(s, user, d.network)
	d.client = client.New(client.Config{REST: d.rest, URL: s.WS[0], Device: name, Apply: d.apply})
	return d
}

// restOf returns the REST calls of a person through a network.
func restOf(s *Site, user chat.UserID, through *network) *client.REST {
	return &client.REST{
		Base: s.REST[0],
		HTTP: &http.Client{Transport: through},
		Token: func(context.Context) (string, error) {
			return s.Keys.Mint(user, tokenLife)
		},
	}
}

// apply notes what the client library makes of it all.
func (d *device) apply(m wire.Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.applied = append(d.applied, m)
}

// open notes a new connection and gives it a number.
func (d *device) open() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.connections++
	d.opened = append(d.opened, time.Now())
	return d.connections
}

// opening returns when each connection was opened.
func (d *device) opening() []time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.opened)
}

// see notes a durable event. The caller holds the lock.
func (d *device) see(way audit.Way, connection int, m wire.Message) {
	d.seen = append(d.seen, audit.Sighting{At: time.Now(), Way: way, Connection: connection, Message: m})
}

// synced notes an answer of /sync.
func (d *device) synced(asked wire.SyncRequest, answer wire.SyncResponse) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count.Syncs++
	from := len(d.seen)
	for i := range answer.Events {
		d.event(audit.Sync, d.connections, &answer.Events[i])
	}
	d.answered(from, func(id chat.ConversationID) chat.Seq { return asked.Have[id] })
}

// paged notes a page of history.
func (d *device) paged(above chat.Seq, page wire.MessagePage) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count.Pages++
	from := len(d.seen)
	for _, m := range page.Messages {
		d.see(audit.Page, d.connections, m)
	}
	d.answered(from, func(chat.ConversationID) chat.Seq { return above })
}

// answered notes what the events seen from there on were an answer to. The caller
// holds the lock.
func (d *device) answered(from int, have func(chat.ConversationID) chat.Seq) {
	for i := from; i < len(d.seen); i++ {
		s := &d.seen[i]
		s.Answer, s.Have = d.count.Syncs+d.count.Pages, have(s.Message.ConversationID)
	}
}

// sent counts what the device says.
func (d *device) sent(e wire.Envelope) {
	if e.Type != "send_message" {
		return
	}
	var m wire.SendMessage
	if err := json.Unmarshal(e.Data, &m); err != nil || m.ClientMessageID == nil {
		return // not by the client library
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count.Attempts++
	d.attempts[*m.ClientMessageID]++
}

// received notes a frame.
func (d *device) received(connection int, e wire.Envelope) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch e.Type {
	case "new_message", "conversation_updated":
		d.event(audit.Live, connection, &e)
	case "message_sent", "error":
		d.reply(connection, &e)
	case "connected":
		d.last = audit.Connection{Number: connection, Connected: time.Now()}
	case "behind":
		d.count.Behinds++
		d.last.Behinds = append(d.last.Behinds, time.Now())
	}
}

// event notes a durable event in its live form. The caller holds the lock.
func (d *device) event(way audit.Way, connection int, e *wire.Envelope) {
	decoded, err := e.Decode()
	switch {
	case err != nil:
		d.broken = append(d.broken, fmt.Sprintf("%s of %s: unreadable %s: %v", d.name, d.user, e.Type, err))
	case decoded.Message != nil:
		d.see(way, connection, *decoded.Message)
	case decoded.Updated != nil && decoded.Updated.Seq > 0:
		u := decoded.Updated
		d.see(way, connection, wire.Message{
			ConversationID: u.ConversationID, Seq: u.Seq, Type: chat.KindEvent.String(),
			Event: &wire.Event{
				Change: u.Change, UserID: u.UserID, Name: u.Name, Role: u.Role, MembersVersion: u.MembersVersion,
			},
		})
	}
}

// reply notes what a send was answered with. The caller holds the lock.
func (d *device) reply(connection int, e *wire.Envelope) {
	decoded, err := e.Decode()
	switch {
	case err != nil:
		d.broken = append(d.broken, fmt.Sprintf("%s of %s: unreadable %s: %v", d.name, d.user, e.Type, err))
	case decoded.MessageSent != nil:
		m := decoded.MessageSent
		d.count.Acks++
		d.answers = append(d.answers, audit.Answer{
			User: d.user, Conversation: m.ConversationID, Request: m.ClientMessageID,
			Message: m.MessageID, Seq: m.Seq, Duplicate: m.Duplicate, At: time.Now(),
		})
		request := m.ClientMessageID
		d.see(audit.Told, connection, wire.Message{
			MessageID: m.MessageID, ConversationID: m.ConversationID, Seq: m.Seq, SenderID: d.user,
			Type: chat.KindText.String(), Timestamp: m.Timestamp, ClientMessageID: &request,
		})
	case decoded.Error != nil && decoded.Error.Temporary:
		d.count.Temporary++
	case decoded.Error != nil && decoded.Error.ClientMessageID != nil:
		d.count.Refusals++
		d.attempts[*decoded.Error.ClientMessageID]--
	}
}

// evidence returns a copy of what the device saw. The contents of its own
// messages, which message_sent does not repeat, come from contents.
func (d *device) evidence(contents map[chat.RequestID]string) *audit.Device {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := &audit.Device{User: d.user, Name: d.name, Last: d.last}
	out.Last.Behinds = slices.Clone(d.last.Behinds)
	if d.last.Number != d.connections {
		out.Last = audit.Connection{} // it is gone, and the next is not there yet
	}
	out.Seen = append(out.Seen, d.seen...)
	out.Applied = append(out.Applied, d.applied...)
	for i := range out.Seen {
		if m := &out.Seen[i].Message; out.Seen[i].Way == audit.Told {
			m.Content = contents[*m.ClientMessageID]
		}
	}
	return out
}

// tally returns what happened so far.
func (d *device) tally() (counts, []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.count
	c.Connections = d.connections
	return c, append([]string(nil), d.broken...)
}
