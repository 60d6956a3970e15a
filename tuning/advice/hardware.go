package advice

import (
	"fmt"
	"slices"
	"strings"

	"switchboard/tuning/host"
	"switchboard/tuning/limits"
	"switchboard/tuning/load"
)

// fits asks whether the host is large enough at all.
func fits(t *host.Tree, m machine) []Item {
	var all []Item
	for _, l := range limits.Of(t, m.wish) {
		item := Item{Name: l.Name, Severity: Critical, Scope: Host, Source: measured, Wanted: fmt.Sprintf("room for %s", limits.Number(m.wish.Connections))}
		switch l.Name {
		case "memory":
			item.Why = "What a connection costs, user and kernel, has been measured; more of them than fit end with the kernel killing the gateway."
			item.Fix = fmt.Sprintf("at most %s connections here, or more memory", limits.Number(l.Connections))
		case "CPU at rest":
			item.Severity = Warning
			item.Why = "Connections at rest are pinged; that alone should leave a third of the CPUs for messages."
			item.Fix = "more CPUs, or a longer -heartbeat of the gateways"
		default:
			continue // A setting, of which the rules say more.
		}
		item.judge(l, m.wish.Connections)
		all = append(all, item)
	}
	if m.wish.Role.Dials() {
		all = append(all, portsFit(t, m.wish))
	}
	return all
}

// judge makes the item say what the limit does, of which connections are wanted.
// Where all is well there is nothing to fix.
func (i *Item) judge(l limits.Limit, connections int64) {
	switch {
	case l.Err != nil:
		i.State, i.Current, i.Fix = Unknown, l.Err.Error(), ""
		return
	case l.Connections < connections:
		i.State = i.Severity
	default:
		i.Fix = ""
	}
	i.Current = fmt.Sprintf("%s: %s connections", l.Now, limits.Number(l.Connections))
	i.Number = &l.Connections
}

func portsFit(t *host.Tree, w load.Wish) Item {
	item := Item{
		Name: "ports", Severity: Critical, Scope: Namespace, Source: ipSysctl, Wanted: fmt.Sprintf("room for %s", limits.Number(w.Connections)),
		Why: "An outgoing connection needs a port that is free for its source, destination and port; without one it fails.",
		Fix: fmt.Sprintf("widen net.ipv4.ip_local_port_range; at 64,512 ports this takes %s of source and destination (-sources, -destinations)",
			limits.Count(int((w.Connections+64511)/64512), "pair")),
	}
	item.judge(limits.Ports(t, w), w.Connections)
	return item
}

// hardware looks at memory pages, network cards and CPUs.
func hardware(t *host.Tree, m machine) []Item {
	all := []Item{hugePages(t), congestion(t), nodes(t)}
	cpus, err := t.CPUs()
	if err != nil {
		return append(all, Item{Name: "CPUs", State: Unknown, Severity: Warning, Scope: Host, Current: err.Error(), Wanted: "known", Why: "Without them nothing can be said of queues and interrupts.", Source: scaling})
	}
	all = append(all, flowLimit(t, cpus))
	return append(all, cards(t, m.wish, cpus)...)
}

func hugePages(t *host.Tree) Item {
	const file = "sys/kernel/mm/transparent_hugepage/enabled"
	item := Item{
		Name: "transparent_hugepage", Severity: Warning, Scope: Host, Wanted: "madvise or never", Source: "Redis, docs on latency; Linux Documentation/admin-guide/mm/transhuge.rst",
		Why: "With always, a heap that is used sparsely takes 2 MiB where 4 KiB would do, and the kernel stops threads to join pages.",
	}
	text, err := t.Read(file)
	_, rest, found := strings.Cut(text, "[")
	chosen, _, closed := strings.Cut(rest, "]")
	switch {
	case err != nil:
		item.State, item.Current = Unknown, err.Error()
	case !found || !closed:
		item.State, item.Current = Unknown, fmt.Sprintf("%q: nothing is chosen", text)
	default:
		item.Current = chosen
		if chosen == "always" {
			item.State, item.Fix = Warning, "echo madvise > /"+file+", and transparent_hugepage=madvise on the kernel's command line"
		}
	}
	return item
}

func congestion(t *host.Tree) Item {
	item := Item{
		Name: "net.ipv4.tcp_congestion_control", Severity: Warning, Scope: Namespace, Wanted: "anything, but bbr only with fq as net.core.default_qdisc", Source: "not measured by us; " + ipSysctl,
		Why: "Without fq, bbr paces each socket by a timer of its own, which costs CPU with many sockets.",
	}
	chosen, err := t.Sysctl(item.Name)
	if err != nil {
		item.State, item.Current = Unknown, err.Error()
		return item
	}
	item.Current, item.Value, item.Set = chosen, chosen, chosen
	queue, err := t.Sysctl("net.core.default_qdisc")
	switch {
	case chosen != "bbr" || queue == "fq":
	case err != nil:
		item.State, item.Current = Unknown, "bbr; "+err.Error()
	default:
		item.State, item.Current, item.Set = Warning, "bbr with "+queue, "cubic"
		item.Fix = "sysctl -w net.ipv4.tcp_congestion_control='cubic'"
	}
	return item
}

