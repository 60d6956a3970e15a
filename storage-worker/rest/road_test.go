package rest

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// road stands for everything between Produce and the answer: a log, the fold
// and the router, reduced to what the calls rest on. It stores before it
// answers, as the real ones do.
type road struct {
	t     testing.TB
	store archive.Store

	mu      sync.Mutex
	clock   chat.Clock
	seen    map[archive.Key]archive.Tip
	silent  bool  // does not answer
	lost    error // what done is told instead of an offset
	full    error // what Produce returns
	end     int64
	replies chan []bus.Record
	names   []string // of the topics that were created
	// before is called with each record, before it is decided.
	before func(*bus.Inbound)
}

func newRoad(t testing.TB, store archive.Store) *road {
	return &road{
		t: t, store: store, clock: chat.ClockAt(1_790_000_000), seen: map[archive.Key]archive.Tip{},
		replies: make(chan []bus.Record, 1024),
	}
}

// Produce implements bus.Producer.
func (f *road) Produce(m bus.Message, done func(int64, error)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.full != nil {
		return f.full
	}
	if f.lost != nil {
		done(0, f.lost)
		return nil
	}
	if m.Topic == bus.TopicReceipts {
		return f.mark(m, done)
	}
	var in bus.Inbound
	if err := bus.ParseInbound(m.Value, &in); err != nil {
		f.t.Errorf("the record cannot be read: %v", err)
	}
	if m.Topic != "chat.inbound" || m.Partition != bus.PartitionOf(in.Conversation, 16) || !bytes.Equal(m.Key, in.Conversation[:]) {
		f.t.Errorf("record for %s[%d] with key %x", m.Topic, m.Partition, m.Key)
	}
	done(f.end, nil)
	if f.before != nil {
		f.before(&in)
	}
	answer := f.decide(&in)
	if !f.silent {
		f.reply(&in, answer)
	}
	return nil
}

// mark is the keeper of watermarks in small.
func (f *road) mark(m bus.Message, done func(int64, error)) error {
	var r bus.Receipt
	if err := bus.ParseReceipt(m.Value, &r); err != nil || len(r.Marks) != 1 || !r.Answer {
		f.t.Errorf("the receipt is %+v, %v", r, err)
	}
	if m.Partition != bus.PartitionOf(r.Conversation, 16) || !bytes.Equal(m.Key, r.Conversation[:]) {
		f.t.Errorf("receipt for %s[%d] with key %x", m.Topic, m.Partition, m.Key)
	}
	done(f.end, nil)
	ctx := context.Background()
	stays, err := f.store.StaysIn(ctx, r.User, r.Conversation)
	tip, failed := f.store.Tip(ctx, r.Conversation, chat.MessageID{})
	if err = errors.Join(err, failed); err != nil {
		f.t.Error(err)
	}
	answer := bus.Answer{Outcome: bus.Stored}
	switch seq := r.Marks[0].Seq; {
	case len(stays) == 0 || stays[len(stays)-1].Left != 0:
		answer = refuse(chat.NotMember)
	case seq > tip.Seq || r.Marks[0].Status != chat.Read:
		answer = refuse(chat.BadRequest)
	default:
		err = f.store.Write(ctx, &archive.Batch{Marks: []archive.Watermark{{
			Conversation: r.Conversation, User: r.User, Joined: stays[len(stays)-1].Joined, Read: seq, Delivered: seq,
		}}})
	}
	if err != nil {
		f.t.Error(err)
	}
	if !f.silent {
		f.reply(&bus.Inbound{ReplyTo: r.ReplyTo}, answer)
	}
	return nil
}

// reply writes the delivery record of an answer.
func (f *road) reply(in *bus.Inbound, a bus.Answer) {
	a.Boot, a.Session = in.ReplyTo.Boot, in.ReplyTo.Session
	d := bus.Delivery{Class: bus.Durable, Position: chat.Position{Generation: 1, Offset: f.end}, Answer: &a}
	f.replies <- []bus.Record{{Topic: bus.DeliveryTopic(in.ReplyTo.Server), Offset: f.end, Value: d.Append(nil)}}
	f.end++
}

