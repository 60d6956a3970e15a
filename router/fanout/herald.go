package fanout

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
)

// The pace and the limits of heads.
const (
	// HeadEvery is the least time between two heads of one conversation.
	HeadEvery = time.Second
	// PushesPerSecond bounds how many members who are away one conversation has
	// notified, on average: up to so many with each head, and 10,000 every ten
	// seconds, of the newest message then.
	PushesPerSecond = 1000
	// RosterPatience is how long a head, or a notification, that waits for the
	// roster holds the commit. After that it is late, and lost, with the
	// notifications that go with it, if the process ends before it: they are hints,
	// and a dead roster must not make a successor repeat an hour.
	RosterPatience = time.Second
	// ListTimeout bounds the reading of one list.
	ListTimeout = 2 * time.Second
	// listsAtATime is how many lists a router reads at the same time.
	listsAtATime = 4
	// listRetryFirst and listRetryLast bound the pause before a list is read again.
	listRetryFirst, listRetryLast = 25 * time.Millisecond, time.Second
	// complainEvery is how often a roster that does not answer is logged, for all
	// conversations of a partition together.
	complainEvery = 30 * time.Second
	// keepFor is how long a conversation in which nothing happens is remembered,
	// with its members. Of one in which something happens the log keeps the list
	// right, and it stays.
	keepFor = time.Minute
	// conversationsMax bounds how many conversations of one partition are
	// remembered. One beyond it has no heads for the moment, and nobody is notified.
	conversationsMax = 10_000
	// membersMax bounds the members remembered in a router, some 24 bytes each,
	// but for one list of each partition.
	membersMax = 1 << 22
	// usersPerRound bounds how many people are looked up at once.
	usersPerRound = 2 * chat.MembersMax
)

// headCounts are what all heralds of a router share.
type headCounts struct {
	heads, alone, records *metrics.Counter
	pushes                *metrics.Counter
	late, dropped         *metrics.Counter
	unversioned           *metrics.Counter
	lists, failures       *metrics.Counter
	evictions             *metrics.Counter
	listSeconds           *metrics.Histogram
	members               atomic.Int64 // remembered
}

func newHeadCounts(set *metrics.Set) *headCounts {
	c := &headCounts{
		heads:       set.Counter("switchboard_router_heads_total"),
		alone:       set.Counter("switchboard_router_heads_with_message_total"),
		records:     set.Counter("switchboard_router_head_deliveries_total"),
		pushes:      set.Counter("switchboard_router_head_pushes_total"),
		late:        set.Counter("switchboard_router_heads_late_total"),
		dropped:     set.Counter(`switchboard_router_heads_dropped_total{reason="conversations"}`),
		unversioned: set.Counter(`switchboard_router_heads_dropped_total{reason="no_version"}`),
		lists:       set.Counter("switchboard_router_head_lists_total"),
		failures:    set.Counter("switchboard_router_head_list_failures_total"),
		evictions:   set.Counter("switchboard_router_head_list_evictions_total"),
		listSeconds: set.Histogram("switchboard_router_head_list_seconds"),
	}
	set.Gauge("switchboard_router_head_members", func() float64 { return float64(c.members.Load()) })
	return c
}

// herald tells the members of the large conversations of one passage how far each
// has come: at once, then once a second at most. Those who are away are notified with
// a head, of the newest message alone.
//
//	passage ──note──▶ news of each conversation ──due──▶ look up the members ──▶ chat.delivery.<server>
//	                      ▲                                                  └─▶ chat.push
//	       roster ──list──┘
//
// Nobody may be told of what happened outside of their stay, and the roster is
// late by an unknown time. So a list counts only if it is at least as new as the
// event (both carry a version), and of those on it only who joined before the
// event. Until the roster has such a list nothing is said.
//
// A message waits for none of this. The commit does: it stays before what is to be
// said, for [RosterPatience] if it is the roster that is waited for, and goes back to
// a message of which somebody is to be notified after a head that was late.
type herald struct {
	*Router
	out  *sender
	wake chan struct{} // holds one token while something is new
	// readings are the lists under way, which end with the context of run.
	readings sync.WaitGroup

	mu      sync.Mutex
	at      chat.Position // of the outcome that was noted last
	news    map[chat.ConversationID]*news
	pending map[chat.ConversationID]*news // those with something to say
	sending int64                         // where the heads begin that are being written, or nothing
	left    leftovers

	tidied, complained time.Time
}

// leftovers are what the passage has to see to: records that are not acknowledged
// yet, and roads on which one was left out.
type leftovers struct {
	open   []*acks
	missed []omission
}

type omission struct {
	road road
	from int64
	said []bus.Frame
}

