package fanout

import (
	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/presence"
	"switchboard/internal/wire"
)

// status is a watermark that moved, or the answer to who asked for it.
type status struct {
	bus.Status
	offset int64 // of its record
}

func (s *status) concerns() []chat.UserID { return s.Recipients }

// status is the log of watermarks. Repetitions are as old as the record that
// they repeat, and gateways show none that says less than they have shown a moment
// ago: there is nothing to filter here, as long as what is older is not repeated.
func (r *Router) status() *input {
	return r.metered(&input{
		group: r.cfg.Status, producer: r.cfg.Statuses, latest: true,
		parse: func(record *bus.Record, _ *bus.Deduper) (matter, error) {
			s := &status{offset: record.Offset}
			if err := bus.ParseStatus(record.Value, &s.Status); err != nil {
				return nil, err
			}
			return s, nil
		},
	}, "switchboard_router_status")
}

func (s *status) plan(partition int32, places map[chat.UserID]presence.Places) *plan {
	p := &plan{class: bus.Latest, partition: partition, offset: s.offset, places: places, except: s.ReplyTo, author: s.User}
	if s.Outcome != 0 {
		if s.ReplyTo.Server == "" {
			return p
		}
		p.on(s.ReplyTo.Server).Answer = s.answer()
		return p
	}
	l := statusLetter(&wire.MessageStatus{
		ConversationID: s.Conversation, UserID: s.User, Status: s.Status.Status.String(),
		MessageID: s.Message, Seq: s.Seq, Timestamp: s.Millis / 1000,
	})
	for _, u := range s.Recipients {
		p.send(u, l)
	}
	return p
}

// answer tells the one who marked that it was refused, or that it is in force.
func (s *status) answer() *bus.Answer {
	a := &bus.Answer{
		Boot: s.ReplyTo.Boot, Session: s.ReplyTo.Session, Outcome: s.Outcome, Code: s.Code, Message: s.Text,
	}
	if s.Outcome == bus.Refused {
		a.Payload = wire.AppendError(nil, s.ReplyTo.ID, chat.RequestID{}, &chat.Error{Code: s.Code, Message: s.Text})
	}
	return a
}

// statusLetter is the frame that says how far somebody has read, with what keeps
// it from coming after one that says more.
func statusLetter(m *wire.MessageStatus) letter {
	key := make([]byte, 0, len(m.ConversationID)+len(m.UserID)+len(m.Status))
	key = append(append(append(key, m.ConversationID[:]...), m.UserID[:]...), m.Status...)
	return letter{payload: wire.AppendMessageStatus(nil, m), key: key, order: int64(m.Seq)}
}
