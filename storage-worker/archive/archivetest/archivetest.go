// Package archivetest is the suite that every archive.Store passes: each
// promise of the interface, and above all that repeating a write, or writing in
// another order, changes nothing.
package archivetest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// Run runs the suite; open is called for each test and returns a store that may
// hold what others wrote: all ids of the suite are new. Closing the store is
// open's business.
func Run(t *testing.T, open func(t *testing.T) archive.Store) {
	tests := []struct {
		name string
		run  func(s *suite)
	}{
		{"an empty archive answers with nothing", (*suite).empty},
		{"every field of an event comes back", (*suite).roundTrip},
		{"content comes back byte for byte", (*suite).content},
		{"a page is the lowest or the newest of its range", (*suite).pages},
		{"pages do not care where a bucket ends", (*suite).bucketBorders},
		{"a message of an older record does not replace a younger", (*suite).olderMessage},
		{"the tip is the newest event below any border", (*suite).tips},
		{"the tip is found across a bucket's end", (*suite).tipAcrossBuckets},
		{"a conversation is created and renamed in any order", (*suite).infos},
		{"spans open and close in any order", (*suite).spans},
		{"the younger of two creations wins", (*suite).olderOpening},
		{"spans are ordered by user and seq", (*suite).spansOrdered},
		{"keys are found, unknown ones left out", (*suite).keys},
		{"a key that was used again has a row for each use", (*suite).usedAgain},
		{"the user index keeps ends and follows heads", (*suite).stays},
		{"the user index is ordered and complete", (*suite).staysOrdered},
		{"a stay is seen as soon as its write has returned", (*suite).readYourWrite},
		{"watermarks never move back", (*suite).watermarks},
		{"owners that mark together end at the highest", (*suite).marksTogether},
		{"a stay without a mark is at its joining", (*suite).missingWatermark},
		{"progress never moves back", (*suite).progress},
		{"an upload is known in each conversation that it was sent to", (*suite).mediaRefs},
		{"an old batch after a new one changes nothing", (*suite).zombie},
		{"any order of the same writes ends the same", (*suite).anyOrder},
		{"writers do not disturb each other", (*suite).concurrentWriters},
		{"whoever sees an event sees all below it", (*suite).inOrder},
		{"an ended context is an error", (*suite).cancelled},
		{"an empty batch is written", (*suite).emptyBatch},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.run(&suite{T: t, store: open(t), conversation: newConversation()})
		})
	}
}

// suite is one test with a conversation of its own.
type suite struct {
	*testing.T
	store        archive.Store
	conversation chat.ConversationID
}

func newConversation() chat.ConversationID { return chat.ConversationID(chat.NewRequestID()) }
func newUser() chat.UserID                 { return chat.UserID(chat.NewRequestID()) }

// partition is the one that wrote all the ids.
const partition = 3

// idAt returns the id of the n-th record. Seven minutes lie between two, so
// that the octets of the ids do not ascend as the ids do.
func idAt(n int) chat.MessageID {
	return chat.NewMessageID(chat.ClockAt(1_700_000_000)+chat.Clock(n)*4_200_000_001, 1, partition)
}

// row returns an event of the conversation whose record is the seq-th.
func (s *suite) row(seq chat.Seq) archive.Row {
	return archive.Row{
		Entry: chat.Entry{
			Conversation: s.conversation, Seq: seq, ID: idAt(int(seq)), Sender: chat.UserID{1},
			Request: chat.RequestID{2, byte(seq >> 8), byte(seq)}, Kind: chat.KindText, Content: fmt.Sprint("message ", seq),
			MembersVersion: 1,
		},
		Position: chat.Position{Generation: 1, Offset: int64(seq)},
	}
}

// fill writes the events from first to last.
func (s *suite) fill(first, last chat.Seq) {
	s.Helper()
	const together = 1000
	for from := first; from <= last; from += together {
		b := &archive.Batch{}
		for seq := from; seq < from+together && seq <= last; seq++ {
			b.Rows = append(b.Rows, s.row(seq))
		}
		s.write(b)
	}
}

