package fold

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// user returns the n-th user. Ids ascend with n.
func user(n int) (u chat.UserID) {
	u[0] = 0xa0
	binary.BigEndian.PutUint32(u[12:], uint32(n))
	return u
}

func ask(n int) (r chat.RequestID) {
	r[0] = 0xb0
	binary.BigEndian.PutUint32(r[12:], uint32(n))
	return r
}

var (
	anna, boris, clara, dina = user(1), user(2), user(3), user(4)

	theGroup  = chat.GroupConversation(anna, ask(1))
	thePair   = chat.DirectConversation(anna, boris)
	startTime = int64(1_800_000_000_000) // Unix milliseconds
)

// table is a decider with one partition, whose offsets and clock a test turns by
// hand, one record a batch.
type table struct {
	*testing.T
	d      *decider
	offset int64
	millis int64
	last   *archive.Batch
	keys   map[archive.Key]archive.Seen // what the archive would answer
}

func newTable(t *testing.T) *table {
	return &table{T: t, millis: startTime, keys: map[archive.Key]archive.Seen{}, d: &decider{
		generation: 1, partitions: 1, largeAbove: 3, known: newCache(1000),
		seen: map[archive.Key]archive.Seen{},
	}}
}

// decide gives one record its outcome in a batch of its own.
func (t *table) decide(in bus.Inbound) bus.Accepted {
	t.Helper()
	t.d.begin()
	for _, seen := range t.keys {
		t.d.seen[seen.Key] = seen
	}
	out := t.add(in)
	t.last = t.d.finish(1)
	for _, seen := range t.last.Seen {
		t.keys[seen.Key] = seen
	}
	return out
}

// add decides one record of the batch that is open.
func (t *table) add(in bus.Inbound) bus.Accepted {
	t.Helper()
	if t.d.known.get(in.Conversation) == nil {
		t.d.known.put(&conversation{id: in.Conversation})
	}
	r := request{offset: t.offset, millis: t.millis, in: in, digest: bus.DigestOf(&in)}
	t.offset++
	var out bus.Accepted
	t.d.decide(&r, &out)
	return out
}

func (t *table) group(limit int, members ...chat.UserID) bus.Accepted {
	t.Helper()
	return t.decide(bus.Inbound{
		Conversation: theGroup, Sender: anna, Request: ask(1),
		Create: &bus.Create{Type: chat.Group, Name: "Chess", Members: append([]chat.UserID{anna}, members...), Limit: limit},
	})
}

func (t *table) pair() bus.Accepted {
	t.Helper()
	return t.decide(bus.Inbound{
		Conversation: thePair, Sender: anna, Request: ask(2),
		Create: &bus.Create{Type: chat.Direct, Members: []chat.UserID{boris, anna}},
	})
}

func message(c chat.ConversationID, from chat.UserID, request int, content string) bus.Inbound {
	return bus.Inbound{
		Conversation: c, Sender: from, Request: ask(request),
		Send: &bus.Send{Kind: chat.KindText, Content: content},
	}
}

func set(from, u chat.UserID, role chat.Role) bus.Inbound {
	return bus.Inbound{
		Conversation: theGroup, Sender: from, Request: ask(99),
		Set: &bus.SetMember{User: u, Role: role, Limit: 5},
	}
}

func remove(from, u chat.UserID) bus.Inbound {
	return bus.Inbound{Conversation: theGroup, Sender: from, Request: ask(99), Remove: &bus.RemoveMember{User: u}}
}

func rename(from chat.UserID, name string) bus.Inbound {
	return bus.Inbound{Conversation: theGroup, Sender: from, Request: ask(99), Rename: &bus.Rename{Name: name}}
}

// brief says what an outcome is in a line.
func brief(out bus.Accepted) string {
	var b strings.Builder
	switch out.Outcome {
	case bus.Stored:
		for i, e := range out.Events {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "%d %s", e.Seq, e.Kind)
			if e.Kind == chat.KindEvent {
				fmt.Fprintf(&b, " %s v%d", e.Change, e.MembersVersion)
			}
		}
	case bus.Duplicate:
		fmt.Fprintf(&b, "duplicate of %d", out.Seq)
	case bus.Refused:
		b.WriteString(string(out.Code))
	}
	return b.String()
}

