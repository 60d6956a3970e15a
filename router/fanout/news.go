package fanout

import (
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
)

// news is what is to be said of one large conversation, and to whom. The herald's
// mutex guards it.
type news struct {
	seen    chat.Seq // the newest event that was noted
	version chat.Seq // of the members, as far as the log was noted
	touched time.Time
	// torn says that the log was not followed without a gap: what version says is
	// not true before the next event that carries one.
	torn bool

	// What is to be said.
	newest chat.Entry
	fresh  int       // how many events since the last head; 0 = nothing to say
	from   int64     // the accepted offset at which what is to be said begins, or nothing
	said   time.Time // when the last head was
	unread bus.Push  // the newest message of which those who are away were not notified; Seq 0 = none
	begins int64     // the accepted offset of the batch with unread
	notify time.Time // before this they are not

	// To whom.
	members *members // nil = not known
	reading *reading // nil = none under way
	wanted  time.Time
	retry   time.Time
	pause   time.Duration
}

// note takes one event of an outcome at a position; from is the offset of its batch.
func (n *news) note(e *bus.Event, large bool, at chat.Position, from int64) {
	if n.torn && e.MembersVersion > 0 {
		n.distrust() // of what was read meanwhile
		n.torn = false
	}
	n.version = max(n.version, e.MembersVersion)
	if c, ok := changeOf(e); ok {
		if n.reading != nil {
			n.reading.record(c)
		}
		if n.members != nil {
			n.members.apply(c)
		}
	}
	if !large || e.Seq <= n.seen {
		return // Everybody got it, or everybody was told of it.
	}
	switch {
	case !n.unsaid():
		n.from = from
	case n.from != nothing:
		n.from = min(n.from, from) // It is less after a step back.
	}
	n.seen, n.newest = e.Seq, e.Entry
	n.fresh++
	if e.Kind != chat.KindEvent {
		n.unread, n.begins = bus.Push{
			Position: at, Conversation: e.Conversation, ID: e.ID, Seq: e.Seq, Sender: e.Sender, Kind: e.Kind,
		}, from
	}
}

// unsaid reports whether there is something to say to anybody.
func (n *news) unsaid() bool { return n.fresh > 0 || n.unread.Seq > 0 }

// due is when the next thing may be said. Who is away is notified with a head
// rather than by itself, since either asks where everybody is.
func (n *news) due() time.Time {
	if n.fresh > 0 {
		return n.said.Add(HeadEvery)
	}
	return n.notify
}

// size is how many members are remembered.
func (n *news) size() int64 {
	if n.members == nil {
		return 0
	}
	return int64(len(n.members.list))
}

// distrust lets go of the members, and of a list that is under way. What is read
// before the next event may be used for the newest one, and is let go at the next.
func (n *news) distrust() {
	n.members, n.torn = nil, true
	if n.reading != nil {
		n.reading.void = true
	}
}

// known reports whether the members are known well enough for the newest event.
// An older list might name somebody who was removed before it.
func (n *news) known() bool {
	return n.members != nil && n.members.version >= n.newest.MembersVersion
}

// take returns what is due, and begins anew.
func (n *news) take(now time.Time) *head {
	h := new(head)
	if n.fresh > 0 {
		newest := n.newest
		h.newest, h.alone = &newest, n.fresh == 1 && newest.Kind != chat.KindEvent
		h.to = n.members.since(chat.ClockOf(newest.ID))
		n.fresh, n.said = 0, now
		n.newest.Content, n.newest.MediaURL = "", "" // They are not needed any more.
	}
	if n.unread.Seq > 0 && !n.notify.After(now) {
		h.unread, h.away = n.unread, h.to
		if h.newest == nil || h.newest.Seq != n.unread.Seq {
			h.away = n.members.since(chat.ClockOf(n.unread.ID))
		}
		n.unread, n.notify = bus.Push{}, now.Add(notifyEvery(len(h.away)))
	}
	// What is left is a message of the last seconds: it holds the commit, even if the
	// head was late and did not.
	n.from = nothing
	if n.unread.Seq > 0 {
		n.from = n.begins
	}
	n.wanted = time.Time{}
	return h
}

// notifyEvery is how often so many members may be notified.
func notifyEvery(members int) time.Duration {
	return time.Duration(members) * time.Second / PushesPerSecond
}