func nodes(t *host.Tree) Item {
	item := Item{
		Name: "kernel.numa_balancing", Severity: Warning, Scope: Host, Wanted: "0", Source: tuned,
		Why: "The kernel moves pages of programs that are pinned to a node already, and stops them meanwhile.",
	}
	if t.Nodes() < 2 {
		item.State, item.Current = Skipped, "one NUMA node"
		return item
	}
	value, err := t.Sysctl(item.Name)
	switch {
	case err != nil:
		item.State, item.Current = Unknown, err.Error()
	default:
		item.Current, item.Number, item.Value, item.Set = value, number(value), value, "0"
		if value != "0" {
			item.State, item.Fix = Warning, "sysctl -w kernel.numa_balancing='0'"
		}
	}
	return item
}

// flowLimit wants the CPUs that take interrupts of cards, which may be any.
func flowLimit(t *host.Tree, cpus []int) Item {
	item := Item{
		Name: "net.core.flow_limit_cpu_bitmap", Severity: Warning, Scope: Host, Wanted: mask(cpus) + ", or those CPUs that take a card's interrupts", Source: scaling,
		Why: "When a CPU's queue is half full, packets of the largest flows are dropped first, so that small ones get through.",
	}
	value, err := t.Sysctl(item.Name)
	switch {
	case err != nil:
		item.State, item.Current = Unknown, err.Error()
	default:
		item.Current, item.Value, item.Set = value, value, value
		if strings.Trim(value, "0,") == "" {
			item.State, item.Set = Warning, mask(cpus)
			item.Fix = fmt.Sprintf("sysctl -w %s='%s'", item.Name, item.Set)
		}
	}
	return item
}

// mask writes a set of CPUs as the kernel does: 32 of them in each group of hex
// digits, highest first.
func mask(cpus []int) string {
	groups := make([]uint32, slices.Max(cpus)/32+1)
	for _, c := range cpus {
		groups[c/32] |= 1 << (c % 32)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%x", groups[len(groups)-1])
	for _, group := range slices.Backward(groups[:len(groups)-1]) {
		fmt.Fprintf(&text, ",%08x", group)
	}
	return text.String()
}

// busyCards is from how many connections on it is worth looking after interrupts.
const busyCards = 100_000

func cards(t *host.Tree, w load.Wish, cpus []int) []Item {
	if w.Connections < busyCards {
		return nil
	}
	found, err := t.Cards()
	if err != nil {
		return []Item{{Name: "network cards", State: Unknown, Severity: Warning, Scope: Host, Current: err.Error(), Wanted: "known", Source: scaling, Why: "Without them nothing can be said of queues."}}
	}
	var all []Item
	for _, c := range found {
		all = append(all, queues(c, cpus))
	}
	return append(all, balance(t))
}

// queues wants one for each CPU of the card's node, or packets passed on to the
// other CPUs in software.
func queues(c host.Card, cpus []int) Item {
	near := c.Near
	if len(near) == 0 {
		near = cpus
	}
	item := Item{
		Name: "queues of " + c.Name, Severity: Warning, Scope: Host, Wanted: fmt.Sprintf("%d, or RPS", len(near)), Source: scaling,
		Why:     "Each queue's packets are handled by one CPU; with fewer queues than CPUs some do all of it, unless RPS passes packets on.",
		Current: limits.Count(len(c.Queues), "queue") + " for " + limits.Count(len(near), "CPU"),
	}
	if len(c.Queues) < len(near) {
		if len(c.Idle) == 0 {
			item.Current += ", RPS"
			return item
		}
		item.State = Warning
		item.Fix = fmt.Sprintf("ethtool -L %s combined %d; where the card has no more: echo %s > /sys/class/net/%s/queues/%s/rps_cpus", c.Name, len(near), mask(near), c.Name, c.Idle[0])
		if len(c.Idle) > 1 {
			item.Fix += ", and so on for " + strings.Join(c.Idle[1:], ", ")
		}
	}
	return item
}

func balance(t *host.Tree) Item {
	item := Item{
		Name: "irqbalance", Severity: Warning, Scope: Host, Wanted: "not running, one CPU for each queue", Source: scaling + "; MigratoryData, 12 million connections",
		Why: "It moves interrupts about; queues that stay on a CPU of their own keep their connections in its cache.", Current: "not running",
	}
	running, err := t.Processes("irqbalance")
	switch {
	case err != nil:
		item.State, item.Current = Unknown, err.Error()
	case len(running) > 0:
		item.State, item.Current = Warning, "process "+running[0].PID
		item.Fix = "systemctl disable --now irqbalance, then write a CPU into /proc/irq/N/smp_affinity_list of each queue's interrupt; or IRQBALANCE_BANNED_CPULIST"
	}
	return item
}
