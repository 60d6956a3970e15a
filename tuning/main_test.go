package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"switchboard/internal/daemon"
	"switchboard/tuning/host/hosttest"
)

var update = flag.Bool("update", false, "rewrite golden files, and what docs/tuning.md and systemd show of them")

// tuning runs the program as Main does and returns its output and exit status.
func tuning(args ...string) (stdout string, status int) {
	var out bytes.Buffer
	old := os.Args
	os.Args = append([]string{"tuning"}, args...)
	defer func() { os.Args = old }()
	status = daemon.Main(func(ctx context.Context, args []string, _ io.Writer) error { return run(ctx, args, &out) })
	return out.String(), status
}

// hosts are those of testdata, with what they are asked: two that are put together by
// hand, and one as it was captured.
var hosts = map[string][]string{
	"debian12": {"-connections", "1M"},
	"tuned":    {"-connections", "1M", "-processes", "2"},
	"virtual":  {"-connections", "1M", "-processes", "51"},
}

// golden compares a text with a file, or makes the file hold it.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what is said now; go test ./tuning -update shows what changed. Got:\n%s", file, got)
	}
}

func TestGoldens(t *testing.T) {
	for name, asked := range hosts {
		root := hosttest.Unpack(t, "testdata/"+name+".tree")
		for _, command := range []string{
			"check", "check -verbose", "check -format json", "check -format nagios", "check -format prometheus",
			"check -role bench", "check -role balancer", "capacity", "capacity -format json", "plan", "plan -role bench",
		} {
			t.Run(name+" "+command, func(t *testing.T) {
				got, _ := tuning(append(append(strings.Fields(command), "-root", root), asked...)...)
				golden(t, filepath.Join("testdata/golden", name, strings.ReplaceAll(command, " ", "")+".txt"), got)
			})
		}
	}
}

// What docs/tuning.md shows is what the program says:
//
//	<!-- debian12: tuning check -->
//	```text
//	…
//	```
func TestDocumentShowsWhatIsSaid(t *testing.T) {
	const file = "../docs/tuning.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)(<!-- (\\w+): tuning ([^\n]*) -->\n```text\n)(.*?)(```\n)")
	shown := 0
	got := block.ReplaceAllStringFunc(string(text), func(whole string) string {
		shown++
		m := block.FindStringSubmatch(whole)
		args := strings.Fields(m[3])
		if m[2] != "any" {
			args = append(args, "-root", hosttest.Unpack(t, "testdata/"+m[2]+".tree"))
		}
		out, _ := tuning(args...)
		return m[1] + out + m[5]
	})
	if shown < 6 {
		t.Errorf("only %d outputs are shown", shown)
	}
	golden(t, file, got)
}

// The example of sysctl.d is what plan says for a fresh Debian.
func TestExampleOfSysctlD(t *testing.T) {
	root := hosttest.Unpack(t, "testdata/debian12.tree")
	got, status := tuning("plan", "-only", "sysctl", "-root", root, "-connections", "1M")
	if status != 0 {
		t.Errorf("status %d", status)
	}
	golden(t, "../systemd/90-switchboard.conf.example", got)
}

