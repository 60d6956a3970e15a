package soak

import (
	"fmt"
	"io"
	"slices"
	"time"

	"switchboard/dev/audit"
	"switchboard/internal/chat"
)

const (
	// quick is what delivery must take less than, and soon how long after a judged
	// fault it must be so again.
	quick = 500 * time.Millisecond
	soon  = 15 * time.Second
	// shown bounds how many failures are printed.
	shown = 30
	// stuckShare is how much of what is sent while PostgreSQL is away may stay
	// unanswered until it is back: the other faults go on meanwhile, and a device
	// may be between two tries to connect.
	stuckShare = 0.05
)

// Result is what a run showed.
type Result struct {
	Seed          uint64
	People        int
	Conversations int
	Messages      int
	Unanswered    int
	Moves         int
	Counts        counts
	Settled       time.Duration // from the last message until every device had everything
	Report        *audit.Report
	Evidence      *audit.Evidence
	Failed        []string // what must not happen, besides violations

	faults []happened
	outage outage
	delays delays
}

// conclude fills in what is known at the end.
func (c *crowd) conclude(r *Result, e *audit.Evidence, report *audit.Report) {
	r.Report, r.Evidence, r.Messages, r.Moves = report, e, len(e.Sends), len(e.Commands)
	c.everyDevice(func(d *device) {
		n, broken := d.tally()
		r.Counts.add(n)
		r.Failed = append(r.Failed, broken...)
	})
	c.mu.Lock()
	r.Failed = append(r.Failed, c.failed...)
	r.Counts.Acks += len(c.answers)
	c.mu.Unlock()
	r.Failed = slices.Concat(r.Failed, idle(report), c.Site.unasked())
	r.Unanswered = int(c.unanswered.Load())
	r.delays = c.measure(e)
	if !r.outage.begun.IsZero() {
		if late := r.flowed(e); late != "" {
			r.Failed = append(r.Failed, late)
		}
	}
}

// idle says what a run never came to: one in which nothing was said or shown
// violates nothing. Typing and presence may be lost, all of them in a short run.
func idle(report *audit.Report) (never []string) {
	for _, o := range []audit.Obligation{
		audit.Sent, audit.Kept, audit.SameHistory, audit.Delivered, audit.AppliedOnce, audit.NotSilent, audit.InOrder, audit.Fresh,
		audit.InForce, audit.MarkForward, audit.MarkKept, audit.StatusTrue, audit.HeadTrue, audit.HeadInstead,
	} {
		if report.Checked[o] == 0 {
			never = append(never, "never checked: "+string(o))
		}
	}
	if report.Crossings < 2 {
		never = append(never, "no conversation became large and small again")
	}
	return never
}

// flowed says what is wrong with the time in which PostgreSQL was away: messages of
// its first half must have been answered before its end.
func (r *Result) flowed(e *audit.Evidence) string {
	answered := make(map[string]time.Time)
	for _, n := range e.Answers {
		k := n.User.String() + n.Request.String()
		if at, ok := answered[k]; !ok || n.At.Before(at) {
			answered[k] = n.At
		}
	}
	half := r.outage.begun.Add(r.outage.over.Sub(r.outage.begun) / 2)
	sent, stuck := 0, 0
	for _, s := range e.Sends {
		if s.Refused || s.Begun.Before(r.outage.begun) || s.Begun.After(half) {
			continue
		}
		sent++
		if at, ok := answered[s.User.String()+s.Request.String()]; !ok || at.After(r.outage.over) {
			stuck++
		}
	}
	if sent == 0 || float64(stuck) > stuckShare*float64(sent) {
		return fmt.Sprintf("while PostgreSQL was away %d of %d messages were not answered", stuck, sent)
	}
	return ""
}

// OK reports whether everything held.
func (r *Result) OK() bool { return r.Report.Failures() == 0 && len(r.Failed) == 0 }

// Summary is the run in a line.
func (r *Result) Summary() string {
	return fmt.Sprintf("seed %d: %d people in %d conversations, %d messages, %d acknowledged, %d retries, %d refused, "+
		"%d changes of membership, %d crossings of %d members, %d heads, %d marks, %d told, %d times typing told, %d comings and goings told, "+
		"%d faults, %d resumes, %d syncs, %d behinds, settled in %s, %d obligations checked (%s), %d violations, %d failures",
		r.Seed, r.People, r.Conversations, r.Messages, r.Counts.Acks, max(0, r.Counts.Attempts-r.Messages), r.Counts.Refusals,
		r.Moves, r.Report.Crossings, chat.LargeAbove, r.Counts.Heads, r.Counts.Marks, r.Counts.Statuses, r.Counts.Typings, r.Counts.Presences,
		r.kills(), r.Counts.Connections-2*r.People, r.Counts.Syncs, r.Counts.Behinds,
		r.Settled.Round(time.Second), r.Report.Obligations(), r.Report.ByKind(), r.Report.Failures(), len(r.Failed))
}

// kills counts the faults that were made.
func (r *Result) kills() int {
	n := len(r.faults)
	if !r.outage.begun.IsZero() {
		n++
	}
	return n
}

// Plants puts mistakes into what was recorded, one after another, and returns how
// many the audit named and which it did not. It needs a run without violations.
func (r *Result) Plants() (found int, missed []string) {
	for _, p := range audit.Plants() {
		switch planted, named := p.Try(r.Evidence); {
		case !planted:
			missed = append(missed, "nothing to plant in: "+p.Name)
		case !named:
			missed = append(missed, "planted and not found: "+p.Name)
		default:
			found++
		}
	}
	return found, missed
}

// Print writes everything: the table of faults, what was checked, what was broken.
func (r *Result) Print(w io.Writer) {
	r.delays.write(w, r.faults)
	if !r.outage.begun.IsZero() {
		fmt.Fprintf(w, "PostgreSQL was away for %s\n", r.outage.over.Sub(r.outage.begun).Round(time.Second))
	}
	fmt.Fprint(w, r.Report.Table())
	for _, v := range r.Report.Violations {
		fmt.Fprintln(w, "VIOLATION", v)
	}
	for _, f := range r.Failed[:min(shown, len(r.Failed))] {
		fmt.Fprintln(w, "FAILED", f)
	}
	fmt.Fprintln(w, r.Summary())
}
