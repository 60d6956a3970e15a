package system

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"switchboard/client"
	"switchboard/dev/handset"
	"switchboard/internal/chat"
)

// instance is one more program beside those of a cluster. Nobody starts it again,
// so how it ends can be seen.
type instance struct {
	t       *testing.T
	name    string
	ops     string // URL
	process *exec.Cmd
	said    *screen
	ended   chan struct{} // closed when it has ended
}

// instance starts a program on the cluster's servers, and waits until it is ready
// unless the test ends first.
func (c *cluster) instance(t *testing.T, program, name string, flags ...string) *instance {
	t.Helper()
	ops := freePorts(t, 1)[0]
	i := &instance{t: t, name: name, ops: "http://" + ops, said: blankScreen(), ended: make(chan struct{})}
	i.process = exec.Command(filepath.Join(c.data, "bin", program), append(flags, "-ops-listen", ops, "-replication", "1")...)
	i.process.Stdout, i.process.Stderr = i.said, i.said
	if err := i.process.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(i.ended)
		_ = i.process.Wait() // how it ended is in its state
	}()
	t.Cleanup(func() {
		_ = i.process.Process.Kill() // it has ended by now, unless the test failed
		<-i.ended
		if t.Failed() {
			t.Logf("%s said:\n%s", name, i.said)
		}
	})
	i.await("to be ready", func() bool {
		status, _ := readiness(t.Context(), ops)
		return status == http.StatusOK
	})
	return i
}

// gateway starts a gateway and returns it with where clients reach it, host:port.
func (c *cluster) gateway(t *testing.T, slot string, flags ...string) (gateway *instance, address string) {
	t.Helper()
	at := c.servers(t)
	address = freePorts(t, 1)[0]
	return c.instance(t, "gateway", slot, append(flags,
		"-kafka", at.Kafka, "-redis", at.Redis, "-auth-keys", at.AuthKeys, "-server", slot, "-listen", address)...), address
}

// servers reads where the cluster's servers are.
func (c *cluster) servers(t *testing.T) (at secured) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(c.data, "run", "addresses.json"))
	if err == nil {
		err = json.Unmarshal(text, &at)
	}
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// await waits until something holds of a program that runs.
func (i *instance) await(what string, holds func() bool) {
	i.t.Helper()
	late := time.After(patience)
	for !holds() {
		select {
		case <-i.ended:
			i.t.Fatalf("%s ended with %v, want it %s", i.name, i.process.ProcessState, what)
		case <-late:
			i.t.Fatalf("%s: waited in vain for it %s", i.name, what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (i *instance) signal(what syscall.Signal) {
	i.t.Helper()
	if err := i.process.Process.Signal(what); err != nil {
		i.t.Fatalf("%s: %v", i.name, err)
	}
}

// ends waits for the end and returns the exit status.
func (i *instance) ends() int {
	i.t.Helper()
	select {
	case <-i.ended:
		return i.process.ProcessState.ExitCode()
	case <-time.After(patience):
		i.t.Fatalf("%s does not end", i.name)
		return -1
	}
}

// metric asks a program for a metric; one that it does not have yet is 0.
func (c *cluster) metric(t *testing.T, ops, name string) float64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, ops+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	return 0
}

// tokens mints those of a user.
func (c *cluster) tokens(user chat.UserID) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return c.Keys.Mint(user, time.Hour) }
}

// device connects a device of a user to a gateway until the test ends.
func (c *cluster) device(t *testing.T, user chat.UserID, address string) *handset.Device {
	d := handset.Start(handset.Config{
		Base: c.REST[0], Token: c.tokens(user), URL: socketAt(address), Name: "at " + address,
	})
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Errorf("the device ended with %v", err)
		}
	})
	return d
}

// rest returns the REST calls of a user.
func (c *cluster) rest(user chat.UserID) *client.REST {
	return &client.REST{Base: c.REST[0], Token: c.tokens(user)}
}

// hostOf returns host:port of a URL.
func hostOf(t *testing.T, of string) string {
	t.Helper()
	at, err := url.Parse(of)
	if err != nil {
		t.Fatal(err)
	}
	return at.Host
}

func socketAt(address string) string { return "ws://" + address + "/api/v1/ws" }

// firstOf is a balancer: it leads to the first address at which somebody listens.
func firstOf(addresses ...string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, kind, _ string) (c net.Conn, err error) {
		for _, address := range addresses {
			if c, err = new(net.Dialer).DialContext(ctx, kind, address); err == nil {
				return c, nil
			}
		}
		return nil, fmt.Errorf("nobody listens: %w", err)
	}
}

// gather connects a crowd until the test ends.
func (c *cluster) gather(t *testing.T, name string, people int, group chat.RequestID, addresses ...string) *handset.Crowd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	crowd, err := handset.Gather(ctx, name, people, group, func(user chat.UserID, device string) handset.Config {
		return handset.Config{
			Base: c.REST[0], Token: c.tokens(user), URL: socketAt(addresses[0]), Name: device, Dial: firstOf(addresses...),
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := crowd.Stop(); err != nil {
			t.Error(err)
		}
	})
	return crowd
}
