package uplink

import (
	"context"
	"errors"
	"sync"
	"time"

	"switchboard/gateway/session"
	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/internal/wire"
)

// The limits of what waits to be merged.
const (
	// DeliveredFor and ReadFor are how long a mark waits for others of the same
	// session and conversation. A reader looks at a screen, so what was read is
	// told soon; that something arrived is of less interest, and is often told
	// together with its having been read.
	DeliveredFor = time.Second
	ReadFor      = 200 * time.Millisecond
	// MarksWaiting bounds of how many sessions and conversations marks wait, some
	// 300 bytes each; beyond it a mark is refused with `unavailable`.
	MarksWaiting = 1 << 16
	// marksAlike is how many marks of one kind a receipt keeps: the first and the
	// highest. If the highest is refused, being beyond what is there, the first
	// still counts.
	marksAlike = 2
	// marksAtOnce bounds how many receipts are made before event loops that have
	// marks get their turn.
	marksAtOnce = 256
	// marksPause is the wait for a producer that has too much pending.
	marksPause = 20 * time.Millisecond
	// marksGrace is how long the end waits for such a producer.
	marksGrace = 2 * time.Second
)

// marks wait here for a moment, so that who reads ten messages says so once. All
// of one session and conversation leave together, when the first of them is due:
// a mark never waits longer than it would alone. A mark that another one covers
// is forgotten; since marks say "all up to here", nothing is lost by it.
type marks struct {
	// Fixed after construction.
	cfg  Config
	wake chan struct{} // holds one token when something waits that is due first

	taken, merged, full *metrics.Counter
	sent, unknown       *metrics.Counter

	mu      sync.Mutex
	waiting map[place]*wait
	lines   [2]line // of those due after ReadFor and after DeliveredFor
}

// place is what marks are merged by.
type place struct {
	session      uint64
	conversation chat.ConversationID
}

// wait is the marks of one place.
type wait struct {
	user  chat.UserID
	due   time.Time
	marks []bus.Mark
}

// turn is one place in a line. It is stale when its place has left, or is due at
// another time.
type turn struct {
	place place
	due   time.Time
}

// line holds turns in the order of their times, which is that of their coming.
type line struct {
	turns []turn
	first int
}

func (l *line) add(t turn) { l.turns = append(l.turns, t) }

func (l *line) head() *turn {
	if l.first == len(l.turns) {
		return nil
	}
	return &l.turns[l.first]
}

// next lets the first turn go. An empty line keeps no memory of a crowd.
func (l *line) next() {
	if l.first++; l.first == len(l.turns) {
		*l = line{}
	} else if l.first >= 1024 && l.first > len(l.turns)/2 {
		*l = line{turns: append([]turn(nil), l.turns[l.first:]...)}
	}
}

func newMarks(cfg Config) *marks {
	outcome := func(name string) *metrics.Counter {
		return cfg.Metrics.Counter(`switchboard_gateway_marks_total{outcome="` + name + `"}`)
	}
	m := &marks{
		cfg: cfg, wake: make(chan struct{}, 1), waiting: make(map[place]*wait),
		taken: outcome("taken"), merged: outcome("merged"), full: outcome("refused"),
		sent:    cfg.Metrics.Counter("switchboard_gateway_receipts_total"),
		unknown: cfg.Metrics.Counter(`switchboard_gateway_receipt_errors_total{reason="unknown"}`),
	}
	cfg.Metrics.Gauge("switchboard_gateway_marks_waiting", func() float64 {
		m.mu.Lock()
		defer m.mu.Unlock()
		return float64(len(m.waiting))
	})
	return m
}

// Mark takes a mark, to be merged with others that come soon. The error is a
// *[chat.Error], and says that too many wait.
func (u *Uplink) Mark(from session.Sender, ev *wire.ClientEvent) error {
	m := bus.Mark{Status: chat.Delivered, Seq: ev.Seq, Message: ev.Message, ID: ev.ID}
	if ev.Type == wire.TypeMarkRead {
		m.Status = chat.Read
	}
	return u.marks.add(from, ev.Conversation, m, time.Now())
}

// Run passes marks on until ctx ends, and then those that still wait. Stop it
// after whoever calls Mark.
func (u *Uplink) Run(ctx context.Context) error {
	u.marks.run(ctx)
	return nil
}

