// Package change writes down what a host should be, makes it so, and takes it
// back.
//
//	items ──▶ Plan: a file of sysctl.d, a drop-in of systemd, commands
//	            │
//	            ▼
//	          Apply ──▶ record, then values, then file ──▶ Revert
//
// Apply does all or nothing. The record, with the value that each setting had,
// is on disk before anything changes, so that after a crash at any moment Revert
// brings back what was, and Apply goes on. Neither touches what it did not write:
// a value that somebody else changed since stays, and is named.
package change

import (
	"fmt"
	"strings"

	"switchboard/tuning/advice"
	"switchboard/tuning/limits"
	"switchboard/tuning/load"
)

// File is where the settings go. Its number lets it win over the distribution's,
// and files from 91 on over it.
const File = "/etc/sysctl.d/90-switchboard.conf"

// Setting is a setting of sysctl as it should be.
type Setting struct {
	Key, Value string
	Was        string // now, before anything is changed
	Why        string
	Namespaced bool // of the network namespace
}

// Plan is what a host needs.
type Plan struct {
	Settings []Setting
	// What sysctl cannot do: the item, and what to do about it.
	Others []advice.Item
	wish   load.Wish
	memory int64 // bytes; 0 when nobody knows
	nft    bool  // netfilter tracks connections
}

// Make returns the plan that follows from what was looked at. It holds what is
// not as it should be, and of what is well only what is ours already, see Ours:
// whatever else is well may be so because the kernel knows better. namespaced
// leaves settings of the whole host out.
func Make(items []advice.Item, wish load.Wish, memory int64, ours map[string]bool, namespaced bool) Plan {
	p := Plan{wish: wish, memory: memory}
	for _, item := range items {
		well := item.State == advice.OK && !ours[item.Name]
		switch {
		case item.Set != "" && !well && (item.Scope == advice.Namespace || !namespaced):
			p.Settings = append(p.Settings, Setting{
				Key: item.Name, Value: item.Set, Was: item.Value, Why: item.Why, Namespaced: item.Scope == advice.Namespace,
			})
		case item.Set == "" && item.Fix != "" && !namespaced:
			p.Others = append(p.Others, item)
		}
		if item.Name == "net.netfilter.nf_conntrack_max" && item.State != advice.Skipped && !wish.Untracked && !namespaced {
			p.nft = true
		}
	}
	return p
}

// Sysctl returns the file of sysctl.d. It says nothing of what is now, so that it
// is the same text once it is applied.
func (p Plan) Sysctl() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Written by tuning, for %s as %s.\n", limits.Number(p.wish.Connections)+" connections", p.wish.Role)
	b.WriteString("# `tuning check` gives sources and says what else the host needs; `tuning revert` takes it back.\n")
	for _, s := range p.Settings {
		fmt.Fprintf(&b, "\n# %s\n%s = %s\n", s.Why, bootKey(s.Key), s.Value)
	}
	return b.String()
}

// bootKey marks settings of modules that may not be loaded yet when the host
// boots: without the minus that would fail the whole service.
func bootKey(key string) string {
	if strings.HasPrefix(key, "net.netfilter.") {
		return "-" + key
	}
	return key
}

// Unit returns the drop-in of the gateway's unit; empty for other roles.
func (p Plan) Unit() string {
	if p.wish.Role != load.Gateway {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# %s, for each of %s.\n[Service]\n", advice.DropIn, limits.Count(int(p.wish.Processes), "gateway"))
	fmt.Fprintf(&b, "LimitNOFILE=%d\n", advice.Descriptors(p.wish))
	if p.memory > 0 {
		fmt.Fprintf(&b, "MemoryHigh=%dM\n", advice.MemoryHigh(p.memory, p.wish)>>20)
		fmt.Fprintf(&b, "Environment=GOMEMLIMIT=%dMiB\n", advice.HeapLimit(p.memory, p.wish)>>20)
	}
	return b.String()
}

// Commands returns what is left to do by hand.
func (p Plan) Commands() string {
	var b strings.Builder
	for _, item := range p.Others {
		fmt.Fprintf(&b, "# %s: %s, wanted %s\n%s\n", item.Name, item.Current, item.Wanted, item.Fix)
	}
	if p.nft {
		b.WriteString(untrack)
	}
	return b.String()
}

// untrack is for a gateway that listens on 8081.
const untrack = `# netfilter need not track clients; put this into /etc/nftables.conf, with the gateways' ports
nft add table inet switchboard
nft 'add chain inet switchboard in { type filter hook prerouting priority raw; }'
nft 'add chain inet switchboard out { type filter hook output priority raw; }'
nft add rule inet switchboard in tcp dport 8081 notrack
nft add rule inet switchboard out tcp sport 8081 notrack
`
