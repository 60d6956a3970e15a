package receipts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/storage-worker/archive"
	"switchboard/storage-worker/archive/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The cast. Names make failures readable.
var (
	anna, boris, clara = user{0xa}, user{0xb}, user{0xc}
	names              = map[user]string{anna: "anna", boris: "boris", clara: "clara"}
	theGroup, thePair  = chat.ConversationID{0x60}, chat.ConversationID{0x70}
)

// hall is an archive with conversations, into which a test writes what the fold
// would.
type hall struct {
	archive.Store
	t      testing.TB
	heads  map[chat.ConversationID]chat.Seq
	joined map[chat.ConversationID]map[user]chat.Seq // of those who are in
}

func newHall(t testing.TB) *hall {
	return &hall{
		Store: memory.New(), t: t,
		heads: map[chat.ConversationID]chat.Seq{}, joined: map[chat.ConversationID]map[user]chat.Seq{},
	}
}

// idOf is the id of an event.
func idOf(seq chat.Seq) chat.MessageID { return chat.NewMessageID(chat.Clock(seq)*1000, 1, 0) }

func (h *hall) write(b *archive.Batch) {
	h.t.Helper()
	if err := h.Write(context.Background(), b); err != nil {
		h.t.Fatal(err)
	}
}

// happen adds one event and returns its seq.
func (h *hall) happen(c chat.ConversationID, e chat.Entry, b *archive.Batch) chat.Seq {
	h.heads[c]++
	e.Conversation, e.Seq, e.ID = c, h.heads[c], idOf(h.heads[c])
	b.Rows = append(b.Rows, archive.Row{Entry: e})
	h.write(b)
	return e.Seq
}

// create begins a conversation.
func (h *hall) create(c chat.ConversationID, kind chat.Type, members ...user) {
	h.joined[c] = map[user]chat.Seq{}
	b := &archive.Batch{Infos: []archive.InfoWrite{{Conversation: c, Info: archive.Info{Type: kind, Created: idOf(1)}, By: idOf(1)}}}
	for _, u := range members {
		h.enter(c, u, 1, b)
	}
	h.happen(c, chat.Entry{Sender: members[0], Kind: chat.KindEvent, Change: chat.Created}, b)
}

func (h *hall) enter(c chat.ConversationID, u user, seq chat.Seq, b *archive.Batch) {
	h.joined[c][u] = seq
	b.Opened = append(b.Opened, archive.SpanOpened{Conversation: c, Span: archive.Span{User: u, Joined: seq, Role: chat.Member, At: idOf(seq)}})
	b.Stays = append(b.Stays, archive.StayWrite{Stay: archive.Stay{User: u, Conversation: c, Joined: seq}, By: idOf(seq)})
}

// join and leave change who is in.
func (h *hall) join(c chat.ConversationID, u user) {
	b := new(archive.Batch)
	h.enter(c, u, h.heads[c]+1, b)
	h.happen(c, chat.Entry{Sender: u, Kind: chat.KindEvent, Change: chat.MemberAdded, User: u}, b)
}

func (h *hall) leave(c chat.ConversationID, u user) {
	seq := h.heads[c] + 1
	h.happen(c, chat.Entry{Sender: u, Kind: chat.KindEvent, Change: chat.MemberRemoved, User: u}, &archive.Batch{
		Closed: []archive.SpanClosed{{Conversation: c, User: u, Joined: h.joined[c][u], Left: seq, By: idOf(seq)}},
		Stays:  []archive.StayWrite{{Stay: archive.Stay{User: u, Conversation: c, Joined: h.joined[c][u], Left: seq}, By: idOf(seq)}},
	})
	delete(h.joined[c], u)
}

// say stores a message and moves its sender's mark, as the fold does.
func (h *hall) say(c chat.ConversationID, u user) chat.Seq {
	seq := h.heads[c] + 1
	return h.happen(c, chat.Entry{Sender: u, Kind: chat.KindText}, &archive.Batch{Marks: []archive.Watermark{
		{Conversation: c, User: u, Joined: h.joined[c][u], Read: seq, Delivered: seq},
	}})
}

// keeper returns a partition at work on the hall.
func (h *hall) keeper(store archive.Store, producer bus.Producer) *partition {
	k := New(Config{Store: store, Producer: producer, Partitions: 1, Logger: slog.New(slog.DiscardHandler), Metrics: metrics.New()})
	return &partition{Keeper: k}
}