func TestExitStatusOfCheck(t *testing.T) {
	tuned := func() string { return hosttest.Unpack(t, "testdata/tuned.tree") }
	for name, tt := range map[string]struct {
		spoil func(root string)
		want  int
		word  string
	}{
		"all is well":           {func(string) {}, 0, "TUNING OK"},
		"a warning":             {func(root string) { hosttest.Set(t, root, "vm.swappiness", "60") }, 1, "TUNING WARNING"},
		"something is critical": {func(root string) { hosttest.Set(t, root, "fs.file-max", "1000") }, 2, "TUNING CRITICAL"},
		"critical outweighs": {func(root string) {
			hosttest.Set(t, root, "fs.file-max", "1000")
			hosttest.Set(t, root, "vm.swappiness", "60")
			hosttest.Remove(t, root, "proc/net/netstat")
		}, 2, "TUNING CRITICAL"},
		"something is unknown": {func(root string) { hosttest.Remove(t, root, "proc/net/netstat") }, 3, "TUNING UNKNOWN"},
		"no tree at all":       {func(root string) { must(t, os.RemoveAll(root)) }, 3, "TUNING UNKNOWN"},
	} {
		root := tuned()
		tt.spoil(root)
		out, status := tuning("check", "-root", root, "-processes", "2", "-format", "nagios")
		if status != tt.want || !strings.HasPrefix(out, tt.word+" - ") {
			t.Errorf("%s: status %d, want %d: %s", name, status, tt.want, out)
		}
		if first, _, _ := strings.Cut(out, "\n"); strings.Count(first, "|") > 1 {
			t.Errorf("%s: a bar too many: %s", name, first)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWrongFlags(t *testing.T) {
	for _, line := range []string{
		"", "measure", "check -connections many", "check -connections 0", "check -connections -5", "check -role proxy", "check -format xml", "check -processes 0",
		"capacity -format nagios", "capacity -slow 2", "capture", "plan -only all", "check here", "-frobnicate",
	} {
		if _, status := tuning(strings.Fields(line)...); status != 2 {
			t.Errorf("tuning %s: status %d, want 2", line, status)
		}
	}
}

func TestManuals(t *testing.T) {
	for _, command := range []string{"", "check", "capacity", "plan", "apply", "revert", "capture", "folklore"} {
		got, status := printed(t, command+" -help")
		if status != 0 || !strings.Contains(got, "tuning") || !strings.Contains(got, "-version") {
			t.Errorf("%s -help: status %d, %s", command, status, got)
		}
	}
}

// printed returns what Main itself prints, which is the manual.
func printed(t *testing.T, line string) (string, int) {
	t.Helper()
	err := run(t.Context(), strings.Fields(line), io.Discard)
	r, w, pipeErr := os.Pipe()
	must(t, pipeErr)
	old := os.Stdout
	os.Stdout = w
	status := daemon.Main(func(context.Context, []string, io.Writer) error { return err })
	os.Stdout = old
	must(t, w.Close())
	out, readErr := io.ReadAll(r)
	must(t, readErr)
	return string(out), status
}

func TestAmounts(t *testing.T) {
	for text, want := range map[string]amount{"5": 5, "16k": 16_000, "1M": 1_000_000} {
		var a amount
		if err := a.Set(text); err != nil || a != want {
			t.Errorf("%s: got %d, %v", text, a, err)
		}
	}
	for _, text := range []string{"", "k", "1G", "1.5M", "-1", "9999999999999M"} {
		var a amount
		if err := a.Set(text); err == nil {
			t.Errorf("%q: got %d", text, a)
		}
	}
}

// A capture says what the host says.
func TestCaptureSaysTheSame(t *testing.T) {
	for name, asked := range hosts {
		root, dir := hosttest.Unpack(t, "testdata/"+name+".tree"), filepath.Join(t.TempDir(), "captured")
		if out, status := tuning("capture", dir, "-root", root); status != 0 {
			t.Fatalf("capture: status %d, %s", status, out)
		}
		for _, command := range []string{"check -verbose", "check -role bench", "capacity", "plan -role balancer"} {
			line := append(strings.Fields(command), asked...)
			want, _ := tuning(append(line, "-root", root)...)
			got, _ := tuning(append(line, "-root", dir)...)
			if got != want {
				t.Errorf("%s %s: got\n%s\nwant\n%s", name, command, got, want)
			}
		}
	}
}

// The same on this host, whatever it is, for what does not change from second to
// second: other tests run gateways here.
func TestCaptureOfThisHost(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "captured")
	if out, status := tuning("capture", dir); status != 0 {
		t.Fatalf("status %d, %s", status, out)
	}
	want, _ := tuning("plan", "-only", "sysctl")
	got, status := tuning("plan", "-only", "sysctl", "-root", dir)
	if status != 0 || got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if out, status := tuning("check", "-root", dir); status > 3 || !strings.Contains(out, "net.core.somaxconn") {
		t.Errorf("status %d, %s", status, out)
	}
}

func TestJSONIsComplete(t *testing.T) {
	out, _ := tuning("check", "-format", "json", "-root", hosttest.Unpack(t, "testdata/debian12.tree"))
	var got struct {
		State string
		Items []struct{ Name, State, Severity, Current, Wanted, Why, Fix, Source, Scope string }
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if got.State != "critical" || len(got.Items) < 40 {
		t.Errorf("got %s and %d items", got.State, len(got.Items))
	}
	for _, i := range got.Items {
		if i.Name == "" || i.State == "" || i.Severity == "" || i.Wanted == "" || i.Why == "" || i.Source == "" || i.Scope == "" {
			t.Errorf("%+v lacks something", i)
		}
	}
}

// Prometheus' own tool has nothing to say against the metrics.
func TestPromtool(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("needs promtool (Debian package prometheus)")
	}
	out, _ := tuning("check", "-format", "prometheus", "-root", hosttest.Unpack(t, "testdata/debian12.tree"))
	cmd := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(out)
	if said, err := cmd.CombinedOutput(); err != nil || len(said) > 0 {
		t.Errorf("%v: %s", err, said)
	}
}

func TestApplyAndRevertOfATree(t *testing.T) {
	root := hosttest.Unpack(t, "testdata/debian12.tree")
	if out, status := tuning("apply", "-dry-run", "-root", root); status != 0 || !strings.Contains(out, "net.core.somaxconn: 4096 → 65535\n") || !strings.Contains(out, "would be") {
		t.Errorf("dry: status %d, %s", status, out)
	}
	if out, status := tuning("apply", "-root", root); status != 0 || !strings.Contains(out, "12 settings, /etc/sysctl.d/90-switchboard.conf written\n") {
		t.Errorf("apply: status %d, %s", status, out)
	}
	if out, status := tuning("apply", "-root", root); status != 0 || out != "all is as it should be\n" {
		t.Errorf("again: status %d, %s", status, out)
	}
	hosttest.Set(t, root, "vm.swappiness", "1")
	if out, status := tuning("revert", "-root", root); status != 1 || !strings.Contains(out, "vm.swappiness: left alone, somebody has made 1 of our 10\n") {
		t.Errorf("revert: status %d, %s", status, out)
	}
	if out, status := tuning("revert", "-root", root, "-force"); status != 0 || !strings.Contains(out, "vm.swappiness: 1 → 60\n") {
		t.Errorf("force: status %d, %s", status, out)
	}
	if out, status := tuning("revert", "-root", root); status != 0 || out != "nothing was applied here\n" {
		t.Errorf("again: status %d, %s", status, out)
	}
}

func TestChangesOfThisHostTakeRoot(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("runs as root")
	}
	for _, command := range []string{"apply", "revert"} {
		if out, status := tuning(command); status != 1 {
			t.Errorf("%s: status %d, %s", command, status, out)
		}
	}
}
