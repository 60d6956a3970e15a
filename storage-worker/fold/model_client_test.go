package fold

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
)

// device is a client that keeps to the protocol: it syncs after `connected` and
// after `behind`, buffers meanwhile, applies by the gap rule, and repeats what
// was not answered, through whatever gateway it finds.
type device struct {
	w    *world
	a    *actor
	user chat.UserID
	s    *session

	last    map[chat.ConversationID]chat.Seq
	applied map[modelRowKey]chat.MessageID

	open   *bus.Inbound // sent and not answered
	sends  int          // how many more it will send
	tries  int
	leaves int // how often it will disconnect
}

// acked is what a client was told.
type acked struct {
	c       chat.ConversationID
	user    chat.UserID
	request chat.RequestID
	content string
	seq     chat.Seq
	id      chat.MessageID
}

func (w *world) startDevice(u chat.UserID) {
	d := &device{
		w: w, user: u, last: map[chat.ConversationID]chat.Seq{}, applied: map[modelRowKey]chat.MessageID{},
		sends: w.rng.IntN(6), leaves: w.rng.IntN(5),
	}
	w.devices = append(w.devices, d)
	d.a = w.start("device", func(*actor) { d.run() })
}

func (d *device) run() {
	for {
		if d.s == nil || d.s.closed {
			d.connect()
			continue
		}
		d.a.wait(func() bool {
			return d.s.closed || len(d.s.out) > 0 || d.sends > 0 && d.open == nil || d.open != nil && d.tries > 0 || d.leaves > 0
		})
		switch {
		case d.s.closed:
		case len(d.s.out) > 0 && !d.w.chance(4):
			f := d.s.out[0]
			d.s.out = d.s.out[1:]
			d.receive(f)
		case d.open == nil && d.sends > 0 && d.w.chance(3):
			d.sends--
			d.tries = 2
			d.open = d.w.newMessage(d.user)
			d.send()
		case d.open != nil && d.tries > 0 && d.w.chance(12):
			d.tries--
			d.send()
		case d.leaves > 0 && d.w.chance(20):
			d.leaves--
			d.disconnect()
		}
	}
}

// connect opens a connection on some gateway: known there, then registered, then
// told. A sync follows.
func (d *device) connect() {
	w := d.w
	var open []*gateway
	d.a.wait(func() bool {
		open = slices.DeleteFunc(slices.Clone(w.gateways), func(g *gateway) bool { return !g.open })
		return len(open) > 0
	})
	g := open[w.rng.IntN(len(open))]
	w.sessions++
	s := &session{g: g, id: w.sessions, user: d.user, pushed: map[chat.ConversationID]chat.Seq{}}
	g.sessions = append(g.sessions, s)
	d.s = s
	register := func(a *actor) {
		a.step()
		if !s.closed {
			s.covered = g.epoch // If its lease is forgotten as well, a sweep will say `behind`.
			w.presence.register(s.user, route{g.slot, g.boot, s.id})
			w.tell("session %d of user %d is registered on server %d boot %d", s.id, s.user[15], g.slot, g.boot)
		}
	}
	if w.faults.delivery.connectedFirst {
		w.start("registration", register)
	} else {
		register(d.a)
		d.a.step()
	}
	s.told = true
	d.sync()
}

func (d *device) disconnect() {
	s := d.s
	s.closed = true
	d.w.tell("session %d of user %d disconnects", s.id, d.user[15])
	s.g.sessions = slices.DeleteFunc(s.g.sessions, func(o *session) bool { return o == s })
	d.a.step()
	r := route{s.g.slot, s.g.boot, s.id}
	routes := d.w.presence.routes
	routes[d.user] = slices.DeleteFunc(routes[d.user], func(o route) bool { return o == r })
}

// send produces the open message to the log, if the gateway lives for so long.
func (d *device) send() {
	in := *d.open
	in.ReplyTo = bus.ReplyTo{Server: serverName(d.s.g.slot), Boot: d.s.g.boot, Session: d.s.id}
	d.a.step()
	if !d.s.closed {
		d.w.ask(&in)
	}
}

// receive applies one frame.
func (d *device) receive(f frame) {
	d.w.tell("session %d of user %d gets %s %x %d", d.s.id, d.user[15], f.kind, f.entry.Conversation[:2], f.entry.Seq)
	switch f.kind {
	case "behind":
		d.sync()
		d.s.covered = max(d.s.covered, f.epoch)
	case "head":
		if c := f.entry.Conversation; f.entry.Seq > d.last[c] {
			d.a.step()
			d.pull(c, f.entry.Seq)
		}
	case "event":
		d.w.shown = append(d.w.shown, shown{d.user, f.entry})
		d.apply(f)
	case "answer":
		d.answered(f)
	}
}

