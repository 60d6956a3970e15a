package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"switchboard/tuning/host/hosttest"
)

func debian(t *testing.T) string { return hosttest.Unpack(t, "../testdata/debian12.tree") }

func open(t *testing.T, root string) *Tree {
	t.Helper()
	tree, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestFactsOfACapturedHost(t *testing.T) {
	tree := open(t, debian(t))
	memory, err := tree.Memory()
	if err != nil || memory != 65758788<<10 {
		t.Errorf("memory: got %d, %v", memory, err)
	}
	cpus, err := tree.CPUs()
	if err != nil || len(cpus) != 16 || cpus[15] != 15 {
		t.Errorf("CPUs: got %v, %v", cpus, err)
	}
	if n := tree.Nodes(); n != 1 {
		t.Errorf("nodes: got %d", n)
	}
	if v, err := tree.Sysctl("net.ipv4.tcp_mem"); err != nil || v != "770610 1027481 1541220" {
		t.Errorf("tcp_mem: got %q, %v", v, err)
	}
	counters, err := tree.Counters()
	if err != nil || counters["TW"] != 1204 || len(counters) != 16 {
		t.Errorf("counters: got %v, %v", counters, err)
	}
	if n, err := tree.TCPPages(); err != nil || n != 3 {
		t.Errorf("pages of TCP: got %d, %v", n, err)
	}
	cards, err := tree.Cards()
	if err != nil || len(cards) != 1 || cards[0].Name != "eno1" || len(cards[0].Queues) != 8 || len(cards[0].Idle) != 8 || len(cards[0].Near) != 16 {
		t.Errorf("cards: got %+v, %v", cards, err)
	}
}

func TestProcesses(t *testing.T) {
	tree := open(t, hosttest.Unpack(t, "../testdata/tuned.tree"))
	got, err := tree.Processes("gateway", "switchboard-gat")
	want := []Process{{"2101", "switchboard-gat", 600_000}, {"2102", "switchboard-gat", 600_000}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if got, err := tree.Processes("irqbalance"); err != nil || len(got) != 0 {
		t.Errorf("irqbalance: got %v, %v, want none", got, err)
	}
}

func TestDroppedPacketsAreHexadecimal(t *testing.T) {
	root := debian(t)
	hosttest.Write(t, root, "proc/net/softnet_stat", "0000ffff 00000010 00000000\n0000ffff 0000000a 00000000\n")
	if n, err := open(t, root).Dropped(); err != nil || n != 26 {
		t.Errorf("got %d, %v, want 26", n, err)
	}
}

// What is not there, or is nonsense, is an error that names the file.
func TestFilesThatSayNothing(t *testing.T) {
	root := debian(t)
	for _, name := range []string{"proc/meminfo", "sys/devices/system/cpu/online", "proc/net/netstat", "proc/net/softnet_stat", "proc/net/sockstat", "proc/self/limits"} {
		t.Run(name, func(t *testing.T) {
			ask := func() error {
				tree := open(t, root)
				_, memory := tree.Memory()
				_, cpus := tree.CPUs()
				_, counters := tree.Counters()
				_, dropped := tree.Dropped()
				_, pages := tree.TCPPages()
				_, limit := tree.Descriptors("self")
				return errors.Join(memory, cpus, counters, dropped, pages, limit)
			}
			if err := ask(); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(filepath.Join(root, name))
			if err != nil {
				t.Fatal(err)
			}
			defer hosttest.Write(t, root, name, string(text))
			nonsense := "TcpExt: A\nTcpExt: many\nMax open files many many files\nTCP: mem many\nMemTotal: many kB\n"
			hosttest.Write(t, root, name, nonsense)
			if err := ask(); err == nil {
				t.Error("nonsense is believed")
			}
			hosttest.Remove(t, root, name)
			if err := ask(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "/"+name) {
				t.Errorf("without the file: got %v, want its name", err)
			}
		})
	}
}

func TestLists(t *testing.T) {
	for text, want := range map[string][]int{
		"": nil, "0": {0}, "0-3": {0, 1, 2, 3}, "1,3-4,8080\n": {1, 3, 4, 8080},
	} {
		got, err := ParseList(text)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
		if back := FormatList(got); back != strings.TrimSpace(text) {
			t.Errorf("%q comes back as %q", text, back)
		}
	}
	for _, text := range []string{"a", "3-1", "1-", "-1", "0-999999999"} {
		if got, err := ParseList(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}

func TestNormalValues(t *testing.T) {
	for _, tt := range []struct{ key, text, want string }{
		{"net.ipv4.tcp_mem", "1\t2\t3\n", "1 2 3"},
		{"net.core.flow_limit_cpu_bitmap", "00000000,0000ffff", "ffff"},
		{"net.core.flow_limit_cpu_bitmap", "0000", "0"},
		{"net.ipv4.tcp_fin_timeout", "060", "060"},
	} {
		if got := Normal(tt.key, tt.text); got != tt.want {
			t.Errorf("%s = %q: got %q, want %q", tt.key, tt.text, got, tt.want)
		}
	}
}

// sysctl.d(5): the name orders files of all folders, the first folder hides the
// others, and sysctl.conf comes last.
func TestBootOrder(t *testing.T) {
	root := debian(t)
	hosttest.Write(t, root, "etc/sysctl.d/90-a.conf", "# x\n\nnet.core.somaxconn=1\n")
	hosttest.Write(t, root, "usr/lib/sysctl.d/90-a.conf", "net.core.somaxconn=2\n")
	hosttest.Write(t, root, "run/sysctl.d/95-b.conf", "-net/core/somaxconn = 3\n; y\nno assignment\n")
	hosttest.Write(t, root, "etc/sysctl.d/README", "net.core.somaxconn=4\n")
	hosttest.Write(t, root, "etc/sysctl.conf", "net.ipv4.tcp_mem = 1\t2  3\n")
	got, err := open(t, root).Boot()
	want := []Line{
		{"/usr/lib/sysctl.d/50-pid-max.conf", 2, "kernel.pid_max", "4194304"},
		{"/etc/sysctl.d/90-a.conf", 3, "net.core.somaxconn", "1"},
		{"/run/sysctl.d/95-b.conf", 1, "net.core.somaxconn", "3"},
		{"/etc/sysctl.conf", 1, "net.ipv4.tcp_mem", "1 2 3"},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

// Debian links 99-sysctl.conf to sysctl.conf: its lines count once.
func TestTheSameFileCountsOnce(t *testing.T) {
	root := debian(t)
	for _, name := range []string{"etc/sysctl.conf", "etc/sysctl.d/99-sysctl.conf"} {
		hosttest.Write(t, root, name, "vm.swappiness = 1\n")
	}
	got, err := open(t, root).Boot()
	if err != nil || len(got) != 2 || got[1].File != "/etc/sysctl.d/99-sysctl.conf" {
		t.Errorf("got %v, %v, want the line once", got, err)
	}
}

func TestUnitAndDropIns(t *testing.T) {
	root := hosttest.Unpack(t, "../testdata/tuned.tree")
	hosttest.Write(t, root, "usr/lib/systemd/system/switchboard-gateway@.service.d/10-x.conf", "[Service]\n#LimitNOFILE=1\nLimitNOFILE=2\n")
	got, err := open(t, root).Unit("switchboard-gateway@.service")
	if err != nil {
		t.Fatal(err)
	}
	var limits []string
	for _, line := range got {
		if line.Key == "LimitNOFILE" {
			limits = append(limits, line.Value)
		}
	}
	if want := []string{"1048576", "2", "600000"}; !slices.Equal(limits, want) {
		t.Errorf("got %v, want %v: the unit, then drop-ins by name", limits, want)
	}
	if _, err := open(t, debian(t)).Unit("switchboard-gateway@.service"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a unit: got %v", err)
	}
}

func TestUserLimits(t *testing.T) {
	root := debian(t)
	hosttest.Write(t, root, "etc/security/limits.conf", "# a comment\n#* hard nofile 1\n* hard nproc 5\n* hard nofile 1000000\n")
	hosttest.Write(t, root, "etc/security/limits.d/x.conf", "switchboard - nofile 9\n")
	got := open(t, root).UserLimits()
	want := []Line{{"/etc/security/limits.conf", 4, "*", "hard nofile 1000000"}, {"/etc/security/limits.d/x.conf", 1, "switchboard", "- nofile 9"}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestCaptureAnswersAsTheHostDid(t *testing.T) {
	root := hosttest.Unpack(t, "../testdata/tuned.tree")
	hosttest.Write(t, root, "proc/77/comm", "secretive\n")
	hosttest.Write(t, root, "proc/77/environ", "PASSWORD=x")
	look := func(tree *Tree) []any {
		memory, err1 := tree.Memory()
		cards, err2 := tree.Cards()
		running, err3 := tree.Processes("switchboard-gat")
		unit, err4 := tree.Unit("switchboard-gateway@.service")
		boot, err5 := tree.Boot()
		if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
			t.Fatal(err)
		}
		return []any{memory, len(cards[0].Queues), running[1], unit[len(unit)-1], boot[len(boot)-1], tree.Has("sys/class/net/lo/device")}
	}
	tree := open(t, root)
	want := look(tree)
	dir := filepath.Join(t.TempDir(), "captured")
	files, err := tree.Capture(dir)
	if err != nil || files < 20 {
		t.Fatalf("captured %d files, %v", files, err)
	}
	if got := look(open(t, dir)); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if _, err := os.Stat(filepath.Join(dir, "proc/77")); err == nil {
		t.Error("a program that nobody asked about was captured")
	}
	if _, err := open(t, dir).Capture(dir); err == nil {
		t.Error("a folder that is not empty was written to")
	}
}

func TestWhatIsNoTree(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an absent folder: got %v", err)
	}
	if _, err := Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no folder proc") {
		t.Errorf("another folder: got %v", err)
	}
}

// A capture comes from somebody else: a link in it must not read our files.
func TestLinksOutOfACaptureAreNotFollowed(t *testing.T) {
	root, secret := debian(t), filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("MemTotal: 1 kB\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	hosttest.Remove(t, root, "proc/meminfo")
	if err := os.Symlink(secret, filepath.Join(root, "proc/meminfo")); err != nil {
		t.Fatal(err)
	}
	if n, err := open(t, root).Memory(); err == nil {
		t.Errorf("got %d from a file outside", n)
	}
}

func TestLongFilesAreRefused(t *testing.T) {
	root := debian(t)
	hosttest.Write(t, root, "proc/meminfo", strings.Repeat("x", fileLimit+1))
	if _, err := open(t, root).Memory(); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("got %v", err)
	}
}

// The running kernel is read as well.
func TestThisHost(t *testing.T) {
	tree := open(t, "")
	memory, err := tree.Memory()
	if err != nil || memory < 1<<20 {
		t.Errorf("memory: got %d, %v", memory, err)
	}
	if _, err := tree.Sysctl("net.core.somaxconn"); err != nil {
		t.Error(err)
	}
	if n, err := tree.Descriptors("self"); err != nil || n < 1 {
		t.Errorf("descriptors: got %d, %v", n, err)
	}
	if counters, err := tree.Counters(); err != nil || len(counters) < 10 {
		t.Errorf("counters: got %d, %v", len(counters), err)
	}
}