// receipt makes a record.
func receipt(offset int64, c chat.ConversationID, u user, marks ...bus.Mark) bus.Record {
	r := bus.Receipt{Conversation: c, User: u, ReplyTo: bus.ReplyTo{Server: "gw-1", Boot: 1, Session: 9}, Marks: marks}
	return bus.Record{Topic: bus.TopicReceipts, Offset: offset, Millis: 1000 + offset, Key: c[:], Value: r.Append(nil)}
}

func read(seq chat.Seq) bus.Mark      { return bus.Mark{Status: chat.Read, Seq: seq, ID: "r"} }
func delivered(seq chat.Seq) bus.Mark { return bus.Mark{Status: chat.Delivered, Seq: seq, ID: "d"} }

func nameOf(u user) string {
	if name := names[u]; name != "" {
		return name
	}
	return fmt.Sprintf("%x", u[:2])
}

// tale says what statuses say.
func tale(statuses []bus.Status) string {
	var lines []string
	for _, s := range statuses {
		if s.Outcome != 0 {
			lines = append(lines, fmt.Sprintf("%s: %s %s %s", nameOf(s.User), s.Outcome, s.Code, s.ReplyTo.ID))
			continue
		}
		var to []string
		for _, u := range s.Recipients {
			to = append(to, nameOf(u))
		}
		slices.Sort(to)
		lines = append(lines, fmt.Sprintf("%s %s %d to %s", nameOf(s.User), s.Status, s.Seq, strings.Join(to, " ")))
	}
	return strings.Join(lines, "; ")
}

func TestWhatMarksMoveAndWhoIsTold(t *testing.T) {
	// Of the group: 2 by anna, 3 by boris, 4 by anna, 5 by clara, who then left
	// with 6. Of the pair: 2 by anna.
	for name, test := range map[string]struct {
		in   chat.ConversationID
		by   user
		mark []bus.Mark
		want string
	}{
		"read in a group":           {theGroup, boris, []bus.Mark{read(4)}, "boris read 4 to anna boris"},
		"up to the sender":          {theGroup, anna, []bus.Mark{read(6)}, "anna read 6 to anna"},
		"all senders but who left":  {theGroup, boris, []bus.Mark{delivered(5)}, "boris delivered 5 to anna boris"},
		"read is delivered too":     {theGroup, boris, []bus.Mark{read(4), delivered(4)}, "boris read 4 to anna boris"},
		"delivered beyond read":     {theGroup, boris, []bus.Mark{read(4), delivered(6)}, "boris read 4 to anna boris; boris delivered 6 to boris"},
		"of several the highest":    {theGroup, boris, []bus.Mark{read(4), read(6), read(2)}, "boris read 6 to anna boris"},
		"what was sent is read":     {theGroup, boris, []bus.Mark{read(3)}, ""},
		"in a pair":                 {thePair, boris, []bus.Mark{read(2)}, "boris read 2 to anna boris"},
		"own messages in a pair":    {thePair, anna, []bus.Mark{read(2)}, ""},
		"beyond the newest":         {theGroup, boris, []bus.Mark{read(7)}, "boris: refused bad_request r"},
		"one of two is beyond":      {theGroup, boris, []bus.Mark{read(7), delivered(4)}, "boris: refused bad_request r; boris delivered 4 to anna boris"},
		"far beyond":                {theGroup, boris, []bus.Mark{delivered(1 << 62)}, "boris: refused bad_request d"},
		"by an id":                  {theGroup, boris, []bus.Mark{{Status: chat.Read, Message: idOf(4)}}, "boris read 4 to anna boris"},
		"by an id of nothing":       {theGroup, boris, []bus.Mark{{Status: chat.Read, Message: chat.MessageID{1}, ID: "x"}}, "boris: refused bad_request x"},
		"by nothing":                {theGroup, boris, []bus.Mark{{Status: chat.Read}}, "boris: refused bad_request "},
		"of no status":              {theGroup, boris, []bus.Mark{{Seq: 4}}, "boris: refused bad_request "},
		"who left":                  {theGroup, clara, []bus.Mark{read(5)}, "clara: refused not_member r"},
		"where there is nothing":    {chat.ConversationID{1}, anna, []bus.Mark{read(1)}, "anna: refused not_member r"},
		"the event of joining":      {theGroup, boris, []bus.Mark{read(1)}, ""},
		"twice, for two refusals":   {theGroup, clara, []bus.Mark{read(1), delivered(1)}, "clara: refused not_member r; clara: refused not_member d"},
		"a message of the old days": {theGroup, boris, []bus.Mark{{Status: chat.Delivered, Message: idOf(2)}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHall(t)
			h.create(theGroup, chat.Group, anna, boris, clara)
			for _, u := range []user{anna, boris, anna, clara} {
				h.say(theGroup, u)
			}
			h.leave(theGroup, clara)
			h.create(thePair, chat.Direct, anna, boris)
			h.say(thePair, anna)
			v, err := h.keeper(h, nil).judge(t.Context(), []bus.Record{receipt(0, test.in, test.by, test.mark...)})
			if err != nil {
				t.Fatal(err)
			}
			if got := tale(v.statuses); got != test.want {
				t.Errorf("told %q, want %q", got, test.want)
			}
			for _, s := range v.statuses {
				if s.Outcome == 0 && (s.Message != idOf(s.Seq) || s.Millis != 1000 || s.ReplyTo.Session != 9) {
					t.Errorf("the status names %v at %d by %+v", s.Message, s.Millis, s.ReplyTo)
				}
			}
		})
	}
}