func (t *table) want(out bus.Accepted, want string) {
	t.Helper()
	if got := brief(out); got != want {
		t.Errorf("outcome of offset %d: %s, want %s", out.Position.Offset, got, want)
	}
}

func (t *table) wantRecipients(out bus.Accepted, large bool, want ...chat.UserID) {
	t.Helper()
	if !slices.Equal(out.Recipients, want) || out.Large != large {
		t.Errorf("recipients %v large %v, want %v large %v", out.Recipients, out.Large, want, large)
	}
}

func TestEveryDurableEventTakesTheNextSeq(t *testing.T) {
	b := newTable(t)
	b.want(b.group(5, boris), "1 event created v1")
	b.want(b.decide(message(theGroup, boris, 10, "hello")), "2 text")
	b.want(b.decide(message(theGroup, clara, 11, "let me in")), "not_member")
	b.want(b.decide(set(anna, clara, 0)), "3 event member_added v3")
	b.want(b.decide(rename(anna, "Go")), "4 event renamed v3")
	b.want(b.decide(set(anna, clara, chat.Admin)), "5 event role_changed v5")
	b.want(b.decide(remove(clara, boris)), "6 event member_removed v6")
	b.want(b.decide(message(theGroup, clara, 12, "bye")), "7 text")
}

func TestClockPassesEveryRecordAndNeverGoesBack(t *testing.T) {
	b := newTable(t)
	first := b.group(5, boris)
	if want := chat.Clock(startTime) * chat.TicksPerMillisecond; first.Clock != want {
		t.Errorf("clock of the first record %d, want its time %d", first.Clock, want)
	}
	refused := b.decide(message(theGroup, dina, 9, "no"))
	if refused.Clock != first.Clock+1 {
		t.Errorf("a refused record moves the clock from %d to %d, want one tick", first.Clock, refused.Clock)
	}
	b.millis -= 3_600_000
	behind := b.decide(message(theGroup, anna, 10, "an hour late"))
	if behind.Clock != first.Clock+2 || chat.ClockOf(behind.Events[0].ID) != behind.Clock {
		t.Errorf("clock %d, id at %d, want both at %d", behind.Clock, chat.ClockOf(behind.Events[0].ID), first.Clock+2)
	}
	b.d.begin()
	r := request{offset: b.offset, millis: startTime + 5, malformed: true}
	var out bus.Accepted
	b.d.decide(&r, &out)
	b.want(out, "bad_request")
	if want := chat.Clock(startTime+5) * chat.TicksPerMillisecond; out.Clock != want {
		t.Errorf("an unreadable record moves the clock to %d, want %d", out.Clock, want)
	}
}

func TestAnchorCarriesTheClockOfTheFormerGeneration(t *testing.T) {
	b := newTable(t)
	later := chat.Clock(startTime+1_000_000) * chat.TicksPerMillisecond
	out := b.decide(bus.Inbound{Anchor: &bus.Anchor{Clock: later}})
	b.want(out, "duplicate of 0")
	if out.Clock != later {
		t.Errorf("clock %d, want the anchor's %d", out.Clock, later)
	}
	if next := b.group(5); next.Clock != later+1 {
		t.Errorf("clock of the next record %d, want %d", next.Clock, later+1)
	}
}

func TestRetryIsAnsweredWithTheFirstSend(t *testing.T) {
	b := newTable(t)
	b.group(5, boris)
	first := b.decide(message(theGroup, boris, 10, "once"))
	again := b.decide(message(theGroup, boris, 10, "once"))
	b.want(again, "duplicate of 2")
	if again.ID != first.Events[0].ID {
		t.Errorf("id %v, want that of the first send %v", again.ID, first.Events[0].ID)
	}
	b.want(b.decide(message(theGroup, boris, 10, "twice")), "idempotency_conflict")
	b.want(b.decide(message(theGroup, anna, 10, "twice")), "3 text") // Another sender's key.
	b.decide(remove(anna, boris))
	b.want(b.decide(message(theGroup, boris, 10, "once")), "duplicate of 2") // Before membership.
	b.want(b.decide(message(theGroup, boris, 11, "new")), "not_member")
}

