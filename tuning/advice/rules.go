package advice

import (
	"fmt"

	"switchboard/tuning/load"
)

// Who says so.
const (
	ipSysctl  = "Linux Documentation/networking/ip-sysctl.rst"
	netSysctl = "Linux Documentation/admin-guide/sysctl/net.rst"
	fsSysctl  = "Linux Documentation/admin-guide/sysctl/fs.rst"
	vmSysctl  = "Linux Documentation/admin-guide/sysctl/vm.rst"
	scaling   = "Linux Documentation/networking/scaling.rst"
	conntrack = "Linux Documentation/networking/nf_conntrack-sysctl.rst"
	tuned     = "tuned, profiles throughput-performance and network-latency"
	measured  = "measured: bench/RESULTS.md, docs/capacity.md"
)

var (
	dialers   = []load.Role{load.Bench, load.Balancer}
	acceptors = []load.Role{load.Gateway, load.Balancer}
)

// rules are what is asked of the settings of sysctl, in the order of reports.
func rules(m machine) []rule {
	all := fileRules(m.wish)
	all = append(all, acceptRules(m.wish)...)
	all = append(all, bufferRules(m)...)
	all = append(all, lifeRules(m)...)
	all = append(all, portRules()...)
	all = append(all, packetRules(m.wish)...)
	all = append(all, trackRules(m.wish)...)
	return append(all, memoryRules(m.wish)...)
}

func fileRules(w load.Wish) []rule {
	return []rule{
		{
			key: "fs.nr_open", scope: Host, source: fsSysctl,
			want: atLeast{2 * w.PerProcess() * w.Role.Sockets()}, need: atLeast{descriptors(w)},
			why: "No process may have more descriptors, whatever its unit says; half of it is room to grow.",
		},
		{
			key: "fs.file-max", scope: Host, source: fsSysctl,
			want: atLeast{halfMore(sockets(w))}, need: atLeast{sockets(w)},
			why: "All sockets of the host count; when it is reached the kernel logs it and nobody can open anything.",
		},
		{
			key: "fs.epoll.max_user_watches", scope: Host, source: fsSysctl,
			want: atLeast{tenthMore(sockets(w))}, need: atLeast{sockets(w)},
			why: "Every connection is watched, and all processes of one user share this; about 160 bytes each.",
		},
	}
}

func acceptRules(w load.Wish) []rule {
	room := backlog(w)
	return []rule{
		{
			key: "net.core.somaxconn", scope: Namespace, source: netSysctl, roles: acceptors, want: atLeast{room},
			why: "It caps the queue of connections that nobody has accepted yet; when that is full, clients that reconnect wait for retransmissions. Programs read it as they start.",
		},
		{
			key: "net.ipv4.tcp_max_syn_backlog", scope: Namespace, source: ipSysctl, roles: acceptors, want: atLeast{room},
			why: "Handshakes under way, for each listener, 304 bytes each: a storm of reconnects fills it.",
		},
		{
			key: "net.ipv4.tcp_syncookies", scope: Namespace, source: ipSysctl, roles: acceptors, want: oneOf{"1"},
			why: "A last resort when the queue is full: 0 drops clients, 2 takes TCP options from everybody. It must not stand in for a larger queue.",
		},
		{
			key: "net.ipv4.tcp_abort_on_overflow", scope: Namespace, source: ipSysctl, roles: acceptors, want: oneOf{"0"},
			why: "1 resets clients for a burst that the next retransmission would have survived.",
		},
		{
			key: "net.ipv4.tcp_migrate_req", scope: Namespace, source: ipSysctl + "; tried: 183 of 400 resets without it, none with it", roles: acceptors, want: oneOf{"1"},
			why: "When one of several listeners on a port closes, its queued handshakes go to another one instead of being reset.",
		},
	}
}

func bufferRules(m machine) []rule {
	return []rule{
		{
			key: "net.ipv4.tcp_mem", scope: Host, source: ipSysctl + "; Cloudflare, Unbounded memory usage by TCP for receive buffers", want: m.tcpPages(),
			why: "From the second number of pages on the kernel throttles all sockets, not only the slow ones. Connections at rest use none.",
		},
		{
			key: "net.ipv4.tcp_rmem", scope: Namespace, source: ipSysctl, want: atLeast{4096, 16384, 1 << 20},
			why: "The worst case of one socket; nothing is allocated while it is idle. Do not copy 16 MB from guides to throughput.",
		},
		{
			key: "net.ipv4.tcp_wmem", scope: Namespace, source: ipSysctl, want: atLeast{4096, 16384, 1 << 20},
			why: "The worst case of one slow reader; the gateway sets SO_SNDBUF of 16 KiB on its own sockets and is not concerned.",
		},
		{
			key: "net.ipv4.tcp_notsent_lowat", scope: Namespace, source: ipSysctl, roles: []load.Role{load.Balancer}, want: atMost(16384),
			why: "What has not been sent stays in the program's queue, where it can still be dropped or joined. Takes effect at once.",
		},
		{
			key: "net.ipv4.tcp_notsent_lowat", scope: Namespace, source: ipSysctl, roles: []load.Role{load.Gateway}, keep: true, want: anything{},
			why: "The gateway sets TCP_NOTSENT_LOWAT of 8 KiB on its own sockets, so that the rest stays in its queue.",
		},
	}
}