func TestANewStayBeginsAtItsJoining(t *testing.T) {
	h := newHall(t)
	h.create(theGroup, chat.Group, anna, boris)
	h.say(theGroup, anna)
	p := h.keeper(h, nil)
	mark := func(m bus.Mark) string {
		t.Helper()
		v, err := p.judge(t.Context(), []bus.Record{receipt(0, theGroup, boris, m)})
		if err == nil {
			err = p.save(t.Context(), v)
		}
		if err != nil {
			t.Fatal(err)
		}
		return tale(v.statuses)
	}
	if got, want := mark(read(2)), "boris read 2 to anna boris"; got != want {
		t.Errorf("told %q, want %q", got, want)
	}
	h.leave(theGroup, boris)
	h.join(theGroup, boris) // with 4
	if got := mark(read(3)); got != "" {
		t.Errorf("a mark from before the stay is told: %q", got)
	}
	h.say(theGroup, anna)
	if got, want := mark(read(5)), "boris read 5 to anna boris"; got != want {
		t.Errorf("told %q, want %q", got, want)
	}
	marks, err := h.Watermarks(t.Context(), theGroup)
	got := map[chat.Seq]chat.Seq{}
	for _, m := range marks {
		if m.User == boris {
			got[m.Joined] = m.Read
		}
	}
	if err != nil || got[1] != 2 || got[4] != 5 {
		t.Errorf("boris has read %v, want 2 in the stay from 1 and 5 in that from 4", got)
	}
}

// Who left and came back does not see what was said in between, nor who has read
// it, but who has read what came later.
func TestASenderIsToldOfWhatItsStayHas(t *testing.T) {
	h := newHall(t)
	h.create(theGroup, chat.Group, anna, boris, clara)
	h.say(theGroup, clara)
	h.leave(theGroup, clara)
	h.say(theGroup, anna)
	h.join(theGroup, clara)
	for _, test := range []struct {
		mark bus.Mark
		want string
	}{
		{read(4), "boris read 4 to anna boris"},
		{read(5), "boris read 5 to anna boris clara"},
	} {
		v, err := h.keeper(h, nil).judge(t.Context(), []bus.Record{receipt(0, theGroup, boris, test.mark)})
		if err != nil || tale(v.statuses) != test.want {
			t.Errorf("told %q, %v, want %q", tale(v.statuses), err, test.want)
		}
	}
}

func TestOnlyTheLastSendersAreTold(t *testing.T) {
	h := newHall(t)
	crowd := []user{anna}
	for i := range 12 {
		crowd = append(crowd, user{1, byte(i)})
	}
	h.create(theGroup, chat.Group, crowd...)
	for _, u := range crowd[1:] {
		h.say(theGroup, u)
	}
	p := h.keeper(h, nil)
	v, err := p.judge(t.Context(), []bus.Record{receipt(0, theGroup, anna, read(13))})
	if err != nil {
		t.Fatal(err)
	}
	got := v.statuses[0].Recipients
	if want := append([]user{anna}, crowd[5:]...); len(got) != len(want) || slices.ContainsFunc(want, func(u user) bool { return !slices.Contains(got, u) }) {
		t.Errorf("told %x, want %x", got, want)
	}
	// What lies far back is not looked for.
	for range Covered + 10 {
		h.say(theGroup, crowd[1])
	}
	v, err = p.judge(t.Context(), []bus.Record{receipt(1, theGroup, anna, read(h.heads[theGroup]))})
	if err != nil || len(v.statuses[0].Recipients) != 2 {
		t.Errorf("told %+v, %v, want anna and one sender", v.statuses, err)
	}
}

