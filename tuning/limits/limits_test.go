package limits

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"switchboard/tuning/host"
	"switchboard/tuning/host/hosttest"
	"switchboard/tuning/load"
)

func open(t *testing.T, root string) *host.Tree {
	t.Helper()
	tree, err := host.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func find(t *testing.T, all []Limit, name string) Limit {
	t.Helper()
	for _, l := range all {
		if l.Name == name {
			return l
		}
	}
	t.Fatalf("no limit %s in %+v", name, all)
	return Limit{}
}

func every(Limit) bool { return true }

// The numbers are worked out by hand from the files of the tree.
func TestLimitsOfADefaultDebian(t *testing.T) {
	all := Of(open(t, hosttest.Unpack(t, "../testdata/debian12.tree")), load.Default)
	for name, want := range map[string]int64{
		"memory":                    11701737,               // (65,758,788 KiB less a tenth) / 5,180
		"CPU at rest":               14_545_454,             // 16 × 0.7 / 0.77 µs
		"net.ipv4.tcp_mem":          1_027_481 * 4096 / 327, // of a page, / 1 % of 32 KiB
		"fs.file-max":               Unlimited,
		"RLIMIT_NOFILE":             1_048_576 - 384,
		"fs.epoll.max_user_watches": 14_638_477,
	} {
		if l := find(t, all, name); l.Err != nil || l.Connections != want {
			t.Errorf("%s: got %d, %v, want %d", name, l.Connections, l.Err, want)
		}
	}
	if len(all) != 6 {
		t.Errorf("got %d limits, want no more: netfilter is not loaded and a gateway does not dial", len(all))
	}
	if first := First(all, every); first.Name != "RLIMIT_NOFILE" {
		t.Errorf("%s binds first, want RLIMIT_NOFILE", first.Name)
	}
	if firm := First(all, func(l Limit) bool { return !l.Raisable }); firm.Name != "memory" {
		t.Errorf("once all is raised %s binds first, want memory", firm.Name)
	}
}

func TestDescriptorsAreThoseOfWhoHasThem(t *testing.T) {
	root := hosttest.Unpack(t, "../testdata/tuned.tree")
	hosttest.Write(t, root, "proc/2102/limits", "Max open files 500000 500000 files\n")
	wish := load.Default
	wish.Processes = 2
	limit := func() Limit { return find(t, Of(open(t, root), wish), "RLIMIT_NOFILE") }
	if l := limit(); l.Connections != 2*(500_000-384) || !strings.Contains(l.Now, "process 2102") {
		t.Errorf("running gateways: got %+v, want those of the one with the least", l)
	}
	for _, name := range []string{"proc/2101/comm", "proc/2102/comm"} {
		hosttest.Remove(t, root, name)
	}
	if l := limit(); l.Connections != 2*(600_000-384) || !strings.Contains(l.Now, "90-tuning.conf") {
		t.Errorf("a unit: got %+v, want its drop-in's", l)
	}
	hosttest.Write(t, root, "etc/systemd/system/switchboard-gateway@.service.d/90-tuning.conf", "[Service]\nLimitNOFILE=1024:infinity\n")
	if l := limit(); l.Connections != 2*(2_097_152-384) || !strings.Contains(l.Now, "fs.nr_open") {
		t.Errorf("no limit in the unit: got %+v, want fs.nr_open", l)
	}
	hosttest.Write(t, root, "etc/systemd/system/switchboard-gateway@.service.d/90-tuning.conf", "[Service]\nLimitNOFILE=many\n")
	if l := limit(); l.Err == nil || !strings.Contains(l.Err.Error(), "90-tuning.conf:2") {
		t.Errorf("nonsense in the unit: got %+v, want the line", l)
	}
	hosttest.Remove(t, root, "etc/systemd/system/switchboard-gateway@.service")
	if l := limit(); l.Connections != 2*(524_288-384) || !strings.Contains(l.Now, "shell") {
		t.Errorf("neither: got %+v, want that of the shell", l)
	}
}

// What a gateway has says nothing of bench.
func TestDescriptorsOfOtherRoles(t *testing.T) {
	root := hosttest.Unpack(t, "../testdata/tuned.tree")
	wish := load.Default
	wish.Role = load.Bench
	if l := find(t, Of(open(t, root), wish), "RLIMIT_NOFILE"); l.Connections != 524_288 || !strings.Contains(l.Now, "no bench runs here") {
		t.Errorf("bench: got %+v, want that of the shell", l)
	}
	hosttest.Write(t, root, "proc/900/comm", "haproxy\n")
	hosttest.Write(t, root, "proc/900/limits", "Max open files 200000 200000 files\n")
	wish.Role = load.Balancer
	if l := find(t, Of(open(t, root), wish), "RLIMIT_NOFILE"); l.Connections != 100_000 || !strings.Contains(l.Now, "process 900") {
		t.Errorf("balancer: got %+v, want that of haproxy, for two sockets each", l)
	}
}

// The gateway's own arithmetic.
func TestGatewaysKeepAsManyAsTheySay(t *testing.T) {
	text, err := os.ReadFile("../../gateway/edge/room/room.go")
	if err != nil {
		t.Fatal(err)
	}
	kept := 0
	for _, m := range regexp.MustCompile(`(?m)^const (?:reservedDescriptors|Refusals) = (\d+)$`).FindAllSubmatch(text, -1) {
		n, err := strconv.Atoi(string(m[1]))
		if err != nil {
			t.Fatal(err)
		}
		kept += n
	}
	if kept != keptDescriptors {
		t.Errorf("the gateway keeps %d descriptors, tuning reckons with %d", kept, keptDescriptors)
	}
}

// A gateway keeps 384 for itself, but never more than half.
func TestSmallDescriptorLimits(t *testing.T) {
	root := hosttest.Unpack(t, "../testdata/debian12.tree")
	hosttest.Write(t, root, "proc/self/limits", "Max open files 256 256 files\n")
	if l := find(t, Of(open(t, root), load.Default), "RLIMIT_NOFILE"); l.Connections != 128 {
		t.Errorf("got %+v, want 128", l)
	}
}

func TestFilesOfTheHost(t *testing.T) {
	root := hosttest.Unpack(t, "../testdata/debian12.tree")
	hosttest.Set(t, root, "fs.file-max", "1000000")
	w := load.Default
	if l := find(t, Of(open(t, root), w), "fs.file-max"); l.Connections != 1_000_000-1_984 {
		t.Errorf("got %+v, want those that are not in use", l)
	}
	w.Role = load.Balancer
	if l := find(t, Of(open(t, root), w), "fs.file-max"); l.Connections != (1_000_000-1_984)/2 {
		t.Errorf("a balancer has two for a client: got %+v", l)
	}
}

func TestWhoDialsNeedsPorts(t *testing.T) {
	root := hosttest.Unpack(t, "../testdata/debian12.tree")
	hosttest.Set(t, root, "net.ipv4.ip_local_reserved_ports", "8080,33000-33001")
	wish := load.Default
	wish.Role, wish.Sources, wish.Destinations = load.Bench, 3, 2
	if l := find(t, Of(open(t, root), wish), "net.ipv4.ip_local_port_range"); l.Connections != (28_232-2)*6 {
		t.Errorf("got %+v, want the ports that are not reserved, for each pair", l)
	}
}

func TestNetfilterBindsWhereItIsAsked(t *testing.T) {
	root := hosttest.Unpack(t, "../testdata/debian12.tree")
	hosttest.Set(t, root, "net.netfilter.nf_conntrack_max", "262144")
	wish := load.Default
	if first := First(Of(open(t, root), wish), every); first.Name != "net.netfilter.nf_conntrack_max" || first.Connections != 262_144 {
		t.Errorf("got %+v", first)
	}
	wish.Role = load.Balancer
	if l := find(t, Of(open(t, root), wish), "net.netfilter.nf_conntrack_max"); l.Connections != 131_072 {
		t.Errorf("a balancer has two entries for a client: got %+v", l)
	}
	wish.Role, wish.Untracked = load.Gateway, true
	if first := First(Of(open(t, root), wish), every); first.Name != "RLIMIT_NOFILE" {
		t.Errorf("untracked: got %+v", first)
	}
}

func TestNobodySlowNeedsNoBuffers(t *testing.T) {
	wish := load.Default
	wish.Slow = 0
	if l := find(t, Of(open(t, hosttest.Unpack(t, "../testdata/debian12.tree")), wish), "net.ipv4.tcp_mem"); l.Err != nil || l.Connections != Unlimited {
		t.Errorf("got %+v", l)
	}
}

func TestWhatNobodyKnowsDoesNotBind(t *testing.T) {
	root := hosttest.Unpack(t, "../testdata/debian12.tree")
	for _, name := range []string{"proc/meminfo", "sys/devices/system/cpu/online", "proc/self/limits", "proc/sys/fs/file-max", "proc/sys/fs/epoll/max_user_watches", "proc/sys/net/ipv4/tcp_mem"} {
		hosttest.Remove(t, root, name)
	}
	all := Of(open(t, root), load.Default)
	for _, l := range all {
		if l.Err == nil {
			t.Errorf("%s: got %+v, want why nobody knows", l.Name, l)
		}
	}
	if first := First(all, every); first != nil {
		t.Errorf("got %+v", first)
	}
}

func TestWords(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -12345: "-12,345", 1048576: "1,048,576"} {
		if got := Number(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
	for n, want := range map[int64]string{12: "12 B", 1536: "1.5 KiB", 1 << 30: "1 GiB", 24684096 << 10: "23.5 GiB"} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
	for n, want := range map[int]string{1: "1 process", 2: "2 processes"} {
		if got := Count(n, "process"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