func lifeRules(m machine) []rule {
	return []rule{
		{
			key: "net.ipv4.tcp_keepalive_time", scope: Namespace, source: ipSysctl, keep: true, want: anything{},
			why: "It concerns sockets with SO_KEEPALIVE only; gateways ping clients after -heartbeat (30s), which also keeps NAT open.",
		},
		{
			key: "net.ipv4.tcp_retries2", scope: Namespace, source: ipSysctl, keep: true, want: anything{},
			why: "15 means that a dead peer is noticed after 924 s, but the gateway gives a peer up that answers no pings after three times -heartbeat (30s); other programs rely on the default.",
		},
		{
			key: "net.ipv4.tcp_slow_start_after_idle", scope: Namespace, source: ipSysctl, want: oneOf{"0"},
			why: "Chat is idle by nature; with 1 the congestion window collapses between two messages.",
		},
		{
			key: "net.ipv4.tcp_fin_timeout", scope: Namespace, source: ipSysctl, want: atMost(30),
			why: "How long a socket that we closed waits for its peer's end, FIN_WAIT_2. It does not concern TIME_WAIT.",
		},
		{
			key: "net.ipv4.tcp_max_tw_buckets", scope: Namespace, source: ipSysctl, want: m.timeWait(),
			why: "Beyond it sockets skip TIME_WAIT, so that late packets hit new connections; it must never be lowered.",
		},
		{
			key: "net.ipv4.tcp_max_orphans", scope: Host, source: ipSysctl, want: m.orphans(),
			why: "Sockets that a gateway closed and that still have something to send; beyond it they are reset. Up to 64 KiB each, which cannot be swapped.",
		},
		{
			key: "net.ipv4.tcp_orphan_retries", scope: Namespace, source: ipSysctl, roles: acceptors, want: oneOf{"3", "1", "2"},
			why: "How often the kernel tries to send what a closed socket has left; 0 means 8.",
		},
	}
}

// ourPorts are those on which programs of ours listen by default.
var ourPorts = holds{8080, 8081, 8082, 9101, 9102, 9103}

func portRules() []rule {
	return []rule{
		{
			key: "net.ipv4.tcp_tw_reuse", scope: Namespace, source: ipSysctl, roles: dialers, want: oneOf{"1"},
			why: "Who opens many connections may reuse a port in TIME_WAIT after a second; it concerns outgoing connections only.",
		},
		{
			key: "net.ipv4.ip_local_port_range", scope: Namespace, source: ipSysctl, roles: dialers, want: wide{1024, 65535},
			why: "64,512 instead of 28,232 connections from each address of ours to each address and port.",
		},
		{
			key: "net.ipv4.ip_local_reserved_ports", scope: Namespace, source: ipSysctl, roles: dialers, want: ourPorts,
			why: "With the wide range an outgoing connection could take the port of a program that is just restarting.",
		},
		{
			key: "net.ipv4.tcp_tw_reuse", scope: Namespace, source: ipSysctl, roles: []load.Role{load.Gateway}, keep: true, want: anything{},
			why: "It concerns outgoing connections only, of which a gateway has a handful.",
		},
		{
			key: "net.ipv4.ip_local_port_range", scope: Namespace, source: ipSysctl, roles: []load.Role{load.Gateway}, keep: true, want: anything{},
			why: "It concerns outgoing connections only; clients take no ports of a gateway.",
		},
	}
}

func packetRules(w load.Wish) []rule {
	return []rule{
		{
			key: "net.core.netdev_max_backlog", scope: Host, source: scaling, want: atLeast{packets(w)},
			why: "Packets that a CPU has not come to yet; beyond it they are dropped, which /proc/net/softnet_stat counts.",
		},
		{
			key: "net.core.busy_poll", scope: Host, source: netSysctl + "; tuned's network-latency sets 50: do not inherit it", want: oneOf{"0"},
			why: "Polling spends CPU for microseconds; for more than several hundred sockets the kernel's own advice is epoll.",
		},
		{
			key: "net.core.busy_read", scope: Host, source: netSysctl + "; tuned's network-latency sets 50: do not inherit it", want: oneOf{"0"},
			why: "Like busy_poll, for blocking reads.",
		},
	}
}

const noTracking = "netfilter tracks no connections here"

func trackRules(w load.Wish) []rule {
	entries, most := goal(atLeast{2 * sockets(w)}), goal(atLeast{sockets(w)})
	if w.Untracked {
		entries, most = anything{}, nil
	}
	return []rule{
		{
			key: "net.netfilter.nf_conntrack_max", scope: Host, source: conntrack, want: entries, need: most, absent: noTracking,
			why: "A full table drops new connections without a word. Better, do not track the clients' port: `tuning plan` shows the rules; then say -untracked.",
		},
		{
			key: "net.netfilter.nf_conntrack_tcp_timeout_established", scope: Namespace, source: conntrack, want: between{3600, 86400}, absent: noTracking,
			why: "The default of five days keeps entries of clients that are long gone.",
		},
	}
}

func memoryRules(w load.Wish) []rule {
	return []rule{
		{
			key: "vm.swappiness", scope: Host, source: tuned + "; " + vmSysctl, want: atMost(10),
			why: "A gateway's memory is sessions that somebody waits for; swapping them out makes a ping a disk read.",
		},
		{
			key: "vm.overcommit_memory", scope: Host, source: vmSysctl, keep: true, want: anything{},
			why: "Go reserves addresses, not memory; no value of it helps.",
		},
		{
			key: "net.ipv4.tcp_ehash_entries", scope: Boot, source: ipSysctl, want: atLeast{sockets(w) / 2},
			fixed: fmt.Sprintf("add thash_entries=%d to the kernel's command line (GRUB_CMDLINE_LINUX), and boot", powerOfTwo(sockets(w)/2)),
			why:   "Whoever looks up a socket walks a chain of connections / entries; it is sized once, from the memory at boot.",
		},
	}
}
