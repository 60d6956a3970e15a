package receipts

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// event is what a mark must know of an event of the conversation.
type event struct {
	id      chat.MessageID
	sender  user
	message bool
}

// recent is the newest events of a conversation, without a gap: they never
// change, more of them only come. So what is kept is never wrong, only short, and
// nobody has to be told when it is. A recent is not changed once it is made.
type recent struct {
	first  chat.Seq // of events[0]
	events []event
	kind   chat.Type // 0 = not asked yet
	pair   [2]user   // of a direct conversation
}

// nothing is known of a conversation yet.
var nothing recent

// head is the newest event that is known.
func (r *recent) head() chat.Seq {
	if len(r.events) == 0 {
		return 0
	}
	return r.first + chat.Seq(len(r.events)) - 1
}

// seqOf returns where an event is, 0 if it is not among these.
func (r *recent) seqOf(id chat.MessageID) chat.Seq {
	for i, e := range slices.Backward(r.events) {
		if e.id == id {
			return r.first + chat.Seq(i)
		}
	}
	return 0
}

// with returns what is known together with rows that were read: ascending, and
// up to the first gap.
func (r *recent) with(rows []archive.Row) *recent {
	if len(rows) == 0 {
		return r
	}
	next := &recent{first: rows[0].Seq, kind: r.kind, pair: r.pair}
	next.events = make([]event, 0, Covered)
	if len(r.events) > 0 && rows[0].Seq == r.head()+1 {
		keep := r.events[len(r.events)-min(len(r.events), max(Covered-len(rows), 0)):]
		next.first -= chat.Seq(len(keep))
		next.events = append(next.events, keep...)
	}
	for i := range rows {
		if rows[i].Seq != next.first+chat.Seq(len(next.events)) {
			break
		}
		next.events = append(next.events, eventOf(&rows[i]))
	}
	return next
}

func eventOf(r *archive.Row) event {
	return event{id: r.ID, sender: r.Sender, message: r.Kind != chat.KindEvent}
}

// freshen reads what came after the newest event that is known.
func (t *talk) freshen(ctx context.Context, r *recent) (*recent, error) {
	rows, err := t.Store.Entries(ctx, t.id, r.head()+1, math.MaxInt64, Covered, true)
	if err != nil {
		return nil, fmt.Errorf("read the newest events: %w", err)
	}
	next := r.with(rows)
	t.known.put(t.id, next)
	return next, nil
}

// errGone says that history lacks an event that it had: the archive answers from
// a replica that is behind, and has to be asked again.
var errGone = errors.New("an event that was there is not")

// between returns the newest events with from ≤ seq ≤ to, at most [Covered] and
// at least the one at to, which is there.
func (t *talk) between(ctx context.Context, from, to chat.Seq) ([]event, error) {
	from = max(from, to-Covered+1)
	known := t.known.get(t.id)
	if to <= known.head() && from >= known.first {
		return known.events[from-known.first : to-known.first+1], nil
	}
	rows, err := t.Store.Entries(ctx, t.id, from, to, Covered, true)
	if err != nil {
		return nil, fmt.Errorf("read what a mark covers: %w", err)
	}
	if len(rows) == 0 || rows[len(rows)-1].Seq != to {
		return nil, errGone
	}
	events := make([]event, len(rows))
	for i := range rows {
		events[i] = eventOf(&rows[i])
	}
	return events, nil
}

// known keeps the newest events of the conversations that were marked last, in
// two generations: when the younger is full the older is forgotten.
type known struct {
	mu           sync.Mutex
	young, older map[chat.ConversationID]*recent
}

// get returns what is known of a conversation, which may be nothing.
func (k *known) get(id chat.ConversationID) *recent {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r := k.young[id]; r != nil {
		return r
	}
	if r := k.older[id]; r != nil {
		k.keep(id, r)
		return r
	}
	return &nothing
}

func (k *known) put(id chat.ConversationID, r *recent) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keep(id, r)
}

// keep makes r one of the young; the caller holds mu.
func (k *known) keep(id chat.ConversationID, r *recent) {
	if k.young == nil || len(k.young) >= ConversationsKnown && k.young[id] == nil {
		k.young, k.older = make(map[chat.ConversationID]*recent), k.young
	}
	k.young[id] = r
}
