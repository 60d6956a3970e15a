package main

import (
	"context"
	"os"
	"path"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// play runs stages in a folder with one test, for an oracle.
func play(ctx context.Context, t *testing.T, all ...stage) (status int, said string) {
	t.Helper()
	if err := adopt(); err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if err := os.WriteFile(path.Join(root, "o_test.go"), []byte(`"SWITCHBOARD_TEST_ORACLE"`), 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	r := &runner{root: root, out: &out, lingering: time.Second}
	status = r.run(ctx, all)
	return status, out.String()
}

// shell is a stage that runs a script.
func shell(name, script string) stage { return stage{name: name, args: []string{"sh", "-c", script}} }

func TestOneFailureFailsTheWhole(t *testing.T) {
	good := stage{name: "good", args: words("echo fine")}
	bad := stage{name: "bad", args: words("false")}
	loud := stage{name: "loud", silent: true, args: words("echo main.go")}
	quiet := stage{name: "quiet", silent: true, args: words("true")}
	missing := stage{name: "missing", args: words("no-such-command-here")}
	for _, tt := range []struct {
		name   string
		stages []stage
		status int
		last   string
	}{
		{"all pass", []stage{good, quiet}, 0, `== all passed, in \d+ s: good [\d.]+ s, quiet [\d.]+ s`},
		{"the last fails", []stage{good, bad}, 1, `== FAILED: bad, in .*`},
		{"those after a failure still run", []stage{bad, good, loud, missing}, 1, `== FAILED: bad, loud, missing, in .*good.*`},
	} {
		got, out := play(t.Context(), t, tt.stages...)
		if got != tt.status {
			t.Errorf("%s: got status %d, want %d", tt.name, got, tt.status)
		}
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if last := lines[len(lines)-1]; !regexp.MustCompile("^" + tt.last + "$").MatchString(last) {
			t.Errorf("%s: the last line is %q, want %s", tt.name, last, tt.last)
		}
	}
}

func TestTheRestIsAllPackagesButThoseThatAreDone(t *testing.T) {
	if err := adopt(); err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":      "module example.org/m\n",
		"m.go":        "package m\n",
		"a/a_test.go": "package a\n\nconst _ = \"SWITCHBOARD_TEST_ORACLE\"\n",
		"a/b/b.go":    "package b\n",
	} {
		if err := os.MkdirAll(path.Join(root, path.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for asked, want := range map[string]int{"ORACLE": 0, "SAGE": 1} { // Nobody asks for a sage: the word is wrong.
		var out strings.Builder
		r := &runner{root: root, out: &out, lingering: time.Second}
		status := r.run(t.Context(), []stage{{name: "race", done: words(asked), args: words("echo tests of")}})
		if status != want || strings.Contains(out.String(), "tests of . ./a/b\n") != (want == 0) {
			t.Errorf("%s: status %d, want %d:\n%s", asked, status, want, &out)
		}
	}
}

func TestEveryFastStageIsPartOfAll(t *testing.T) {
	fast := 0
	for _, s := range stages() {
		if s.fast {
			fast++
		}
		if s.name == "" || len(s.args) == 0 {
			t.Errorf("stage %+v has no name or no command", s)
		}
		if s.fast && (s.holds || s.on || len(s.asks) > 0) {
			t.Errorf("%s is fast and needs servers", s.name)
		}
	}
	if all := stages(); fast == 0 || fast == len(all) || all[len(all)-1].name != "race" {
		t.Error("want some fast stages, some that are not, and the race detector last")
	}
}

// Nothing is run for a word that means no stage.
func TestUnknownArgumentIsRefused(t *testing.T) {
	for _, args := range [][]string{nil, {"slow"}, {"fast", "all"}, {"-all"}, {""}, {"gofmt", "nothing"}} {
		if chosen, err := choose(args); err == nil {
			t.Errorf("%q means %d stages", args, len(chosen))
		}
	}
	fast, err := choose([]string{"fast"})
	if err != nil {
		t.Fatal(err)
	}
	all, err := choose([]string{"all"})
	if err != nil || len(all) != len(stages()) || len(fast) >= len(all) {
		t.Errorf("fast is %d stages, all is %d of %d: %v", len(fast), len(all), len(stages()), err)
	}
	some, err := choose([]string{"suites", "servers"})
	if err != nil || len(some) != 2 || some[0].name != "servers" {
		t.Errorf("two stages are %+v, %v", some, err)
	}
}

func TestInterruptedRunEndsWhatRuns(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	dir := t.TempDir()
	marker := path.Join(dir, "ended")
	began := path.Join(dir, "began")
	var watching sync.WaitGroup
	watching.Go(func() {
		await(t, began)
		cancel()
	})
	status, out := play(ctx, t,
		shell("slow", `trap 'touch `+marker+`; exit 1' INT; touch `+began+`; while :; do sleep 0.05; done`),
		shell("next", "touch "+path.Join(dir, "next")))
	watching.Wait()
	if status != 1 || !strings.Contains(out, "== FAILED: slow, next, in") {
		t.Errorf("status %d:\n%s", status, out)
	}
	if _, err := os.Stat(marker); err != nil {
		t.Errorf("the command was not told to end: %v", err)
	}
	if _, err := os.Stat(path.Join(dir, "next")); err == nil {
		t.Error("a stage ran after the interruption")
	}
}
