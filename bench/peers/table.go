package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// table is what was measured of all servers.
type table struct {
	base string
	load load
	rows []*row
}

// row is one server.
type row struct {
	name, version string
	rounds        []figures // of echoes
	calls, idle   figures   // of very many connections; nil: not measured
}

// counts is whether a round does: one in which bench was late only if all were, since a
// server that gets its load in bursts reads many texts at a wake-up.
func (r *row) counts(round int) bool {
	inTime := func(f figures) bool { return f["invalid"] == 0 }
	return inTime(r.rounds[round]) || !slices.ContainsFunc(r.rounds, inTime)
}

// median is that of a figure over the rounds that count, and the lowest and highest;
// all are 0 if none of them has it.
func (r *row) median(name string) (middle, low, high float64) {
	var all []float64
	for i, f := range r.rounds {
		if value, ok := f[name]; ok && r.counts(i) {
			all = append(all, value)
		}
	}
	return middleOf(all)
}

func middleOf(all []float64) (middle, low, high float64) {
	if len(all) == 0 {
		return 0, 0, 0
	}
	slices.Sort(all)
	n := len(all)
	return (all[(n-1)/2] + all[n/2]) / 2, all[0], all[n-1]
}

// cpuRatio is the median of the ratios to the base's processor time, each in its own
// round: what the machine did in a round befell both. 0: no round counts for both.
func (t *table) cpuRatio(r *row) float64 {
	base := t.find(t.base)
	if base == nil {
		return 0
	}
	var all []float64
	for i, f := range r.rounds {
		if i < len(base.rounds) && r.counts(i) && base.counts(i) && base.rounds[i]["echo_cpu"] > 0 {
			all = append(all, f["echo_cpu"]/base.rounds[i]["echo_cpu"])
		}
	}
	middle, _, _ := middleOf(all)
	return middle
}

// memoryRatio is that of an idle connection's memory.
func (t *table) memoryRatio(r *row) float64 {
	if base := t.find(t.base); base != nil && base.idle["user_bytes"] > 0 && r.idle["user_bytes"] > 0 {
		return r.idle["user_bytes"] / base.idle["user_bytes"]
	}
	return 0
}

func (t *table) find(name string) *row {
	for _, r := range t.rows {
		if r.name == name {
			return r
		}
	}
	return nil
}

// String is the table in Markdown. What was not measured is a dash.
func (t *table) String() string {
	var out strings.Builder
	fmt.Fprintf(&out, "%d connections, %d echoes a second for %v, %d rounds; lowest to highest in brackets; × is the ratio to %s.\n\n",
		t.load.connections, t.load.rate, t.load.duration, t.mostRounds(), t.base)
	out.WriteString("| server | CPU an echo | × | p50 | p99 | system calls an echo | user memory a connection | × | CPU an opening |\n" +
		"|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range t.rows {
		cpu, low, high := r.median("echo_cpu")
		p50, _, _ := r.median("echo.p50")
		p99, _, _ := r.median("echo.p99")
		fmt.Fprintf(&out, "| %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", strings.TrimSpace(r.name+" "+r.version),
			or(cpu, fmt.Sprintf("%.2f µs (%.2f–%.2f)", 1e6*cpu, 1e6*low, 1e6*high)), times(t.cpuRatio(r)),
			or(p50, fmt.Sprintf("%.2f ms", 1e3*p50)), or(p99, fmt.Sprintf("%.2f ms", 1e3*p99)),
			or(r.calls["syscalls"], fmt.Sprintf("%.2f", r.calls["syscalls"])),
			or(r.idle["user_bytes"], fmt.Sprintf("%.0f B", r.idle["user_bytes"])), times(t.memoryRatio(r)),
			or(r.calls["open_cpu"], fmt.Sprintf("%.0f µs", 1e6*r.calls["open_cpu"])))
	}
	if late := t.late(); len(late) > 0 {
		fmt.Fprintf(&out, "\nThe load was late in runs of %s, which are left out; if it was in all of a server's, its times say nothing and its CPU little.\n", strings.Join(late, ", "))
	}
	return out.String()
}

func (t *table) mostRounds() (n int) {
	for _, r := range t.rows {
		n = max(n, len(r.rounds))
	}
	return n
}

// late are the servers in a round of which bench was late.
func (t *table) late() []string {
	names := make(map[string]bool)
	for _, r := range t.rows {
		for _, f := range r.rounds {
			if f["invalid"] > 0 {
				names[r.name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func times(ratio float64) string { return or(ratio, fmt.Sprintf("%.2f", ratio)) }

// or is a text, or a dash where there is no figure.
func or(figure float64, text string) string {
	if figure == 0 {
		return "–"
	}
	return text
}
