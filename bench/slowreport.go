package main

import (
	"fmt"
	"io"

	"switchboard/bench/host"
	"switchboard/bench/result"
)

// slowReport is the result of `bench slow`.
type slowReport struct {
	Readers int       `json:"readers"`
	Others  int       `json:"others"`
	Bytes   int       `json:"content_bytes"`
	Every   float64   `json:"every_seconds"`
	Rate    int       `json:"rate"`
	Hold    float64   `json:"hold_seconds"`
	Seed    uint64    `json:"seed"`
	Host    host.Host `json:"host"`

	Before weight `json:"before"` // means while all read
	Peak   weight `json:"peak"`   // the highest while they did not
	After  weight `json:"after"`  // at the end

	StalledAfter float64 `json:"stalled_after_seconds"` // from the last read to the first push that was left out
	ClosedFrom   float64 `json:"closed_from_seconds"`   // from there to the first close with 4003
	ClosedTo     float64 `json:"closed_to_seconds"`     // and to the last
	Closed       int     `json:"closed_4003"`
	ClosedElse   int     `json:"closed_otherwise"`
	Witnesses    int     `json:"witnesses"` // readers who read on to see why they are closed
	Saw          int     `json:"saw_4003"`

	Calm      phase  `json:"calm"`
	Meanwhile phase  `json:"meanwhile"`
	Missed    int    `json:"missed"` // by the others
	Late      int64  `json:"late"`
	Unseen    string `json:"unseen,omitempty"` // why the gateways could not always be looked at

	course  course
	aborted bool
	timings []*result.Timing // of the others: meanwhile, and before
	series  []result.Series  // of the gateways
}

// phase is the latency of the others: of their own messages, and of the large
// conversation's.
type phase struct {
	Messages latency `json:"messages"`
	Heads    latency `json:"heads"`
}

// per is what one reader costs of something, at the highest.
func (r *slowReport) per(of func(weight) float64) float64 {
	return (of(r.Peak) - of(r.Before)) / float64(r.Readers)
}

func queueOf(w weight) float64   { return w.Queued }
func kernelOf(w weight) float64  { return w.Kernel }
func processOf(w weight) float64 { return w.PSS }

// Each is what one reader costs in all: in the kernel, and of the process what it
// grew by or what is queued, whichever is more.
func (r *slowReport) Each() float64 {
	return max(r.per(processOf), r.per(queueOf)) + r.per(kernelOf)
}

// slowMetrics are the names of the figures.
func slowMetrics() []string {
	return append(result.TimingNames("messages", "heads", "messages_before", "heads_before"),
		"reader_bytes", "reader_process", "reader_queued", "reader_kernel", "socket_most", "stalled_after", "closed_from", "closed_to",
		"closed", "not_closed", "closed_otherwise", "saw_code", "left_bytes", "missed", "late", "p99_ratio", "heads_p99_ratio")
}

// result says it in the words of all results. What a signal left unmeasured is not in
// it.
func (r *slowReport) result() *result.Result {
	out := result.New("slow")
	out.Started, out.Aborted, out.Detail = r.course.from.UTC(), r.aborted, r
	out.Seconds = float64(r.course.total-r.course.warm) / float64(r.Rate)
	out.Set("readers", fmt.Sprintf("%d, who stop reading for %.0f s, and %d others", r.Readers, r.Hold, r.Others))
	out.Set("large conversation", fmt.Sprintf("%d bytes every %.1f s", r.Bytes, r.Every))
	out.Set("rate", fmt.Sprintf("%d messages a second among the others", r.Rate))
	out.Set("seed", r.Seed)
	out.Headlines = []string{"reader_bytes", "not_closed", "messages.p99", "messages_before.p99", "p99_ratio", "missed"}
	for _, t := range r.timings {
		if t.Count() > 0 {
			out.AddTiming(t)
		}
	}
	out.Series = r.series
	if !r.course.shut.IsZero() {
		r.readers(out)
	}
	out.Counts(result.Lower, result.Tally{Name: "missed", N: r.Missed, What: "what the others missed"})
	out.Add("late", float64(r.Late), result.Count, result.Neither, "sends that began over 10 ms after their time")
	if r.Unseen != "" {
		out.Notes = append(out.Notes, "the gateways could not always be looked at: "+r.Unseen)
	}
	if r.Late > int64(r.course.total/100) {
		out.Invalidate("the generator was late for %d of %d sends, more than 1 %%", r.Late, r.course.total)
	}
	return out
}

