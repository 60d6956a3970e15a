package advice

import (
	"fmt"
	"strconv"
	"strings"

	"switchboard/tuning/host"
)

// Tale is advice that is handed on and does harm, or nothing.
type Tale struct {
	What   string
	Reason string
	// told says whether an assignment follows the tale; nil when it is no setting
	// of sysctl.
	told func(key, value string) bool
}

// Folklore is what this program refuses to recommend.
func Folklore() []Tale {
	return []Tale{
		{
			What: "net.ipv4.tcp_tw_recycle", told: key("net.ipv4.tcp_tw_recycle"),
			Reason: "Linux 4.12 took it out, since it dropped clients behind the same NAT; the line fails at boot.",
		},
		{
			What: "net.ipv4.tcp_low_latency", told: key("net.ipv4.tcp_low_latency"),
			Reason: "The kernel keeps the name for old scripts and ignores the value.",
		},
		{
			What: "net.ipv4.tcp_fack", told: key("net.ipv4.tcp_fack"),
			Reason: "The kernel keeps the name for old scripts and ignores the value.",
		},
		{
			What: "net.ipv4.tcp_max_tw_buckets, lowered", told: below("net.ipv4.tcp_max_tw_buckets", 131_072),
			Reason: "Sockets in TIME_WAIT cost little and keep late packets from new connections; ip-sysctl.rst: \"you must not lower the limit artificially\".",
		},
		{
			What: "net.ipv4.tcp_timestamps = 0", told: is("net.ipv4.tcp_timestamps", "0"),
			Reason: "It saves 12 bytes a packet and takes round trip times, protection against wrapped sequence numbers and tcp_tw_reuse away.",
		},
		{
			What: "net.core.busy_poll and busy_read above 0", told: func(k, v string) bool {
				return (k == "net.core.busy_poll" || k == "net.core.busy_read") && v != "0"
			},
			Reason: "Polling pays for a handful of sockets; beyond several hundred the kernel's own advice is epoll.",
		},
		{
			What: "a large net.core.rmem_default or wmem_default", told: func(k, v string) bool {
				return above("net.core.rmem_default", 1<<20)(k, v) || above("net.core.wmem_default", 1<<20)(k, v)
			},
			Reason: "For TCP the second number of tcp_rmem and tcp_wmem overrides it; what it does is give every UDP socket as much.",
		},
		{
			What:   "nofile in /etc/security/limits.conf",
			Reason: "PAM reads it for people who log in. A service has LimitNOFILE= in its unit and nothing else.",
		},
		{
			What:   "\"65,535 connections are the most for a server\"",
			Reason: "A connection is four numbers: both addresses and both ports. The limit concerns one client address that connects to one port.",
		},
	}
}

func key(name string) func(key, value string) bool {
	return func(k, _ string) bool { return k == name }
}

func is(name, value string) func(key, value string) bool {
	return func(k, v string) bool { return k == name && v == value }
}

func below(name string, least int64) func(key, value string) bool {
	return func(k, v string) bool {
		n, err := strconv.ParseInt(v, 10, 64)
		return k == name && err == nil && n < least
	}
}

func above(name string, most int64) func(key, value string) bool {
	return func(k, v string) bool {
		n, err := strconv.ParseInt(v, 10, 64)
		return k == name && err == nil && n > most
	}
}

// folklore finds tales in what the host sets when it boots.
func folklore(t *host.Tree, boot []host.Line, bootErr error) []Item {
	if bootErr != nil {
		return []Item{{Name: "folklore", State: Unknown, Severity: Warning, Scope: Boot, Current: bootErr.Error(), Wanted: "none", Why: "Settings that do harm are not looked for.", Source: "sysctl.d(5)"}}
	}
	var all []Item
	add := func(tale Tale, line host.Line, said string) {
		all = append(all, Item{
			Name: fmt.Sprintf("folklore %s:%d", line.File, line.Number), State: Warning, Severity: Warning, Scope: Boot, Current: said, Wanted: "no such line",
			Why: tale.Reason, Fix: fmt.Sprintf("delete line %d of %s", line.Number, line.File), Source: "tuning folklore",
		})
	}
	for _, tale := range Folklore() {
		for _, line := range boot {
			if tale.told != nil && tale.told(line.Key, line.Value) {
				add(tale, line, line.Key+" = "+line.Value)
			}
		}
		if strings.HasPrefix(tale.What, "nofile") {
			for _, line := range t.UserLimits() {
				add(tale, line, line.Key+" "+line.Value)
			}
		}
	}
	if all == nil {
		all = []Item{{Name: "folklore", Severity: Warning, Scope: Boot, Current: "none", Wanted: "none", Why: "Settings that are handed on and do harm, or nothing.", Source: "tuning folklore"}}
	}
	return all
}
