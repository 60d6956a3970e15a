package hosttest

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// inside is set in a test that runs in a network namespace of its own, to the
// folder in which it writes.
const inside = "SWITCHBOARD_TUNING_NAMESPACE"

// Namespace runs the test again in a network namespace of its own, where it then
// goes on. It returns false outside, once the test inside has passed.
func Namespace(t *testing.T) (dir string, within bool) {
	t.Helper()
	if dir = os.Getenv(inside); dir != "" {
		return dir, true
	}
	if os.Geteuid() != 0 {
		t.Skip("a network namespace of its own takes root")
	}
	cmd := Again(t.Context(), t, t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	if err != nil && strings.Contains(err.Error(), "operation not permitted") {
		t.Skipf("no network namespace to be had here: %v", err)
	}
	if err == nil && strings.Contains(string(out), "--- SKIP: "+t.Name()) {
		t.Skipf("in the namespace: %s", out)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("in the namespace: %v\n%s", err, out)
	}
	return "", false
}

// Again is this test once more, as one that runs in a namespace and writes in dir.
func Again(ctx context.Context, t *testing.T, dir string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"="+dir)
	return cmd
}