// readers adds what the readers cost, and what became of them.
func (r *slowReport) readers(out *result.Result) {
	bytes := func(name string, value float64, better result.Better, what string) {
		out.Add(name, value, result.Bytes, better, what)
	}
	bytes("reader_bytes", r.Each(), result.Lower, "memory for a reader that does not read, process and kernel, at the peak")
	bytes("reader_process", r.per(processOf), result.Neither, "what of it is the gateways' PSS")
	bytes("reader_queued", r.per(queueOf), result.Neither, "what of it is queued")
	bytes("reader_kernel", r.per(kernelOf), result.Neither, "what of it is the kernel's")
	bytes("socket_most", r.Peak.Most, result.Neither, "the kernel's for one socket, at most")
	bytes("left_bytes", r.After.PSS-r.Before.PSS, result.Lower, "PSS of the gateways at the end, above what it was while all read")
	out.Add("stalled_after", r.StalledAfter, result.Seconds, result.Neither, "from the last read until a push was left out")
	out.Add("closed_from", r.ClosedFrom, result.Seconds, result.Neither, "from there until a reader was closed")
	out.Add("closed_to", r.ClosedTo, result.Seconds, result.Neither, "from there until the last one was")
	out.Counts(result.Neither,
		result.Tally{Name: "closed", N: r.Closed, What: "readers that were closed with 4003"},
		result.Tally{Name: "saw_code", N: r.Saw, What: fmt.Sprintf("of %d who read on then, those who read the code", r.Witnesses)})
	out.Counts(result.Lower,
		result.Tally{Name: "not_closed", N: r.Readers - r.Closed, What: "readers that were not"},
		result.Tally{Name: "closed_otherwise", N: r.ClosedElse, What: "connections that were closed for another reason"})
	out.Add("p99_ratio", ratio(r.Meanwhile.Messages.P99, r.Calm.Messages.P99), result.Count, result.Lower,
		"99th percentile of the others' messages, meanwhile to before")
	out.Add("heads_p99_ratio", ratio(r.Meanwhile.Heads.P99, r.Calm.Heads.P99), result.Count, result.Lower,
		"99th percentile of the large conversation's heads, meanwhile to before")
}

func (r *slowReport) print(w io.Writer) {
	fmt.Fprintf(w, "%s\n%d readers and %d others; %d bytes every %.1f s, %d messages/s among the others, seed %d\n",
		r.Host, r.Readers, r.Others, r.Bytes, r.Every, r.Rate, r.Seed)
	if r.course.shut.IsZero() {
		fmt.Fprintf(w, "a signal came while all read\nothers messages  %s\n       heads     %s\nmissed by the others %d; %d sends late\n",
			r.Calm.Messages, r.Calm.Heads, r.Missed, r.Late)
		return
	}
	fmt.Fprintf(w, "each reader   %.0f bytes in all: of the process %.0f, %.0f of them queued, and in the kernel %.0f (one socket at most %.0f)\n",
		r.Each(), r.per(processOf), r.per(queueOf), r.per(kernelOf), r.Peak.Most)
	fmt.Fprintf(w, "%-13s %12s %12s %12s\n", "gateways", "PSS", "queues", "kernel")
	for _, row := range []struct {
		name string
		weight
	}{{"all read", r.Before}, {"at the peak", r.Peak}, {"afterwards", r.After}} {
		fmt.Fprintf(w, "%-13s %12.0f %12.0f %12.0f\n", row.name, row.PSS, row.Queued, row.Kernel)
	}
	fmt.Fprintf(w, "full %.1f s after the last read; closed with 4003 from %.1f to %.1f s after that: %d (otherwise %d); %d of %d witnesses read the code\n",
		r.StalledAfter, r.ClosedFrom, r.ClosedTo, r.Closed, r.ClosedElse, r.Saw, r.Witnesses)
	for _, p := range []struct {
		name string
		phase
	}{{"before", r.Calm}, {"meanwhile", r.Meanwhile}} {
		fmt.Fprintf(w, "others %-10s messages  %s\n%-17s heads     %s\n", p.name, p.Messages, "", p.Heads)
	}
	fmt.Fprintf(w, "p99 meanwhile / before: messages %.2f, heads %.2f; missed by the others %d; %d sends late\n",
		ratio(r.Meanwhile.Messages.P99, r.Calm.Messages.P99), ratio(r.Meanwhile.Heads.P99, r.Calm.Heads.P99), r.Missed, r.Late)
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
