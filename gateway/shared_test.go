package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"switchboard/internal/auth"
	kfake "switchboard/internal/bus/embedded"
	"switchboard/internal/chat"
	miniredis "switchboard/internal/presence/embedded"
)

// process is a gateway that is a process of its own.
type process struct {
	*exec.Cmd
	logs *addressLog
	read chan struct{} // closed when it has said all
}

// launch starts one with flags besides those that it needs.
func launch(t *testing.T, flags ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(os.Args[0], flags...), logs: newAddressLog(), read: make(chan struct{})}
	p.Env = append(os.Environ(), program+"=1")
	p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stderr, err := p.StderrPipe()
	must(t, err)
	must(t, p.Start())
	t.Cleanup(func() { _ = p.Process.Kill() }) // It has ended by then, unless the test failed.
	go func() {
		defer close(p.read)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			_, _ = p.logs.Write(lines.Bytes()) // It keeps all.
		}
	}()
	return p
}

// wait returns how it ended, once it has.
func (p *process) wait() error {
	<-p.read
	return p.Wait()
}

// ready waits until it serves, and returns where it shows how it is.
func (p *process) ready(t *testing.T) (ops string) {
	t.Helper()
	ops = p.logs.await(t, "ops listener is open")
	for status(t, ops, "/readyz") != http.StatusOK {
		time.Sleep(10 * time.Millisecond)
	}
	return ops
}

// connections returns how many sockets it says that it holds.
func connections(t *testing.T, ops string) (n int) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+ops+"/metrics", nil)
	must(t, err)
	response, err := http.DefaultClient.Do(request)
	must(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	must(t, err)
	_, rest, found := strings.Cut(string(text), "\nswitchboard_gateway_connections ")
	if _, err := fmt.Sscan(rest, &n); !found || err != nil {
		t.Fatalf("no number of connections: %v\n%s", err, text)
	}
	return n
}

// crowd is people who are connected to one port, and what its gateways need.
type crowd struct {
	t       *testing.T
	flags   []string
	keys    *auth.Keys
	port    string
	sockets []*websocket.Conn
}

func newCrowd(t *testing.T) *crowd {
	cluster, err := kfake.Start(kfake.Config{})
	must(t, err)
	t.Cleanup(cluster.Close)
	makeTopics(t, cluster.Addr())
	redis, err := miniredis.Start()
	must(t, err)
	t.Cleanup(redis.Close)
	file := filepath.Join(t.TempDir(), "keys.json")
	must(t, auth.Generate(file))
	keys, err := auth.Open(file, "", "")
	must(t, err)
	return &crowd{t: t, keys: keys, port: "127.0.0.1:0", flags: []string{
		"-kafka", cluster.Addr(), "-redis", redis.Addr(), "-auth-keys", file, "-replication", "1",
		"-ops-listen", "127.0.0.1:0", "-drain-timeout", "100ms", "-proxy-protocol", "127.0.0.0/8",
	}}
}

// gateway starts one at the port.
func (c *crowd) gateway(server string, more ...string) *process {
	c.t.Helper()
	return launch(c.t, slices.Concat(c.flags, []string{"-server", server, "-listen", c.port}, more)...)
}

// join connects n more, each of whom is welcomed.
func (c *crowd) join(n int) {
	c.t.Helper()
	for range n {
		token, err := c.keys.Mint(chat.DemoUser(fmt.Sprintf("user-%d", len(c.sockets))), time.Hour)
		must(c.t, err)
		socket, response, err := dial(c.t.Context(), c.port, token)
		must(c.t, err)
		if response.Body != nil {
			defer response.Body.Close()
		}
		_, payload, err := socket.Read(c.t.Context())
		if err != nil || !strings.Contains(string(payload), `"connected"`) {
			c.t.Fatalf("read %s, %v; want connected", payload, err)
		}
		c.sockets = append(c.sockets, socket)
	}
}

// told returns how many of them heard that their gateway drains, once all are gone.
func (c *crowd) told() (n int) {
	for _, socket := range c.sockets {
		var err error
		for err == nil { // What it still says, and then that it goes.
			_, _, err = socket.Read(c.t.Context())
		}
		if websocket.CloseStatus(err) == websocket.StatusCode(chat.CloseDraining) {
			n++
		}
	}
	return n
}

// Two gateways at one port are two processes: both get clients, one that does not
// share is refused, and when one drains the other goes on and gets all that come.
func TestTwoProcessesShareAPort(t *testing.T) {
	c := newCrowd(t)
	first := c.gateway("gw-1", "-reuse-port")
	firstOps := first.ready(t)
	c.port = first.logs.await(t, "gateway accepts")
	second := c.gateway("gw-2", "-reuse-port")
	secondOps := second.ready(t)

	alone := c.gateway("gw-3")
	if err := alone.wait(); err == nil || !alone.logs.says("address already in use") {
		t.Errorf("a gateway without -reuse-port: it ended with %v and said %q", err, alone.logs.lines)
	}

	const some = 64
	c.join(some)
	atFirst, atSecond := connections(t, firstOps), connections(t, secondOps)
	if atFirst == 0 || atSecond == 0 || atFirst+atSecond != some {
		t.Fatalf("of %d clients %d are with the first and %d with the second, want some with each", some, atFirst, atSecond)
	}

	must(t, first.Process.Signal(syscall.SIGTERM))
	if err := first.wait(); err != nil {
		t.Errorf("the first ended with %v and said %q", err, first.logs.lines)
	}
	c.join(some)
	if got := connections(t, secondOps); got != atSecond+some {
		t.Errorf("the second holds %d, want its %d clients and the %d who came later", got, atSecond, some)
	}
	must(t, second.Process.Signal(syscall.SIGTERM))
	if got := c.told(); got != len(c.sockets) {
		t.Errorf("%d of %d clients were told that their gateway drains", got, len(c.sockets))
	}
	if err := second.wait(); err != nil {
		t.Errorf("the second ended with %v and said %q", err, second.logs.lines)
	}
}