func (m *marks) add(from session.Sender, c chat.ConversationID, mark bus.Mark, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := place{from.Number, c}
	w := m.waiting[at]
	if w == nil {
		if len(m.waiting) >= MarksWaiting {
			m.full.Inc()
			return &chat.Error{Code: chat.Unavailable, Message: "too many marks wait for the log", RetryAfter: retryAfter}
		}
		w = &wait{user: from.User}
		m.waiting[at] = w
	}
	m.taken.Inc()
	if !w.merge(mark) {
		m.merged.Inc()
	}
	after, line := DeliveredFor, &m.lines[1]
	if mark.Status == chat.Read {
		after, line = ReadFor, &m.lines[0]
	}
	if due := now.Add(after); w.due.IsZero() || due.Before(w.due) {
		w.due = due
		line.add(turn{at, due})
		select {
		case m.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

// merge adds a mark; false says that it took another's place or was covered. Marks
// by seq and marks by message are not compared: here nobody knows which message
// has which seq.
func (w *wait) merge(mark bus.Mark) bool {
	alike, highest := 0, -1
	for i := range w.marks {
		if w.marks[i].Status == mark.Status && w.marks[i].Message.IsZero() == mark.Message.IsZero() {
			alike, highest = alike+1, i
		}
	}
	switch {
	case highest >= 0 && !above(&mark, &w.marks[highest]):
		return false
	case alike < marksAlike:
		w.marks = append(w.marks, mark)
		return true
	}
	w.marks[highest] = mark
	return false
}

// above reports whether a says more than b, which is alike.
func above(a, b *bus.Mark) bool {
	if a.Message.IsZero() {
		return a.Seq > b.Seq
	}
	return chat.CompareMessageIDs(a.Message, b.Message) > 0
}

// run sends what is due until ctx ends, then all.
func (m *marks) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		if pause, some := m.send(time.Now()); some {
			timer.Reset(pause)
		}
		select {
		case <-ctx.Done():
		case <-m.wake:
		case <-timer.C:
		}
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), marksGrace)
	defer cancel()
	for {
		pause, some := m.send(time.Now().Add(DeliveredFor + ReadFor))
		if !some {
			return
		}
		timer.Reset(pause)
		select {
		case <-grace.Done(): // Clients mark again when they come back.
			return
		case <-timer.C:
		}
	}
}

// send passes on what is due at now. some says that something is left, and pause
// when to come again for it.
func (m *marks) send(now time.Time) (pause time.Duration, some bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	made := 0
	for i := range m.lines {
		l := &m.lines[i]
		for t := l.head(); t != nil; t = l.head() {
			w := m.waiting[t.place]
			if w == nil || !w.due.Equal(t.due) {
				l.next() // It has left with a mark that was due earlier.
				continue
			}
			if t.due.After(now) {
				break
			}
			if made++; made > marksAtOnce {
				return 0, true
			}
			if err := m.produce(t.place, w); errors.Is(err, bus.ErrOverloaded) {
				return marksPause, true
			} else if err != nil {
				m.unknown.Inc()
			}
			delete(m.waiting, t.place)
			l.next()
		}
		if t := l.head(); t != nil && (!some || t.due.Sub(now) < pause) {
			pause, some = t.due.Sub(now), true
		}
	}
	return pause, some
}

// produce puts one receipt on the log. What becomes of it is not waited for: a
// mark whose fate is unknown is made again by its client.
func (m *marks) produce(at place, w *wait) error {
	record := bus.Receipt{
		Conversation: at.conversation, User: w.user, Marks: w.marks,
		ReplyTo: bus.ReplyTo{Server: m.cfg.Server, Boot: m.cfg.Boot, Session: at.session},
	}
	const idBytes, overhead = 16, 160
	buffer := record.Append(append(make([]byte, 0, idBytes+overhead), at.conversation[:]...))
	return m.cfg.Receipts.Produce(bus.Message{
		Topic:     bus.TopicReceipts,
		Partition: bus.PartitionOf(at.conversation, m.cfg.Partitions),
		Key:       buffer[:idBytes:idBytes],
		Value:     buffer[idBytes:],
	}, func(_ int64, err error) {
		if err != nil {
			m.unknown.Inc()
			return
		}
		m.sent.Inc()
	})
}
