package system

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// browsing bounds all that two people do in browsers, the fetching of Node's
	// packages included; what they wait for has limits of its own.
	browsing = 10 * time.Minute
	// lastWords is how much of a log is shown.
	lastWords = 8 << 10
)

// What web/e2e shows of one process holds on real servers: two people in browsers
// talk, see ticks, typing and presence, exchange an image, search a word, lose the
// network and come back. The page is on a host of its own, as an operator has it.
func TestTwoPeopleInBrowsersOnRealServers(t *testing.T) {
	c := commonCluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), browsing)
	defer cancel()
	_, port, err := net.SplitHostPort(common.page)
	if err != nil {
		t.Fatal(err)
	}
	check := exec.CommandContext(ctx, "bash", filepath.Join("..", "..", "web", "check.sh"), "e2e")
	check.Env = append(os.Environ(), "ADDRESSES="+filepath.Join(c.data, "run", "addresses.json"), "PORT="+port)
	// Node and the browsers below the shell end with it.
	check.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	check.Cancel = func() error { return syscall.Kill(-check.Process.Pid, syscall.SIGTERM) }
	check.WaitDelay = 15 * time.Second
	said, err := check.CombinedOutput()
	switch {
	case err != nil:
		t.Errorf("%v\n%s%s", err, said, c.lastWords(t))
	case strings.Contains(string(said), "skipped: "):
		t.Skipf("%s", said)
	case !strings.Contains(string(said), " passed\n"):
		t.Errorf("they did not say that all passed:\n%s", said)
	default:
		t.Logf("%s", said)
	}
}

// lastWords returns the ends of what the cluster's programs logged.
func (c *cluster) lastWords(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(c.data, "logs", "*-*.log"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(&all, "== %s\n%s\n", filepath.Base(f), text[max(0, len(text)-lastWords):])
	}
	return all.String()
}