// answered takes the answer to the open message; of a stored one it counts as
// its place in the conversation.
func (d *device) answered(f frame) {
	if d.open != nil && d.open.Request == f.request {
		if f.outcome != bus.Refused {
			d.w.acked = append(d.w.acked, acked{
				d.open.Conversation, d.user, f.request, d.open.Send.Content, f.seq, f.id,
			})
		}
		d.open = nil
	}
	if f.outcome == bus.Stored {
		d.apply(f)
	}
}

// apply follows the gap rule. On one connection events come in order, each once;
// a gap is allowed only after the directory forgot this connection, until the
// sync that `behind` asks for.
func (d *device) apply(f frame) {
	c, seq := f.entry.Conversation, f.entry.Seq
	if seq <= d.s.pushed[c] {
		d.w.fail("one connection is sent seq %d of a conversation after seq %d", seq, d.s.pushed[c])
	}
	d.s.pushed[c] = seq
	if seq <= d.last[c] {
		return
	}
	for s := d.last[c] + 1; s < seq; s++ {
		row, ok := d.w.archive.rows[modelRowKey{c, s}]
		if !ok || !d.w.archive.sees(d.user, c, s) {
			continue
		}
		if d.s.covered == d.w.presence.epoch && !d.w.large[row.ID] {
			d.w.fail("a connection is sent seq %d without seq %d, which its user may see", seq, s)
		}
		d.took(row.Entry)
	}
	d.took(f.entry)
}

func (d *device) took(e chat.Entry) {
	d.w.tell("session %d of user %d has %x %d", d.s.id, d.user[15], e.Conversation[:2], e.Seq)
	d.last[e.Conversation] = max(d.last[e.Conversation], e.Seq)
	d.applied[modelRowKey{e.Conversation, e.Seq}] = e.ID
}

// pull reads history up to a head.
func (d *device) pull(c chat.ConversationID, to chat.Seq) {
	for s := d.last[c] + 1; s <= to; s++ {
		if row, ok := d.w.archive.rows[modelRowKey{c, s}]; ok && d.w.archive.sees(d.user, c, s) {
			d.took(row.Entry)
		}
	}
}

// sync asks for what is new in each of the user's conversations. The server
// stops at the first event that is not there yet: whatever a batch has not made
// durable was not pushed either, so it will be.
func (d *device) sync() {
	d.a.step()
	stopped := map[chat.ConversationID]bool{}
	for _, stay := range d.w.archive.staysOf(d.user) {
		c := stay.Conversation
		to := stay.Head.Seq
		if stay.Large {
			to = d.w.archive.tip(c, chat.MessageID{}).Seq
		}
		if stay.Left != 0 {
			to = stay.Left
		}
		if stopped[c] || d.last[c] >= to {
			continue
		}
		d.a.step()
		for s := max(d.last[c]+1, stay.Joined); s <= to; s++ {
			row, ok := d.w.archive.rows[modelRowKey{c, s}]
			if !ok {
				if d.w.faults.delivery.syncSkipsHoles {
					continue
				}
				stopped[c] = true
				break
			}
			d.took(row.Entry)
		}
	}
}

// newMessage returns a message of u to some conversation.
func (w *world) newMessage(u chat.UserID) *bus.Inbound {
	w.requests++
	var media string
	if w.requests%4 == 0 { // An upload that was made before it was sent, or two days before.
		id := chat.NewMediaID(time.UnixMilli(w.millis - int64(w.requests%8)*12*time.Hour.Milliseconds()))
		binary.BigEndian.PutUint64(id[8:], uint64(w.requests)) // No chance: a schedule is what its seed says.
		id[6], id[7] = 0x70, 0
		media = chat.MediaPath(id)
	}
	return &bus.Inbound{
		Conversation: w.rooms[w.rng.IntN(len(w.rooms))], Sender: u, Request: ask(1000 + w.requests),
		Send: &bus.Send{Kind: chat.KindText, Content: fmt.Sprint("message ", w.requests), MediaURL: media},
	}
}

// ask appends a record to the inbound log, with the clock of some host.
func (w *world) ask(in *bus.Inbound) {
	p := bus.PartitionOf(in.Conversation, int32(len(w.inbound)))
	w.put(p, in.Conversation[:], in.Append(nil))
	if in.Send != nil {
		w.asked = append(w.asked, *in)
	}
}

func (w *world) put(p int32, key, value []byte) {
	w.millis += int64(w.rng.IntN(3))
	millis := w.millis
	if w.chance(3) {
		millis -= int64(w.rng.IntN(100)) // A host that is behind.
	}
	w.inbound[p] = append(w.inbound[p], bus.Record{
		Topic: bus.InboundTopic(1), Partition: p, Offset: int64(len(w.inbound[p])), Millis: millis,
		Key: slices.Clone(key), Value: value,
	})
}
