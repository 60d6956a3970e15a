package fold

import (
	"slices"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// store gives e the conversation's next seq and an id, and puts it into history.
// The second event of a record takes the tick after the first's.
func (d *decider) store(t *turn, e chat.Entry) *chat.Entry {
	if len(t.out.Events) > 0 {
		d.clock++
	}
	c := t.c
	e.Conversation, e.Sender, e.Request = c.id, t.in.Sender, t.in.Request
	e.Seq = c.tip.Seq + 1
	e.ID = chat.NewMessageID(d.clock, d.generation, uint32(d.partition))
	if e.Kind == chat.KindEvent && e.Change != chat.Renamed {
		c.version = e.Seq
	}
	if e.Kind == chat.KindEvent || d.large(c) {
		e.MembersVersion = c.version // The router tells by it whether its list of members is too old for a head.
	}
	c.tip = archive.Tip{Seq: e.Seq, ID: e.ID}
	if !c.pending.touched {
		c.pending.touched = true
		d.touched = append(d.touched, c)
	}
	t.out.Outcome = bus.Stored
	t.out.Events = append(t.out.Events, bus.Event{Entry: e})
	d.batch.Rows = append(d.batch.Rows, archive.Row{Entry: e, Position: t.out.Position})
	return &t.out.Events[len(t.out.Events)-1].Entry
}

// open makes u a member from the event e on.
func (d *decider) open(c *conversation, e *chat.Entry, u chat.UserID, role chat.Role) {
	m := member{user: u, role: role, span: e.Seq, stay: e.Seq}
	c.join(m)
	d.opened(c, e, &m)
}

// opened writes the span in which m is now.
func (d *decider) opened(c *conversation, e *chat.Entry, m *member) {
	d.batch.Opened = append(d.batch.Opened, archive.SpanOpened{
		Conversation: c.id,
		Span:         archive.Span{User: m.user, Joined: m.span, Role: m.role, At: e.ID},
	})
}

// close ends the span in which m was up to the event e.
func (d *decider) close(c *conversation, e *chat.Entry, m *member) {
	d.batch.Closed = append(d.batch.Closed, archive.SpanClosed{
		Conversation: c.id, User: m.user, Joined: m.span, Left: e.Seq, By: e.ID,
	})
}

// large reports whether c is stored once and pulled.
func (d *decider) large(c *conversation) bool { return len(c.members) > d.largeAbove }

// stay returns the index row of a member with the conversation's present head.
func (d *decider) stay(c *conversation, m *member) archive.StayWrite {
	return archive.StayWrite{
		Stay: archive.Stay{
			User: m.user, Conversation: c.id, Joined: m.stay, Head: c.tip, Large: d.large(c),
		},
		By: c.tip.ID,
	}
}

// publish decides who gets the events of a stored record, and whose rows of the
// user index change by them. There were before members when it began. Crossing
// the border between small and large, either way, writes all members' rows.
func (d *decider) publish(t *turn, before int) {
	c := t.c
	t.out.Large = d.large(c)
	if !t.out.Large {
		c.pending.heads = true
	} else if before <= d.largeAbove {
		for i := range c.members {
			c.pending.due(d.stay(c, &c.members[i]))
		}
		c.pending.heads = false
	}
	d.recipients(t)
}

// recipients are all members after the change and whoever it removed; of a large
// conversation only those whom the events name, the new members of a `created`
// among them, and who gave the command.
func (d *decider) recipients(t *turn) {
	out := t.out
	created := out.Events[0].Change == chat.Created
	if !out.Large || created {
		for i := range t.c.members {
			out.Recipients = append(out.Recipients, t.c.members[i].user)
		}
	} else {
		out.Recipients = append(out.Recipients, out.Sender)
	}
	for i := range out.Events {
		u := out.Events[i].User
		if !u.IsZero() && !slices.Contains(out.Recipients, u) {
			out.Recipients = append(out.Recipients, u)
		}
	}
}

// finish turns what the batch's records left pending into rows and returns the
// whole batch. The decider can then begin another one.
func (d *decider) finish(records int) *archive.Batch {
	b := &d.batch
	b.Records = records
	for _, c := range d.touched {
		p := &c.pending
		b.Marks = append(b.Marks, p.marks...)
		if p.heads && len(p.stays) == 0 {
			for i := range c.members {
				b.Stays = append(b.Stays, d.stay(c, &c.members[i]))
			}
		} else {
			if p.heads {
				for i := range c.members {
					p.due(d.stay(c, &c.members[i]))
				}
			}
			b.Stays = append(b.Stays, p.stays...)
		}
		marks := p.marks[:0]
		*p = pending{marks: marks}
		d.known.weigh(c)
	}
	return b
}

// begin forgets the former batch.
func (d *decider) begin() {
	clear(d.touched)
	d.touched = d.touched[:0]
	clear(d.seen)
	b := &d.batch
	clear(b.Rows) // Lets go of contents.
	*b = archive.Batch{
		Rows: b.Rows[:0], Seen: b.Seen[:0], Infos: b.Infos[:0],
		Opened: b.Opened[:0], Closed: b.Closed[:0], Stays: b.Stays[:0], Media: b.Media[:0], Marks: b.Marks[:0],
	}
}
