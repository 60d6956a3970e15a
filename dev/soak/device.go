package soak

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
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
	diary   *diary

	mu          sync.Mutex
	connections int
	opened      []time.Time  // when each connection was
	links       []audit.Link // what became of each
	last        audit.Connection
	seen        []audit.Sighting
	hints       []audit.Hint
	lags        []audit.Lag
	marks       []audit.Mark
	words       []audit.Word
	applied     []wire.Message
	unmarked    map[chat.ConversationID]chat.Seq // applied, and not marked yet
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
	Heads       int
	Marks       int
	Statuses    int
	Typings     int
	Presences   int
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
	c.Heads += other.Heads
	c.Marks += other.Marks
	c.Statuses += other.Statuses
	c.Typings += other.Typings
	c.Presences += other.Presences
}

// newDevice returns a device that is not connected yet.
func newDevice(s *Site, user chat.UserID, name string) *device {
	d := &device{user: user, name: name, attempts: make(map[chat.RequestID]int), unmarked: make(map[chat.ConversationID]chat.Seq)}
	d.network = newNetwork(s, d)
	d.rest = restOf(s, user, d.network)
	d.diary = new(diary)
	d.client = client.New(client.Config{
		REST: d.rest, URL: s.WS[0], Device: name, Apply: d.apply, Log: slog.New(slog.NewTextHandler(d.diary, nil)),
	})
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

// diaryLines is how many lines of its log a device keeps.
const diaryLines = 40

// diary keeps the last lines of a log, to say what a device did that failed.
type diary struct {
	mu    sync.Mutex
	lines []string
}

// Write takes a line. It never fails.
func (d *diary) Write(line []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines[max(0, len(d.lines)-diaryLines+1):], string(line))
	return len(line), nil
}

func (d *diary) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.lines, "")
}

// tried says how a request fared, and the device with it.
func (d *device) tried(r chat.RequestID) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var opened []string
	for _, at := range d.opened[max(0, len(d.opened)-diaryLines):] {
		opened = append(opened, at.Format(time.TimeOnly))
	}
	return fmt.Sprintf("it was sent %d times; connections since %s; the client's last words:\n%s", d.attempts[r], strings.Join(opened, ", "), d.diary)
}

// apply notes what the client library makes of it all.
func (d *device) apply(m wire.Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.applied = append(d.applied, m)
	d.unmarked[m.ConversationID] = m.Seq
}

// open notes a new connection and gives it a number.
func (d *device) open() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.connections++
	d.opened = append(d.opened, time.Now())
	d.links = append(d.links, audit.Link{})
	return d.connections
}

// closed notes the end of a connection.
func (d *device) closed(connection int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.links[connection-1].Closed = time.Now()
}

// opening returns when each connection was opened.
func (d *device) opening() []time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.opened)
}

// kept reports whether one connection was there from a moment to another.
func (d *device) kept(from, to time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, at := range d.opened {
		if end := d.links[i].Closed; at.Before(from) && (end.IsZero() || end.After(to)) {
			return true
		}
	}
	return false
}

// attempted calls each with what the device tried to send itself.
func (d *device) attempted(each func(chat.RequestID)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for r := range d.attempts {
		each(r)
	}
}

// see notes a durable event. The caller holds the lock.
func (d *device) see(way audit.Way, connection int, m wire.Message) {
	d.seen = append(d.seen, audit.Sighting{At: time.Now(), Way: way, Connection: connection, Message: m})
}

