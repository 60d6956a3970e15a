package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"switchboard/bench/host"
	"switchboard/bench/result"
	"switchboard/bench/scrape"
)

// groupReport is the result of `bench group`.
type groupReport struct {
	Members   int       `json:"members"`
	Connected int       `json:"connected"`
	Rate      int       `json:"rate"`
	Seconds   float64   `json:"seconds"`
	Messages  int       `json:"messages"`
	Seed      uint64    `json:"seed"`
	Host      host.Host `json:"host"`

	Created       float64 `json:"created_seconds"`        // how long making the conversation took
	CompleteAfter float64 `json:"complete_after_seconds"` // the last send, until all had pulled everything
	Answer        latency `json:"answer"`                 // intended send to message_sent

	Incomplete int            `json:"incomplete"` // members who did not apply the whole history
	Misplaced  int            `json:"misplaced"`  // events that somebody applied in another place than history has them, or that are others
	Gaps       int            `json:"gaps"`       // of history
	Missing    int            `json:"missing"`    // messages that are not in history
	Doubled    int            `json:"doubled"`    // or more than once
	Refused    map[string]int `json:"refused,omitempty"`

	Late       int                `json:"late"`
	BenchCPU   float64            `json:"bench_cpu_seconds"`
	Pages      int64              `json:"pages"` // pulled in the measured time
	Syncs      int64              `json:"syncs"`
	HeadsHeard int                `json:"heads_heard"` // by all members, in all the time
	CPU        map[string]float64 `json:"cpu_us_per_message,omitempty"`
	Heads      float64            `json:"heads_per_second,omitempty"`
	PerMessage []cost             `json:"costs_per_message,omitempty"`
	PerHead    []cost             `json:"costs_per_head,omitempty"`

	started time.Time
	aborted bool
	answers *result.Timing
}

// groupMetrics are the names of a group's figures.
func groupMetrics() []string {
	return append(result.TimingNames("answer"), "incomplete", "misplaced", "gaps", "missing", "doubled", "refused", "wrong", "late",
		"created", "complete_after", "heads", "cpu.*", "message.*")
}

// result says it in the words of all results.
func (r *groupReport) result() *result.Result {
	out := result.New("group")
	out.Started, out.Seconds, out.Aborted, out.Detail = r.started.UTC(), r.Seconds, r.aborted, r
	out.Set("members", fmt.Sprintf("%d, %d of them connected", r.Members, r.Connected))
	out.Set("rate", fmt.Sprintf("%d messages a second", r.Rate))
	out.Set("seed", r.Seed)
	out.AddTiming(r.answers)
	refused := 0
	for _, n := range r.Refused {
		refused += n
	}
	wrong := r.Incomplete + r.Misplaced + r.Gaps + r.Missing + r.Doubled + refused
	out.Counts(result.Lower,
		result.Tally{Name: "incomplete", N: r.Incomplete, What: "members who did not apply the whole history"},
		result.Tally{Name: "misplaced", N: r.Misplaced, What: "events that somebody applied in another place"},
		result.Tally{Name: "gaps", N: r.Gaps, What: "holes in the numbers of the conversation"},
		result.Tally{Name: "missing", N: r.Missing, What: "messages that are not in history"},
		result.Tally{Name: "doubled", N: r.Doubled, What: "messages that are in history twice"},
		result.Tally{Name: "refused", N: refused, What: "messages that were refused"},
		result.Tally{Name: "wrong", N: wrong, What: "all of these"})
	out.Counts(result.Neither, result.Tally{Name: "late", N: r.Late, What: "sends that began over 10 ms after their time"})
	out.Add("created", r.Created, result.Seconds, result.Lower, "making the conversation")
	out.Add("complete_after", r.CompleteAfter, result.Seconds, result.Lower, "from the last send until all had pulled everything")
	out.Add("heads", r.Heads, result.PerSecond, result.Neither, "heads a second")
	out.AddCPU(r.CPU)
	for _, c := range r.PerMessage {
		out.Add("message."+strings.ReplaceAll(strings.ReplaceAll(c.Name, ",", ""), " ", "_"), c.PerMessage, result.Count, result.Lower, c.Name+", a message")
	}
	if r.Late > r.Messages/100 {
		out.Invalidate("the generator was late for %d of %d sends, more than 1 %%", r.Late, r.Messages)
	}
	return out
}

