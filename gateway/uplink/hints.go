package uplink

import (
	"time"

	"switchboard/gateway/session"
	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// Note puts what is fleeting on the signals log. It says nothing of what becomes of
// it: while the log does not take it, it is lost.
func (u *Uplink) Note(from session.Sender, ev *wire.ClientEvent) {
	hint := bus.Hint{
		User: from.User, Millis: time.Now().UnixMilli(), Conversation: ev.Conversation, IsTyping: ev.IsTyping,
	}
	u.hint(&hint, ev.Conversation[:], bus.PartitionOf(ev.Conversation, u.cfg.Partitions))
}

// Presence says that one session of a user came or is gone.
func (u *Uplink) Presence(user chat.UserID, what chat.Presence) {
	hint := bus.Hint{User: user, Millis: time.Now().UnixMilli(), Presence: what}
	u.hint(&hint, user[:], bus.PartitionOfUser(user, u.cfg.Partitions))
}

func (u *Uplink) hint(hint *bus.Hint, key []byte, partition int32) {
	if u.cfg.Signals == nil {
		u.lost.Inc()
		return
	}
	const overhead = 64
	buffer := hint.Append(append(make([]byte, 0, len(key)+overhead), key...))
	err := u.cfg.Signals.Produce(bus.Message{
		Topic: bus.TopicSignals, Partition: partition, Key: buffer[:len(key):len(key)], Value: buffer[len(key):],
	}, func(_ int64, err error) {
		if err != nil {
			u.lost.Inc()
			return
		}
		u.hinted.Inc()
	})
	if err != nil {
		u.lost.Inc()
	}
}
