package load

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"time"
)

// echoing is an Echo under way. Its messages go over its connections in turn, so
// that the k-th of this worker goes over connection k modulo their number, and each
// connection knows which it is owed next.
type echoing struct {
	id    int
	echo  *Echo
	slots []int32
	all   int64 // messages of this worker
	sent  int64
	start time.Time
	each  time.Duration
	still time.Duration // after which what is not back is missing
	until time.Time     // when that is, if nothing comes back until then
	pad   []byte
	// Of a Text, around the number; before is empty if it has none.
	before, after []byte
	under         int64 // sent, and neither back nor given up
}

// next is when something is to be done.
func (e *echoing) next() time.Time {
	if e.sent < e.all {
		return e.at(e.sent)
	}
	return e.until
}

// at is the time of a message.
func (e *echoing) at(k int64) time.Time { return e.start.Add(time.Duration(k) * e.each) }

// newEchoing begins with the connections that are open now.
func (w *worker) newEchoing(o *Order) *echoing {
	e := &echoing{id: o.ID, echo: o.Echo, pad: bytes.Repeat([]byte("x"), max(o.Echo.Bytes, 0))}
	if before, after, ok := strings.Cut(o.Echo.Text, "#"); ok {
		e.before, e.after = []byte(before), []byte(after)
	}
	for slot := range w.conns {
		c := &w.conns[slot]
		c.owed = -1
		if c.state == open && (len(o.Echo.Gateways) == 0 || slices.Contains(o.Echo.Gateways, int(c.gateway))) {
			e.slots = append(e.slots, int32(slot))
		}
	}
	place, workers := w.plan.Worker, w.plan.Workers
	if len(o.Echo.Workers) > 0 {
		place, workers = slices.Index(o.Echo.Workers, w.plan.Worker), len(o.Echo.Workers)
	}
	single := time.Duration(float64(time.Second) / o.Echo.Rate)
	e.each = time.Duration(float64(time.Second) * float64(workers) / o.Echo.Rate)
	e.start = w.now.Add(o.Echo.Ahead + single*time.Duration(place))
	if place >= 0 {
		e.all = int64(o.Echo.Seconds * o.Echo.Rate / float64(workers))
	}
	e.still = settle
	if o.Echo.Settle > 0 {
		e.still = time.Duration(o.Echo.Settle * float64(time.Second))
	}
	e.until = e.at(e.all).Add(e.still)
	return e
}

// sendDue sends what is due, and ends the echoing when all is back.
func (w *worker) sendDue() {
	e := w.echo
	for e.sent < e.all && !e.at(e.sent).After(w.now) {
		e.sent++ // First: a connection that ends by the sending is owed this one, too.
		w.sendOne(e, e.sent-1)
		if e.sent%64 == 0 {
			w.now = w.clock()
		}
	}
	if e.sent < e.all || e.under > 0 && w.now.Before(e.until) {
		return
	}
	for _, slot := range e.slots {
		if c := &w.conns[slot]; c.owed >= 0 {
			w.counts[CountMissing] += int(e.outstanding(c))
			c.owed = -1
		}
	}
	w.echo = nil
	_ = w.report(e.id) // A coordinator that is gone ends the worker by itself.
}

// sendOne sends message k.
func (w *worker) sendOne(e *echoing, k int64) {
	if len(e.slots) == 0 {
		w.counts[CountUnsent]++
		return
	}
	slot := int(e.slots[k%int64(len(e.slots))])
	c := &w.conns[slot]
	if c.state != open {
		w.counts[CountUnsent]++
		return
	}
	now := w.clock()
	late := now.Sub(e.at(k))
	w.record(TimeLate, late)
	if late > lateAfter {
		w.counts[CountLate]++
	}
	w.counts[CountSent]++
	if c.owed < 0 {
		c.owed = k
	}
	c.sent = now.UnixNano()
	e.under++
	if err := w.write(c, e.frame(w.frame[:0], w.mask(), k)); err != nil {
		w.end(slot, err)
	}
}