// Complete reports whether everybody has all of it, once and in order.
func (r *groupReport) Complete() bool {
	return r.Incomplete+r.Misplaced+r.Gaps+r.Missing+r.Doubled == 0 && len(r.Refused) == 0
}

// count divides what the programs counted by messages and by heads.
func (r *groupReport) count(s scrape.Samples) {
	heads := s.Sum("switchboard_router_heads_total")
	r.Heads = heads / r.Seconds
	for _, c := range [][2]string{
		{"users looked up for messages", "switchboard_router_lookup_users_total"},
		{"users looked up for heads", "switchboard_router_head_lookup_users_total"},
		{"Redis commands", "switchboard_presence_commands_total"},
		{"Redis round trips", "switchboard_presence_round_trip_seconds_count"},
		{"lists of members read from PostgreSQL", "switchboard_router_head_lists_total"},
		{"transactions of the projection", "switchboard_projection_batches_total"},
		{"records for gateways with a head", "switchboard_router_head_deliveries_total"},
		{"push records", "switchboard_router_head_pushes_total"},
	} {
		total := s.Sum(c[1])
		r.PerMessage = append(r.PerMessage, cost{c[0], total / float64(r.Messages)})
		if heads > 0 {
			r.PerHead = append(r.PerHead, cost{c[0], total / heads})
		}
	}
	r.PerMessage = append(r.PerMessage,
		cost{"pages pulled", float64(r.Pages) / float64(r.Messages)},
		cost{"calls of /sync", float64(r.Syncs) / float64(r.Messages)})
	for _, c := range costs(s, r.Messages) {
		if !strings.HasPrefix(c.Name, "Redis ") { // They are above.
			r.PerMessage = append(r.PerMessage, c)
		}
	}
}

func (r *groupReport) print(w io.Writer) {
	fmt.Fprintf(w, "%s\n%d members, %d connected, %d messages in %.0f s, seed %d; made in %.1f s\n",
		r.Host, r.Members, r.Connected, r.Messages, r.Seconds, r.Seed, r.Created)
	fmt.Fprintf(w, "message_sent  %s\n", r.Answer)
	fmt.Fprintf(w, "incomplete %d  misplaced %d  gaps %d  missing %d  doubled %d  refused %v; all complete %.1f s after the last message\n",
		r.Incomplete, r.Misplaced, r.Gaps, r.Missing, r.Doubled, r.Refused, r.CompleteAfter)
	fmt.Fprintf(w, "generator: %d sends late, %.1f s CPU; %d heads heard\n", r.Late, r.BenchCPU, r.HeadsHeard)
	printCPU(w, r.CPU)
	if len(r.PerMessage) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%.2f heads a second\n%-44s %9s %9s\n", r.Heads, "", "a message", "a head")
	for i, c := range r.PerMessage {
		fmt.Fprintf(w, "%-44s %9.2f", c.Name, c.PerMessage)
		if i < len(r.PerHead) {
			fmt.Fprintf(w, " %9.2f", r.PerHead[i].PerMessage)
		}
		fmt.Fprintln(w)
	}
}

// printCPU writes microseconds by process, and their sum.
func printCPU(w io.Writer, cpu map[string]float64) {
	total := 0.0
	names := make([]string, 0, len(cpu))
	for name := range cpu {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(w, "%-14s %6.0f µs CPU per message\n", name, cpu[name])
		total += cpu[name]
	}
	if len(names) > 1 {
		fmt.Fprintf(w, "%-14s %6.0f µs CPU per message\n", "all", total)
	}
}
