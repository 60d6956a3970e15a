package archivetest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// inEveryOrder writes the batches in every order, each time for a new
// conversation, and checks after each.
func (s *suite) inEveryOrder(batches func(c chat.ConversationID) []*archive.Batch, check func(c chat.ConversationID, order []int)) {
	for _, order := range permutations(len(batches(chat.ConversationID{}))) {
		c := newConversation()
		all := batches(c)
		for _, i := range order {
			s.write(all[i])
		}
		check(c, order)
		s.write(all[order[0]])
		check(c, append(order, order[0]))
	}
}

// permutations returns all orders of n things.
func permutations(n int) [][]int {
	if n == 0 {
		return [][]int{nil}
	}
	var all [][]int
	for _, p := range permutations(n - 1) {
		for at := range n {
			all = append(all, slices.Insert(slices.Clone(p), at, n-1))
		}
	}
	return all
}

func (s *suite) infos() {
	want := archive.Info{Type: chat.Group, Name: "third", Creator: chat.UserID{1}, Created: idAt(1)}
	s.inEveryOrder(func(c chat.ConversationID) []*archive.Batch {
		created := want
		created.Name = "first"
		return []*archive.Batch{
			{Infos: []archive.InfoWrite{{Conversation: c, Info: created, By: idAt(1)}}},
			{Infos: []archive.InfoWrite{{Conversation: c, Info: archive.Info{Name: "second"}, By: idAt(2)}}},
			{Infos: []archive.InfoWrite{{Conversation: c, Info: archive.Info{Name: "third"}, By: idAt(3)}}},
		}
	}, func(c chat.ConversationID, order []int) {
		got, err := s.store.Info(s.Context(), c)
		same(s, fmt.Sprint("info after ", order), must(s, got, err), want)
	})
	s.write(&archive.Batch{Infos: []archive.InfoWrite{
		{Conversation: s.conversation, Info: archive.Info{Name: "a name alone"}, By: idAt(2)},
	}})
	if _, err := s.store.Info(s.Context(), s.conversation); !errors.Is(err, archive.ErrNotFound) {
		s.Errorf("info of a conversation that was never created: got %v, want ErrNotFound", err)
	}
}

// spans has a role changed and the member removed: two spans, two ends.
func (s *suite) spans() {
	u := chat.UserID{5}
	want := []archive.Span{
		{User: u, Joined: 1, Left: 4, Role: chat.Member, At: idAt(1)},
		{User: u, Joined: 4, Left: 9, Role: chat.Admin, At: idAt(4)},
		{User: u, Joined: 12, Role: chat.Member, At: idAt(12)},
	}
	open := func(c chat.ConversationID, span archive.Span) archive.SpanOpened {
		span.Left = 0
		return archive.SpanOpened{Conversation: c, Span: span}
	}
	s.inEveryOrder(func(c chat.ConversationID) []*archive.Batch {
		return []*archive.Batch{
			{Opened: []archive.SpanOpened{open(c, want[0])}},
			{
				Closed: []archive.SpanClosed{{Conversation: c, User: u, Joined: 1, Left: 4, By: idAt(4)}},
				Opened: []archive.SpanOpened{open(c, want[1])},
			},
			{Closed: []archive.SpanClosed{{Conversation: c, User: u, Joined: 4, Left: 9, By: idAt(9)}}},
			{Opened: []archive.SpanOpened{open(c, want[2])}},
		}
	}, func(c chat.ConversationID, order []int) {
		got, err := s.store.Spans(s.Context(), c)
		same(s, fmt.Sprint("spans after ", order), must(s, got, err), want)
	})
	s.write(&archive.Batch{Closed: []archive.SpanClosed{{Conversation: s.conversation, User: u, Joined: 1, Left: 4, By: idAt(4)}}})
	got, err := s.store.Spans(s.Context(), s.conversation)
	same(s, "spans that only ended", must(s, got, err), nil)
}

// olderOpening has a conversation and a span written by two records each.
func (s *suite) olderOpening() {
	batch := func(record int, role chat.Role, creator chat.UserID) *archive.Batch {
		return &archive.Batch{
			Infos: []archive.InfoWrite{{Conversation: s.conversation, By: idAt(record), Info: archive.Info{
				Type: chat.Group, Creator: creator, Created: idAt(record),
			}}},
			Opened: []archive.SpanOpened{{Conversation: s.conversation, Span: archive.Span{Joined: 1, Role: role, At: idAt(record)}}},
		}
	}
	s.write(batch(2, chat.Member, chat.UserID{2}), batch(3, chat.Admin, chat.UserID{3}), batch(1, chat.Member, chat.UserID{1}))
	info, err := s.store.Info(s.Context(), s.conversation)
	same(s, "info", must(s, info, err), archive.Info{Type: chat.Group, Creator: chat.UserID{3}, Created: idAt(3)})
	spans, err := s.store.Spans(s.Context(), s.conversation)
	same(s, "spans", must(s, spans, err), []archive.Span{{Joined: 1, Role: chat.Admin, At: idAt(3)}})
}