// frame is message k as it is sent.
func (e *echoing) frame(dst []byte, mask uint32, k int64) []byte {
	switch e.echo.Frame {
	case Ping:
		return appendFrame(dst, mask, opPing, binary.BigEndian.AppendUint64(nil, uint64(k)))
	case Text:
		text := strconv.AppendInt(bytes.Clone(e.before), k, 10)
		if e.echo.Text != "" {
			text = append(text, e.after...)
		} else {
			text = append(append(text, ' '), e.pad[min(len(text)+1, len(e.pad)):]...)
		}
		return appendFrame(dst, mask, opText, text)
	}
	text := append(strconv.AppendInt([]byte(`{"type":"heartbeat","id":"`), k, 10), `"}`...)
	return appendFrame(dst, mask, opText, text)
}

// outstanding is how many echoes a connection is owed.
func (e *echoing) outstanding(c *conn) int64 {
	n := int64(len(e.slots))
	if n == 0 || c.owed < 0 || c.owed >= e.sent {
		return 0
	}
	return (e.sent-1-c.owed)/n + 1
}

// echoed takes an echo.
func (w *worker) echoed(c *conn, k int64) {
	e := w.echo
	if e == nil || c.owed < 0 || k < c.owed {
		w.counts[CountRepeated]++
		return
	}
	n := int64(len(e.slots))
	if (k-c.owed)%n != 0 || k >= e.sent {
		w.counts[CountMisrouted]++
		return
	}
	skipped := (k - c.owed) / n
	w.counts[CountMissing] += int(skipped)
	w.counts[CountEchoed]++
	if later := w.now.Add(e.still); later.After(e.until) {
		e.until = later
	}
	e.under -= skipped + 1
	w.record(TimeEcho, w.now.Sub(e.at(k)))
	if k+n >= e.sent {
		w.record(TimeService, time.Duration(w.now.UnixNano()-c.sent)) // It is the last one sent.
	}
	if c.owed = k + n; c.owed >= e.sent {
		c.owed = -1
	}
}

// cut gives up what a connection that ends is owed.
func (w *worker) cut(c *conn) {
	if w.echo == nil || c.owed < 0 {
		return
	}
	lost := w.echo.outstanding(c)
	w.counts[CountCut] += int(lost)
	w.echo.under -= lost
	c.owed = -1
}

// Content is what a delivery says that is measured: its number, from 1, and when it
// should have been sent.
func Content(number int64, at time.Time) string {
	return contentMark + strconv.FormatInt(number, 10) + " " + strconv.FormatInt(at.UnixNano(), 10)
}

// contentMark begins the content of deliveries that are measured.
const contentMark = "bench delivery "

// delivered takes a `new_message`.
func (w *worker) delivered(c *conn, rest []byte) {
	_, content, ok := bytes.Cut(rest, []byte(`"content":"`+contentMark))
	if !ok {
		w.counts[CountSaid+"new_message"]++
		return
	}
	content, _, _ = bytes.Cut(content, []byte(`"`))
	first, second, _ := bytes.Cut(content, []byte(" "))
	second, _, _ = bytes.Cut(second, []byte(" ")) // The rest is padding.
	number, err1 := strconv.ParseInt(string(first), 10, 64)
	at, err2 := strconv.ParseInt(string(second), 10, 64)
	switch {
	case err1 != nil || err2 != nil:
		w.counts[CountSaid+"new_message"]++
		return
	case number <= c.got:
		w.counts[CountAgain]++
		return
	case c.got > 0 && number > c.got+1:
		w.counts[CountGaps] += int(number - c.got - 1)
	}
	c.got = number
	w.counts[CountReceived]++
	now := w.clock().UnixNano()
	w.record(TimeDelivery, time.Duration(now-at))
	read := w.reads[number]
	w.reads[number] = Read{Count: read.Count + 1, Due: at, Last: now}
}
