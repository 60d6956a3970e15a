package main

import (
	"fmt"
	"io"

	"switchboard/bench/host"
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

func (r *slowReport) print(w io.Writer) {
	fmt.Fprintf(w, "%s\n%d readers and %d others; %d bytes every %.1f s, %d messages/s among the others, seed %d\n",
		r.Host, r.Readers, r.Others, r.Bytes, r.Every, r.Rate, r.Seed)
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
	if r.Unseen != "" {
		fmt.Fprintln(w, "not always seen:", r.Unseen)
	}
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
