package fold

import (
	"bytes"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// What must hold, at every append and when all has come to rest.

// shown is an event that a connection was sent.
type shown struct {
	user  chat.UserID
	entry chat.Entry
}

// checkAppend is asked before an outcome goes onto the accepted log: all owners
// say the same, and what is told is saved.
func (w *world) checkAppend(p int32, r acceptedRecord) {
	at := r.out.Position.Offset
	w.tell("offset %d of partition %d: %s in %x", at, p, brief(r.out), r.out.Conversation[:2])
	if known, ok := w.told[outcomeKey{p, at}]; ok && !bytes.Equal(known, r.value) {
		w.fail("two outcomes for offset %d of partition %d", at, p)
	}
	w.told[outcomeKey{p, at}] = r.value
	for i := range r.out.Events {
		e := &r.out.Events[i]
		if row := w.archive.rows[modelRowKey{e.Conversation, e.Seq}]; row.Entry != e.Entry {
			w.fail("seq %d is answered before it is saved", e.Seq)
		}
		w.large[e.ID] = r.out.Large
		if _, ok := w.archive.stays[modelSpanKey{e.Conversation, e.User, e.Seq}]; e.Change == chat.MemberAdded && !ok {
			w.fail("seq %d is answered before the new member's index row is saved", e.Seq)
		}
		if !r.out.Large {
			w.checkIndex(e)
		}
	}
	if len(r.out.Events) > 0 && (r.out.Events[0].Kind != chat.KindEvent || r.out.Events[0].Change == chat.Created) {
		key := archive.Key{Conversation: r.out.Conversation, Sender: r.out.Sender, Request: r.out.Request}
		if !w.archive.saw(key, r.out.Position, r.out.Events[0].ID) {
			w.fail("seq %d is answered before its key is saved", r.out.Events[0].Seq)
		}
	}
}

type outcomeKey struct {
	p      int32
	offset int64
}

// checkIndex asks that every member who may see e finds it by the user index.
func (w *world) checkIndex(e *bus.Event) {
	for _, s := range w.archive.spansOf(e.Conversation) {
		if s.Joined > e.Seq || s.Left != 0 && s.Left < e.Seq {
			continue
		}
		found := false
		for _, stay := range w.archive.staysOf(s.User) {
			found = found || stay.Conversation == e.Conversation && stay.Joined <= e.Seq && (stay.Large || stay.Head.Seq >= e.Seq)
		}
		if !found {
			w.fail("seq %d is answered before a member's index row is saved", e.Seq)
		}
	}
}

// check asks for everything that must hold once nothing is under way any more.
func (w *world) check() {
	outcomes := w.outcomes()
	if w.err != nil {
		return
	}
	w.checkHistory()
	w.checkRetries(outcomes)
	w.checkReplays(outcomes)
	w.checkShown()
	w.checkDevices()
	for _, a := range w.acked {
		row := w.archive.rows[modelRowKey{a.c, a.seq}]
		if row.ID != a.id || row.Sender != a.user || row.Request != a.request || row.Content != a.content {
			w.fail("a message was acknowledged as seq %d, where history has another", a.seq)
		}
	}
}

// outcomes returns what a reader of the accepted logs sees: one outcome for each
// inbound record, in order.
func (w *world) outcomes() [][]acceptedRecord {
	all := make([][]acceptedRecord, len(w.accepted))
	for p := range w.accepted {
		reader := bus.After(chat.Position{Generation: 1, Offset: -1})
		for _, r := range w.accepted[p] {
			fresh, err := reader.Next(r.out.Position)
			if err != nil {
				w.fail("partition %d: %w", p, err)
				return nil
			}
			if fresh {
				all[p] = append(all[p], r)
			}
		}
		if got, want := len(all[p]), len(w.inbound[p]); got != want {
			w.fail("partition %d has %d outcomes of %d records", p, got, want)
		}
	}
	return all
}

// checkHistory asks that each conversation is dense, its ids ascend with seq and
// nothing is in it twice.
func (w *world) checkHistory() {
	lengths := map[chat.ConversationID]chat.Seq{}
	keys := map[archive.Key][]chat.Clock{}
	for k, r := range w.archive.rows {
		lengths[k.c] = max(lengths[k.c], k.seq)
		if r.Kind == chat.KindEvent {
			continue
		}
		key, clock := archive.Key{Conversation: k.c, Sender: r.Sender, Request: r.Request}, chat.ClockOf(r.ID)
		for _, other := range keys[key] {
			if d := clock - other; max(d, -d) <= chat.Ticks(chat.KeyWindow) {
				w.fail("a message is in history twice")
			}
		}
		keys[key] = append(keys[key], clock)
	}
	for c, n := range lengths {
		for seq := chat.Seq(1); seq <= n; seq++ {
			row, ok := w.archive.rows[modelRowKey{c, seq}]
			if !ok {
				w.fail("history has no seq %d below its head %d", seq, n)
			}
			if before := w.archive.rows[modelRowKey{c, seq - 1}]; chat.CompareMessageIDs(before.ID, row.ID) >= 0 {
				w.fail("the id of seq %d is not above that of the one before", seq)
			}
		}
	}
}

// checkRetries asks that whoever repeats what was stored is told so.
func (w *world) checkRetries(outcomes [][]acceptedRecord) {
	for p := range outcomes {
		stored := map[archive.Key]bus.Event{}
		for i := range outcomes[p] {
			out := &outcomes[p][i].out
			var in bus.Inbound
			if bus.ParseInbound(w.inbound[p][i].Value, &in) != nil || in.Send == nil {
				continue
			}
			key := archive.Key{Conversation: out.Conversation, Sender: out.Sender, Request: out.Request}
			first, repeated := stored[key]
			repeated = repeated && out.Clock-chat.ClockOf(first.ID) <= chat.Ticks(chat.KeyWindow)
			switch {
			case repeated && out.Outcome == bus.Stored:
				w.fail("offset %d repeats what was stored, and is stored", i)
			case repeated && first.Content == in.Send.Content && out.ID != first.ID:
				w.fail("offset %d repeats what was stored, and is not told so", i)
			case repeated && first.Content != in.Send.Content && out.Code != chat.IdempotencyConflict:
				w.fail("offset %d says something else under an old key, and gets away with it", i)
			case out.Outcome == bus.Stored:
				stored[key] = out.Events[0]
			}
		}
	}
}

// checkReplays folds the inbound logs again: from the beginning over nothing, and
// from somewhere over everything. Neither may change a row or an outcome.
func (w *world) checkReplays(outcomes [][]acceptedRecord) {
	pure, told := w.refold()
	if table := pure.differs(w.archive); table != "" {
		w.fail("the archive is not what the inbound log alone gives: %s", table)
	}
	for p := range outcomes {
		if n := len(told[p]); n != len(outcomes[p]) {
			w.fail("a fold of the inbound log gives %d outcomes, not %d", n, len(outcomes[p]))
			return
		}
		w.sameOutcomes(int32(p), 0, outcomes[p], told[p])
		if len(outcomes[p]) == 0 {
			continue
		}
		from := w.rng.IntN(len(outcomes[p]))
		again := w.archive.clone()
		w.sameOutcomes(int32(p), from, outcomes[p], w.replay(int32(p), from, again, outcomes[p]))
		if table := again.differs(w.archive); table != "" {
			w.fail("a replay from offset %d changes the archive: %s", from, table)
		}
	}
}

func (w *world) sameOutcomes(p int32, from int, want, got []acceptedRecord) {
	for i := range got {
		if at := from + i; !bytes.Equal(want[at].value, got[i].value) {
			w.fail("a replay from offset %d gives another outcome for offset %d of partition %d", from, at, p)
		}
	}
}

// checkShown asks that nobody was sent anything but history, and of that only
// what lies inside their memberships.
func (w *world) checkShown() {
	for _, s := range w.shown {
		if row := w.archive.rows[modelRowKey{s.entry.Conversation, s.entry.Seq}]; row.Entry != s.entry {
			w.fail("seq %d was shown, and is not in history", s.entry.Seq)
		}
		if !w.archive.sees(s.user, s.entry.Conversation, s.entry.Seq) {
			w.fail("seq %d was shown to somebody who may not see it", s.entry.Seq)
		}
	}
}

// checkDevices asks that every connected client has all that its user may see,
// and nothing else.
func (w *world) checkDevices() {
	for _, d := range w.devices {
		for k, row := range w.archive.rows {
			id, has := d.applied[k]
			switch sees := w.archive.sees(d.user, k.c, k.seq); {
			case sees && !has:
				w.fail("a connected client misses seq %d", k.seq)
			case has && !sees:
				w.fail("a client has seq %d, which its user may not see", k.seq)
			case has && id != row.ID:
				w.fail("a client has another seq %d than history", k.seq)
			}
		}
	}
}
