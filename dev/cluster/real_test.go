package cluster

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"switchboard/client"
	"switchboard/internal/auth"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// startPatience bounds the start of a cluster, downloads and a cold build
// included.
const startPatience = 15 * time.Minute

// messagePatience bounds the way of a message past a server that is just being
// started again.
const messagePatience = 2 * time.Minute

// site is a `dev cluster` process, seen as an outsider sees it.
type site struct {
	t       *testing.T
	binary  string
	data    string
	flags   []string
	process *exec.Cmd
	ended   chan struct{}
	at      addresses

	mu     sync.Mutex
	output bytes.Buffer // of all lives
}

// newSite starts a cluster on an empty folder.
func newSite(t *testing.T, flags ...string) *site {
	t.Helper()
	if os.Getenv("SWITCHBOARD_TEST_SERVERS") == "" {
		t.Skip("SWITCHBOARD_TEST_SERVERS is not set: no real servers to be started")
	}
	s := &site{t: t, binary: filepath.Join(t.TempDir(), "dev"), data: t.TempDir(), flags: flags}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", s.binary, "switchboard/dev").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	t.Cleanup(func() { // Before the start: one that fails leaves nothing either.
		if s.process != nil {
			s.signal(syscall.SIGKILL)
		}
		if t.Failed() {
			s.mu.Lock()
			defer s.mu.Unlock()
			t.Logf("the cluster said:\n%s", s.output.String())
		}
	})
	s.start()
	return s
}

// start returns when the cluster has said that it is ready.
func (s *site) start() {
	s.t.Helper()
	process := exec.Command(s.binary, append([]string{"cluster", "-data", s.data, "-opensearch-nodes=0"}, s.flags...)...)
	out, err := process.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	process.Stderr = process.Stdout
	if err := process.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.process = process
	ready := make(chan struct{})
	ended := make(chan struct{})
	s.ended = ended
	go func() {
		defer close(ended)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			s.mu.Lock()
			fmt.Fprintln(&s.output, lines.Text())
			s.mu.Unlock()
			if lines.Text() == "ready" {
				close(ready)
			}
		}
	}()
	select {
	case <-ready:
	case <-ended:
		s.t.Fatal("the cluster ended before it was ready")
	case <-time.After(startPatience):
		s.t.Fatalf("the cluster was not ready after %s", startPatience)
	}
	text, err := os.ReadFile(filepath.Join(s.data, "run", addressesFile))
	if err == nil {
		s.at = addresses{}
		err = json.Unmarshal(text, &s.at)
	}
	if err != nil {
		s.t.Fatalf("where everything is: %v", err)
	}
}

// signal sends a signal to the cluster and returns how it ended.
func (s *site) signal(signal syscall.Signal) string {
	s.t.Helper()
	kill(s.t, s.process.Process.Pid, signal)
	select {
	case <-s.ended:
	case <-time.After(messagePatience):
		s.t.Errorf("the cluster does not end at %s", signal)
		_ = s.process.Process.Kill() // it is reported already
		<-s.ended
	}
	_ = s.process.Wait() // how it ended is in the state of the process
	how := s.process.ProcessState.String()
	s.process = nil
	return how
}

// pids are the processes that the run folder names.
func (s *site) pids() map[string]int {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(s.data, "run", "*.pid"))
	if err != nil {
		s.t.Fatal(err)
	}
	all := make(map[string]int)
	for _, file := range files {
		all[strings.TrimSuffix(filepath.Base(file), ".pid")] = readPID(file)
	}
	return all
}

// left returns the processes that still run in the cluster's folder.
func (s *site) left() []string {
	s.t.Helper()
	root, err := filepath.EvalSymlinks(s.data)
	if err != nil {
		s.t.Fatal(err)
	}
	all, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		s.t.Fatal(err)
	}
	var left []string
	for _, link := range all {
		dir, err := os.Readlink(link)
		if err == nil && (dir == root || strings.HasPrefix(dir, root+"/")) {
			left = append(left, link+" → "+dir)
		}
	}
	return left
}

// device is a person's device that writes down what it is told.
type device struct {
	*client.Client
	rest *client.REST
	user chat.UserID
	got  chan wire.Message
}

// device connects a person until the test ends.
func (s *site) device(name, rest string) *device {
	s.t.Helper()
	keys, err := auth.Open(s.at.AuthKeys, "", "")
	if err != nil {
		s.t.Fatal(err)
	}
	d := &device{user: chat.DemoUser(name), got: make(chan wire.Message, 100)}
	d.rest = &client.REST{Base: rest, Token: func(context.Context) (string, error) { return keys.Mint(d.user, time.Hour) }}
	d.Client = client.New(client.Config{REST: d.rest, Apply: func(m wire.Message) {
		if m.Type != "event" {
			d.got <- m
		}
	}})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Errorf("the device of %s: %v", name, err)
		}
	})
	return d
}