func (s *suite) write(batches ...*archive.Batch) {
	s.Helper()
	for _, b := range batches {
		if err := s.store.Write(s.Context(), b); err != nil {
			s.Fatalf("write: %v", err)
		}
	}
}

// must returns value, unless a read failed.
func must[T any](s *suite, value T, err error) T {
	s.Helper()
	if err != nil {
		s.Fatalf("read: %v", err)
	}
	return value
}

// same compares what a read gave; nothing and empty are the same.
func same[T any](s *suite, what string, got, want T) {
	s.Helper()
	if g, w := reflect.ValueOf(got), reflect.ValueOf(want); g.Kind() == reflect.Slice && g.Len() == 0 && w.Len() == 0 {
		return
	}
	if !reflect.DeepEqual(got, want) {
		s.Fatalf("%s\n got %+v\nwant %+v", what, got, want)
	}
}

func (s *suite) entries(from, to chat.Seq, limit int, newest bool) []archive.Row {
	s.Helper()
	rows, err := s.store.Entries(s.Context(), s.conversation, from, to, limit, newest)
	return must(s, rows, err)
}

func (s *suite) tip(border chat.MessageID) archive.Tip {
	s.Helper()
	tip, err := s.store.Tip(s.Context(), s.conversation, border)
	return must(s, tip, err)
}

func (s *suite) empty() {
	u := newUser()
	if _, err := s.store.Info(s.Context(), s.conversation); !errors.Is(err, archive.ErrNotFound) {
		s.Errorf("info of an unknown conversation: got %v, want ErrNotFound", err)
	}
	same(s, "tip", s.tip(chat.MessageID{}), archive.Tip{})
	same(s, "tip below a border", s.tip(idAt(5)), archive.Tip{})
	same(s, "entries", s.entries(1, 100, 10, true), nil)
	state := s.state(s.conversation, []chat.UserID{u}, nil)
	same(s, "state", state, state.nothing())
	p, err := s.store.Progress(s.Context(), newGeneration(), partition)
	same(s, "progress", must(s, p, err), archive.Progress{})
}

// newGeneration returns one that no other test uses.
func newGeneration() uint32 {
	r := chat.NewRequestID()
	return binary.BigEndian.Uint32(r[:])
}

func (s *suite) roundTrip() {
	message, event := s.row(1), s.row(2)
	message.Kind, message.MediaURL, message.ReplyTo = chat.KindImage, "https://media.example/1?sig=%41", idAt(9)
	message.MembersVersion, message.Position = 7, chat.Position{Generation: 1<<32 - 1, Offset: 1<<62 + 1}
	event.Content, event.Kind, event.Change, event.User = "", chat.KindEvent, chat.RoleChanged, chat.UserID{9}
	event.Role, event.Name, event.MembersVersion = chat.Admin, "Ёлка \x00 name", 2
	file := s.row(3)
	file.Kind = chat.KindFile
	s.write(&archive.Batch{Rows: []archive.Row{event, file, message}, Records: 3})
	same(s, "entries", s.entries(1, 3, 10, false), []archive.Row{message, event, file})
}

func (s *suite) content() {
	contents := []string{
		"", " ", "\x00", "a\x00b", "\x00\x00", "\ufeffBOM", "é \u0065\u0301", "👩‍👩‍👧 \U0010ffff",
		"line\r\nline\u2028", `'; DROP TABLE messages; --`, "\x7f\u0080", strings.Repeat("𝄞", chat.ContentBytes/4),
	}
	b := &archive.Batch{}
	for i, content := range contents {
		r := s.row(chat.Seq(i + 1))
		r.Content = content
		b.Rows = append(b.Rows, r)
	}
	s.write(b)
	for i, r := range s.entries(1, 100, 100, false) {
		if r.Content != contents[i] {
			s.Errorf("content %d: got %q, want %q", i, r.Content, contents[i])
		}
	}
}