func TestRetryInTheBatchOfTheFirstSend(t *testing.T) {
	b := newTable(t)
	b.group(5, boris)
	b.d.begin()
	b.want(b.add(message(theGroup, boris, 10, "once")), "2 text")
	b.want(b.add(message(theGroup, boris, 10, "once")), "duplicate of 2")
	b.want(b.add(message(theGroup, boris, 10, "other")), "idempotency_conflict")
}

func TestKeyExpiresAfterSevenDaysOfRecordClock(t *testing.T) {
	b := newTable(t)
	b.group(5, boris)
	b.decide(message(theGroup, boris, 10, "once"))
	b.millis += chat.KeyWindow.Milliseconds()
	b.d.clock = chat.Clock(b.millis)*chat.TicksPerMillisecond - 1
	b.want(b.decide(message(theGroup, boris, 10, "once")), "duplicate of 2")
	b.millis += time.Minute.Milliseconds()
	b.want(b.decide(message(theGroup, boris, 10, "once")), "3 text")
}

func TestCreate(t *testing.T) {
	group := func(c chat.ConversationID, sender chat.UserID, limit int, members ...chat.UserID) bus.Inbound {
		return bus.Inbound{
			Conversation: c, Sender: sender, Request: ask(1),
			Create: &bus.Create{Type: chat.Group, Members: members, Limit: limit},
		}
	}
	direct := func(members ...chat.UserID) bus.Inbound {
		return bus.Inbound{
			Conversation: thePair, Sender: anna, Request: ask(1),
			Create: &bus.Create{Type: chat.Direct, Members: members},
		}
	}
	long := group(theGroup, anna, 5, anna)
	long.Create.Name = strings.Repeat("ß", chat.NameRunes+1)
	fits := group(theGroup, anna, 5, anna)
	fits.Create.Name = strings.Repeat("ß", chat.NameRunes)
	unasked := group(theGroup, anna, 5, anna)
	unasked.Request = chat.RequestID{}
	for _, c := range []struct {
		name string
		in   bus.Inbound
		want string
	}{
		{"group", group(theGroup, anna, 5, anna, boris), "1 event created v1"},
		{"group of one", group(theGroup, anna, 5, anna), "1 event created v1"},
		{"group at its limit", group(theGroup, anna, 2, anna, boris), "1 event created v1"},
		{"group above its limit", group(theGroup, anna, 2, anna, boris, clara), "conversation_full"},
		{"group without its creator", group(theGroup, anna, 5, boris), "bad_request"},
		{"group with someone twice", group(theGroup, anna, 5, anna, boris, boris), "bad_request"},
		{"group with nobody's id", group(theGroup, anna, 5, anna, chat.UserID{}), "bad_request"},
		{"group under a foreign id", group(thePair, anna, 5, anna, boris), "bad_request"},
		{"group of another creator's request", group(theGroup, boris, 5, anna, boris), "bad_request"},
		{"group without a request id", unasked, "bad_request"},
		{"longest name", fits, "1 event created v1"},
		{"name too long", long, "bad_request"},
		{"direct", direct(anna, boris), "1 event created v1"},
		{"direct, other way round", direct(boris, anna), "1 event created v1"},
		{"direct with oneself", direct(anna), "bad_request"},
		{"direct of three", direct(anna, boris, clara), "bad_request"},
		{"direct under a foreign id", direct(anna, clara), "bad_request"},
		{"of no type", bus.Inbound{
			Conversation: theGroup, Sender: anna, Request: ask(1),
			Create: &bus.Create{Members: []chat.UserID{anna}},
		}, "bad_request"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newTable(t)
			b.want(b.decide(c.in), c.want)
		})
	}
}