// pass sends a message from one device to the other.
func (s *site) pass(from, to *device, c chat.ConversationID, content string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), messagePatience)
	defer cancel()
	if _, err := from.Send(ctx, client.Outgoing{Conversation: c, Content: content}); err != nil {
		s.t.Fatalf("send %q: %v", content, err)
	}
	for {
		select {
		case m := <-to.got: // its own are among them
			if m.Content == content {
				return
			}
		case <-ctx.Done():
			s.t.Fatalf("%q did not arrive", content)
		}
	}
}

// direct returns the conversation of two people.
func (s *site) direct(a, b *device) chat.ConversationID {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), messagePatience)
	defer cancel()
	c, err := a.rest.Direct(ctx, b.user)
	if err != nil {
		s.t.Fatalf("open the conversation: %v", err)
	}
	return c
}

// history returns what a conversation holds, its events aside.
func (s *site) history(d *device, c chat.ConversationID) []string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), messagePatience)
	defer cancel()
	messages, err := d.rest.All(ctx, c, 0)
	if err != nil {
		s.t.Fatalf("read history: %v", err)
	}
	var all []string
	for _, m := range messages {
		if m.Type != "event" {
			all = append(all, m.Content)
		}
	}
	return all
}

// Everything that the cluster runs is killed once, one after another; then all
// of it at once, with the cluster itself.
func TestClusterLivesThroughKills(t *testing.T) {
	s := newSite(t)
	first := s.at
	if len(s.at.REST) != 2 || len(s.at.WebSocket) != 2 || len(s.at.Ops) != 5 {
		t.Errorf("the cluster has %+v", s.at)
	}
	alice, bob := s.device("alice", s.at.REST[0]), s.device("bob", s.at.REST[1])
	c := s.direct(alice, bob)
	want := []string{"hello"}
	s.pass(alice, bob, c, "hello")
	pids := s.pids()
	if len(pids) != 10 { // Five programs and five servers.
		t.Errorf("the run folder names %v", pids)
	}
	for name, pid := range pids {
		kill(t, pid, syscall.SIGKILL)
		poll(t, name+" to be started", func() bool { return s.pids()[name] != pid })
		content := "after the end of " + name
		s.pass(alice, bob, c, content)
		want = append(want, content)
	}
	s.signal(syscall.SIGKILL)
	poll(t, "everything to end with the cluster", func() bool { return len(s.left()) == 0 })

	s.start()
	if s.at.AuthKeys != first.AuthKeys || !slices.Equal(s.at.REST, first.REST) || !slices.Equal(s.at.WebSocket, first.WebSocket) ||
		s.at.Kafka != first.Kafka || s.at.CQL != first.CQL {
		t.Errorf("the addresses changed from %+v to %+v", first, s.at)
	}
	s.pass(bob, alice, c, "after the end of all") // by devices that have come back
	want = append(want, "after the end of all")
	if got := s.history(bob, c); !slices.Equal(got, want) {
		t.Errorf("history is %q, want %q", got, want)
	}
	if how := s.signal(syscall.SIGTERM); how != "exit status 0" {
		t.Errorf("the cluster ended with %s", how)
	}
	if left := s.left(); len(left) != 0 {
		t.Errorf("still there is %q", left)
	}
	if files := s.pids(); len(files) != 0 {
		t.Errorf("the run folder still names %v", files)
	}
}

// With passwords and certificates everything works as without.
func TestSecuredClusterLivesThroughKills(t *testing.T) {
	s := newSite(t, "-secure", "-gateways", "1", "-workers", "1")
	if s.at.Secure == nil {
		t.Fatalf("nothing is secured in %+v", s.at)
	}
	alice, bob := s.device("alice", s.at.REST[0]), s.device("bob", s.at.REST[0])
	c := s.direct(alice, bob)
	s.pass(alice, bob, c, "hello")
	before := s.pids()
	for _, name := range []string{"kafka", "cassandra", "redis", "postgres", "worker-1"} {
		kill(t, before[name], syscall.SIGKILL)
	}
	poll(t, "all to be started", func() bool {
		after := s.pids()
		return after["kafka"] != before["kafka"] && after["cassandra"] != before["cassandra"] && after["worker-1"] != before["worker-1"]
	})
	s.pass(bob, alice, c, "still here")
	if got := s.history(bob, c); !slices.Equal(got, []string{"hello", "still here"}) {
		t.Errorf("history is %q", got)
	}
	if how := s.signal(syscall.SIGTERM); how != "exit status 0" {
		t.Errorf("the cluster ended with %s", how)
	}
	if left := s.left(); len(left) != 0 {
		t.Errorf("still there is %q", left)
	}
}
