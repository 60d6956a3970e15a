package scylla

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/gocql/gocql"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

const (
	// batchStatements and batchBytes bound one unlogged batch. A server refuses a
	// mutation over half a segment of its commit log, and 100 rows is where
	// larger batches stopped to be faster.
	batchStatements = 100
	batchBytes      = 256 << 10
	// rowBytes is what a row has beside its texts, roughly.
	rowBytes = 200
)

// write is one statement with its values.
type write struct {
	statement
	values []any
	bytes  int
}

// mutation is what goes to one partition at once, or to one node: see bundled.
type mutation struct {
	writes []write
	bytes  int
}

// fits reports whether w may join the mutation.
func (m *mutation) fits(w *write) bool {
	return len(m.writes) < batchStatements && m.bytes+w.bytes <= batchBytes
}

func (m *mutation) add(w write) {
	m.writes = append(m.writes, w)
	m.bytes += w.bytes
}

// chain is mutations that are written one after another, each when the one
// before is acknowledged.
type chain struct {
	mutations []mutation
	marks     bool // on the lane of watermarks
}

// plan is a batch, sorted by where it goes. It belongs to one Write.
type plan struct {
	chains []chain
	places map[partition]int // of the open chain of a partition
}

// partition names one in a table.
type partition struct {
	table tableID
	id    [16]byte
}

// planned sorts a batch by partition.
func planned(b *archive.Batch) (*plan, error) {
	p := &plan{places: make(map[partition]int)}
	if err := p.addRows(b.Rows); err != nil {
		return nil, err
	}
	for i := range b.Seen {
		k := &b.Seen[i]
		p.alone(write{statement: putKey, values: []any{
			gocql.UUID(k.Conversation), gocql.UUID(k.Sender), gocql.UUID(k.Request), int64(k.Position.Generation), k.Position.Offset,
			int64(k.Seq), gocql.UUID(k.ID), k.Digest[:], stamp(k.ID),
		}})
	}
	for i := range b.Stays {
		s := &b.Stays[i]
		p.together(partition{conversationsOf, s.User}, write{statement: putStay, values: []any{
			gocql.UUID(s.User), gocql.UUID(s.Conversation), int64(s.Joined),
			int64(s.Head.Seq), optionalID(s.Head.ID), s.Large, optionalInt(s.Left), stamp(s.By),
		}})
	}
	for i := range b.Marks {
		p.addMark(&b.Marks[i])
	}
	for i := range b.Media {
		m := &b.Media[i]
		p.together(partition{mediaRefs, m.Media}, write{statement: putMedia, values: []any{
			gocql.UUID(m.Media), gocql.UUID(m.Conversation), gocql.UUID(m.By), stamp(m.By),
		}})
	}
	p.addMembership(b)
	return p, nil
}

// addMembership adds what only membership events leave behind. A name is always
// written, since no name is one too.
func (p *plan) addMembership(b *archive.Batch) {
	for i := range b.Infos {
		w := &b.Infos[i]
		p.together(partition{conversations, w.Conversation}, write{statement: putConversation, values: []any{
			gocql.UUID(w.Conversation), optionalInt(w.Type), optionalID(w.Creator), optionalID(w.Created), w.Name, stamp(w.By),
		}})
	}
	for i := range b.Opened {
		o := &b.Opened[i]
		p.together(partition{members, o.Conversation}, write{statement: putOpened, values: []any{
			gocql.UUID(o.Conversation), gocql.UUID(o.User), int64(o.Joined), int8(o.Role), gocql.UUID(o.At), stamp(o.At),
		}})
		if o.Left != 0 { // Opened and closed by one record.
			p.addEnd(archive.SpanClosed{Conversation: o.Conversation, User: o.User, Joined: o.Joined, Left: o.Left, By: o.At})
		}
	}
	for _, c := range b.Closed {
		p.addEnd(c)
	}
}

func (p *plan) addEnd(c archive.SpanClosed) {
	p.together(partition{members, c.Conversation}, write{statement: putClosed, values: []any{
		stamp(c.By), int64(c.Left), gocql.UUID(c.Conversation), gocql.UUID(c.User), int64(c.Joined),
	}})
}

