// Package advice judges a host by what it shall carry: each setting that matters,
// what it is, what it should be and why, and how to get there.
//
//	host.Tree, load.Wish ──▶ Check ──▶ items ──▶ reports, plans
//
// What should be follows from connections and memory by the formulas of
// formulas.go. Nothing that is higher than needed is ever to be lowered, except
// where the setting is no amount of anything: a time, a switch, a share.
// It changes nothing.
package advice

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"switchboard/tuning/host"
	"switchboard/tuning/load"
)

// State is how an item is.
type State int

// The states, from good to bad as monitoring sees it.
const (
	OK       State = iota
	Skipped        // it does not concern this host or role
	Unknown        // the host does not say
	Warning        // it will do until something happens
	Critical       // the connections do not fit, or are lost
)

// String returns the word of the reports.
func (s State) String() string {
	switch s {
	case OK:
		return "ok"
	case Skipped:
		return "skipped"
	case Unknown:
		return "unknown"
	case Warning:
		return "warning"
	default:
		return "critical"
	}
}

// Scope is what a setting is a setting of.
type Scope string

// The scopes.
const (
	Namespace Scope = "namespace" // of the network namespace: a container has its own
	Host      Scope = "host"      // of the kernel, for everybody on it
	Boot      Scope = "boot"      // of the kernel's command line
	Unit      Scope = "unit"      // of the service
)

// Item is one thing that was looked at.
type Item struct {
	Name     string
	State    State
	Severity State // what the state is when the item is not as wanted
	Current  string
	Wanted   string
	Why      string // one sentence
	Fix      string // exact; empty when there is nothing to do
	Source   string // who says so
	Scope    Scope
	// Of a setting of sysctl that can be set here: what it is, in the kernel's
	// words, and what it should be, which is the same when all is well. Otherwise
	// Set is empty.
	Value, Set string
	// Number is Current as one number, for graphs; nil when it is not one.
	Number *int64
}

// Check looks at everything there is for the role of w.
func Check(t *host.Tree, w load.Wish) []Item {
	memory, err := t.Memory()
	m := machine{wish: w, memory: memory, memoryErr: err}
	boot, bootErr := t.Boot()
	var all []Item
	for _, r := range rules(m) {
		if !r.concerns(w.Role) {
			continue
		}
		all = append(all, r.judge(t, boot))
	}
	all = append(all, fits(t, m)...)
	all = append(all, unit(t, m)...)
	all = append(all, hardware(t, m)...)
	all = append(all, use(t)...)
	return append(all, folklore(t, boot, bootErr)...)
}

// Worst returns the state that the whole of a host is in. What is not known
// weighs less than what is known to be wrong.
func Worst(items []Item) State {
	worst := OK
	for _, i := range items {
		if i.State > worst && i.State != Skipped {
			worst = i.State
		}
	}
	return worst
}

// machine is what formulas are fed with.
type machine struct {
	wish      load.Wish
	memory    int64 // bytes
	memoryErr error
}

// rule is what is asked of one setting of sysctl.
type rule struct {
	key   string
	scope Scope
	roles []load.Role // empty: all
	want  goal
	// need, when it is not met either, makes a warning critical.
	need   goal
	absent string // why the kernel may lack it: then it is skipped, not unknown
	fixed  string // how to change what sysctl cannot
	keep   bool   // it is for others to set: a plan leaves it out
	why    string
	source string
}

func (r rule) concerns(role load.Role) bool {
	return len(r.roles) == 0 || slices.Contains(r.roles, role)
}

// judge looks at the setting now, and at what the next boot makes of it.
func (r rule) judge(t *host.Tree, boot []host.Line) Item {
	item := Item{Name: r.key, Severity: Warning, Scope: r.scope, Why: r.why, Source: r.source, Wanted: r.want.String()}
	if r.need != nil {
		item.Severity = Critical
	}
	current, err := t.Sysctl(r.key)
	switch {
	case errors.Is(err, fs.ErrNotExist) && r.absent != "":
		item.State, item.Current = Skipped, r.absent
		return item
	case err != nil:
		item.State, item.Current = Unknown, err.Error()
		return item
	}
	item.Current, item.Number = current, number(current)
	met, err := r.want.met(current)
	if err != nil {
		item.State, item.Current = Unknown, fmt.Sprintf("%q: %v", current, err)
		return item
	}
	if r.fixed == "" && !r.keep {
		item.Value, item.Set = current, r.want.improved(current)
	}
	if !met {
		item.State, item.Fix = r.missed(current), r.fix(item.Set)
		if line, worse := r.undone(boot); worse {
			item.Fix += fmt.Sprintf("; and delete line %d of %s, which sets it when the host boots", line.Number, line.File)
		}
		return item
	}
	if line, worse := r.undone(boot); worse {
		item.State = Warning
		item.Current = fmt.Sprintf("%s, but %s:%d makes it %s when the host boots", current, line.File, line.Number, line.Value)
		item.Fix = fmt.Sprintf("delete line %d of %s", line.Number, line.File)
	}
	return item
}

// missed returns how bad it is that the goal is not met.
func (r rule) missed(current string) State {
	if r.need == nil {
		return Warning
	}
	if enough, err := r.need.met(current); err == nil && enough {
		return Warning
	}
	return Critical
}

func (r rule) fix(set string) string {
	if r.fixed != "" {
		return r.fixed
	}
	return fmt.Sprintf("sysctl -w %s='%s'", r.key, set)
}

// undone returns the line that takes the goal away again at the next boot.
func (r rule) undone(boot []host.Line) (host.Line, bool) {
	for _, line := range slices.Backward(boot) {
		if line.Key == r.key {
			met, err := r.want.met(line.Value)
			return line, err == nil && !met
		}
	}
	return host.Line{}, false
}
