package system

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"switchboard/client"
	"switchboard/dev/terminal"
	"switchboard/internal/chat"
	"switchboard/internal/loopback"
)

// patience bounds every wait of these tests. It is not a claim about speed: a
// machine that needs longer is broken.
const patience = 2 * time.Minute

// binary is the program under test, built once.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "switchboard-system-")
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "dev")
	out, err := exec.Command("go", "build", "-o", name, "switchboard/dev").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return name, nil
})

// TestMain ends the cluster that the tests shared, and removes the binary that they
// built.
func TestMain(m *testing.M) {
	code := m.Run()
	if err := endCommonCluster(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if name, err := binary(); err == nil {
		_ = os.RemoveAll(filepath.Dir(name)) // a temporary folder: the system cleans it too
	}
	os.Exit(code)
}

// house is a `dev` process on a folder that outlives it.
type house struct {
	t       *testing.T
	data    string
	rest    string // URL; the ports stay the same over restarts
	args    []string
	process *exec.Cmd
	output  *strings.Builder // of the current life; owned by its reader until it ends
	ended   chan struct{}
}

// newHouse starts the program on an empty folder, with more flags if there are any.
func newHouse(t *testing.T, more ...string) *house {
	t.Helper()
	if testing.Short() {
		t.Skip("starts the whole system as a process")
	}
	h := &house{t: t, data: t.TempDir()}
	ports := freePorts(t, 3)
	h.rest = "http://" + ports[0]
	h.args = append([]string{"-data", h.data, "-listen", ports[0], "-gateway-listen", ports[1], "-ops-listen", ports[2]}, more...)
	h.start()
	t.Cleanup(h.kill)
	return h
}

// start starts the program and waits for `ready`.
func (h *house) start() {
	h.t.Helper()
	name, err := binary()
	if err != nil {
		h.t.Fatal(err)
	}
	h.process = exec.Command(name, h.args...)
	out, err := h.process.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	h.process.Stderr = h.process.Stdout
	if err := h.process.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.output, h.ended = new(strings.Builder), make(chan struct{})
	ready := make(chan struct{})
	go func() {
		defer close(h.ended)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			fmt.Fprintln(h.output, lines.Text())
			if lines.Text() == "ready" {
				close(ready)
			}
		}
	}()
	select {
	case <-ready:
	case <-h.ended:
		h.t.Fatalf("dev ended before it was ready:\n%s", h.output)
	case <-time.After(patience):
		h.kill()
		h.t.Fatalf("dev was not ready after %v:\n%s", patience, h.output)
	}
}

// kill kills the program with SIGKILL, as a power cut would.
func (h *house) kill() {
	if h.process == nil {
		return
	}
	_ = h.process.Process.Kill() // it may have ended by itself
	<-h.ended
	_ = h.process.Wait() // says "killed", which is what was asked for
	h.process = nil
	if h.t.Failed() {
		h.t.Logf("dev said:\n%s", h.output)
	}
}

// restarted is a fault: the program is killed and begins again.
func (h *house) restarted(context.Context) error {
	h.kill()
	h.start()
	return nil
}

// freePorts returns addresses that nothing listens on.
func freePorts(t *testing.T, n int) []string {
	t.Helper()
	addresses, err := loopback.Addresses(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return addresses
}

// restOf returns the REST calls of a person.
func (h *house) restOf(name string) *client.REST {
	user := chat.DemoUser(name)
	return &client.REST{Base: h.rest, Token: func(ctx context.Context) (string, error) {
		return terminal.Token(ctx, h.rest, user)
	}}
}