// next returns the id of the next event of a partition.
func (f *road) next() chat.MessageID {
	f.clock += chat.ClockAt(1) / 4 // four events a second
	return chat.NewMessageID(f.clock, 1, 3)
}

func refuse(code chat.Code) bus.Answer {
	return bus.Answer{Outcome: bus.Refused, Code: code, Message: "refused: " + string(code)}
}

// decide is the fold in small.
func (f *road) decide(in *bus.Inbound) bus.Answer {
	ctx, c := context.Background(), in.Conversation
	tip, err := f.store.Tip(ctx, c, chat.MessageID{})
	if err != nil {
		f.t.Error(err)
	}
	spans, err := f.store.Spans(ctx, c)
	if err != nil {
		f.t.Error(err)
	}
	members, _ := membersOfSpans(spans)
	var sender *member
	for i := range members {
		if members[i].user == in.Sender {
			sender = &members[i]
		}
	}
	e := chat.Entry{Conversation: c, Seq: tip.Seq + 1, Sender: in.Sender, Request: in.Request, Kind: chat.KindEvent}
	key := archive.Key{Conversation: c, Sender: in.Sender, Request: in.Request}
	if old, ok := f.seen[key]; ok {
		return bus.Answer{Outcome: bus.Duplicate, Seq: old.Seq, ID: old.ID}
	}
	switch {
	case in.Create != nil && tip.Seq > 0:
		return bus.Answer{Outcome: bus.Duplicate, Seq: tip.Seq, ID: tip.ID}
	case in.Create != nil:
		return f.create(in, e)
	case sender == nil:
		return refuse(chat.NotMember)
	case in.Send != nil:
		e.Kind, e.Content, e.MediaURL, e.ReplyTo = in.Send.Kind, in.Send.Content, in.Send.MediaURL, in.Send.ReplyTo
		a := f.write(e, members, &archive.Batch{})
		f.seen[key] = archive.Tip{Seq: a.Seq, ID: a.ID}
		return a
	case sender.role != chat.Admin && (in.Remove == nil || in.Remove.User != in.Sender):
		return refuse(chat.Forbidden)
	}
	return f.command(in, e, members, tip)
}

func (f *road) command(in *bus.Inbound, e chat.Entry, members []member, tip archive.Tip) bus.Answer {
	var b archive.Batch
	switch {
	case in.Rename != nil:
		e.Change, e.Name = chat.Renamed, in.Rename.Name
		e.ID = f.next()
		b.Infos = []archive.InfoWrite{{Conversation: e.Conversation, Info: archive.Info{Name: e.Name}, By: e.ID}}
	case in.Remove != nil:
		e.Change, e.User, e.ID = chat.MemberRemoved, in.Remove.User, f.next()
		for i, m := range members {
			if m.user == e.User {
				b.Closed = []archive.SpanClosed{{Conversation: e.Conversation, User: m.user, Joined: m.joined, Left: e.Seq, By: e.ID}}
				b.Stays = []archive.StayWrite{{Stay: archive.Stay{
					User: m.user, Conversation: e.Conversation, Joined: m.joined, Left: e.Seq, Head: archive.Tip{Seq: e.Seq, ID: e.ID},
				}, By: e.ID}}
				return f.write(e, append(members[:i:i], members[i+1:]...), &b)
			}
		}
		return refuse(chat.NotFound)
	case in.Set != nil:
		for _, m := range members {
			if m.user == in.Set.User {
				return bus.Answer{Outcome: bus.Duplicate, Seq: tip.Seq, ID: tip.ID}
			}
		}
		e.Change, e.User, e.Role, e.ID = chat.MemberAdded, in.Set.User, max(in.Set.Role, chat.Member), f.next()
		b.Opened = []archive.SpanOpened{{Conversation: e.Conversation, Span: archive.Span{User: e.User, Joined: e.Seq, Role: e.Role, At: e.ID}}}
		members = append(members, member{user: e.User, joined: e.Seq})
	}
	return f.write(e, members, &b)
}