func TestCreatingAgainFindsWhatIsThere(t *testing.T) {
	b := newTable(t)
	b.group(5, boris)
	b.decide(message(theGroup, anna, 10, "hi"))
	b.want(b.group(5, boris), "duplicate of 1")              // By its key.
	b.want(b.group(1, boris), "duplicate of 1")              // The limit is not part of what is asked.
	b.want(b.group(5, boris, clara), "idempotency_conflict") // Other members.
	b.millis += chat.KeyWindow.Milliseconds() + 1            // The key is gone, the group is not:
	b.want(b.group(5, boris), "duplicate of 2")              // nothing changed, up to the head.
	b.decide(set(anna, boris, chat.Admin))                   //
	b.decide(remove(anna, anna))                             // One's own group that one has left
	b.want(b.group(5, boris), "not_member")                  // is as good as none.
	b.want(b.pair(), "1 event created v1")                   //
	byBoris := bus.Inbound{
		Conversation: thePair, Sender: boris, Request: ask(77),
		Create: &bus.Create{Type: chat.Direct, Members: []chat.UserID{anna, boris}},
	}
	b.want(b.decide(byBoris), "duplicate of 1") // The same for both.
}

func TestForeignAndMissingConversationsGetTheSameAnswer(t *testing.T) {
	b := newTable(t)
	b.group(5, boris)
	missing := b.decide(message(chat.GroupConversation(dina, ask(5)), dina, 10, "?"))
	foreign := b.decide(message(theGroup, dina, 11, "?"))
	b.want(missing, "not_member")
	if missing.Code != foreign.Code || missing.Message != foreign.Message {
		t.Errorf("missing: %q, foreign: %q, want no difference", missing.Message, foreign.Message)
	}
}

func TestRecordsThatCannotBe(t *testing.T) {
	b := newTable(t)
	b.group(5, boris)
	nobody := message(theGroup, chat.UserID{}, 10, "?")
	unknown := message(theGroup, anna, 10, "?")
	unknown.Send.Kind = chat.KindEvent
	unasked := message(theGroup, anna, 10, "?")
	unasked.Request = chat.RequestID{}
	for _, in := range []bus.Inbound{nobody, unknown, unasked, {Conversation: theGroup, Sender: anna}} {
		b.want(b.decide(in), "bad_request")
	}
	b.d.partitions, b.d.partition = 2, 1-bus.PartitionOf(theGroup, 2)
	b.want(b.decide(message(theGroup, anna, 10, "in a foreign partition")), "bad_request")
}

// Who may open an upload is written with the message that has it. One that is sent
// when a sweep may remove it is refused, but a retry finds its first send.
func TestUploads(t *testing.T) {
	d := newTable(t)
	d.group(5, boris)
	id := chat.NewMediaID(time.UnixMilli(d.millis))
	in := message(theGroup, anna, 7, "")
	in.Send.Kind, in.Send.MediaURL = chat.KindImage, chat.MediaPath(id)
	out := d.decide(in)
	if got := brief(out); got != "2 image" {
		t.Fatalf("got %s, want an image", got)
	}
	want := []archive.MediaRef{{Media: id, Conversation: theGroup, By: out.Events[0].ID}}
	if !slices.Equal(d.last.Media, want) {
		t.Errorf("got %v, want %v", d.last.Media, want)
	}
	d.millis += (chat.MediaWindow - time.Second).Milliseconds()
	again := in
	again.Request = ask(8)
	if got := brief(d.decide(again)); got != "3 image" {
		t.Errorf("another message within the window: got %s", got)
	}
	d.millis += (2 * time.Second).Milliseconds()
	late := in
	late.Request = ask(9)
	if got := brief(d.decide(late)); got != "bad_request" || len(d.last.Media) != 0 {
		t.Errorf("too late: got %s and %v, want a refusal", got, d.last.Media)
	}
	if got := brief(d.decide(in)); got != "duplicate of 2" || len(d.last.Media) != 0 {
		t.Errorf("a retry: got %s and %v, want its first send", got, d.last.Media)
	}
	other := message(theGroup, anna, 10, "")
	other.Send.Kind, other.Send.MediaURL = chat.KindFile, "https://media.example/1"
	if got := brief(d.decide(other)); got != "4 file" || len(d.last.Media) != 0 {
		t.Errorf("what is no upload of ours: got %s and %v", got, d.last.Media)
	}
}
