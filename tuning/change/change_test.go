package change

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"switchboard/tuning/advice"
	"switchboard/tuning/host"
	"switchboard/tuning/host/hosttest"
	"switchboard/tuning/load"
)

func debian(t *testing.T) string { return hosttest.Unpack(t, "../testdata/debian12.tree") }

func on(root string) *Changer { return New(Config{Root: root, File: File, State: State}) }

// plan returns what a host needs.
func plan(t *testing.T, root string, w load.Wish, namespaced bool) Plan {
	t.Helper()
	return planFor(t, on(root), w, namespaced)
}

func planFor(t *testing.T, c *Changer, w load.Wish, namespaced bool) Plan {
	t.Helper()
	root := c.Root
	tree, err := host.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	memory, err := tree.Memory()
	if err != nil {
		t.Fatal(err)
	}
	ours, err := c.Ours()
	if err != nil {
		t.Fatal(err)
	}
	return Make(advice.Check(tree, w), w, memory, ours, namespaced)
}

// snapshot returns every file of the host, but the lock.
func snapshot(t *testing.T, root string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(root, func(name string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || d.Name() == "lock" {
			return err
		}
		text, err := os.ReadFile(name)
		files[strings.TrimPrefix(name, root)] = host.Normal(name, string(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func apply(t *testing.T, c *Changer, p Plan) Applied {
	t.Helper()
	done, err := c.Apply(p.Settings, p.Sysctl())
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func revert(t *testing.T, c *Changer, force bool) Reverted {
	t.Helper()
	done, err := c.Revert(force)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func TestApplyThenRevert(t *testing.T) {
	root := debian(t)
	before := snapshot(t, root)
	p := plan(t, root, load.Default, false)
	done := apply(t, on(root), p)
	if len(done.Changes) != 12 || !done.Written {
		t.Errorf("got %+v, want 12 changes and the file", done)
	}
	tree, err := host.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range advice.Check(tree, load.Default) {
		if item.Set != "" && item.State != advice.OK {
			t.Errorf("%s is %s afterwards: %s", item.Name, item.State, item.Current)
		}
	}
	if text := snapshot(t, root)[File]; !strings.Contains(text, "net.core.somaxconn = 65535") {
		t.Errorf("the file: got %q", text)
	}
	if got := revert(t, on(root), false); len(got.Changes) != 12 || !got.Deleted || !got.Complete() {
		t.Errorf("got %+v", got)
	}
	if after := snapshot(t, root); !maps.Equal(after, before) {
		t.Errorf("the host is not what it was: %v", differences(before, after))
	}
	if got := revert(t, on(root), false); !got.Nothing {
		t.Errorf("a second revert: got %+v", got)
	}
}

func differences(before, after map[string]string) (names []string) {
	for name := range before {
		if after[name] != before[name] {
			names = append(names, name)
		}
	}
	for name := range after {
		if _, there := before[name]; !there {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func TestApplyMayBeRepeated(t *testing.T) {
	root := debian(t)
	before := snapshot(t, root)
	apply(t, on(root), plan(t, root, load.Default, false))
	once := snapshot(t, root)
	if done := apply(t, on(root), plan(t, root, load.Default, false)); len(done.Changes) != 0 || done.Written || len(done.Foreign) != 0 {
		t.Errorf("the second time: got %+v, want nothing", done)
	}
	if twice := snapshot(t, root); !maps.Equal(once, twice) {
		t.Errorf("the second time changed %v", differences(once, twice))
	}
	larger := load.Default
	larger.Connections = 2_000_000
	if done := apply(t, on(root), plan(t, root, larger, false)); len(done.Changes) == 0 || !done.Written {
		t.Errorf("another wish: got %+v", done)
	}
	revert(t, on(root), false)
	if after := snapshot(t, root); !maps.Equal(after, before) {
		t.Errorf("revert does not lead to what was before the first: %v", differences(before, after))
	}
}

// A role that wants less gives back what the other one took.
func TestAnotherRoleGivesBack(t *testing.T) {
	root := debian(t)
	before := snapshot(t, root)
	bench := load.Default
	bench.Role = load.Bench
	apply(t, on(root), plan(t, root, bench, false))
	if got := snapshot(t, root)["/proc/sys/net/ipv4/ip_local_port_range"]; got != "1024 65535" {
		t.Fatalf("bench: the range is %q", got)
	}
	apply(t, on(root), plan(t, root, load.Default, false))
	if got := snapshot(t, root)["/proc/sys/net/ipv4/ip_local_port_range"]; got != "32768 60999" {
		t.Errorf("gateway: the range is %q, want that of before", got)
	}
	revert(t, on(root), false)
	if after := snapshot(t, root); !maps.Equal(after, before) {
		t.Errorf("the host is not what it was: %v", differences(before, after))
	}
}

func TestAFileThatWasThereComesBack(t *testing.T) {
	root := debian(t)
	hosttest.Write(t, root, strings.TrimPrefix(File, "/"), "vm.swappiness = 5\n")
	before := snapshot(t, root)
	apply(t, on(root), plan(t, root, load.Default, false))
	revert(t, on(root), false)
	if after := snapshot(t, root); !maps.Equal(after, before) {
		t.Errorf("the host is not what it was: %v", differences(before, after))
	}
}

func TestWhatSomebodyElseChangedStays(t *testing.T) {
	root := debian(t)
	before := snapshot(t, root)
	apply(t, on(root), plan(t, root, load.Default, false))
	hosttest.Set(t, root, "net.core.somaxconn", "32768")
	hosttest.Write(t, root, strings.TrimPrefix(File, "/"), "net.core.somaxconn = 32768\n")
	done := revert(t, on(root), false)
	if done.Complete() || len(done.Foreign) != 1 || done.Foreign[0] != (Change{"net.core.somaxconn", "65535", "32768"}) || !done.ForeignFile || len(done.Changes) != 11 {
		t.Errorf("got %+v, want the setting and the file left alone", done)
	}
	left := differences(before, snapshot(t, root))
	want := []string{File, "/proc/sys/net/core/somaxconn", State + "/record.json"}
	if !slices.Equal(left, want) {
		t.Errorf("left: got %v, want %v", left, want)
	}
	if done := revert(t, on(root), true); !done.Complete() || len(done.Changes) != 1 {
		t.Errorf("with force: got %+v", done)
	}
	if after := snapshot(t, root); !maps.Equal(after, before) {
		t.Errorf("with force the host is not what it was: %v", differences(before, after))
	}
}

// What somebody made of a setting between two applies is what it was before us.
func TestApplyOverSomebodyElse(t *testing.T) {
	root := debian(t)
	apply(t, on(root), plan(t, root, load.Default, false))
	hosttest.Set(t, root, "vm.swappiness", "60")
	hosttest.Set(t, root, "net.ipv4.tcp_fin_timeout", "45")
	done := apply(t, on(root), plan(t, root, load.Default, false))
	if len(done.Foreign) != 1 || done.Foreign[0] != (Change{"net.ipv4.tcp_fin_timeout", "30", "45"}) {
		t.Errorf("got %+v, want the one that is neither ours nor what was before", done.Foreign)
	}
	revert(t, on(root), false)
	files := snapshot(t, root)
	if got := files["/proc/sys/net/ipv4/tcp_fin_timeout"]; got != "45" {
		t.Errorf("tcp_fin_timeout comes back as %s, want 45", got)
	}
	if got := files["/proc/sys/vm/swappiness"]; got != "60" {
		t.Errorf("swappiness comes back as %s, want 60", got)
	}
}

func TestSettingsThatAreGone(t *testing.T) {
	root := debian(t)
	hosttest.Set(t, root, "net.netfilter.nf_conntrack_max", "262144")
	apply(t, on(root), plan(t, root, load.Default, false))
	hosttest.Remove(t, root, "proc/sys/net/netfilter/nf_conntrack_max")
	if done := apply(t, on(root), plan(t, root, load.Default, false)); len(done.Changes) != 0 || !done.Written {
		t.Errorf("applied again: got %+v, want the file without it", done)
	}
	hosttest.Set(t, root, "net.netfilter.nf_conntrack_max", "262144")
	apply(t, on(root), plan(t, root, load.Default, false))
	hosttest.Remove(t, root, "proc/sys/net/netfilter/nf_conntrack_max")
	if done := revert(t, on(root), false); !done.Complete() || !slices.Equal(done.Gone, []string{"net.netfilter.nf_conntrack_max"}) {
		t.Errorf("got %+v", done)
	}
}

var errBroken = errors.New("broken")

// Whatever the kernel or the disk refuses, the host is as it was.
func TestApplyIsAllOrNothing(t *testing.T) {
	for n := range 13 { // 12 settings and the file
		root := debian(t)
		before := snapshot(t, root)
		c := on(root)
		steps := 0
		c.set = func(key, value string) error {
			if steps++; steps == n+1 {
				return errBroken
			}
			return c.write(key, value)
		}
		c.put = func(name string, text *string) error {
			if steps++; steps == n+1 {
				return errBroken
			}
			return put(name, text)
		}
		p := plan(t, root, load.Default, false)
		if _, err := c.Apply(p.Settings, p.Sysctl()); !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "nothing is changed") {
			t.Fatalf("step %d fails: got %v", n, err)
		}
		if after := snapshot(t, root); !maps.Equal(after, before) {
			t.Errorf("step %d fails: the host is not what it was: %v", n, differences(before, after))
		}
	}
}

// A kernel that makes something else of a value has not taken it.
func TestValuesThatTheKernelChanges(t *testing.T) {
	root := debian(t)
	before := snapshot(t, root)
	c := on(root)
	c.set = func(key, value string) error {
		if key == "fs.nr_open" && value == "2000000" {
			value = "1999999"
		}
		return c.write(key, value)
	}
	p := plan(t, root, load.Default, false)
	if _, err := c.Apply(p.Settings, p.Sysctl()); err == nil || !strings.Contains(err.Error(), `the kernel made it "1999999"`) {
		t.Errorf("got %v", err)
	}
	if after := snapshot(t, root); !maps.Equal(after, before) {
		t.Errorf("the host is not what it was: %v", differences(before, after))
	}
}

// crash is what a test panics with in place of the kernel's end.
type crash struct{}

// crashAt runs do on a host whose power fails before the nth change.
func crashAt(root string, n int, do func(c *Changer)) (crashed bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, ours := r.(crash); !ours {
				panic(r)
			}
			crashed = true
		}
	}()
	c := on(root)
	steps := 0
	step := func() {
		if steps++; steps == n+1 {
			panic(crash{})
		}
	}
	c.set = func(key, value string) error { step(); return c.write(key, value) }
	c.put = func(name string, text *string) error { step(); return put(name, text) }
	do(c)
	return false
}

// After a crash at any change, revert leads to what was, and so does apply and
// then revert, on a fresh host as on one that had another plan before.
func TestCrashesInTheMiddle(t *testing.T) {
	bench := load.Default
	bench.Role, bench.Connections = load.Bench, 3_000_000
	each := 1
	if testing.Short() {
		each = 3 // Every change of both parities is tried otherwise.
	}
	for _, earlier := range []bool{false, true} {
		for n := 0; ; n += each {
			root := debian(t)
			before := snapshot(t, root)
			if earlier {
				apply(t, on(root), plan(t, root, bench, false))
			}
			p := plan(t, root, load.Default, false)
			crashed := crashAt(root, n, func(c *Changer) { _, _ = c.Apply(p.Settings, p.Sysctl()) })
			if n%2 == 1 { // Go on first.
				if done := apply(t, on(root), plan(t, root, load.Default, false)); len(done.Foreign) > 0 {
					t.Errorf("change %d: apply takes our own for somebody else's: %+v", n, done.Foreign)
				}
			}
			again := crashAt(root, n/2, func(c *Changer) { _, _ = c.Revert(false) })
			if done := revert(t, on(root), false); !done.Complete() || !again && !done.Nothing {
				t.Errorf("change %d: revert takes our own for somebody else's: %+v", n, done)
			}
			if after := snapshot(t, root); !maps.Equal(after, before) {
				t.Errorf("a crash at change %d: the host is not what it was: %v", n, differences(before, after))
			}
			if !crashed {
				if n < 8 {
					t.Errorf("only %d changes were tried", n)
				}
				break
			}
		}
	}
}

func TestTwoAtOnceAreRefused(t *testing.T) {
	root := debian(t)
	p := plan(t, root, load.Default, false)
	c := on(root)
	var second error
	c.set = func(key, value string) error {
		if second == nil {
			_, second = on(root).Revert(false)
		}
		return c.write(key, value)
	}
	apply(t, c, p)
	if second == nil || !strings.Contains(second.Error(), "another tuning is at work") {
		t.Errorf("got %v", second)
	}
}

// A setting that is well without us is not pinned: with more memory the kernel
// itself would make it more.
func TestWhatIsWellIsNotOurs(t *testing.T) {
	root := debian(t)
	for _, s := range plan(t, root, load.Default, false).Settings {
		if s.Value == s.Was {
			t.Errorf("%s = %s is in the plan of a fresh host", s.Key, s.Value)
		}
	}
	tuned := hosttest.Unpack(t, "../testdata/tuned.tree")
	w := load.Default
	w.Processes = 2
	if p := plan(t, tuned, w, false); len(p.Settings) != 14 || !strings.Contains(p.Sysctl(), "\nnet.core.somaxconn = 65535\n") {
		t.Errorf("of a file that was there before us: got %d settings, want its 14, which is all but what gateways see to themselves:\n%s", len(p.Settings), p.Sysctl())
	}
}

func TestPreviewChangesNothing(t *testing.T) {
	root := debian(t)
	before := snapshot(t, root)
	p := plan(t, root, load.Default, false)
	done, err := on(root).Preview(p.Settings, p.Sysctl())
	if err != nil || len(done.Changes) != 12 || !done.Written {
		t.Errorf("got %+v, %v", done, err)
	}
	if after := snapshot(t, root); !maps.Equal(after, before) {
		t.Errorf("changed: %v", differences(before, after))
	}
}

func TestRecordsThatCannotBeRead(t *testing.T) {
	for _, text := range []string{"{", `{"version": 2}`} {
		root := debian(t)
		p := plan(t, root, load.Default, false)
		hosttest.Write(t, root, State[1:]+"/record.json", text)
		if _, err := on(root).Ours(); err == nil {
			t.Errorf("whose settings they are, by %s: got no error", text)
		}
		if _, err := on(root).Apply(p.Settings, p.Sysctl()); err == nil || !strings.Contains(err.Error(), "record") {
			t.Errorf("apply over %s: got %v", text, err)
		}
		if _, err := on(root).Revert(true); err == nil {
			t.Errorf("revert of %s: got no error", text)
		}
	}
}

// A record of one network namespace is not for another.
func TestRecordsOfAnotherNamespace(t *testing.T) {
	root := debian(t)
	hosttest.Write(t, root, State[1:]+"/record.json", `{"version": 1, "namespace": "net:[1]", "file": "`+File+`", "file_before": null, "file_after": null, "values": []}`)
	p := plan(t, root, load.Default, false)
	if _, err := on(root).Apply(p.Settings, p.Sysctl()); err == nil || !strings.Contains(err.Error(), "another namespace") {
		t.Errorf("apply: got %v", err)
	}
	if _, err := on(root).Revert(false); err == nil || !strings.Contains(err.Error(), "net:[1]") {
		t.Errorf("revert: got %v", err)
	}
}

func TestNamespacedPlansHoldNothingOfTheHost(t *testing.T) {
	root := debian(t)
	hosttest.Set(t, root, "net.netfilter.nf_conntrack_max", "262144")
	p := plan(t, root, load.Default, true)
	for _, s := range p.Settings {
		if !s.Namespaced || strings.HasPrefix(s.Key, "fs.") || strings.HasPrefix(s.Key, "vm.") {
			t.Errorf("%s is of the host", s.Key)
		}
	}
	if len(p.Settings) < 7 || p.Commands() != "" {
		t.Errorf("%d settings, commands %q", len(p.Settings), p.Commands())
	}
}

// What the kernel would not take at boot must not stop what comes after it.
func TestModulesThatComeLater(t *testing.T) {
	root := debian(t)
	hosttest.Set(t, root, "net.netfilter.nf_conntrack_max", "262144")
	p := plan(t, root, load.Default, false)
	if !strings.Contains(p.Sysctl(), "\n-net.netfilter.nf_conntrack_max = 2000000\n") {
		t.Errorf("got %s", p.Sysctl())
	}
	if !strings.Contains(p.Commands(), "dport 8081 notrack") {
		t.Errorf("commands: got %s", p.Commands())
	}
	untracked := load.Default
	untracked.Untracked = true
	if p := plan(t, root, untracked, false); strings.Contains(p.Commands(), "notrack") {
		t.Errorf("commands when nothing is tracked: got %s", p.Commands())
	}
}

func TestUnitOfAPlan(t *testing.T) {
	w := load.Default
	w.Processes = 2
	got := plan(t, debian(t), w, false).Unit()
	for _, want := range []string{"[Service]\n", "\nLimitNOFILE=550000\n", "\nMemoryHigh=25687M\n", "\nEnvironment=GOMEMLIMIT=21248MiB\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("the drop-in lacks %q:\n%s", want, got)
		}
	}
	w.Role = load.Bench
	if got := plan(t, debian(t), w, false).Unit(); got != "" {
		t.Errorf("bench has no unit: got %s", got)
	}
}
