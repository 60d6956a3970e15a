package advice

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"switchboard/tuning/host"
	"switchboard/tuning/host/hosttest"
	"switchboard/tuning/load"
)

func debian(t *testing.T) string { return hosttest.Unpack(t, "../testdata/debian12.tree") }
func tunedHost(t *testing.T) string {
	return hosttest.Unpack(t, "../testdata/tuned.tree")
}

// twoGateways is what the tuned host is tuned for.
func twoGateways() load.Wish {
	w := load.Default
	w.Processes = 2
	return w
}

func check(t *testing.T, root string, w load.Wish) []Item {
	t.Helper()
	tree, err := host.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return Check(tree, w)
}

func find(t *testing.T, items []Item, name string) Item {
	t.Helper()
	for _, i := range items {
		if i.Name == name {
			return i
		}
	}
	t.Fatalf("no item %s", name)
	return Item{}
}

// expect checks one item of a host.
func expect(t *testing.T, root string, w load.Wish, name string, state State, current, fix string) {
	t.Helper()
	i := find(t, check(t, root, w), name)
	if i.State != state || !strings.Contains(i.Current, current) || !strings.Contains(i.Fix, fix) || fix == "" && i.Fix != "" {
		t.Errorf("%s: got %s, %q, fix %q; want %s, %q, fix %q", name, i.State, i.Current, i.Fix, state, current, fix)
	}
}

func TestTunedHostIsWell(t *testing.T) {
	items := check(t, tunedHost(t), twoGateways())
	for _, i := range items {
		if i.State != OK && i.State != Skipped {
			t.Errorf("%s is %s: %s, wanted %s", i.Name, i.State, i.Current, i.Wanted)
		}
	}
	if len(items) < 40 || Worst(items) != OK {
		t.Errorf("%d items, the worst %s", len(items), Worst(items))
	}
}

// Every item says why, what is wanted, and who says so; every one that is not
// well says how to make it so.
func TestItemsSayEverything(t *testing.T) {
	root := debian(t)
	hosttest.Set(t, root, "net.netfilter.nf_conntrack_max", "1000")
	for _, role := range load.Roles {
		w := load.Default
		w.Role = role
		names := make(map[string]bool)
		for _, i := range check(t, root, w) {
			if i.Why == "" || i.Wanted == "" || i.Source == "" || i.Scope == "" || i.Current == "" && i.Name != "net.ipv4.ip_local_reserved_ports" || i.Severity < Warning {
				t.Errorf("%s %s lacks something: %+v", role, i.Name, i)
			}
			if (i.State == Warning || i.State == Critical) != (i.Fix != "") {
				t.Errorf("%s %s is %s with the fix %q", role, i.Name, i.State, i.Fix)
			}
			if names[i.Name] {
				t.Errorf("%s: %s is there twice", role, i.Name)
			}
			names[i.Name] = true
		}
	}
}

