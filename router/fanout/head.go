package fanout

import (
	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/presence"
	"switchboard/internal/wire"
)

// head tells the members of a large conversation how far it has come, and notifies
// those who are away. It may have one of the two to do, or both.
type head struct {
	newest *chat.Entry // nil = who is online knows
	alone  bool        // newest is a message, and the only thing that is new
	to     []chat.UserID

	unread bus.Push      // without its user
	away   []chat.UserID // who is to be notified of it if away; with newest, some of to or all
}

func (h *head) concerns() []chat.UserID {
	if h.newest == nil {
		return h.away
	}
	return h.to
}

func (h *head) plan(partition int32, places map[chat.UserID]presence.Places) *plan {
	p := &plan{class: bus.Latest, partition: partition}
	if h.newest != nil {
		h.tell(p, places)
	}
	for _, u := range h.away {
		if places[u].Online || u == h.unread.Sender {
			continue
		}
		push := h.unread
		push.User, push.Partition = u, partition
		p.pushes = append(p.pushes, push)
	}
	return p
}

// tell groups by a table of servers, since those concerned are thousands.
func (h *head) tell(p *plan, places map[chat.UserID]presence.Places) {
	l := h.letter()
	index := make(map[string]int)
	for _, u := range h.to {
		routes := places[u].Routes
		for i, r := range routes {
			if slotBefore(routes[:i], r.Slot) {
				continue
			}
			at, begun := index[r.Slot]
			if !begun {
				at = len(p.deliveries)
				index[r.Slot] = at
				p.deliveries = append(p.deliveries, delivery{server: r.Slot, record: bus.Delivery{
					Class: p.class, Partition: p.partition,
					Frames: []bus.Frame{{Payload: l.payload, Key: l.key, Order: l.order}},
				}})
			}
			f := &p.deliveries[at].record.Frames[0]
			f.Recipients = append(f.Recipients, u)
		}
	}
}

// letter is the frame, with what keeps it from coming after one that says more.
func (h *head) letter() letter {
	var message *chat.Entry
	if h.alone {
		message = h.newest
	}
	key := append(append(make([]byte, 0, 20), h.newest.Conversation[:]...), "head"...)
	return letter{
		payload: wire.AppendConversationHead(nil, h.newest.Conversation, h.newest.Seq, message),
		key:     key, order: int64(h.newest.Seq),
	}
}