func newHerald(r *Router, partition int32) *herald {
	h := &herald{
		Router: r, wake: make(chan struct{}, 1), sending: nothing, tidied: time.Now(),
		news: make(map[chat.ConversationID]*news), pending: make(map[chat.ConversationID]*news),
	}
	producer := r.cfg.Statuses
	if producer == nil {
		producer = r.cfg.Producer
	}
	h.out = &sender{Router: r, producer: producer, partition: partition, sent: r.heads.records, missed: h.miss}
	return h
}

// note takes what a batch brings, whose first record has the offset from. It never
// waits for long.
func (h *herald) note(from int64, matters []matter) {
	if h == nil {
		return
	}
	now := time.Now()
	h.mu.Lock()
	for _, m := range matters {
		o, ok := m.(*outcome)
		if !ok {
			continue
		}
		h.follow(o.Position)
		if o.Outcome != bus.Stored {
			continue
		}
		for i := range o.Events {
			h.event(&o.Events[i], o, from, now)
		}
	}
	news := len(h.pending) > 0
	h.mu.Unlock()
	if news {
		h.rouse()
	}
}

// follow looks whether an outcome is the next one; the caller holds mu. There is
// one for each inbound record. If some are missing, since the log has lost them,
// or if some come that are older, since the passage went back or began with what
// a zombie repeated, then a list that is carried on would be wrong and look new.
func (h *herald) follow(at chat.Position) {
	next := chat.Position{Generation: h.at.Generation, Offset: h.at.Offset + 1}
	h.at = at
	if at == next {
		return
	}
	for _, n := range h.news {
		h.heads.members.Add(-n.size())
		n.distrust()
	}
}

// rouse has run look again.
func (h *herald) rouse() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// event takes one event of an outcome; the caller holds mu. Of conversations that
// are small and were so all the time nothing is remembered.
func (h *herald) event(e *bus.Event, o *outcome, from int64, now time.Time) {
	large := o.Large && e.Change != chat.Created // That is for everybody it names.
	if large && e.MembersVersion == 0 {
		h.heads.unversioned.Inc() // An older worker decided it.
		return
	}
	n := h.news[e.Conversation]
	if n == nil {
		if !large {
			return
		}
		if n = h.begin(now); n == nil {
			return
		}
		h.news[e.Conversation] = n
	}
	before := n.size()
	n.note(e, large, o.Position, from)
	n.touched = now
	h.heads.members.Add(n.size() - before)
	if n.unsaid() {
		h.pending[e.Conversation] = n
	}
}

// begin returns what is remembered of one more conversation, nil if that is too
// many; the caller holds mu.
func (h *herald) begin(now time.Time) *news {
	if len(h.news) >= conversationsMax {
		h.tidy(now, 0)
	}
	if len(h.news) >= conversationsMax {
		h.heads.dropped.Inc()
		return nil
	}
	return &news{from: nothing}
}

// tidy forgets conversations in which nothing has happened for an age; the caller
// holds mu.
func (h *herald) tidy(now time.Time, age time.Duration) {
	h.tidied = now
	for c, n := range h.news {
		// Forgotten sooner, the next head or notification would come too early.
		rested := now.Sub(n.said) >= HeadEvery && !n.notify.After(now)
		if !n.unsaid() && n.reading == nil && now.Sub(n.touched) >= age && rested {
			h.heads.members.Add(-n.size())
			delete(h.news, c)
		}
	}
}

// run says what is due until ctx ends, or until the producer has closed: what is
// unsaid then holds the commit, and the next owner says it.
func (h *herald) run(ctx context.Context) {
	defer h.end()
	timer := time.NewTimer(keepFor)
	defer timer.Stop()
	for {
		heads, from, again := h.due(ctx, time.Now())
		if len(heads) > 0 {
			if err := h.announce(ctx, heads, from); err != nil {
				return
			}
			continue
		}
		timer.Reset(time.Until(again))
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
		case <-timer.C:
		}
	}
}

// end waits for the readings and lets go of the members.
func (h *herald) end() {
	h.readings.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range h.news {
		h.heads.members.Add(-n.size())
		n.members = nil
	}
}

// due returns the heads whose time has come and where on the log they begin, and
// when to look again if there is none.
func (h *herald) due(ctx context.Context, now time.Time) (heads []matter, from int64, again time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now.Sub(h.tidied) >= keepFor {
		h.tidy(now, keepFor)
	}
	from, again = nothing, now.Add(keepFor)
	users := 0
	for c, n := range h.pending {
		next := n.due()
		switch {
		case next.After(now):
		case !n.known():
			next = h.await(ctx, c, n, now)
		case users >= usersPerRound:
			next = now
		default:
			from = min(from, n.from)
			head := n.take(now)
			users += len(head.concerns())
			heads = append(heads, head)
			h.count(head)
			if !n.unsaid() {
				delete(h.pending, c)
				continue
			}
			next = n.due()
		}
		if next.Before(again) {
			again = next
		}
	}
	h.sending = from
	return heads, from, again
}