func (s *suite) spansOrdered() {
	var want []archive.Span
	b := &archive.Batch{}
	for i := range 30 {
		span := archive.Span{User: newUser(), Joined: chat.Seq(i + 1), Role: chat.Member, At: idAt(i + 1)}
		again := archive.Span{User: span.User, Joined: 1000, Role: chat.Admin, At: idAt(1000)}
		want = append(want, span, again)
		b.Opened = append(b.Opened, archive.SpanOpened{Conversation: s.conversation, Span: again},
			archive.SpanOpened{Conversation: s.conversation, Span: span})
	}
	s.write(b)
	slices.SortFunc(want, func(a, b archive.Span) int {
		return cmp.Or(bytes.Compare(a.User[:], b.User[:]), cmp.Compare(a.Joined, b.Joined))
	})
	got, err := s.store.Spans(s.Context(), s.conversation)
	same(s, "spans", must(s, got, err), want)
}

func (s *suite) seen(record int) archive.Seen {
	return archive.Seen{
		Key:      archive.Key{Conversation: s.conversation, Sender: chat.UserID{1}, Request: chat.RequestID{2}},
		Position: chat.Position{Generation: 3, Offset: int64(record)},
		Seq:      chat.Seq(record), ID: idAt(record), Digest: [32]byte{0, byte(record), 31: 255},
	}
}

// keys differ from the one that is asked in one part each.
func (s *suite) keys() {
	seen := s.seen(1)
	otherSender, otherRequest, otherConversation := seen, seen, seen
	otherSender.Sender, otherSender.ID, otherSender.Seq = chat.UserID{9}, idAt(2), 2
	otherRequest.Request, otherRequest.ID, otherRequest.Seq = chat.RequestID{9}, idAt(3), 3
	otherConversation.Conversation = newConversation()
	s.write(&archive.Batch{Seen: []archive.Seen{seen, otherSender, otherRequest}})

	ask := func(all ...archive.Seen) []archive.Seen {
		var keys []archive.Key
		for _, k := range all {
			keys = append(keys, k.Key)
		}
		got, err := s.store.SeenKeys(s.Context(), keys)
		got = must(s, got, err)
		slices.SortFunc(got, func(a, b archive.Seen) int { return cmp.Compare(a.Seq, b.Seq) })
		return got
	}
	same(s, "one key", ask(seen), []archive.Seen{seen})
	same(s, "an unknown key", ask(otherConversation), nil)
	same(s, "no key", ask(), nil)
	many := []archive.Seen{}
	for i := range 70 {
		k := seen
		k.Request, k.ID, k.Seq = chat.RequestID{5, byte(i)}, idAt(100+i), chat.Seq(100+i)
		many = append(many, k)
	}
	s.write(&archive.Batch{Seen: many})
	for _, n := range []int{2, 15, 16, 17, 33, 70} {
		same(s, fmt.Sprint(n, " keys"), ask(many[:n]...), many[:n])
		same(s, fmt.Sprint(n, " keys, one unknown"), ask(append([]archive.Seen{otherConversation}, many[:n]...)...), many[:n])
	}
	same(s, "all keys", ask(otherConversation, otherRequest, seen, otherSender), []archive.Seen{seen, otherSender, otherRequest})
}

func byPosition(a, b archive.Seen) int { return a.Position.Compare(b.Position) }

// usedAgain has a key that was used three times, the last time on a new log that
// came to the same offset as the first, and a predecessor that repeats the first
// write when all are there.
func (s *suite) usedAgain() {
	first, again, onNewLog := s.seen(1), s.seen(2), s.seen(3)
	onNewLog.Position = chat.Position{Generation: first.Position.Generation + 1, Offset: first.Position.Offset}
	other := s.seen(4)
	other.Request = chat.RequestID{9}
	s.write(&archive.Batch{Seen: []archive.Seen{again}}, &archive.Batch{Seen: []archive.Seen{first, other, onNewLog}},
		&archive.Batch{Seen: []archive.Seen{first}})
	got, err := s.store.SeenKeys(s.Context(), []archive.Key{first.Key})
	got = must(s, got, err)
	slices.SortFunc(got, byPosition)
	same(s, "uses of the key", got, []archive.Seen{first, again, onNewLog})
	got, err = s.store.SeenKeys(s.Context(), []archive.Key{other.Key, first.Key})
	got = must(s, got, err)
	slices.SortFunc(got, byPosition)
	same(s, "uses of both keys", got, []archive.Seen{first, again, other, onNewLog})
}