// TestOldMarksOfALongConversation has marks far below the newest event, which is
// all that is kept.
func TestOldMarksOfALongConversation(t *testing.T) {
	h := newHall(t)
	h.create(theGroup, chat.Group, anna, boris)
	for range 3 * Covered {
		h.say(theGroup, anna)
	}
	p := h.keeper(h, nil)
	for i, m := range []bus.Mark{
		delivered(h.heads[theGroup]),
		read(5),
		{Status: chat.Read, Message: idOf(9)},
		read(2*Covered + 20),
	} {
		want := []chat.Seq{h.heads[theGroup], 5, 9, 2*Covered + 20}[i]
		v, err := p.judge(t.Context(), []bus.Record{receipt(int64(i), theGroup, boris, m)})
		if err == nil {
			err = p.save(t.Context(), v)
		}
		if err != nil || len(v.statuses) != 1 || v.statuses[0].Seq != want || v.statuses[0].Message != idOf(want) || len(v.statuses[0].Recipients) != 2 {
			t.Errorf("mark %d: told %+v, %v, want %d to anna and boris", i, v, err, want)
		}
	}
}

func TestWhoAsksIsAnswered(t *testing.T) {
	h := newHall(t)
	h.create(theGroup, chat.Group, anna, boris)
	h.say(theGroup, anna)
	ask := func(offset int64, u user, m bus.Mark) bus.Record {
		r := bus.Receipt{Conversation: theGroup, User: u, ReplyTo: bus.ReplyTo{Server: "rest-1", Boot: 1, Session: 3}, Answer: true, Marks: []bus.Mark{m}}
		return bus.Record{Offset: offset, Value: r.Append(nil)}
	}
	v, err := h.keeper(h, nil).judge(t.Context(), []bus.Record{
		ask(0, boris, read(2)), ask(1, boris, read(1)), ask(2, boris, read(3)), ask(3, clara, read(1)),
		{Offset: 4, Value: []byte("no receipt")},
	})
	want := "boris: stored  ; boris: stored  ; boris: refused bad_request r; boris read 2 to anna boris; clara: refused not_member r"
	if got := tale(v.statuses); err != nil || got != want {
		t.Errorf("told %q, %v, want %q", got, err, want)
	}
}

// failing is a store that fails now and then, before or after it did its work.
type failing struct {
	archive.Store
	left int
}

var errDown = errors.New("the archive is away")

func (f *failing) Write(ctx context.Context, b *archive.Batch) error {
	if f.left--; f.left >= 0 {
		return errors.Join(errDown, f.Store.Write(ctx, b))
	}
	return f.Store.Write(ctx, b)
}

func (f *failing) StaysIn(ctx context.Context, u user, c chat.ConversationID) ([]archive.Stay, error) {
	if f.left--; f.left >= 0 {
		return nil, errDown
	}
	return f.Store.StaysIn(ctx, u, c)
}

func TestWhatFailsIsRepeated(t *testing.T) {
	h := newHall(t)
	h.create(theGroup, chat.Group, anna, boris)
	h.say(theGroup, anna)
	p := h.keeper(&failing{Store: h, left: 2}, nil)
	v, err := p.judge(t.Context(), []bus.Record{receipt(0, theGroup, boris, read(3)), receipt(1, theGroup, boris, read(2))})
	if got, want := tale(v.statuses), "boris: refused bad_request r; boris read 2 to anna boris"; err != nil || got != want {
		t.Errorf("told %q, %v, want %q", got, err, want)
	}
	p.Store = &failing{Store: h, left: 2}
	if err := p.save(t.Context(), v); err != nil {
		t.Error(err)
	}
	mark, err := h.Watermark(t.Context(), theGroup, boris, 1)
	if err != nil || mark.Read != 2 || mark.Delivered != 2 {
		t.Errorf("the mark is %+v, %v", mark, err)
	}
}
