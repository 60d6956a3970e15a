package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// tables holds an inserter for each way to write.
type tables struct {
	message, key, conversation, name, opened, closed, stay, left, mark, media, progress *inserter

	all []*inserter
}

func prepareTables(ctx context.Context, conn driver.Conn) (*tables, error) {
	t := &tables{}
	for _, p := range []struct {
		in **inserter
		upsert
	}{
		{&t.message, putMessage},
		{&t.key, putKey},
		{&t.conversation, putConversation},
		{&t.name, putName},
		{&t.opened, putOpened},
		{&t.closed, putClosed},
		{&t.stay, putStay},
		{&t.left, putLeft},
		{&t.mark, putMark},
		{&t.media, putMedia},
		{&t.progress, putProgress},
	} {
		in, err := newInserter(ctx, conn, p.upsert)
		if err != nil {
			return nil, errors.Join(err, t.close())
		}
		*p.in = in
		t.all = append(t.all, in)
	}
	return t, nil
}

func (t *tables) close() error {
	var errs []error
	for _, in := range t.all {
		errs = append(errs, in.close())
	}
	return errors.Join(errs...)
}

// flush writes what all inserters have gathered.
func (t *tables) flush() error {
	for _, in := range t.all {
		if err := in.flush(); err != nil {
			return err
		}
	}
	return nil
}

// reset forgets it, after a transaction that failed.
func (t *tables) reset() {
	for _, in := range t.all {
		in.reset()
	}
}

// add gathers a batch.
func (t *tables) add(b *archive.Batch) error {
	for i := range b.Rows {
		if err := t.addRow(&b.Rows[i]); err != nil {
			return err
		}
	}
	for i := range b.Seen {
		k := &b.Seen[i]
		if err := t.key.add(k.Conversation[:], k.Sender[:], k.Request[:],
			int64(k.Position.Generation), k.Position.Offset, int64(k.Seq), timeOrdered(k.ID), k.Digest[:]); err != nil {
			return err
		}
	}
	for i := range b.Stays {
		if err := t.addStay(&b.Stays[i]); err != nil {
			return err
		}
	}
	for i := range b.Marks {
		m := &b.Marks[i]
		if err := t.mark.add(m.Conversation[:], m.User[:], int64(m.Joined), int64(m.Read), int64(m.Delivered)); err != nil {
			return err
		}
	}
	for i := range b.Media {
		m := &b.Media[i]
		if err := t.media.add(m.Media[:], m.Conversation[:], timeOrdered(m.By)); err != nil {
			return err
		}
	}
	return t.addMembership(b)
}

// addMembership gathers what only membership events leave behind.
func (t *tables) addMembership(b *archive.Batch) error {
	for i := range b.Infos {
		if err := t.addInfo(&b.Infos[i]); err != nil {
			return err
		}
	}
	for i := range b.Opened {
		if err := t.addOpened(&b.Opened[i]); err != nil {
			return err
		}
	}
	for i := range b.Closed {
		c := &b.Closed[i]
		if err := t.addEnd(c.Conversation[:], c.User[:], c.Joined, c.Left, c.By); err != nil {
			return err
		}
	}
	return nil
}

func (t *tables) addRow(r *archive.Row) error {
	if r.Seq < 1 {
		return fmt.Errorf("entry of conversation %s has seq %d", r.Conversation, r.Seq)
	}
	var reply any
	if !r.ReplyTo.IsZero() {
		reply = timeOrdered(r.ReplyTo)
	}
	return t.message.add(r.Conversation[:], r.Seq.Bucket(), int64(r.Seq),
		timeOrdered(r.ID), r.Sender[:], r.Request[:], []byte(r.Content), r.Kind.String(), optional(r.MediaURL),
		int64(chat.ClockOf(r.ID))/chat.TicksPerMillisecond, reply, optionalInt(r.Change), optionalID(&r.User),
		optionalInt(r.Role), optional(r.Name), int64(r.MembersVersion),
		int64(r.Position.Generation), r.Position.Offset)
}

func (t *tables) addStay(s *archive.StayWrite) error {
	large, written := int64(0), int64(chat.ClockOf(s.By))
	if s.Large {
		large = 1
	}
	if s.Left == 0 {
		return t.stay.add(s.Conversation[:], s.User[:], int64(s.Joined),
			int64(s.Head.Seq), timeOrdered(s.Head.ID), large, written)
	}
	return t.left.add(s.Conversation[:], s.User[:], int64(s.Joined),
		int64(s.Head.Seq), timeOrdered(s.Head.ID), large, written, int64(s.Left), written)
}

// addInfo writes the creation, unless it is only a new name, and the name.
func (t *tables) addInfo(w *archive.InfoWrite) error {
	written := int64(chat.ClockOf(w.By))
	if w.Type != 0 {
		if err := t.conversation.add(w.Conversation[:], int64(w.Type), w.Creator[:], timeOrdered(w.Created), written); err != nil {
			return err
		}
	}
	return t.name.add(w.Conversation[:], optional(w.Name), written)
}

// addOpened writes the beginning of a span. Only a span that was opened and
// closed by one record carries an end.
func (t *tables) addOpened(o *archive.SpanOpened) error {
	if err := t.opened.add(o.Conversation[:], o.User[:], int64(o.Joined), int64(o.Role), timeOrdered(o.At)); err != nil {
		return err
	}
	if o.Left == 0 {
		return nil
	}
	return t.addEnd(o.Conversation[:], o.User[:], o.Joined, o.Left, o.At)
}

func (t *tables) addEnd(conversation, user []byte, joined, left chat.Seq, by chat.MessageID) error {
	return t.closed.add(conversation, user, int64(joined), int64(left), int64(chat.ClockOf(by)))
}

func (t *tables) addProgress(partition int32, p archive.Progress) error {
	return t.progress.add(int64(p.Position.Generation), int64(partition), p.Position.Offset, int64(p.Clock))
}