func (s *suite) pages() {
	s.fill(1, 20)
	other := &suite{T: s.T, store: s.store, conversation: newConversation()}
	other.fill(1, 30)
	tests := []struct {
		from, to    chat.Seq
		limit       int
		newest      bool
		first, last chat.Seq // 0 = no event
	}{
		{1, 20, 100, false, 1, 20},
		{1, 20, 100, true, 1, 20},
		{1, 20, 5, false, 1, 5},
		{1, 20, 5, true, 16, 20},
		{7, 7, 5, true, 7, 7},
		{3, 10, 3, false, 3, 5},
		{3, 10, 3, true, 8, 10},
		{18, 1 << 60, 10, false, 18, 20},
		{-5, 2, 10, true, 1, 2},
		{0, 0, 10, false, 0, 0},
		{21, 30, 10, true, 0, 0},
		{9, 8, 10, false, 0, 0},
		{1, 20, 0, false, 0, 0},
	}
	for _, test := range tests {
		var want []archive.Row
		for seq := test.first; seq != 0 && seq <= test.last; seq++ {
			want = append(want, s.row(seq))
		}
		same(s, fmt.Sprintf("%+v", test), s.entries(test.from, test.to, test.limit, test.newest), want)
	}
}

func (s *suite) bucketBorders() {
	const border = chat.BucketSize
	s.fill(border-60, border+60)
	s.fill(2*border-5, 2*border+5)
	for _, around := range []chat.Seq{border - 1, border, border + 1, border + 2} {
		want := []archive.Row{s.row(around - 1), s.row(around), s.row(around + 1)}
		same(s, "the three around a border", s.entries(around-1, around+1, 10, false), want)
		same(s, "the newest two", s.entries(1, around, 2, true), want[:2])
		same(s, "the lowest two", s.entries(around, 1<<40, 2, false), want[1:])
	}
	if got := s.entries(border-59, border+60, 200, true); len(got) != 120 || got[0].Seq != border-59 {
		s.Errorf("a page over the border has %d events", len(got))
	}
	if got := s.entries(1, 3*border, 20, true); len(got) != 20 || got[0].Seq != border+52 || got[19].Seq != 2*border+5 {
		s.Errorf("the newest 20 over a hole: %d events from %d", len(got), got[0].Seq)
	}
}

func (s *suite) olderMessage() {
	old, young := s.row(1), s.row(1)
	young.ID, young.Content = idAt(2), "as decided later"
	s.write(&archive.Batch{Rows: []archive.Row{young}}, &archive.Batch{Rows: []archive.Row{old}})
	same(s, "entries", s.entries(1, 1, 1, false), []archive.Row{young})
}

// Tips are asked for the id of each event, for the ones between, and for ids
// of other partitions with the same time.
func (s *suite) tips() {
	const n = 40
	b := &archive.Batch{}
	for seq := chat.Seq(1); seq <= n; seq++ {
		r := s.row(seq)
		r.ID = idAt(2 * int(seq))
		b.Rows = append(b.Rows, r)
	}
	s.write(b)
	want := func(seq int) archive.Tip {
		if seq == 0 {
			return archive.Tip{}
		}
		return archive.Tip{Seq: chat.Seq(seq), ID: idAt(2 * seq)}
	}
	for i := 0; i <= 2*n+3; i++ {
		same(s, fmt.Sprint("tip below record ", i), s.tip(idAt(i)), want(min((i-1)/2, n)))
	}
	same(s, "tip of all", s.tip(chat.MessageID{}), want(n))
	clock := chat.ClockOf(idAt(20))
	same(s, "tip below a lower partition", s.tip(chat.NewMessageID(clock, 1, partition-1)), want(9))
	same(s, "tip below a higher partition", s.tip(chat.NewMessageID(clock, 1, partition+1)), want(10))
	same(s, "tip before a clock", s.tip(chat.FirstMessageID(clock)), want(9))
}

func (s *suite) tipAcrossBuckets() {
	const last = chat.BucketSize + 3
	s.fill(1, last)
	for _, seq := range []chat.Seq{1, 2, chat.BucketSize - 1, chat.BucketSize, chat.BucketSize + 1, last} {
		tip := s.tip(idAt(int(seq) + 1))
		same(s, fmt.Sprint("tip at ", seq), tip, archive.Tip{Seq: seq, ID: idAt(int(seq))})
	}
	same(s, "tip of all", s.tip(chat.MessageID{}), archive.Tip{Seq: last, ID: idAt(last)})
	same(s, "tip before all", s.tip(idAt(1)), archive.Tip{})
}

