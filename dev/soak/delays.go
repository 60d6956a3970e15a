package soak

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"switchboard/dev/audit"
	"switchboard/internal/chat"
)

// delays is how long deliveries took, by the second in which the message was sent.
type delays struct {
	started time.Time
	seconds [][]time.Duration
}

// measure finds, for each message and device, when the device first saw it. Only
// devices that were connected from the sending to the seeing count, the sender's as
// well: one whose network was cut has itself to blame. What is told of by heads once a
// second is left out.
func (c *crowd) measure(e *audit.Evidence) delays {
	d := delays{started: c.started}
	sends := make(map[string]*audit.Send, len(e.Sends))
	senders := make(map[chat.RequestID]*device, len(e.Sends))
	c.everyDevice(func(dev *device) { dev.attempted(func(r chat.RequestID) { senders[r] = dev }) })
	pushed := make(map[chat.ConversationID]bool)
	for i := range c.plan.talks {
		pushed[c.talks[i]] = c.plan.talks[i].size() <= largeSize
	}
	for i := range e.Sends {
		if s := &e.Sends[i]; pushed[s.Conversation] {
			sends[s.Content] = s
		}
	}
	i := 0
	c.everyDevice(func(dev *device) {
		seen, opened := e.Devices[i].Seen, dev.opening()
		i++
		first := make(map[string]bool)
		for j := range seen {
			text := seen[j].Message.Content
			sent := sends[text]
			if sent == nil || first[text] {
				continue
			}
			first[text] = true
			at, by := sent.Begun, senders[sent.Request]
			n := seen[j].Connection
			if n == 0 || !opened[n-1].Before(at) || seen[j].Way == audit.Told || by != nil && !by.kept(at, seen[j].At) {
				continue
			}
			d.add(at, seen[j].At.Sub(at))
		}
	})
	return d
}

func (d *delays) add(sent time.Time, took time.Duration) {
	i := int(sent.Sub(d.started) / time.Second)
	if i < 0 {
		return
	}
	for len(d.seconds) <= i {
		d.seconds = append(d.seconds, nil)
	}
	d.seconds[i] = append(d.seconds[i], took)
}

// quantile returns the q-th part of the delays of the seconds from…to−1.
func (d *delays) quantile(from, to int, q float64) time.Duration {
	var all []time.Duration
	for i := max(from, 0); i < min(to, len(d.seconds)); i++ {
		all = append(all, d.seconds[i]...)
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[int(q*float64(len(all)-1))]
}

// second is the number of the second in which a moment lies.
func (d *delays) second(t time.Time) int { return int(t.Sub(d.started) / time.Second) }

// recovered returns how many seconds after the beginning of a fault the p99 of
// each later second, until the next fault, is below the bar.
func (d *delays) recovered(h happened) (after int, ok bool) {
	from, until := d.second(h.begun), d.second(h.until)
	after = until - from
	for i := until - 1; i >= from && d.quantile(i, i+1, 0.99) < quick; i-- {
		after = i - from
	}
	return after, after < until-from
}

// write writes a line for each fault, and the seconds of those that are followed by
// a longer calm.
func (d *delays) write(w io.Writer, faults []happened) {
	fmt.Fprintf(w, "delivery over the whole run: p50 %s, p99 %s\n",
		round(d.quantile(0, len(d.seconds), 0.5)), round(d.quantile(0, len(d.seconds), 0.99)))
	fmt.Fprintf(w, "%-28s %8s %9s %10s  %s\n", "fault", "at", "back", "worst p99", "p99 below 500 ms again")
	for _, h := range faults {
		from, until := d.second(h.begun), d.second(h.until)
		worst := time.Duration(0)
		for i := from; i < until; i++ {
			worst = max(worst, d.quantile(i, i+1, 0.99))
		}
		after, ok := d.recovered(h)
		verdict := fmt.Sprintf("after %d s", after)
		switch {
		case worst == 0: // every device lost its connection before it saw what was sent here
			verdict = "nothing to be timed"
		case !ok:
			verdict = fmt.Sprintf("not within %d s", until-from)
		}
		if h.Judged {
			verdict += fmt.Sprintf(": within %s: %t", soon, ok && time.Duration(after)*time.Second <= soon)
		}
		fmt.Fprintf(w, "%-28s %7ds %9s %10s  %s\n", h.Name, from, round(h.over.Sub(h.begun)), round(worst), verdict)
		if h.Calm >= calmAfter {
			fmt.Fprintln(w, d.series(max(0, from-before), from, until))
		}
	}
}

// before is how many seconds ahead of a judged fault are shown.
const before = 5

// series is the p99 of each second in a line, the fault being made at at.
func (d *delays) series(from, at, until int) string {
	var b strings.Builder
	b.WriteString("    p99 by second:")
	for i := from; i < until; i++ {
		if i == at {
			b.WriteString(" | fault:")
		}
		fmt.Fprintf(&b, " %s", round(d.quantile(i, i+1, 0.99)))
	}
	return b.String()
}

func round(t time.Duration) time.Duration {
	if t > 10*time.Second {
		return t.Round(time.Second)
	}
	return t.Round(time.Millisecond)
}
