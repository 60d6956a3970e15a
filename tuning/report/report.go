// Package report writes what was found, for people and for machines.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"switchboard/tuning/advice"
	"switchboard/tuning/limits"
	"switchboard/tuning/load"
)

// Found is what a check found.
type Found struct {
	Wish  load.Wish
	Items []advice.Item
}

// Formats are the names of the forms that Write knows.
var Formats = []string{"text", "json", "nagios", "prometheus"}

// Write writes one of the formats. verbose gives text reasons and sources for
// what is well, too; the others have all there is.
func Write(w io.Writer, format string, f Found, verbose bool) error {
	switch format {
	case "text":
		return f.text(w, verbose)
	case "json":
		return f.json(w)
	case "nagios":
		return f.nagios(w)
	case "prometheus":
		return f.prometheus(w)
	}
	return fmt.Errorf("format %q: want one of %s", format, strings.Join(Formats, ", "))
}

// Wish says what a host shall carry.
func Wish(w load.Wish) string {
	return fmt.Sprintf("%s connections as %s, %s", limits.Number(w.Connections), w.Role, limits.Count(int(w.Processes), "process"))
}

// states are all of them, worst first.
var states = []advice.State{advice.Critical, advice.Warning, advice.Unknown, advice.OK, advice.Skipped}

// count returns how many items there are of each state.
func (f Found) count() map[advice.State]int {
	counts := make(map[advice.State]int)
	for _, i := range f.Items {
		counts[i.State]++
	}
	return counts
}

// summary is "2 critical, 9 warning, …".
func (f Found) summary() string {
	counts := f.count()
	var parts []string
	for _, s := range states {
		if counts[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[s], s))
		}
	}
	return strings.Join(parts, ", ")
}

// worstFirst returns the items by state, in each state in their own order.
func (f Found) worstFirst() []advice.Item {
	sorted := slices.Clone(f.Items)
	slices.SortStableFunc(sorted, func(a, b advice.Item) int { return slices.Index(states, a.State) - slices.Index(states, b.State) })
	return sorted
}

func bad(s advice.State) bool { return s != advice.OK && s != advice.Skipped }

func (f Found) text(w io.Writer, verbose bool) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", Wish(f.Wish))
	for _, i := range f.worstFirst() {
		fmt.Fprintf(&b, "%-10s %s: %s", "["+i.State.String()+"]", i.Name, i.Current)
		if bad(i.State) || verbose {
			fmt.Fprintf(&b, ", wanted %s\n           %s\n", i.Wanted, i.Why)
			if i.Fix != "" {
				fmt.Fprintf(&b, "           fix (%s): %s\n", i.Scope, i.Fix)
			}
			fmt.Fprintf(&b, "           source: %s", i.Source)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "\n%s: %s\n", advice.Worst(f.Items), f.summary())
	_, err := io.WriteString(w, b.String())
	return err
}

// itemJSON is an item for programs; names are for ever.
type itemJSON struct {
	Name     string `json:"name"`
	State    string `json:"state"`
	Severity string `json:"severity"`
	Current  string `json:"current"`
	Wanted   string `json:"wanted"`
	Why      string `json:"why"`
	Fix      string `json:"fix,omitempty"`
	Source   string `json:"source"`
	Scope    string `json:"scope"`
}

func (f Found) json(w io.Writer) error {
	items := make([]itemJSON, 0, len(f.Items))
	for _, i := range f.Items {
		items = append(items, itemJSON{i.Name, i.State.String(), i.Severity.String(), i.Current, i.Wanted, i.Why, i.Fix, i.Source, string(i.Scope)})
	}
	return indented(w, struct {
		State       string     `json:"state"`
		Role        load.Role  `json:"role"`
		Connections int64      `json:"connections"`
		Processes   int64      `json:"processes"`
		Items       []itemJSON `json:"items"`
	}{advice.Worst(f.Items).String(), f.Wish.Role, f.Wish.Connections, f.Wish.Processes, items})
}