// synced notes an answer of /sync.
func (d *device) synced(begun time.Time, asked wire.SyncRequest, answer wire.SyncResponse) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count.Syncs++
	from := len(d.seen)
	for i := range answer.Events {
		d.event(audit.Sync, d.connections, &answer.Events[i])
	}
	for _, h := range answer.Heads {
		d.lags = append(d.lags, audit.Lag{Head: h, Asked: begun, Answered: time.Now()})
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

// sent notes what the device says.
func (d *device) sent(e wire.Envelope) {
	switch e.Type {
	case "send_message":
		var m wire.SendMessage
		if err := json.Unmarshal(e.Data, &m); err != nil || m.ClientMessageID == nil {
			return // not by the client library
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.count.Attempts++
		d.attempts[*m.ClientMessageID]++
	case "mark_delivered", "mark_read", "typing":
		d.told(e)
	}
}

// told notes what the device says of its user.
func (d *device) told(e wire.Envelope) {
	var m struct {
		Conversation chat.ConversationID `json:"conversation_id"`
		Seq          chat.Seq            `json:"seq"`
		IsTyping     bool                `json:"is_typing"`
	}
	if err := json.Unmarshal(e.Data, &m); err != nil {
		return // not by the client library
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if e.Type == "typing" {
		d.words = append(d.words, audit.Word{User: d.user, Conversation: m.Conversation, IsTyping: m.IsTyping, At: time.Now()})
		return
	}
	status := chat.Delivered
	if e.Type == "mark_read" {
		status = chat.Read
	}
	d.count.Marks++
	d.marks = append(d.marks, audit.Mark{User: d.user, Conversation: m.Conversation, Status: status, Seq: m.Seq, At: time.Now()})
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
	case "message_status", "typing", "presence_update":
		d.hint(connection, &e)
	case "connected":
		d.last = audit.Connection{Number: connection, Connected: time.Now()}
		d.links[connection-1].Connected = d.last.Connected
	case "behind":
		d.count.Behinds++
		d.last.Behinds = append(d.last.Behinds, time.Now())
	}
}

// hint notes what is neither a durable event nor an answer. The caller holds the
// lock.
func (d *device) hint(connection int, e *wire.Envelope) {
	decoded, err := e.Decode()
	if err != nil {
		d.broken = append(d.broken, fmt.Sprintf("%s of %s: unreadable %s: %v", d.name, d.user, e.Type, err))
		return
	}
	switch {
	case decoded.Status != nil:
		d.count.Statuses++
	case decoded.Typing != nil:
		d.count.Typings++
	case decoded.Presence != nil:
		d.count.Presences++
	}
	d.hints = append(d.hints, audit.Hint{
		At: time.Now(), Connection: connection,
		Status: decoded.Status, Typing: decoded.Typing, Presence: decoded.Presence,
	})
}

// head notes how far a large conversation has come. The caller holds the lock.
func (d *device) head(connection int, u *wire.ConversationUpdated) {
	d.count.Heads++
	d.hints = append(d.hints, audit.Hint{At: time.Now(), Connection: connection, Head: u})
	if u.Message != nil {
		d.see(audit.Carried, connection, *u.Message)
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
	case decoded.Updated != nil && decoded.Updated.Change == "head":
		d.head(connection, decoded.Updated)
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
	case decoded.Error != nil && decoded.Error.Code != chat.NotMember:
		// Devices mark what they have seen: who was removed meanwhile may be refused.
		d.broken = append(d.broken, fmt.Sprintf("%s of %s: %s: %s", d.name, d.user, decoded.Error.Code, decoded.Error.Message))
	}
}

// evidence returns a copy of what the device saw. The contents of its own
// messages, which message_sent does not repeat, come from contents.
func (d *device) evidence(contents map[chat.RequestID]string) *audit.Device {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := &audit.Device{User: d.user, Name: d.name, Last: d.last}
	out.Last.Behinds = slices.Clone(d.last.Behinds)
	if d.last.Number != d.connections || d.last.Number > 0 && !d.links[d.last.Number-1].Closed.IsZero() {
		out.Last = audit.Connection{} // it is gone, and the next is not there yet
	}
	out.Seen, out.Applied = slices.Clone(d.seen), slices.Clone(d.applied)
	out.Hints, out.Lags, out.Links = slices.Clone(d.hints), slices.Clone(d.lags), slices.Clone(d.links)
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
	return c, slices.Clone(d.broken)
}
