package receipts

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

type user = chat.UserID

// talk is one conversation's part of a batch. One goroutine judges it.
type talk struct {
	*partition
	id    chat.ConversationID
	turns []*turn                // each user's once, in the order of their first marks
	stays map[user]*archive.Stay // of those who were asked for; nil = not a member
	// Of a crowd everybody's stay and marks are read at once.
	crowd bool
	old   map[user]archive.Watermark

	// What comes of it.
	marks    []archive.Watermark
	statuses []bus.Status
}

// turn is what one user marks in the batch.
type turn struct {
	user  user
	asked []asked
}

// asked is one receipt.
type asked struct {
	*bus.Receipt
	millis   int64
	repeated bool // a predecessor may have worked on it
}

func (t *talk) add(r *bus.Receipt, millis int64, repeated bool) {
	a := asked{r, millis, repeated}
	for _, turn := range t.turns {
		if turn.user == r.User {
			turn.asked = append(turn.asked, a)
			return
		}
	}
	t.turns = append(t.turns, &turn{user: r.User, asked: []asked{a}})
}

// judge decides the turns, and repeats what the archive did not answer.
func (t *talk) judge(ctx context.Context) error {
	if len(t.turns) >= Crowd {
		if err := t.repeat(ctx, "read a crowd", func() error { return t.survey(ctx) }); err != nil {
			return err
		}
	}
	for _, turn := range t.turns {
		marks, statuses := len(t.marks), len(t.statuses)
		err := t.repeat(ctx, "judge marks", func() error {
			t.marks, t.statuses = t.marks[:marks], t.statuses[:statuses]
			return t.take(ctx, turn)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// goal is how far a turn wants to move one watermark, and whose wish it was.
type goal struct {
	seq      chat.Seq
	by       bus.ReplyTo
	millis   int64
	repeated bool
}

// reach moves the goal up.
func (g *goal) reach(seq chat.Seq, a *asked) {
	if seq > g.seq {
		*g = goal{seq, a.ReplyTo, a.millis, a.repeated}
	} else if seq == g.seq {
		g.repeated = g.repeated || a.repeated
	}
}

// take decides one user's marks.
func (t *talk) take(ctx context.Context, turn *turn) error {
	stay, err := t.stay(ctx, turn.user)
	if err != nil {
		return err
	}
	if stay == nil {
		for i := range turn.asked {
			for _, m := range turn.asked[i].Marks {
				t.refuse(&turn.asked[i], m, chat.NotMember, "there is no such conversation for you")
			}
		}
		return nil
	}
	var read, delivered goal
	for i := range turn.asked {
		a := &turn.asked[i]
		fine := true
		for _, m := range a.Marks {
			seq, why, err := t.find(ctx, m)
			switch {
			case err != nil:
				return err
			case why != "":
				t.refuse(a, m, chat.BadRequest, why)
				fine = false
			case m.Status == chat.Read:
				read.reach(seq, a)
			default:
				delivered.reach(seq, a)
			}
		}
		if fine && a.Answer {
			t.statuses = append(t.statuses, bus.Status{
				Conversation: t.id, User: turn.user, ReplyTo: a.ReplyTo, Outcome: bus.Stored,
			})
		}
	}
	return t.move(ctx, *stay, read, delivered)
}

func (t *talk) refuse(a *asked, m bus.Mark, code chat.Code, why string) {
	t.counts.refused.Inc()
	reply := a.ReplyTo
	reply.ID = m.ID
	t.statuses = append(t.statuses, bus.Status{
		Conversation: t.id, User: a.User, Status: m.Status,
		ReplyTo: reply, Outcome: bus.Refused, Code: code, Text: why,
	})
}

// find returns the seq that a mark names, or why it names none.
func (t *talk) find(ctx context.Context, m bus.Mark) (seq chat.Seq, why string, err error) {
	if m.Status != chat.Delivered && m.Status != chat.Read {
		return 0, "the mark is neither delivered nor read", nil
	}
	known := t.known.get(t.id)
	if m.Seq == 0 && m.Message.IsZero() {
		return 0, "the mark names nothing", nil
	}
	if m.Seq > 0 && m.Seq <= known.head() {
		return m.Seq, "", nil
	}
	if seq := known.seqOf(m.Message); seq > 0 {
		return seq, "", nil
	}
	if known, err = t.freshen(ctx, known); err != nil {
		return 0, "", err
	}
	switch {
	case m.Seq > known.head():
		return 0, "the mark is beyond the newest event", nil
	case m.Seq > 0:
		return m.Seq, "", nil
	}
	if seq := known.seqOf(m.Message); seq > 0 {
		return seq, "", nil
	}
	if seq, err = t.search(ctx, m.Message); err == nil && seq == 0 {
		why = "message_id names no event of the conversation"
	}
	return seq, why, err
}

// search looks for an event by its id, 0 if there is none.
func (t *talk) search(ctx context.Context, id chat.MessageID) (chat.Seq, error) {
	below, err := t.Store.Tip(ctx, t.id, id)
	if err != nil {
		return 0, fmt.Errorf("find a message: %w", err)
	}
	rows, err := t.Store.Entries(ctx, t.id, below.Seq+1, below.Seq+1, 1, false)
	if err != nil {
		return 0, fmt.Errorf("find a message: %w", err)
	}
	if len(rows) == 0 || rows[0].ID != id {
		return 0, nil
	}
	return rows[0].Seq, nil
}

// move compares what is wanted with what is there.
func (t *talk) move(ctx context.Context, stay archive.Stay, read, delivered goal) error {
	if read.seq == 0 && delivered.seq == 0 {
		return nil
	}
	old, err := t.watermark(ctx, stay)
	if err != nil {
		return err
	}
	old.Read = max(old.Read, stay.Joined)
	old.Delivered = max(old.Delivered, old.Read)
	mark := old
	mark.Read = max(old.Read, read.seq)
	mark.Delivered = max(old.Delivered, delivered.seq, mark.Read)
	if mark.Read == old.Read && mark.Delivered == old.Delivered {
		t.counts.unmoved.Inc()
	} else {
		t.counts.moved.Inc()
		t.marks = append(t.marks, mark)
	}
	if err := t.tellOf(ctx, stay, chat.Read, old.Read, read); err != nil {
		return err
	}
	if delivered.seq <= mark.Read {
		return nil // Who has read has received: it would only say less.
	}
	return t.tellOf(ctx, stay, chat.Delivered, max(old.Delivered, mark.Read), delivered)
}

// tellOf tells those concerned that a watermark moved from old to the goal. One
// that stands there already and may have got there without a word is told as if
// it had covered everything before.
func (t *talk) tellOf(ctx context.Context, stay archive.Stay, status chat.Status, old chat.Seq, g goal) error {
	if g.seq <= stay.Joined || g.seq < old || g.seq == old && !g.repeated {
		return nil
	}
	if g.seq == old {
		old = stay.Joined
	}
	covered, err := t.between(ctx, old+1, g.seq)
	if err != nil {
		return err
	}
	to, err := t.concerned(ctx, stay.User, covered, g.seq)
	if err != nil {
		return err
	}
	t.statuses = append(t.statuses, bus.Status{
		Conversation: t.id, User: stay.User, Status: status,
		Seq: g.seq, Message: covered[len(covered)-1].id, Millis: g.millis, Recipients: to, ReplyTo: g.by,
	})
	return nil
}

// concerned returns whom a mark at seq is told: its user first, for the other
// devices. A sender who left and came back after seq may not see that event.
func (t *talk) concerned(ctx context.Context, marker user, covered []event, seq chat.Seq) ([]user, error) {
	to := []user{marker}
	known, err := t.describe(ctx)
	if err != nil {
		return nil, err
	}
	if known.kind == chat.Direct {
		for _, peer := range known.pair {
			if peer != marker && !peer.IsZero() {
				to = append(to, peer)
			}
		}
		return to, nil
	}
	for i := len(covered) - 1; i >= 0 && len(to) <= Senders; i-- {
		e := &covered[i]
		if !e.message || slices.Contains(to, e.sender) {
			continue
		}
		stay, err := t.stay(ctx, e.sender)
		if err != nil {
			return nil, err
		}
		if stay != nil && stay.Joined <= seq {
			to = append(to, e.sender)
		}
	}
	return to, nil
}

// stay returns the stay in which u is now, nil if u is not a member. A batch asks
// once.
func (t *talk) stay(ctx context.Context, u user) (*archive.Stay, error) {
	if stay, ok := t.stays[u]; ok || t.crowd {
		return stay, nil
	}
	all, err := t.Store.StaysIn(ctx, u, t.id)
	if err != nil {
		return nil, fmt.Errorf("read a member's stays: %w", err)
	}
	var now *archive.Stay
	if n := len(all); n > 0 && all[n-1].Left == 0 {
		now = &all[n-1]
	}
	t.stays[u] = now
	return now, nil
}

// describe makes known what kind of conversation it is and, of a direct one,
// whose. Neither ever changes.
func (t *talk) describe(ctx context.Context) (*recent, error) {
	known := t.known.get(t.id)
	if known.kind != 0 {
		return known, nil
	}
	info, err := t.Store.Info(ctx, t.id)
	if err != nil && !errors.Is(err, archive.ErrNotFound) {
		return nil, fmt.Errorf("read what the conversation is: %w", err)
	}
	described := *known
	described.kind = info.Type
	if info.Type == chat.Direct {
		spans, err := t.Store.Spans(ctx, t.id)
		if err != nil {
			return nil, fmt.Errorf("read the members: %w", err)
		}
		for i, span := range spans[:min(len(spans), len(described.pair))] {
			described.pair[i] = span.User
		}
	}
	t.known.put(t.id, &described)
	return &described, nil
}
