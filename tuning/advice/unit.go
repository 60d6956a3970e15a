package advice

import (
	"fmt"
	"strings"

	"switchboard/tuning/host"
	"switchboard/tuning/limits"
	"switchboard/tuning/load"
)

// DropIn is the file in which a plan puts what concerns the unit.
const DropIn = "/etc/systemd/system/" + limits.Unit + ".d/90-tuning.conf"

// unit looks at what the gateway's unit says. A host without one is none of its
// business; bench and balancers have limits elsewhere.
func unit(t *host.Tree, m machine) []Item {
	if m.wish.Role != load.Gateway {
		return nil
	}
	return []Item{openFiles(t, m.wish), heap(t, m)}
}

func openFiles(t *host.Tree, w load.Wish) Item {
	want := descriptors(w)
	item := Item{
		Name: "RLIMIT_NOFILE", Severity: Critical, Scope: Unit, Wanted: fmt.Sprintf("≥ %d", want), Source: "systemd.exec(5); Centrifugo, infrastructure tuning",
		Why: "A connection is a descriptor; without one accept fails. Neither ulimit of a shell nor limits.conf reaches a service.",
	}
	holder, err := limits.Descriptors(t, w.Role)
	switch {
	case err != nil:
		item.State, item.Current = Unknown, err.Error()
		return item
	case !holder.Program:
		item.State, item.Current = Skipped, "no gateway runs here, and no "+limits.Unit+" says"
		return item
	}
	item.Current, item.Number = fmt.Sprintf("%d, %s", holder.Limit, holder.Where), &holder.Limit
	if holder.Limit < want {
		item.State, item.Fix = Warning, fmt.Sprintf("LimitNOFILE=%d below [Service] in %s, then systemctl daemon-reload and restart", want, DropIn)
		if holder.Limit < w.PerProcess() {
			item.State = Critical
		}
	}
	return item
}

func heap(t *host.Tree, m machine) Item {
	item := Item{
		Name: "GOMEMLIMIT", Severity: Warning, Scope: Unit, Wanted: "90 % of what MemoryHigh leaves beside the kernel's memory for sockets", Source: "go doc runtime; Go does not read the limits of a cgroup",
		Why: "Before the kernel slows a gateway down for its memory, Go should collect its garbage more eagerly.",
	}
	example := "…"
	if m.memoryErr == nil {
		example = mebibytes(HeapLimit(m.memory, m.wish))
		item.Wanted = fmt.Sprintf("set, to %s for example", example)
	}
	lines, err := t.Unit(limits.Unit)
	if err != nil {
		item.State, item.Current = Skipped, "no "+limits.Unit+" is installed"
		return item
	}
	item.State, item.Current = Warning, "not set"
	item.Fix = fmt.Sprintf("Environment=GOMEMLIMIT=%s below [Service] in %s, then systemctl daemon-reload and restart", example, DropIn)
	for _, line := range lines {
		if _, value, found := strings.Cut(line.Value, "GOMEMLIMIT="); line.Key == "Environment" && found {
			value, _, _ = strings.Cut(strings.Trim(value, `"'`), " ")
			item.State, item.Current, item.Fix = OK, value+", "+line.File, ""
		}
	}
	return item
}

// mebibytes writes a number of bytes as Go reads it.
func mebibytes(n int64) string { return fmt.Sprintf("%dMiB", n>>20) }