// addMark writes both marks with themselves as their timestamps: the newest
// wins, and that is the highest. Who sends a message has read as far as it was
// delivered: then one statement says both.
func (p *plan) addMark(m *archive.Watermark) {
	if m.Read == m.Delivered {
		p.together(partition{watermarks, m.Conversation}, write{statement: putBoth, values: []any{
			int64(m.Read), int64(m.Read), int64(m.Read), gocql.UUID(m.Conversation), gocql.UUID(m.User), int64(m.Joined),
		}})
		return
	}
	for _, mark := range []struct {
		statement
		seq chat.Seq
	}{{putRead, m.Read}, {putDelivered, m.Delivered}} {
		p.together(partition{watermarks, m.Conversation}, write{statement: mark.statement, values: []any{
			int64(mark.seq), int64(mark.seq), gocql.UUID(m.Conversation), gocql.UUID(m.User), int64(m.Joined),
		}})
	}
}

// addRows makes one chain of each conversation's rows, by seq, one mutation a
// bucket unless it grows too large.
func (p *plan) addRows(rows []archive.Row) error {
	order := make([]*archive.Row, len(rows))
	for i := range rows {
		if order[i] = &rows[i]; rows[i].Seq < 1 {
			return fmt.Errorf("entry of conversation %s has seq %d", rows[i].Conversation, rows[i].Seq)
		}
	}
	slices.SortStableFunc(order, func(a, b *archive.Row) int {
		return cmp.Or(bytes.Compare(a.Conversation[:], b.Conversation[:]), cmp.Compare(a.Seq, b.Seq))
	})
	for _, r := range order {
		if r.Seq > 1 && r.Seq.Bucket() != (r.Seq-1).Bucket() {
			p.alone(headWrite(r))
		}
	}
	for i, r := range order {
		w := rowWrite(r)
		if i == 0 || order[i-1].Conversation != r.Conversation {
			p.alone(w)
			continue
		}
		c := &p.chains[len(p.chains)-1]
		if last := &c.mutations[len(c.mutations)-1]; order[i-1].Seq.Bucket() == r.Seq.Bucket() && last.fits(&w) {
			last.add(w)
			continue
		}
		c.mutations = append(c.mutations, mutation{writes: []write{w}, bytes: w.bytes})
	}
	return nil
}

// headWrite notes that a bucket has begun. Readers find the newest event by the
// last such note and go on from there, so that a message costs no write for it.
func headWrite(r *archive.Row) write {
	return write{statement: putHead, values: []any{gocql.UUID(r.Conversation), int64(r.Seq), gocql.UUID(r.ID), stamp(r.ID)}}
}

func rowWrite(r *archive.Row) write {
	return write{
		statement: putMessage,
		bytes:     rowBytes + len(r.Content) + len(r.MediaURL) + len(r.Name),
		values: []any{
			gocql.UUID(r.Conversation), r.Seq.Bucket(), int64(r.Seq), gocql.UUID(r.ID), gocql.UUID(r.Sender), gocql.UUID(r.Request),
			r.Content, r.Kind.String(), optional(r.MediaURL), int64(chat.ClockOf(r.ID)) / chat.TicksPerMillisecond,
			optionalID(r.ReplyTo), optionalInt(r.Change), optionalID(r.User), optionalInt(r.Role), optional(r.Name),
			int64(r.MembersVersion), int64(r.Position.Generation), r.Position.Offset, stamp(r.ID),
		},
	}
}

// alone adds a chain of one write.
func (p *plan) alone(w write) {
	p.chains = append(p.chains, chain{mutations: []mutation{{writes: []write{w}, bytes: w.bytes}}})
}

// together adds a write to those of the same partition. Such writes have no
// order, so that a full mutation begins a chain of its own.
func (p *plan) together(to partition, w write) {
	if place, ok := p.places[to]; ok {
		if m := &p.chains[place].mutations[0]; m.fits(&w) {
			m.add(w)
			return
		}
	}
	p.alone(w)
	place := len(p.chains) - 1
	p.chains[place].marks = to.table == watermarks
	p.places[to] = place
}

// stamp is the write timestamp of what the record behind an id leaves.
func stamp(id chat.MessageID) int64 { return int64(chat.ClockOf(id)) }

// optional leaves a column unset where there is nothing: a null would be a
// tombstone.
func optional(text string) any {
	if text == "" {
		return gocql.UnsetValue
	}
	return text
}

func optionalID[K any](id chat.ID[K]) any {
	if id.IsZero() {
		return gocql.UnsetValue
	}
	return gocql.UUID(id)
}

func optionalInt[T ~int64 | ~uint8](i T) any {
	if i == 0 {
		return gocql.UnsetValue
	}
	return int64(i)
}