// readYourWrite writes and asks in turns, as an authorization does.
func (s *suite) readYourWrite() {
	u := newUser()
	for i := 1; i <= 50; i++ {
		w := archive.StayWrite{By: idAt(i), Stay: archive.Stay{
			User: u, Conversation: s.conversation, Joined: 1, Head: archive.Tip{Seq: chat.Seq(i), ID: idAt(i)},
		}}
		s.write(&archive.Batch{Stays: []archive.StayWrite{w}})
		stays, err := s.store.StaysIn(s.Context(), u, s.conversation)
		same(s, "stays", must(s, stays, err), []archive.Stay{w.Stay})
	}
}

func (s *suite) cancelled() {
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	u, c := newUser(), s.conversation
	calls := map[string]func() error{
		"Write":       func() error { return s.store.Write(ctx, &archive.Batch{Rows: []archive.Row{s.row(1)}}) },
		"SetProgress": func() error { return s.store.SetProgress(ctx, 1, archive.Progress{Clock: 1}) },
		"Tip":         func() error { _, err := s.store.Tip(ctx, c, chat.MessageID{}); return err },
		"Info":        func() error { _, err := s.store.Info(ctx, c); return err },
		"Spans":       func() error { _, err := s.store.Spans(ctx, c); return err },
		"SeenKeys":    func() error { _, err := s.store.SeenKeys(ctx, []archive.Key{{Conversation: c}}); return err },
		"Entries":     func() error { _, err := s.store.Entries(ctx, c, 1, 9, 9, true); return err },
		"Stays":       func() error { _, err := s.store.Stays(ctx, u); return err },
		"StaysIn":     func() error { _, err := s.store.StaysIn(ctx, u, c); return err },
		"Watermarks":  func() error { _, err := s.store.Watermarks(ctx, c); return err },
		"Watermark":   func() error { _, err := s.store.Watermark(ctx, c, u, 1); return err },
		"Progress":    func() error { _, err := s.store.Progress(ctx, 1, 1); return err },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, context.Canceled) {
			s.Errorf("%s with an ended context: got %v, want context.Canceled", name, err)
		}
	}
	same(s, "entries", s.entries(1, 9, 9, true), nil)
}

func (s *suite) emptyBatch() {
	s.write(&archive.Batch{}, &archive.Batch{Records: 3})
	same(s, "entries", s.entries(1, 9, 9, true), nil)
}

// concurrentWriters has as many writers as a small cluster has partitions, each
// with conversations of its own and marks in one of all.
func (s *suite) concurrentWriters() {
	const writers, batches, each = 16, 20, 3
	errs := make(chan error, writers)
	u, shared := newUser(), s.conversation
	conversations := make([]chat.ConversationID, writers)
	for w := range writers {
		conversations[w] = newConversation()
		one := &suite{T: s.T, store: s.store, conversation: conversations[w]}
		go func() {
			for i := range batches {
				b := &archive.Batch{Marks: []archive.Watermark{{
					Conversation: shared, User: u, Joined: 1, Read: chat.Seq(i*writers + w), Delivered: chat.Seq(w*batches + i),
				}}}
				for seq := i*each + 1; seq <= (i+1)*each; seq++ {
					b.Rows = append(b.Rows, one.row(chat.Seq(seq)))
				}
				if err := s.store.Write(s.Context(), b); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range writers {
		if err := <-errs; err != nil {
			s.Fatalf("write: %v", err)
		}
	}
	for _, c := range conversations {
		rows, err := s.store.Entries(s.Context(), c, 1, 1<<40, 1000, false)
		seqs := make([]chat.Seq, 0, batches*each)
		for _, r := range must(s, rows, err) {
			seqs = append(seqs, r.Seq)
		}
		if len(seqs) != batches*each || !slices.IsSorted(seqs) {
			s.Errorf("a writer's conversation has %d events, want %d", len(seqs), batches*each)
		}
	}
	mark, err := s.store.Watermark(s.Context(), shared, u, 1)
	same(s, "mark", must(s, mark, err), archive.Watermark{
		Conversation: shared, User: u, Joined: 1, Read: batches*writers - 1, Delivered: writers*batches - 1,
	})
}