func indented(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// nagios is one line with counters, then one for each item that is not well. The
// bar divides the line, so that no text may have one.
func (f Found) nagios(w io.Writer) error {
	counts := f.count()
	var names, lines []string
	for _, i := range f.worstFirst() {
		if bad(i.State) {
			names = append(names, i.Name)
			lines = append(lines, strings.ReplaceAll(fmt.Sprintf("%s: %s is %s, wanted %s; %s", strings.ToUpper(i.State.String()), i.Name, i.Current, i.Wanted, i.Fix), "|", "/"))
		}
	}
	const shown = 5
	list := strings.Join(names[:min(len(names), shown)], ", ")
	if len(names) > shown {
		list += ", …"
	}
	if list != "" {
		list = ": " + list
	}
	_, err := fmt.Fprintf(w, "TUNING %s - %s%s | critical=%d warning=%d unknown=%d ok=%d skipped=%d\n", strings.ToUpper(advice.Worst(f.Items).String()), f.summary(),
		strings.ReplaceAll(list, "|", "/"), counts[advice.Critical], counts[advice.Warning], counts[advice.Unknown], counts[advice.OK], counts[advice.Skipped])
	for _, line := range lines {
		if err == nil {
			_, err = fmt.Fprintln(w, line)
		}
	}
	return err
}

// ExitStatus is that of monitoring plug-ins.
func ExitStatus(s advice.State) int {
	switch s {
	case advice.OK, advice.Skipped:
		return 0
	case advice.Warning:
		return 1
	case advice.Critical:
		return 2
	default:
		return 3
	}
}

// prometheus is for the textfile collector of the node exporter.
func (f Found) prometheus(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# HELP switchboard_tuning_state How an item of the host is: 0 ok or skipped, 1 warning, 2 critical, 3 unknown.\n# TYPE switchboard_tuning_state gauge\n")
	for _, i := range f.Items {
		fmt.Fprintf(&b, "switchboard_tuning_state{item=%s,scope=%s} %d\n", quote(i.Name), quote(string(i.Scope)), ExitStatus(i.State))
	}
	b.WriteString("# HELP switchboard_tuning_value What an item is, where that is one number.\n# TYPE switchboard_tuning_value gauge\n")
	for _, i := range f.Items {
		if i.Number != nil {
			fmt.Fprintf(&b, "switchboard_tuning_value{item=%s} %d\n", quote(i.Name), *i.Number)
		}
	}
	b.WriteString("# HELP switchboard_tuning_connections_wanted What the host was checked for.\n# TYPE switchboard_tuning_connections_wanted gauge\n")
	fmt.Fprintf(&b, "switchboard_tuning_connections_wanted{role=%s} %d\n", quote(string(f.Wish.Role)), f.Wish.Connections)
	_, err := io.WriteString(w, b.String())
	return err
}

// quote writes the value of a label.
func quote(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(text) + `"`
}

// Capacity writes how many connections the limits allow, and which binds first.
func Capacity(w io.Writer, format string, wish load.Wish, all []limits.Limit) error {
	first := limits.First(all, func(limits.Limit) bool { return true })
	firm := limits.First(all, func(l limits.Limit) bool { return !l.Raisable })
	switch format {
	case "text":
		return capacityText(w, wish, all, first, firm)
	case "json":
		return capacityJSON(w, wish, all, first, firm)
	}
	return fmt.Errorf("format %q: want text or json", format)
}

func capacityText(w io.Writer, wish load.Wish, all []limits.Limit, first, firm *limits.Limit) error {
	var b strings.Builder
	fmt.Fprintf(&b, "What each limit allows this host as %s, %s:\n\n", wish.Role, limits.Count(int(wish.Processes), "process"))
	for i := range all {
		l := &all[i]
		mark, number := " ", limits.Number(l.Connections)
		switch {
		case l.Err != nil:
			fmt.Fprintf(&b, "  %-31s %14s  %v\n", l.Name, "unknown", l.Err)
			continue
		case l.Connections == limits.Unlimited:
			number = "no limit"
		case l == first:
			mark = "▶"
		}
		fmt.Fprintf(&b, "%s %-31s %14s  %s; %s\n", mark, l.Name, number, l.Now, l.How)
	}
	b.WriteByte('\n')
	if first != nil {
		fmt.Fprintf(&b, "%s binds first: %s connections.\n", first.Name, limits.Number(first.Connections))
	}
	if firm != nil && first != firm {
		fmt.Fprintf(&b, "With every setting raised (tuning plan), %s: %s connections.\n", firm.Name, limits.Number(firm.Connections))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// limitJSON is a limit for programs; names are for ever.
type limitJSON struct {
	Name        string `json:"name"`
	Now         string `json:"now,omitempty"`
	Connections *int64 `json:"connections"` // null: unknown, or no limit
	How         string `json:"how,omitempty"`
	Raisable    bool   `json:"raisable"`
	Error       string `json:"error,omitempty"`
}

func capacityJSON(w io.Writer, wish load.Wish, all []limits.Limit, first, firm *limits.Limit) error {
	list := make([]limitJSON, 0, len(all))
	for _, l := range all {
		one := limitJSON{Name: l.Name, Now: l.Now, How: l.How, Raisable: l.Raisable}
		switch {
		case l.Err != nil:
			one.Error = l.Err.Error()
		case l.Connections != limits.Unlimited:
			one.Connections = &l.Connections
		}
		list = append(list, one)
	}
	return indented(w, struct {
		Role   load.Role   `json:"role"`
		First  string      `json:"binds_first"`
		Raised string      `json:"binds_first_once_raised"`
		Limits []limitJSON `json:"limits"`
	}{wish.Role, name(first), name(firm), list})
}

func name(l *limits.Limit) string {
	if l == nil {
		return ""
	}
	return l.Name
}

// Folklore writes what this program refuses to recommend.
func Folklore(w io.Writer, tales []advice.Tale) error {
	var b strings.Builder
	for n, t := range tales {
		fmt.Fprintf(&b, "%s. %s\n   %s\n", strconv.Itoa(n+1), t.What, t.Reason)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