// What is wrong with a fresh Debian, and nothing else.
func TestDefaultDebian(t *testing.T) {
	var got []string
	for _, i := range check(t, debian(t), load.Default) {
		if i.State == Warning || i.State == Critical {
			got = append(got, i.State.String()+" "+i.Name+" → "+i.Set)
		}
	}
	want := []string{
		"critical fs.nr_open → 2000000",
		"warning net.core.somaxconn → 65535",
		"warning net.ipv4.tcp_max_syn_backlog → 65535",
		"warning net.ipv4.tcp_migrate_req → 1",
		"warning net.ipv4.tcp_mem → 2457600 3276800 4915200",
		"warning net.ipv4.tcp_slow_start_after_idle → 0",
		"warning net.ipv4.tcp_fin_timeout → 30",
		"warning net.ipv4.tcp_max_tw_buckets → 1000000",
		"warning net.ipv4.tcp_orphan_retries → 3",
		"warning net.core.netdev_max_backlog → 10000",
		"warning vm.swappiness → 10",
		"warning transparent_hugepage → ",
		"warning net.core.flow_limit_cpu_bitmap → ffff",
		"warning queues of eno1 → ",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A small host needs little: what Debian has is enough for most of it.
func TestWantsFollowConnectionsAndMemory(t *testing.T) {
	const gib = 1 << 30
	for _, tt := range []struct {
		connections, processes, memory int64
		key, want                      string
	}{
		{1_000_000, 1, 64 * gib, "fs.nr_open", "≥ 2000000"},
		{1_000_000, 4, 64 * gib, "fs.nr_open", "≥ 500000"},
		{1_000_000, 1, 64 * gib, "fs.file-max", "≥ 1500000"},
		{10_000, 1, 64 * gib, "fs.file-max", "≥ 15000"},
		{1_000_000, 1, 64 * gib, "fs.epoll.max_user_watches", "≥ 1100000"},
		{10_000, 1, 64 * gib, "net.core.somaxconn", "≥ 4096"},
		{100_000, 1, 64 * gib, "net.core.somaxconn", "≥ 8192"},
		{1_000_000, 1, 64 * gib, "net.core.somaxconn", "≥ 65535"},
		{9_000_000, 1, 64 * gib, "net.core.somaxconn", "≥ 65535"},
		{10_000, 1, 64 * gib, "net.core.netdev_max_backlog", "≥ 1000"},
		{500_000, 1, 64 * gib, "net.core.netdev_max_backlog", "≥ 5000"},
		{10_000, 1, 64 * gib, "net.ipv4.tcp_mem", "≥ 80000 106666 160000"},        // 64 KiB each
		{1_000_000, 1, 10 * gib, "net.ipv4.tcp_mem", "≥ 393216 524288 786432"},    // 30 % of the memory
		{1_000_000, 1, 64 * gib, "net.ipv4.tcp_max_tw_buckets", "≥ 1000000"},      // all
		{1_000_000, 1, 4 * gib, "net.ipv4.tcp_max_tw_buckets", "≥ 335544"},        // 2 % of the memory
		{1_000_000, 1, 128 * gib, "net.ipv4.tcp_max_orphans", "≥ 250000"},         // a quarter
		{1_000_000, 1, 16 * gib, "net.ipv4.tcp_max_orphans", "≥ 65536"},           // a quarter of the memory
		{1_000_000, 1, 64 * gib, "net.ipv4.tcp_ehash_entries", "≥ 500000"},        // half
		{1_000_000, 1, 64 * gib, "net.netfilter.nf_conntrack_max", "≥ 2000000"},   // twice
		{300_000, 1, 64 * gib, "net.netfilter.nf_conntrack_max", "≥ 600000"},      // twice
		{1_000_000, 1, 64 * gib, "net.ipv4.tcp_rmem", "≥ 4096 16384 1048576"},     // whatever
		{1_000_000, 3, 64 * gib, "net.netfilter.nf_conntrack_max", "≥ 2000000"},   // of the host
		{1_000_000, 3, 64 * gib, "fs.epoll.max_user_watches", "≥ 1100000"},        // of the user
		{100_000_000, 1, 64 * gib, "net.ipv4.tcp_ehash_entries", "≥ 50000000"},    // half
		{100_000_000, 1, 64 * gib, "net.core.netdev_max_backlog", "≥ 10000"},      // at most
		{1, 1, 1 * gib, "net.ipv4.tcp_mem", "≥ 8 10 16"},                          // nearly none
		{1_000_000, 1, 64 * gib, "net.ipv4.tcp_fin_timeout", "≤ 30"},              // whatever
		{1_000_000, 1, 64 * gib, "net.ipv4.tcp_keepalive_time", "leave it"},       // whatever
		{1_000_000, 1, 64 * gib, "net.ipv4.ip_local_port_range", "leave it"},      // of a gateway
		{1_000_000, 1, 64 * gib, "net.ipv4.tcp_congestion_control", "(no rule)"},  // needs two settings
		{1_000_000, 1, 64 * gib, "net.netfilter.nf_conntrack_count", "(no rule)"}, // is no setting
	} {
		w := load.Default
		w.Connections, w.Processes = tt.connections, tt.processes
		got := "(no rule)"
		for _, r := range rules(machine{wish: w, memory: tt.memory}) {
			if r.key == tt.key && r.concerns(w.Role) {
				got = r.want.String()
			}
		}
		if got != tt.want {
			t.Errorf("%s for %d in %d, %d GiB: got %s, want %s", tt.key, tt.connections, tt.processes, tt.memory/gib, got, tt.want)
		}
	}
}

// A balancer has a socket to the client and one to the gateway.
func TestBalancersNeedTwice(t *testing.T) {
	w := load.Default
	w.Role = load.Balancer
	if i := find(t, check(t, debian(t), w), "fs.nr_open"); i.Wanted != "≥ 4000000" {
		t.Errorf("got %s", i.Wanted)
	}
}

// Whoever dials needs ports, and those of our programs kept out of them.
func TestDialersNeedPorts(t *testing.T) {
	root, w := debian(t), load.Default
	w.Role, w.Connections = load.Bench, 100_000
	expect(t, root, w, "ports", Critical, "28,232 connections", "2 pairs")
	expect(t, root, w, "net.ipv4.ip_local_port_range", Warning, "32768 60999", "='1024 65535'")
	expect(t, root, w, "net.ipv4.ip_local_reserved_ports", Warning, "", "='8080-8082,9101-9103'")
	expect(t, root, w, "net.ipv4.tcp_tw_reuse", Warning, "2", "='1'")
	hosttest.Set(t, root, "net.ipv4.ip_local_reserved_ports", "5432,8080-8082")
	expect(t, root, w, "net.ipv4.ip_local_reserved_ports", Warning, "5432", "='5432,8080-8082,9101-9103'")
	w.Sources = 4
	expect(t, root, w, "ports", OK, "112,928 connections", "")
}

// Amounts are raised field by field and never lowered; what is in order is kept.
func TestNothingHigherIsLowered(t *testing.T) {
	for _, tt := range []struct {
		g             goal
		current, want string
	}{
		{atLeast{100}, "50", "100"},
		{atLeast{100}, "9223372036854775807", "9223372036854775807"},
		{atLeast{4096, 16384, 1 << 20}, "8192 4096 33554432", "8192 16384 33554432"},
		{atMost(30), "60", "30"},
		{atMost(30), "15", "15"},
		{between{3600, 86400}, "432000", "86400"},
		{between{3600, 86400}, "60", "3600"},
		{between{3600, 86400}, "7200", "7200"},
		{oneOf{"3", "1", "2"}, "0", "3"},
		{oneOf{"3", "1", "2"}, "2", "2"},
		{wide{1024, 65535}, "32768 60999", "1024 65535"},
		{wide{1024, 60000}, "500 65535", "500 65535"},
		{holds{8080, 8081}, "", "8080-8081"},
		{holds{8080, 8081}, "22,8080-9000", "22,8080-9000"},
		{anything{}, "x", "x"},
	} {
		met, err := tt.g.met(tt.current)
		if err != nil || met != (tt.current == tt.want) {
			t.Errorf("%s of %q: met is %v, %v", tt.g, tt.current, met, err)
		}
		got := tt.g.improved(tt.current)
		if got != tt.want {
			t.Errorf("%s of %q: got %q, want %q", tt.g, tt.current, got, tt.want)
		}
		if met, err := tt.g.met(got); err != nil || !met {
			t.Errorf("%s is not content with its own %q: %v", tt.g, got, err)
		}
	}
}

func TestNonsenseIsUnknown(t *testing.T) {
	for key, value := range map[string]string{
		"fs.nr_open": "many", "net.ipv4.tcp_mem": "1 2", "net.ipv4.tcp_fin_timeout": "", "net.ipv4.tcp_max_tw_buckets": "99999999999999999999",
	} {
		root := debian(t)
		hosttest.Set(t, root, key, value)
		expect(t, root, load.Default, key, Unknown, "", "")
	}
	root, w := debian(t), load.Default
	w.Role = load.Bench
	hosttest.Set(t, root, "net.ipv4.ip_local_port_range", "1024")
	hosttest.Set(t, root, "net.ipv4.ip_local_reserved_ports", "all")
	for _, name := range []string{"net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports", "ports"} {
		expect(t, root, w, name, Unknown, "", "")
	}
}

// Whatever file is missing, everything else is still said, and what is not known
// names the file.
func TestEveryFileMayBeMissing(t *testing.T) {
	whole := check(t, tunedHost(t), twoGateways())
	root := tunedHost(t)
	var files []string
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(file, root)
		for _, i := range check(t, root, twoGateways()) {
			if i.State == Unknown && !strings.Contains(i.Current, name) {
				t.Errorf("without %s: %s is unknown for %q", name, i.Name, i.Current)
			}
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if len(files) < 50 || len(whole) != len(check(t, root, twoGateways())) {
		t.Errorf("%d files were tried", len(files))
	}
}

func TestWithoutMemoryFormulasAreUnknown(t *testing.T) {
	root := tunedHost(t)
	hosttest.Remove(t, root, "proc/meminfo")
	for _, name := range []string{"memory", "net.ipv4.tcp_mem", "net.ipv4.tcp_max_tw_buckets", "net.ipv4.tcp_max_orphans"} {
		expect(t, root, twoGateways(), name, Unknown, "/proc/meminfo", "")
	}
	if i := find(t, check(t, root, twoGateways()), "net.ipv4.tcp_mem"); i.Set != "" && i.Set != "4931904 6575872 9863808" {
		t.Errorf("a plan would set %q", i.Set)
	}
}

// A value that the next boot takes away is not well.
func TestWhatTheNextBootUndoes(t *testing.T) {
	root := tunedHost(t)
	hosttest.Write(t, root, "etc/sysctl.d/99-old.conf", "\nnet.core.somaxconn = 1024\n")
	expect(t, root, twoGateways(), "net.core.somaxconn", Warning, "65535, but /etc/sysctl.d/99-old.conf:2 makes it 1024", "delete line 2 of /etc/sysctl.d/99-old.conf")
	hosttest.Set(t, root, "net.core.somaxconn", "1024")
	expect(t, root, twoGateways(), "net.core.somaxconn", Warning, "1024", "; and delete line 2 of /etc/sysctl.d/99-old.conf")
	hosttest.Write(t, root, "etc/sysctl.d/99-older.conf", "net.core.somaxconn = 65535\n")
	expect(t, root, twoGateways(), "net.core.somaxconn", Warning, "1024", "sysctl -w net.core.somaxconn='65535'")
}

func TestSwitchesAndTimes(t *testing.T) {
	for key, value := range map[string]string{
		"net.ipv4.tcp_syncookies": "0", "net.ipv4.tcp_abort_on_overflow": "1", "net.core.busy_poll": "50", "net.core.busy_read": "50",
		"vm.swappiness": "100", "net.ipv4.tcp_orphan_retries": "8", "kernel.numa_balancing": "1", "net.ipv4.tcp_rmem": "4096 16384 65536",
	} {
		root := tunedHost(t)
		hosttest.Set(t, root, key, value)
		expect(t, root, twoGateways(), key, Warning, value, "sysctl -w "+key+"=")
	}
}

func TestCriticalIsWhatLosesConnections(t *testing.T) {
	for _, tt := range []struct {
		key, value string
		state      State
	}{
		{"fs.file-max", "1400000", Warning},
		{"fs.file-max", "900000", Critical},
		{"fs.nr_open", "900000", Warning},
		{"fs.nr_open", "500000", Critical},
		{"fs.epoll.max_user_watches", "1050000", Warning},
		{"fs.epoll.max_user_watches", "900000", Critical},
		{"net.netfilter.nf_conntrack_max", "1500000", Warning},
		{"net.netfilter.nf_conntrack_max", "262144", Critical},
	} {
		root := tunedHost(t)
		hosttest.Set(t, root, tt.key, tt.value)
		expect(t, root, twoGateways(), tt.key, tt.state, tt.value, "sysctl -w "+tt.key)
	}
}

func TestUntrackedConnectionsNeedNoEntries(t *testing.T) {
	root, w := tunedHost(t), twoGateways()
	hosttest.Set(t, root, "net.netfilter.nf_conntrack_max", "1000")
	w.Untracked = true
	expect(t, root, w, "net.netfilter.nf_conntrack_max", OK, "1000", "")
}

func TestHostsThatAreTooSmall(t *testing.T) {
	root := tunedHost(t)
	hosttest.Write(t, root, "proc/meminfo", "MemTotal: 4194304 kB\n")
	expect(t, root, twoGateways(), "memory", Critical, "621,978 connections", "at most 621,978")
	hosttest.Write(t, root, "sys/devices/system/cpu/online", "0\n")
	expect(t, root, twoGateways(), "CPU at rest", Warning, "1 CPU: 909,090 connections", "heartbeat")
}

func TestCongestionControlAndQueue(t *testing.T) {
	root := tunedHost(t)
	hosttest.Set(t, root, "net.ipv4.tcp_congestion_control", "bbr")
	expect(t, root, twoGateways(), "net.ipv4.tcp_congestion_control", Warning, "bbr with pfifo_fast", "cubic")
	hosttest.Set(t, root, "net.core.default_qdisc", "fq")
	expect(t, root, twoGateways(), "net.ipv4.tcp_congestion_control", OK, "bbr", "")
}

func TestNodesAndPages(t *testing.T) {
	root := tunedHost(t)
	hosttest.Write(t, root, "sys/devices/system/node/online", "0\n")
	expect(t, root, twoGateways(), "kernel.numa_balancing", Skipped, "one NUMA node", "")
	const file = "sys/kernel/mm/transparent_hugepage/enabled"
	hosttest.Write(t, root, file, "always madvise [never]\n")
	expect(t, root, twoGateways(), "transparent_hugepage", OK, "never", "")
	hosttest.Write(t, root, file, "always madvise never\n")
	expect(t, root, twoGateways(), "transparent_hugepage", Unknown, "nothing is chosen", "")
}

func TestQueues(t *testing.T) {
	root := tunedHost(t)
	hosttest.Write(t, root, "sys/class/net/ens3f0/device/local_cpulist", "0-17\n")
	expect(t, root, twoGateways(), "queues of ens3f0", Warning, "16 queues for 18 CPUs", "ethtool -L ens3f0 combined 18; where the card has no more: echo 3ffff >")
	for i := range 16 {
		hosttest.Write(t, root, fmt.Sprintf("sys/class/net/ens3f0/queues/rx-%d/rps_cpus", i), "0003ffff\n")
	}
	expect(t, root, twoGateways(), "queues of ens3f0", OK, "RPS", "")
	small := twoGateways()
	small.Connections = busyCards - 1
	for _, i := range check(t, root, small) {
		if strings.HasPrefix(i.Name, "queues") {
			t.Errorf("%s is looked at for %d connections", i.Name, small.Connections)
		}
	}
}

func TestIrqbalance(t *testing.T) {
	root := tunedHost(t)
	hosttest.Write(t, root, "proc/611/comm", "irqbalance\n")
	hosttest.Write(t, root, "proc/611/limits", "Max open files 1024 1024 files\n")
	expect(t, root, twoGateways(), "irqbalance", Warning, "process 611", "systemctl disable")
}

func TestMasks(t *testing.T) {
	for want, cpus := range map[string][]int{"1": {0}, "ff": {0, 1, 2, 3, 4, 5, 6, 7}, "1,00000001": {0, 32}, "80000000,00000000,00000000": {95}} {
		if got := mask(cpus); got != want {
			t.Errorf("%v: got %s, want %s", cpus, got, want)
		}
	}
}

func TestUnit(t *testing.T) {
	root := tunedHost(t)
	expect(t, root, twoGateways(), "RLIMIT_NOFILE", OK, "600000, process 2101", "")
	hosttest.Write(t, root, "proc/2101/limits", "Max open files 520000 520000 files\n")
	expect(t, root, twoGateways(), "RLIMIT_NOFILE", Warning, "520000, process 2101", "LimitNOFILE=550000")
	hosttest.Write(t, root, "proc/2101/limits", "Max open files 1024 524288 files\n")
	expect(t, root, twoGateways(), "RLIMIT_NOFILE", Critical, "1024, process 2101", "LimitNOFILE=550000")
	expect(t, root, twoGateways(), "GOMEMLIMIT", OK, "43000MiB", "")
	hosttest.Remove(t, root, "etc/systemd/system/switchboard-gateway@.service.d/90-tuning.conf")
	expect(t, root, twoGateways(), "GOMEMLIMIT", Warning, "not set", "Environment=GOMEMLIMIT=44368MiB")
	expect(t, debian(t), load.Default, "GOMEMLIMIT", Skipped, "no switchboard-gateway@.service", "")
	expect(t, debian(t), load.Default, "RLIMIT_NOFILE", Skipped, "no gateway runs", "")
}

func TestWhatHappenedSinceBoot(t *testing.T) {
	for name, write := range map[string]func(root string){
		"ListenOverflows": func(root string) {
			hosttest.Write(t, root, "proc/net/netstat", "TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPAbortOnMemory\nTcpExt: 0 7 0 0\n")
		},
		"packets dropped": func(root string) { hosttest.Write(t, root, "proc/net/softnet_stat", "1 7 0\n") },
	} {
		root := tunedHost(t)
		write(root)
		expect(t, root, twoGateways(), name, Warning, "7", "raise")
	}
	root := tunedHost(t)
	hosttest.Write(t, root, "proc/net/netstat", "TcpExt: SyncookiesSent\nTcpExt: 0\n")
	expect(t, root, twoGateways(), "ListenDrops", Unknown, "does not count", "")
}

func TestWhatIsInUse(t *testing.T) {
	for _, tt := range []struct {
		used  string
		state State
	}{{"79", OK}, {"80", Warning}, {"95", Critical}} {
		root := tunedHost(t)
		hosttest.Set(t, root, "fs.file-nr", tt.used+"0000\t0\t1000000")
		hosttest.Set(t, root, "fs.file-max", "1000000")
		hosttest.Set(t, root, "net.netfilter.nf_conntrack_count", tt.used)
		hosttest.Set(t, root, "net.netfilter.nf_conntrack_max", "100")
		hosttest.Set(t, root, "net.ipv4.tcp_mem", "50 100 150")
		hosttest.Write(t, root, "proc/net/sockstat", "TCP: inuse 1 mem "+tt.used+"\n")
		fix := map[bool]string{true: "raise", false: ""}[tt.state != OK]
		for _, name := range []string{"descriptors of the host", "connections that netfilter tracks", "buffers of TCP"} {
			expect(t, root, twoGateways(), name, tt.state, tt.used, fix)
		}
	}
}

func TestFolkloreIsFound(t *testing.T) {
	told := map[string]string{
		"net.ipv4.tcp_tw_recycle": "1", "net.ipv4.tcp_low_latency": "1", "net.ipv4.tcp_fack": "1", "net.ipv4.tcp_max_tw_buckets": "5000",
		"net.ipv4.tcp_timestamps": "0", "net.core.busy_poll": "50", "net.core.busy_read": "50", "net.core.rmem_default": "16777216", "net.core.wmem_default": "16777216",
	}
	for key, value := range told {
		root := tunedHost(t)
		hosttest.Write(t, root, "etc/sysctl.conf", "# from a blog\n"+key+" = "+value+"\n")
		expect(t, root, twoGateways(), "folklore /etc/sysctl.conf:2", Warning, key+" = "+value, "delete line 2 of /etc/sysctl.conf")
	}
	root := tunedHost(t)
	hosttest.Write(t, root, "etc/security/limits.conf", "* hard nofile 1000000\n")
	expect(t, root, twoGateways(), "folklore /etc/security/limits.conf:1", Warning, "* hard nofile 1000000", "delete line 1")
	root = tunedHost(t)
	hosttest.Write(t, root, "etc/sysctl.conf", "net.ipv4.tcp_timestamps = 1\nnet.ipv4.tcp_max_tw_buckets = 2000000\nnet.core.busy_poll=0\nnet.core.rmem_default=212992\n")
	expect(t, root, twoGateways(), "folklore", OK, "none", "")
}

// The list is for people, too.
func TestFolkloreHasReasons(t *testing.T) {
	for _, tale := range Folklore() {
		if tale.What == "" || !strings.HasSuffix(tale.Reason, ".") && !strings.HasSuffix(tale.Reason, "\".") {
			t.Errorf("%+v", tale)
		}
	}
}

func TestWorst(t *testing.T) {
	for _, tt := range []struct {
		states []State
		want   State
	}{
		{nil, OK}, {[]State{OK, Skipped}, OK}, {[]State{Skipped, Unknown}, Unknown}, {[]State{Warning, Unknown}, Warning}, {[]State{Critical, Warning}, Critical},
	} {
		var items []Item
		for _, s := range tt.states {
			items = append(items, Item{State: s})
		}
		if got := Worst(items); got != tt.want {
			t.Errorf("%v: got %s, want %s", tt.states, got, tt.want)
		}
	}
}

func TestHeapLimitLeavesRoomForTheKernel(t *testing.T) {
	w := twoGateways()
	const memory = 128 << 30
	limit, high := HeapLimit(memory, w), MemoryHigh(memory, w)
	if high < memory/5*4/2-1 || high > memory/5*4/2 {
		t.Errorf("MemoryHigh: got %d", high)
	}
	if want := (high - 500_000*(4029+327)) / 10 * 9; limit != want {
		t.Errorf("GOMEMLIMIT: got %d, want %d", limit, want)
	}
	if limit := HeapLimit(1<<30, w); limit < 1 {
		t.Errorf("a host that is too small: got %d", limit)
	}
}

func TestUnreadableBootFiles(t *testing.T) {
	root := tunedHost(t)
	hosttest.Write(t, root, "etc/sysctl.d/95-long.conf", strings.Repeat("#\n", 1<<20))
	expect(t, root, twoGateways(), "folklore", Unknown, "95-long.conf", "")
	if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}
