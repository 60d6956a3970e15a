package main

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"switchboard/tuning/advice"
	"switchboard/tuning/host"
	"switchboard/tuning/host/hosttest"
	"switchboard/tuning/load"
)

// program is set where this binary is to be the program and no test.
const program = "SWITCHBOARD_TUNING_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(program) != "" {
		main()
	}
	os.Exit(m.Run())
}

// execute runs the program as a process of its own.
func execute(t *testing.T, args ...string) (stdout string, status int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), program+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// settings returns what apply might set, as the kernel has it: what is of the
// network namespace, and what is everybody's.
func settings(t *testing.T) (ours, everybodys map[string]string) {
	t.Helper()
	tree, err := host.Open("")
	must(t, err)
	ours, everybodys = make(map[string]string), make(map[string]string)
	for _, item := range advice.Check(tree, load.Default) {
		switch {
		case item.Set != "" && item.Scope == advice.Namespace:
			ours[item.Name] = item.Value
		case item.Set != "":
			everybodys[item.Name] = item.Value
		}
	}
	return ours, everybodys
}

// changesOf returns what a plan says that apply makes of what there is.
func changesOf(t *testing.T, plan string) (lines string, wanted map[string]string) {
	t.Helper()
	_, rest, found := strings.Cut(plan, "## Changes that apply makes\n\n")
	lines, _, cut := strings.Cut(rest, "\n\n")
	if !found || !cut {
		t.Fatalf("plan says no changes: %s", plan)
	}
	wanted = make(map[string]string)
	for line := range strings.SplitSeq(lines, "\n") {
		key, change, _ := strings.Cut(line, ": ")
		_, wanted[key], _ = strings.Cut(change, " → ")
	}
	return lines + "\n", wanted
}

// The program on a kernel, in a network namespace: plan, apply, apply again and
// revert, each a process, and nothing of it outside.
func TestProgramInANamespace(t *testing.T) {
	before, everybodys := settings(t)
	dir, within := hosttest.Namespace(t)
	unchanged := func(when string) {
		t.Helper()
		now, all := settings(t)
		if !maps.Equal(now, before) {
			t.Errorf("%s: got %v, want %v", when, now, before)
		}
		if !maps.Equal(all, everybodys) {
			t.Errorf("%s: what is everybody's: got %v, want %v", when, all, everybodys)
		}
	}
	if !within {
		unchanged("outside")
		return
	}
	file := filepath.Join(dir, "90-switchboard.conf")
	files := []string{"-file", file, "-state", filepath.Join(dir, "state")}
	command := func(args ...string) (string, int) { return execute(t, append(args, files...)...) }

	plan, _ := command("plan", "-netns-only")
	lines, wanted := changesOf(t, plan)
	if len(wanted) < 5 {
		t.Fatalf("plan: got %v, want some changes", wanted)
	}
	if out, status := command("apply", "-netns-only", "-dry-run"); status != 0 || !strings.HasPrefix(out, lines+"would be ") {
		t.Errorf("dry: status %d, %s", status, out)
	}
	unchanged("after a dry run")
	if out, status := command("apply", "-netns-only"); status != 0 || !strings.HasPrefix(out, lines) || !strings.HasSuffix(out, file+" written\n") {
		t.Errorf("apply: status %d, %s", status, out)
	}
	want := maps.Clone(before)
	maps.Copy(want, wanted)
	if now, all := settings(t); !maps.Equal(now, want) || !maps.Equal(all, everybodys) {
		t.Errorf("applied: got %v and %v, want %v and %v", now, all, want, everybodys)
	}
	if out, status := command("apply", "-netns-only"); status != 0 || out != "all is as it should be\n" {
		t.Errorf("again: status %d, %s", status, out)
	}

	// Somebody else's change since then is left alone, until we are told otherwise.
	const key = "net.core.somaxconn"
	must(t, os.WriteFile("/"+host.SysctlFile(key), []byte("5000"), 0o600))
	if out, status := command("revert"); status != 1 || strings.Count(out, " → ") != len(wanted)-1 ||
		!strings.Contains(out, key+": left alone, somebody has made 5000 of our "+wanted[key]+"\n") {
		t.Errorf("revert: status %d, %s", status, out)
	}
	if out, status := command("revert", "-force"); status != 0 || !strings.Contains(out, key+": 5000 → "+before[key]+"\n") {
		t.Errorf("force: status %d, %s", status, out)
	}
	unchanged("reverted")
	if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
	if out, status := command("revert"); status != 0 || out != "nothing was applied here\n" {
		t.Errorf("revert again: status %d, %s", status, out)
	}
}