// stays has a message, a removal with a head of its own, and the message before
// the removal once more.
func (s *suite) stays() {
	u := newUser()
	tip := func(record int) archive.Tip { return archive.Tip{Seq: chat.Seq(record), ID: idAt(record)} }
	s.inEveryOrder(func(c chat.ConversationID) []*archive.Batch {
		write := func(record int, joined, left chat.Seq, large bool) *archive.Batch {
			return &archive.Batch{Stays: []archive.StayWrite{{By: idAt(record), Stay: archive.Stay{
				User: u, Conversation: c, Joined: joined, Left: left, Head: tip(record), Large: large,
			}}}}
		}
		return []*archive.Batch{write(2, 1, 0, false), write(5, 1, 5, true), write(7, 1, 0, false), write(9, 9, 0, true)}
	}, func(c chat.ConversationID, order []int) {
		got, err := s.store.StaysIn(s.Context(), u, c)
		same(s, fmt.Sprint("stays after ", order), must(s, got, err), []archive.Stay{
			{User: u, Conversation: c, Joined: 1, Left: 5, Head: tip(7)},
			{User: u, Conversation: c, Joined: 9, Head: tip(9), Large: true},
		})
	})
}

func (s *suite) staysOrdered() {
	u, other := newUser(), newUser()
	var want []archive.Stay
	b := &archive.Batch{}
	for i := range 50 {
		stay := archive.Stay{User: u, Conversation: newConversation(), Joined: chat.Seq(i + 1), Head: archive.Tip{Seq: 60, ID: idAt(60)}}
		again := stay
		again.Joined, again.Large = 70, true
		again.Head = archive.Tip{}
		foreign := stay
		foreign.User = other
		want = append(want, stay, again)
		for _, one := range []archive.Stay{again, stay, foreign} {
			b.Stays = append(b.Stays, archive.StayWrite{Stay: one, By: idAt(70)})
		}
	}
	s.write(b)
	slices.SortFunc(want, func(a, b archive.Stay) int {
		return cmp.Or(bytes.Compare(a.Conversation[:], b.Conversation[:]), cmp.Compare(a.Joined, b.Joined))
	})
	got, err := s.store.Stays(s.Context(), u)
	same(s, "stays", must(s, got, err), want)
	got, err = s.store.StaysIn(s.Context(), u, want[6].Conversation)
	same(s, "stays in one conversation", must(s, got, err), want[6:8])
	got, err = s.store.StaysIn(s.Context(), u, newConversation())
	same(s, "stays in a foreign conversation", must(s, got, err), nil)
}

func (s *suite) watermarks() {
	u, second := chat.UserID{1}, chat.UserID{2}
	mark := func(user chat.UserID, joined, read, delivered chat.Seq) archive.Watermark {
		return archive.Watermark{Conversation: s.conversation, User: user, Joined: joined, Read: read, Delivered: delivered}
	}
	for _, m := range []archive.Watermark{
		mark(u, 1, 5, 9), mark(u, 1, 4, 8), mark(u, 1, 7, 2), mark(u, 1, 0, 10), mark(u, 30, 31, 32), mark(second, 1, 2, 3),
	} {
		s.write(&archive.Batch{Marks: []archive.Watermark{m}})
	}
	s.write(&archive.Batch{Marks: []archive.Watermark{mark(second, 1, 9, 9), mark(second, 1, 3, 12), mark(second, 1, 1, 1)}})
	got, err := s.store.Watermark(s.Context(), s.conversation, u, 1)
	same(s, "watermark", must(s, got, err), mark(u, 1, 7, 10))
	all, err := s.store.Watermarks(s.Context(), s.conversation)
	all = must(s, all, err)
	slices.SortFunc(all, func(a, b archive.Watermark) int {
		return cmp.Or(bytes.Compare(a.User[:], b.User[:]), cmp.Compare(a.Joined, b.Joined))
	})
	same(s, "all", all, []archive.Watermark{mark(u, 1, 7, 10), mark(u, 30, 31, 32), mark(second, 1, 9, 12)})
}

func (s *suite) missingWatermark() {
	u := newUser()
	got, err := s.store.Watermark(s.Context(), s.conversation, u, 17)
	same(s, "watermark", must(s, got, err), archive.Watermark{
		Conversation: s.conversation, User: u, Joined: 17, Read: 17, Delivered: 17,
	})
}

func (s *suite) progress() {
	generation := newGeneration()
	at := func(generation uint32, offset int64) archive.Progress {
		return archive.Progress{Position: chat.Position{Generation: generation, Offset: offset}, Clock: chat.Clock(offset) * 1000}
	}
	for _, p := range []archive.Progress{at(generation, 5), at(generation, 9), at(generation, 9), at(generation+1, 2), at(generation, 7)} {
		if err := s.store.SetProgress(s.Context(), partition, p); err != nil {
			s.Fatalf("set progress: %v", err)
		}
	}
	for _, test := range []struct {
		generation uint32
		partition  int32
		want       archive.Progress
	}{
		{generation, partition, at(generation, 9)},
		{generation + 1, partition, at(generation+1, 2)},
		{generation, partition + 1, archive.Progress{}},
	} {
		got, err := s.store.Progress(s.Context(), test.generation, test.partition)
		same(s, fmt.Sprint("progress of partition ", test.partition), must(s, got, err), test.want)
	}
}