func (f *road) create(in *bus.Inbound, e chat.Entry) bus.Answer {
	e.Change, e.Name, e.ID = chat.Created, in.Create.Name, f.next()
	b := archive.Batch{Infos: []archive.InfoWrite{{Conversation: e.Conversation, Info: archive.Info{
		Type: in.Create.Type, Name: in.Create.Name, Creator: in.Sender, Created: e.ID,
	}, By: e.ID}}}
	var members []member
	for _, u := range in.Create.Members {
		role := chat.Member
		if u == in.Sender && in.Create.Type == chat.Group {
			role = chat.Admin
		}
		b.Opened = append(b.Opened, archive.SpanOpened{Conversation: e.Conversation, Span: archive.Span{User: u, Joined: e.Seq, Role: role, At: e.ID}})
		members = append(members, member{user: u, joined: e.Seq})
	}
	a := f.write(e, members, &b)
	f.seen[archive.Key{Conversation: e.Conversation, Sender: e.Sender, Request: e.Request}] = archive.Tip{Seq: a.Seq, ID: a.ID}
	return a
}

// write stores an event and moves the index rows of the members.
func (f *road) write(e chat.Entry, members []member, b *archive.Batch) bus.Answer {
	if e.ID.IsZero() {
		e.ID = f.next()
	}
	b.Rows = append(b.Rows, archive.Row{Entry: e})
	for _, m := range members {
		b.Stays = append(b.Stays, archive.StayWrite{Stay: archive.Stay{
			User: m.user, Conversation: e.Conversation, Joined: m.joined, Head: archive.Tip{Seq: e.Seq, ID: e.ID},
		}, By: e.ID})
		if m.user == e.Sender && e.Kind != chat.KindEvent {
			b.Marks = append(b.Marks, archive.Watermark{Conversation: e.Conversation, User: m.user, Joined: m.joined, Read: e.Seq, Delivered: e.Seq})
		}
	}
	if err := f.store.Write(context.Background(), b); err != nil {
		f.t.Error(err)
	}
	return bus.Answer{Outcome: bus.Stored, Seq: e.Seq, ID: e.ID}
}

// Bounds implements bus.Log.
func (f *road) Bounds(context.Context, string, int32) (start, end int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return 0, f.end, nil
}

// Open implements bus.Log.
func (f *road) Open(topic string, partition int32, offset int64) bus.Reader {
	if topic != "chat.delivery.rest-1" || partition != 0 {
		f.t.Errorf("opened %s[%d] at %d", topic, partition, offset)
	}
	return (*roadReader)(f)
}

// Last implements bus.Log.
func (f *road) Last(context.Context, string, int32) (bus.Record, bool, error) {
	return bus.Record{}, false, nil
}

// Ensure implements bus.Admin.
func (f *road) Ensure(_ context.Context, topics []bus.Topic, _ int) ([]string, error) {
	for _, t := range topics {
		f.names = append(f.names, t.Name)
	}
	return f.names, nil
}

// Check implements bus.Admin.
func (f *road) Check(context.Context, []bus.Topic, int) error { return nil }

type roadReader road

// Next implements bus.Reader; a nil batch stands for a lost position.
func (f *roadReader) Next(ctx context.Context) ([]bus.Record, error) {
	select {
	case records := <-f.replies:
		if records == nil {
			return nil, bus.ErrOffsetOutOfRange
		}
		return records, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close implements bus.Reader.
func (f *roadReader) Close() {}

// Partitions implements bus.Admin.
func (f *road) Partitions(context.Context, string) (int32, error) { return 16, nil }
