package fanout

import (
	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/presence"
	"switchboard/internal/wire"
)

// plan is what one matter means: one delivery for each server concerned, and a
// push for each member who is away. It is a function of the matter and of where
// its people are.
type plan struct {
	class     bus.Class
	position  chat.Position // of an outcome
	partition int32
	offset    int64 // of a status, on its log
	places    map[chat.UserID]presence.Places
	except    bus.ReplyTo // the one socket of author that is left out
	author    chat.UserID
	outcome   *bus.Accepted // nil for a status

	deliveries []delivery
	pushes     []bus.Push
}

// delivery is the one record for one server.
type delivery struct {
	server string
	record bus.Delivery
}

// letter is a payload, encoded once, and where it stands among those that say
// the latest of the same thing.
type letter struct {
	payload []byte
	key     []byte
	order   int64
}

// newPlan decides who gets what of an outcome. Frames are encoded once each and
// shared by all servers.
func newPlan(a *bus.Accepted, partition int32, places map[chat.UserID]presence.Places) *plan {
	p := &plan{
		class: bus.Durable, position: a.Position, partition: partition, places: places,
		except: a.ReplyTo, author: a.Sender, outcome: a,
	}
	if a.ReplyTo.Server != "" {
		p.on(a.ReplyTo.Server).Answer = answer(a)
	}
	if a.Outcome != bus.Stored {
		return p
	}
	for i := range a.Events {
		p.event(&a.Events[i])
	}
	return p
}

// on returns the record for a server, begun if there is none yet.
func (p *plan) on(server string) *bus.Delivery {
	for i := range p.deliveries {
		if p.deliveries[i].server == server {
			return &p.deliveries[i].record
		}
	}
	p.deliveries = append(p.deliveries, delivery{server: server, record: bus.Delivery{
		Class: p.class, Position: p.position, Partition: p.partition,
	}})
	return &p.deliveries[len(p.deliveries)-1].record
}

// event adds the frames of one durable event. A message looks different to its
// sender's own devices: they learn the client's id for it, and that its sender has
// read so far.
func (p *plan) event(e *bus.Event) {
	message := e.Kind != chat.KindEvent
	frame := letter{payload: wire.AppendEntry(nil, &e.Entry, false)}
	gone := p.removedBefore(e)
	for _, u := range p.outcome.Recipients {
		switch {
		case u == gone:
		case message && u == p.author:
			p.push(e, u, letter{payload: wire.AppendEntry(nil, &e.Entry, true)})
			p.readBySending(e)
		default:
			p.push(e, u, frame)
		}
	}
}

// readBySending tells the sender's other devices, if there are any, that sending
// has moved the mark.
func (p *plan) readBySending(e *bus.Event) {
	if !p.elsewhere() {
		return
	}
	p.send(p.author, statusLetter(&wire.MessageStatus{
		ConversationID: e.Conversation, UserID: p.author, Status: chat.Read.String(),
		MessageID: e.ID, Seq: e.Seq, Timestamp: chat.ClockOf(e.ID).Unix(),
	}))
}

// elsewhere reports whether the author has a session besides the one that asked.
func (p *plan) elsewhere() bool {
	for _, r := range p.places[p.author].Routes {
		if r.Slot != p.except.Server || r.Boot != p.except.Boot || r.Session != p.except.Session {
			return true
		}
	}
	return false
}

// removedBefore returns whom an earlier event of the same outcome took out of the
// conversation: an admin who left sees its own departure, not the hand-over.
func (p *plan) removedBefore(e *bus.Event) chat.UserID {
	first := &p.outcome.Events[0]
	if e == first || first.Change != chat.MemberRemoved {
		return chat.UserID{}
	}
	return first.User
}

// push sends a letter to a user, or notes that the user is away. Who sent a
// message is not notified of it.
func (p *plan) push(e *bus.Event, u chat.UserID, l letter) {
	p.send(u, l)
	if !p.places[u].Online && e.Kind != chat.KindEvent && u != p.author {
		p.pushes = append(p.pushes, bus.Push{
			User: u, Position: p.position, Partition: p.partition,
			Conversation: e.Conversation, ID: e.ID, Seq: e.Seq, Sender: e.Sender, Kind: e.Kind,
		})
	}
}

// send sends a letter to all servers where a user is.
func (p *plan) send(u chat.UserID, l letter) {
	routes := p.places[u].Routes
	for i, r := range routes {
		if !slotBefore(routes[:i], r.Slot) {
			p.add(p.on(r.Slot), r.Slot, u, l)
		}
	}
}

// slotBefore reports whether one of the routes leads to the slot.
func slotBefore(routes []presence.Route, slot string) bool {
	for _, r := range routes {
		if r.Slot == slot {
			return true
		}
	}
	return false
}

// add puts a user among a letter's recipients on one server. Payloads are told
// apart by where they lie: each was encoded once.
func (p *plan) add(d *bus.Delivery, server string, u chat.UserID, l letter) {
	for i := range d.Frames {
		if &d.Frames[i].Payload[0] == &l.payload[0] {
			d.Frames[i].Recipients = append(d.Frames[i].Recipients, u)
			return
		}
	}
	f := bus.Frame{Payload: l.payload, Recipients: []chat.UserID{u}, Key: l.key, Order: l.order}
	if p.except.Server == server && u == p.author {
		// The socket that asked knows, or is answered with message_sent instead.
		f.ExceptBoot, f.ExceptSession = p.except.Boot, p.except.Session
	}
	d.Frames = append(d.Frames, f)
}

// answer tells the one who asked.
func answer(a *bus.Accepted) *bus.Answer {
	out := &bus.Answer{Boot: a.ReplyTo.Boot, Session: a.ReplyTo.Session, Outcome: a.Outcome}
	switch a.Outcome {
	case bus.Stored:
		out.Seq, out.ID = a.Events[0].Seq, a.Events[0].ID
	case bus.Duplicate:
		out.Seq, out.ID = a.Seq, a.ID
	case bus.Refused:
		out.Code, out.Message = a.Code, a.Message
		out.Payload = wire.AppendError(nil, a.ReplyTo.ID, a.Request,
			&chat.Error{Code: a.Code, Message: a.Message})
		return out
	}
	out.Payload = wire.AppendMessageSent(nil, a.ReplyTo.ID, &wire.MessageSent{
		ClientMessageID: a.Request,
		ConversationID:  a.Conversation,
		MessageID:       out.ID,
		Seq:             out.Seq,
		Timestamp:       chat.ClockOf(out.ID).Unix(),
		Duplicate:       a.Outcome == bus.Duplicate,
	})
	return out
}
