package fanout

import (
	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/presence"
	"switchboard/internal/wire"
)

// plan is what one outcome means: one delivery for each server concerned, and a
// push for each member who is away. It is a function of the outcome and of
// where its people are.
type plan struct {
	outcome   *bus.Accepted
	partition int32
	places    map[chat.UserID]presence.Places

	deliveries []delivery
	pushes     []bus.Push
}

// delivery is the one record for one server.
type delivery struct {
	server string
	record bus.Delivery
}

// newPlan decides who gets what. Frames are encoded once each and shared by all
// servers.
func newPlan(a *bus.Accepted, partition int32, places map[chat.UserID]presence.Places) *plan {
	p := &plan{outcome: a, partition: partition, places: places}
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
		Class: bus.Durable, Position: p.outcome.Position, Partition: p.partition,
	}})
	return &p.deliveries[len(p.deliveries)-1].record
}

// event adds the frames of one durable event. A message looks different to its
// sender's own devices: they learn the client's id for it.
func (p *plan) event(e *bus.Event) {
	message := e.Kind != chat.KindEvent
	frame := wire.AppendEntry(nil, &e.Entry, false)
	gone := p.removedBefore(e)
	var own []byte
	for _, u := range p.outcome.Recipients {
		if u == gone {
			continue
		}
		payload := frame
		if message && u == p.outcome.Sender {
			if own == nil {
				own = wire.AppendEntry(nil, &e.Entry, true)
			}
			payload = own
		}
		p.push(e, u, payload)
	}
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

// push sends one payload to all servers where a user is, or notes that the user
// is away. Who sent a message is not notified of it.
func (p *plan) push(e *bus.Event, u chat.UserID, payload []byte) {
	place := p.places[u]
	for i, r := range place.Routes {
		if !slotBefore(place.Routes[:i], r.Slot) {
			p.add(p.on(r.Slot), r.Slot, u, payload)
		}
	}
	if !place.Online && e.Kind != chat.KindEvent && u != p.outcome.Sender {
		p.pushes = append(p.pushes, bus.Push{
			User: u, Position: p.outcome.Position, Partition: p.partition,
			Conversation: e.Conversation, ID: e.ID, Seq: e.Seq, Sender: e.Sender, Kind: e.Kind,
		})
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

// add puts a user among a payload's recipients on one server. Payloads are told
// apart by where they lie: each was encoded once.
func (p *plan) add(d *bus.Delivery, server string, u chat.UserID, payload []byte) {
	for i := range d.Frames {
		if &d.Frames[i].Payload[0] == &payload[0] {
			d.Frames[i].Recipients = append(d.Frames[i].Recipients, u)
			return
		}
	}
	f := bus.Frame{Payload: payload, Recipients: []chat.UserID{u}}
	if reply := p.outcome.ReplyTo; reply.Server == server && u == p.outcome.Sender {
		// The socket that sent it is answered with message_sent instead.
		f.ExceptBoot, f.ExceptSession = reply.Boot, reply.Session
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
