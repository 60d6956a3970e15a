package main

import (
	"context"
	"sync/atomic"
	"time"

	"switchboard/bench/result"
	"switchboard/client"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// person is one connected user: what it should get, what it got, and when.
type person struct {
	road   *road
	number int
	user   chat.UserID
	conn   *client.Conn

	expected atomic.Int64 // copies and answers that are owed to this user
	received atomic.Int64

	// Owned by listen until done is closed.
	done    chan struct{}
	seen    []arrival
	refused []wire.Error
}

// arrival is one durable event as this user saw it. number is −1 for an event
// that is none of the benchmark's messages.
type arrival struct {
	talk   chat.ConversationID
	seq    chat.Seq
	number int
	sent   bool // message_sent, not new_message
	nanos  int64
}

func newPerson(r *road, number int, user chat.UserID, conn *client.Conn) *person {
	return &person{road: r, number: number, user: user, conn: conn, done: make(chan struct{})}
}

// send writes one message. Everybody in the conversation is owed a copy, the
// sender an answer instead.
func (p *person) send(ctx context.Context, talk *conversation, i int) {
	for _, m := range talk.members {
		m.expected.Add(1)
	}
	p.road.pulse.Owed.Add(int64(len(talk.members)))
	request := p.road.requestOf(i)
	// A failed write shows as a message that was never answered.
	_ = p.conn.Write(ctx, "send_message", "", wire.SendMessage{
		ConversationID: &talk.id, Content: p.road.payload(i), Type: chat.KindText.String(), ClientMessageID: &request,
	})
}

// requestOf is the client_message_id of message i of this run.
func (r *road) requestOf(i int) chat.RequestID {
	id := r.run
	id[12], id[13], id[14], id[15] = byte(i>>24), byte(i>>16), byte(i>>8), byte(i)
	return id
}

// numberOfRequest reads what requestOf wrote; −1 for an id of another run.
func (r *road) numberOfRequest(id chat.RequestID) int {
	n := int(id[12])<<24 | int(id[13])<<16 | int(id[14])<<8 | int(id[15])
	if id != r.requestOf(n) {
		return -1
	}
	return n
}

// listen notes whatever arrives until the connection ends.
func (p *person) listen(ctx context.Context) {
	defer close(p.done)
	defer p.road.pulse.Open.Add(-1)
	for {
		e, err := p.conn.Next(ctx)
		if err != nil {
			return
		}
		now := time.Now().UnixNano()
		switch e.Type {
		case "new_message":
			m := decode[wire.Message](e.Data)
			a := arrival{m.ConversationID, m.Seq, p.road.numberOf(m.Content), false, now}
			p.seen = append(p.seen, a)
			if a.number >= 0 && a.number < len(p.road.intended) {
				p.road.pulse.Took(time.Duration(now - p.road.intended[a.number].Load()))
			}
		case "message_sent":
			m := decode[wire.MessageSent](e.Data)
			p.seen = append(p.seen, arrival{m.ConversationID, m.Seq, p.road.numberOfRequest(m.ClientMessageID), true, now})
		case "conversation_updated":
			u := decode[wire.ConversationUpdated](e.Data)
			p.seen = append(p.seen, arrival{u.ConversationID, max(u.Seq, u.HeadSeq), -1, false, now})
			continue // not owed: it belongs to the set-up, or is a head
		case "error":
			p.refused = append(p.refused, decode[wire.Error](e.Data))
			continue
		default:
			continue
		}
		p.received.Add(1)
		p.road.pulse.Got.Add(1)
	}
}

// lastOf returns the newest seq that this user was told of in a conversation.
func (p *person) lastOf(talk chat.ConversationID) (last chat.Seq) {
	for _, a := range p.seen {
		if a.talk == talk {
			last = max(last, a.seq)
		}
	}
	return last
}

// record adds this user's arrivals of the measured messages to the timings, counted
// from when each should have been sent, and by the second of that.
func (p *person) record(delivery, answer *result.Timing, from, to int) {
	for _, a := range p.seen {
		if a.number < from || a.number >= to {
			continue
		}
		timing := delivery
		if a.sent {
			timing = answer
		}
		timing.Record((a.number-from)/p.road.rate, time.Duration(a.nanos-p.road.intended[a.number].Load()))
	}
}