func (h *herald) count(head *head) {
	if head.newest == nil {
		return
	}
	h.heads.heads.Inc()
	if head.alone {
		h.heads.alone.Inc()
	}
}

// await sees to it that the members of a conversation get known, and returns when
// to look again; the caller holds mu.
func (h *herald) await(ctx context.Context, c chat.ConversationID, n *news, now time.Time) (again time.Time) {
	if n.wanted.IsZero() {
		n.wanted = now
	}
	again = n.wanted.Add(RosterPatience)
	if n.from == nothing || !again.After(now) {
		if n.from != nothing {
			n.from = nothing
			h.heads.late.Inc()
		}
		again = now.Add(keepFor)
	}
	switch {
	case n.reading != nil:
	case n.retry.After(now):
		if n.retry.Before(again) {
			again = n.retry
		}
	default:
		h.read(ctx, c, n)
	}
	return again
}

// read begins to read the members of a conversation; the caller holds mu.
func (h *herald) read(ctx context.Context, c chat.ConversationID, n *news) {
	h.keep(n, nil)
	base := n.version
	n.reading = &reading{base: base}
	h.readings.Go(func() {
		list, err := h.list(ctx, c, base)
		h.arrived(ctx, c, n, list, err)
		h.rouse()
	})
}

// keep remembers the members of a conversation; the caller holds mu.
func (h *herald) keep(n *news, m *members) {
	before := n.size()
	n.members = m
	if h.heads.members.Add(n.size()-before) <= membersMax {
		return
	}
	for _, other := range h.news {
		if other != n && other.members != nil {
			h.heads.members.Add(-other.size())
			other.members = nil
			h.heads.evictions.Inc()
		}
	}
}

// arrived takes what the roster answered.
func (h *herald) arrived(ctx context.Context, c chat.ConversationID, n *news, list []attendee, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := n.reading
	n.reading = nil
	if h.news[c] != n || ctx.Err() != nil {
		return // It was forgotten meanwhile.
	}
	h.heads.lists.Inc()
	switch {
	case err != nil:
		h.failed(c, n, err)
	case !r.void:
		n.pause = 0
		h.keep(n, r.done(list))
	}
}

// failed has the members of a conversation asked for again, later each time; the
// caller holds mu.
func (h *herald) failed(c chat.ConversationID, n *news, err error) {
	n.pause = min(max(2*n.pause, listRetryFirst), listRetryLast)
	n.retry = time.Now().Add(n.pause)
	h.heads.failures.Inc()
	var old oldError
	if now := time.Now(); !errors.As(err, &old) && now.Sub(h.complained) >= complainEvery {
		h.complained = now
		h.cfg.Logger.Warn("the roster does not answer; heads wait", "conversation", c, "error", err)
	}
}

// announce looks up everybody concerned and writes the heads.
func (h *herald) announce(ctx context.Context, heads []matter, from int64) error {
	places, err := h.lookups.where(ctx, concerned(heads))
	if err != nil {
		return err
	}
	acks := newAcks(h.roads, from)
	for _, m := range heads {
		p := m.plan(h.out.partition, places)
		if err := h.out.write(ctx, p, acks); err != nil {
			return err
		}
		h.heads.pushes.Add(len(p.pushes))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.left.open = append(h.left.open, acks)
	h.sending = nothing
	return nil
}

func (h *herald) miss(k road, from int64, said []bus.Frame) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.left.missed = append(h.left.missed, omission{k, from, said})
}

// settle hands over what is left to see to, and says below which offset everything
// is said or left to the caller.
func (h *herald) settle() (left leftovers, floor int64) {
	if h == nil {
		return leftovers{}, nothing
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	left, h.left = h.left, leftovers{}
	floor = h.sending
	for _, n := range h.pending {
		floor = min(floor, n.from)
	}
	return left, floor
}

// busy reports whether settle will have something to hand over, or to hold.
func (h *herald) busy() bool {
	if h == nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.pending) > 0 || h.sending != nothing || len(h.left.open) > 0 || len(h.left.missed) > 0
}

// rewind says that the passage goes back: what it meets again is said again, since
// that is why it does.
func (h *herald) rewind() {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range h.news {
		// A head that waits makes up for those before it, and so does a notification.
		if n.fresh == 0 || n.unread.Seq == 0 {
			n.seen = 0
		}
	}
}
