package archivetest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// state is all that can be read of one conversation.
type state struct {
	Rows       []archive.Row
	Tip        archive.Tip
	Info       archive.Info
	Spans      []archive.Span
	Seen       []archive.Seen // by position
	Watermarks []archive.Watermark
	Stays      map[chat.UserID][]archive.Stay
}

// nothing is the state of a conversation that nobody wrote, for the same users.
func (st state) nothing() state {
	empty := state{Stays: map[chat.UserID][]archive.Stay{}}
	for u := range st.Stays {
		empty.Stays[u] = nil
	}
	return empty
}

// state reads a conversation whole.
func (s *suite) state(c chat.ConversationID, users []chat.UserID, keys []archive.Key) state {
	s.Helper()
	st, err := s.tryState(c, users, keys)
	return must(s, st, err)
}

func (s *suite) tryState(c chat.ConversationID, users []chat.UserID, keys []archive.Key) (st state, err error) {
	ctx := s.Context()
	var errs [6]error
	st = state{Stays: map[chat.UserID][]archive.Stay{}}
	st.Rows, errs[0] = s.store.Entries(ctx, c, 1, 1<<40, 1<<20, false)
	st.Tip, errs[1] = s.store.Tip(ctx, c, chat.MessageID{})
	if st.Info, errs[2] = s.store.Info(ctx, c); errors.Is(errs[2], archive.ErrNotFound) {
		errs[2] = nil
	}
	st.Spans, errs[3] = s.store.Spans(ctx, c)
	st.Watermarks, errs[4] = s.store.Watermarks(ctx, c)
	st.Seen, errs[5] = s.store.SeenKeys(ctx, keys)
	slices.SortFunc(st.Seen, byPosition)
	for _, u := range users {
		stays, err := s.store.StaysIn(ctx, u, c)
		if len(stays) == 0 {
			stays = nil
		}
		st.Stays[u] = stays
		errs[0] = errors.Join(errs[0], err)
	}
	for _, list := range []any{&st.Rows, &st.Spans, &st.Seen, &st.Watermarks} {
		if v := reflect.ValueOf(list).Elem(); v.Len() == 0 {
			v.SetZero()
		}
	}
	return st, errors.Join(errs[:]...)
}

// zombie writes what a predecessor, stopped for a while, would write late.
func (s *suite) zombie() {
	h := newHistory(s.conversation)
	var batches []*archive.Batch
	for record := 1; record <= 24; record++ {
		batches = append(batches, h.batch(record))
	}
	s.write(batches...)
	want := s.state(h.conversation, h.users, h.keys)
	for n := range batches {
		s.write(batches[n])
		same(s, fmt.Sprint("after batch ", n+1, " came late"), s.state(h.conversation, h.users, h.keys), want)
	}
	if len(want.Rows) != 24 || len(want.Spans) == 0 || len(want.Stays[h.users[0]]) == 0 || len(want.Seen) != 24 {
		s.Errorf("the history is too empty to prove anything: %+v", want)
	}
}

// anyOrder writes the single writes of a history in its order once, and in any
// order, repeated and grouped into batches at will, another time.
func (s *suite) anyOrder() {
	rapid.Check(s.T, func(t *rapid.T) {
		records := rapid.IntRange(1, 24).Draw(t, "records")
		h := newHistory(newConversation())
		want := s.replay(t, h, h.writes(records))

		h = newHistory(newConversation())
		writes := h.writes(records)
		places := make([]int, len(writes))
		for i := range places {
			places[i] = i
		}
		places = append(places, rapid.SliceOf(rapid.IntRange(0, len(writes)-1)).Draw(t, "repeated")...)
		places = rapid.Permutation(places).Draw(t, "order")
		var batches []*archive.Batch
		for len(places) > 0 {
			n := rapid.IntRange(1, len(places)).Draw(t, "together")
			b := &archive.Batch{}
			for _, i := range places[:n] {
				join(b, writes[i])
			}
			batches, places = append(batches, b), places[n:]
		}
		if got := s.replay(t, h, batches); got != want {
			t.Fatalf("another order ends otherwise\n got %s\nwant %s", got, want)
		}
	})
}

// replay writes the batches and returns what can then be read, as text in which
// the ids of the history have given way to their places.
func (s *suite) replay(t *rapid.T, h history, batches []*archive.Batch) string {
	for _, b := range batches {
		if err := s.store.Write(s.Context(), b); err != nil {
			t.Fatalf("write: %v", err)
		}
	}
	st, err := s.tryState(h.conversation, h.users, h.keys)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	places := []string{h.conversation.String(), "conversation"}
	for i, u := range h.users {
		places = append(places, u.String(), fmt.Sprint("user-", i))
	}
	return strings.NewReplacer(places...).Replace(fmt.Sprintf("%+v", st))
}

// split returns a batch for every single write of b.
func split(b *archive.Batch) (writes []*archive.Batch) {
	from := reflect.ValueOf(b).Elem()
	for i := range from.NumField() {
		if from.Field(i).Kind() != reflect.Slice {
			continue
		}
		for j := range from.Field(i).Len() {
			one := &archive.Batch{}
			reflect.ValueOf(one).Elem().Field(i).Set(from.Field(i).Slice3(j, j+1, j+1))
			writes = append(writes, one)
		}
	}
	return writes
}

// join adds the writes of b to all.
func join(all, b *archive.Batch) {
	to, from := reflect.ValueOf(all).Elem(), reflect.ValueOf(b).Elem()
	for i := range to.NumField() {
		if to.Field(i).Kind() == reflect.Slice {
			to.Field(i).Set(reflect.AppendSlice(to.Field(i), from.Field(i)))
		}
	}
}

// inOrder reads while batches are written: first the newest event, and then what
// lies below it.
func (s *suite) inOrder() {
	const batches, each = 30, 20
	written := make(chan error, 1)
	go func() {
		for n := range chat.Seq(batches) {
			b := &archive.Batch{}
			for seq := (n + 1) * each; seq > n*each; seq-- { // Whatever the order in the batch.
				b.Rows = append(b.Rows, s.row(seq))
			}
			if err := s.store.Write(s.Context(), b); err != nil {
				written <- err
				return
			}
		}
		written <- nil
	}()
	for reading := true; reading; {
		select {
		case err := <-written:
			if reading = false; err != nil {
				s.Fatalf("write: %v", err)
			}
		default:
		}
		tip, err := s.store.Tip(s.Context(), s.conversation, chat.MessageID{})
		top := must(s, tip, err).Seq
		if rows := s.entries(1, top, batches*each, false); len(rows) != int(top) {
			s.Fatalf("%d events up to the seq %d", len(rows), top)
		}
	}
	same(s, "newest", s.entries(1, 1<<40, 1, true), []archive.Row{s.row(batches * each)})
}
