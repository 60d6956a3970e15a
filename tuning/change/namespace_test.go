package change

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"switchboard/tuning/advice"
	"switchboard/tuning/host"
	"switchboard/tuning/host/hosttest"
	"switchboard/tuning/load"
)

// here is a Changer of this namespace, with its files in a folder of the test.
func here(dir string) *Changer {
	return New(Config{File: filepath.Join(dir, "90-switchboard.conf"), State: filepath.Join(dir, "state"), Namespaced: true})
}

// settings returns the settings of the namespace.
func settings(t *testing.T) map[string]string {
	t.Helper()
	tree, err := host.Open("")
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]string)
	for _, role := range load.Roles {
		w := load.Default
		w.Role = role
		for _, item := range advice.Check(tree, w) {
			if item.Set != "" && item.Scope == advice.Namespace {
				values[item.Name] = item.Value
			}
		}
	}
	return values
}

// On the kernel itself: apply, repeat, revert, and nothing of it outside.
func TestApplyAndRevertInANamespace(t *testing.T) {
	before := settings(t)
	dir, within := hosttest.Namespace(t)
	if !within {
		for key, value := range settings(t) {
			if before[key] != value {
				t.Errorf("%s outside was changed from %s to %s", key, before[key], value)
			}
		}
		return
	}
	for _, role := range load.Roles {
		w := load.Default
		w.Role = role
		p := planFor(t, here(dir), w, true)
		done := apply(t, here(dir), p)
		if len(done.Changes) < 5 || !done.Written {
			t.Errorf("%s: got %+v, want changes", role, done)
		}
		t.Logf("%s: %d changes: %v", role, len(done.Changes), done.Changes)
		now := settings(t)
		for _, s := range p.Settings {
			if now[s.Key] != s.Value {
				t.Errorf("%s: %s is %s, want %s", role, s.Key, now[s.Key], s.Value)
			}
		}
		if done := apply(t, here(dir), planFor(t, here(dir), w, true)); len(done.Changes) > 0 || done.Written {
			t.Errorf("%s, repeated: got %+v", role, done)
		}
		if done := revert(t, here(dir), false); !done.Complete() || len(done.Changes) < 5 {
			t.Errorf("%s, reverted: got %+v", role, done)
		}
		for key, value := range settings(t) {
			if before[key] != value {
				t.Errorf("%s: %s is %s after revert, was %s", role, key, value, before[key])
			}
		}
	}
	if left, err := os.ReadDir(filepath.Join(dir, "state")); err != nil || len(left) != 1 || left[0].Name() != "lock" {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A process that is killed in the middle of apply leaves half of the settings
// set; a second one finds them and takes them back.
func TestKilledInANamespace(t *testing.T) {
	const victim = "SWITCHBOARD_TUNING_VICTIM"
	dir, within := hosttest.Namespace(t)
	if !within {
		return
	}
	if os.Getenv(victim) != "" {
		c := here(dir)
		steps := 0
		c.set = func(key, value string) error {
			if steps++; steps == 4 {
				return syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
			return c.write(key, value)
		}
		p := planFor(t, here(dir), load.Default, true)
		_, err := c.Apply(p.Settings, p.Sysctl())
		t.Fatalf("nobody was killed: %v", err)
	}
	before := settings(t)
	cmd := hosttest.Again(t.Context(), t, dir)
	cmd.Env = append(cmd.Env, victim+"=1")
	out, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the victim: %v\n%s", err, out)
	}
	changed := 0
	for key, value := range settings(t) {
		if before[key] != value {
			changed++
		}
	}
	if changed != 3 {
		t.Errorf("the victim changed %d settings, want 3", changed)
	}
	if done := revert(t, here(dir), false); !done.Complete() || len(done.Changes) != 3 {
		t.Errorf("got %+v", done)
	}
	if after := fmt.Sprint(settings(t)); after != fmt.Sprint(before) {
		t.Errorf("got %s, want %s", after, fmt.Sprint(before))
	}
}

// The file that apply writes is one that the kernel takes at boot.
func TestBootTakesTheFile(t *testing.T) {
	dir, within := hosttest.Namespace(t)
	if !within {
		return
	}
	sysctl, err := exec.LookPath("sysctl")
	if err != nil {
		t.Skip("needs sysctl (Debian package procps)")
	}
	file := filepath.Join(dir, "boot.conf")
	p := planFor(t, here(dir), load.Default, true)
	if err := os.WriteFile(file, []byte(p.Sysctl()), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), sysctl, "-p", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	now := settings(t)
	for _, s := range p.Settings {
		if now[s.Key] != s.Value {
			t.Errorf("%s is %s, want %s", s.Key, now[s.Key], s.Value)
		}
	}
}
