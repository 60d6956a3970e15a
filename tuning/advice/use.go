package advice

import (
	"fmt"
	"strconv"
	"strings"

	"switchboard/tuning/host"
	"switchboard/tuning/limits"
)

// The shares of a limit in use from which on it is worth a word.
const (
	high    = 80 // percent
	highest = 95
)

// use looks at what has happened since boot, and at how much is in use.
func use(t *host.Tree) []Item {
	all := counted(t)
	all = append(all, dropped(t))
	all = append(all, share(t, "fs.file-nr", "fs.file-max", "descriptors of the host", "", func(used, most string) (string, string) {
		return first(used, 0), most
	}))
	all = append(all, share(t, "net.netfilter.nf_conntrack_count", "net.netfilter.nf_conntrack_max", "connections that netfilter tracks", noTracking, nil))
	return append(all, buffersInUse(t))
}

// counters are those of the TCP stack that should not move.
var counters = []struct{ name, why, fix string }{
	{"ListenOverflows", "So many connections found the queue of a listener full.", "raise net.core.somaxconn, then restart the gateway, whose listener has the old one; see whether its event loops stall"},
	{"ListenDrops", "So many handshakes were dropped, for that or another reason.", "as for ListenOverflows; look at net.ipv4.tcp_max_syn_backlog and memory"},
	{"SyncookiesSent", "So many handshakes found net.ipv4.tcp_max_syn_backlog full, by a storm or by an attack.", "raise net.ipv4.tcp_max_syn_backlog, or find out who attacks"},
	{"TCPAbortOnMemory", "So many connections were reset because there was no memory for them, by tcp_mem or tcp_max_orphans.", "raise net.ipv4.tcp_mem and net.ipv4.tcp_max_orphans, or find out who does not read"},
}

func counted(t *host.Tree) []Item {
	values, err := t.Counters()
	var all []Item
	for _, c := range counters {
		item := Item{Name: c.name, Severity: Warning, Scope: Namespace, Wanted: "0 since boot", Why: c.why, Source: "/proc/net/netstat; Linux Documentation/networking/snmp_counter.rst"}
		value, there := values[c.name]
		switch {
		case err != nil:
			item.State, item.Current = Unknown, err.Error()
		case !there:
			item.State, item.Current = Unknown, "this kernel does not count it"
		default:
			item.Current, item.Number = strconv.FormatInt(value, 10), &value
			if value > 0 {
				item.State, item.Fix = Warning, c.fix
			}
		}
		all = append(all, item)
	}
	return all
}

func dropped(t *host.Tree) Item {
	item := Item{
		Name: "packets dropped", Severity: Warning, Scope: Host, Wanted: "0 since boot", Source: "/proc/net/softnet_stat; " + scaling,
		Why: "So many packets found the queue of their CPU full.",
	}
	value, err := t.Dropped()
	if err != nil {
		item.State, item.Current = Unknown, err.Error()
		return item
	}
	item.Current, item.Number = strconv.FormatInt(value, 10), &value
	if value > 0 {
		item.State, item.Fix = Warning, "raise net.core.netdev_max_backlog; spread the card's queues over more CPUs"
	}
	return item
}

// share compares two settings of sysctl, what is used and the most there may be.
func share(t *host.Tree, usedKey, mostKey, what, absent string, pick func(used, most string) (string, string)) Item {
	item := Item{
		Name: what, Severity: Critical, Scope: Host, Wanted: fmt.Sprintf("< %d %% of %s", high, mostKey), Source: "/" + host.SysctlFile(usedKey),
		Why: "When the rest is used up, nothing more is opened.",
	}
	if absent != "" && !t.Has(host.SysctlFile(usedKey)) {
		item.State, item.Current = Skipped, absent
		return item
	}
	used, err := t.Sysctl(usedKey)
	if err != nil {
		item.State, item.Current = Unknown, err.Error()
		return item
	}
	most, err := t.Sysctl(mostKey)
	if err != nil {
		item.State, item.Current = Unknown, err.Error()
		return item
	}
	if pick != nil {
		used, most = pick(used, most)
	}
	item.portion(used, most, "raise "+mostKey)
	return item
}

// portion makes the item say how much of something is used.
func (i *Item) portion(used, most, fix string) {
	u, m := number(used), number(most)
	if u == nil || m == nil || *m == 0 {
		i.State, i.Current = Unknown, fmt.Sprintf("%q of %q", used, most)
		return
	}
	if *m >= limits.Endless {
		i.Current, i.Number = limits.Number(*u)+", without a limit", u
		return
	}
	percent := float64(*u) / float64(*m) * 100
	i.Current, i.Number = fmt.Sprintf("%s of %s", limits.Number(*u), limits.Number(*m)), u
	switch {
	case percent >= highest:
		i.State, i.Fix = Critical, fix
	case percent >= high:
		i.State, i.Fix = Warning, fix
	}
}

func first(text string, n int) string {
	if fields := strings.Fields(text); n < len(fields) {
		return fields[n]
	}
	return ""
}

func buffersInUse(t *host.Tree) Item {
	item := Item{
		Name: "buffers of TCP", Severity: Critical, Scope: Host, Wanted: fmt.Sprintf("< %d %% of the second number of net.ipv4.tcp_mem", high), Source: "/proc/net/sockstat",
		Why: "Beyond it the kernel throttles every socket.",
	}
	pages, err := t.TCPPages()
	if err != nil {
		item.State, item.Current = Unknown, err.Error()
		return item
	}
	most, err := t.Sysctl("net.ipv4.tcp_mem")
	if err != nil {
		item.State, item.Current = Unknown, err.Error()
		return item
	}
	item.portion(strconv.FormatInt(pages, 10), first(most, 1), "raise net.ipv4.tcp_mem, or find out who does not read: ss -tm")
	if item.State != Unknown {
		item.Current += " pages"
	}
	return item
}
