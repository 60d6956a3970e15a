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
	from   int64     // the accepted offset at which they begin, or nothing
	said   time.Time // when the last head was

	// To whom.
	members *members // nil = not known
	reading *reading // nil = none under way
	wanted  time.Time
	retry   time.Time
	pause   time.Duration
}

// note takes one event of an outcome; from is the offset of its batch.
func (n *news) note(e *bus.Event, large bool, from int64) {
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
	if n.fresh == 0 {
		n.from = from
	}
	n.seen, n.newest = e.Seq, e.Entry
	n.fresh++
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

// take returns the head that is due, and begins anew.
func (n *news) take(now time.Time) *head {
	newest := n.newest
	h := &head{
		newest: &newest,
		alone:  n.fresh == 1 && newest.Kind != chat.KindEvent,
		to:     n.members.since(chat.ClockOf(newest.ID)),
	}
	n.fresh, n.from, n.said, n.wanted = 0, nothing, now, time.Time{}
	n.newest.Content, n.newest.MediaURL = "", "" // They are not needed any more.
	return h
}
