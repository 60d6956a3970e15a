package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"switchboard/internal/bus"
	broker "switchboard/internal/bus/embedded"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/chat"
	"switchboard/internal/devices"
	directory "switchboard/internal/presence/embedded"
	"switchboard/internal/roster/postgres"
	"switchboard/router/push"
)

// written returns a file of the test with a text.
func written(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const secret = "a secret that is long enough"

func TestWrongFlagsOfNotifyingEndAtOnce(t *testing.T) {
	key, err := push.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	keys, some := written(t, string(key)), "postgres://app@127.0.0.1:1/db"
	for name, args := range map[string][]string{
		"-postgres":            {"-push-key", keys, "-push-subject", "mailto:ops@example.com"},
		"no such file":         {"-postgres", some, "-push-key", keys + ".missing", "-push-subject", "mailto:ops@example.com"},
		"no private key":       {"-postgres", some, "-push-key", written(t, "none"), "-push-subject", "mailto:ops@example.com"},
		"subject":              {"-postgres", some, "-push-key", keys},
		"-push-webhook-secret": {"-postgres", some, "-push-webhook", "https://hook.example.com"},
		"less than":            {"-postgres", some, "-push-webhook", "https://hook.example.com", "-push-webhook-secret", written(t, "short")},
		"no URL":               {"-postgres", some, "-push-webhook", "hook", "-push-webhook-secret", written(t, secret)},
	} {
		err := run(t.Context(), append(args, "-kafka", "127.0.0.1:1", "-redis", "127.0.0.1:1", "-log-level", "error"), io.Discard)
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// schema makes the tables in a schema of the test's own.
func schema(t *testing.T) string {
	t.Helper()
	const address = "SWITCHBOARD_TEST_POSTGRES"
	if os.Getenv(address) == "" {
		t.Skipf("%s is not set: no PostgreSQL to test with", address)
	}
	if os.Getenv(address+"_PASSWORD") != "" {
		t.Skip("the PostgreSQL for tests is secured; its own tests log in")
	}
	u, err := url.Parse(os.Getenv(address))
	if err != nil {
		t.Fatal(err)
	}
	name := "test_" + strings.ReplaceAll(chat.NewRequestID().String(), "-", "")
	execute := func(text string) {
		ctx := context.WithoutCancel(t.Context())
		conn, err := pgx.Connect(ctx, os.Getenv(address))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(ctx)
		if _, err := conn.Exec(ctx, text); err != nil {
			t.Fatal(err)
		}
	}
	execute("CREATE SCHEMA " + name)
	t.Cleanup(func() { execute("DROP SCHEMA " + name + " CASCADE") })
	query := u.Query()
	query.Set("search_path", name)
	u.RawQuery = query.Encode()
	if _, err := postgres.Migrate(t.Context(), postgres.Config{URL: u.String()}); err != nil {
		t.Fatal(err)
	}
	return u.String()
}

// away is a log, a directory and tables, with a webhook that decides by itself.
type away struct {
	t      *testing.T
	client *kafka.Client
	flags  []string
	store  *postgres.Store
}

func newAway(t *testing.T, hook http.HandlerFunc) *away {
	t.Helper()
	tables := schema(t)
	service := httptest.NewServer(hook)
	t.Cleanup(service.Close)
	kafkaServer, err := broker.Start(broker.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(kafkaServer.Close)
	redisServer, err := directory.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(redisServer.Close)
	a := &away{t: t, client: kafka.Open(kafka.Config{Brokers: []string{kafkaServer.Addr()}, Log: slog.New(slog.DiscardHandler)})}
	t.Cleanup(a.client.Close)
	if _, err := a.client.Admin().Ensure(t.Context(), bus.Topics(bus.FirstGeneration, 2), 1); err != nil {
		t.Fatal(err)
	}
	if a.store, err = postgres.Open(t.Context(), postgres.Config{URL: tables}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.store.Close)
	a.flags = []string{
		"-postgres", tables, "-push-webhook", service.URL, "-push-webhook-secret", written(t, secret),
		"-kafka", kafkaServer.Addr(), "-redis", redisServer.Addr(), "-ops-listen", "127.0.0.1:0", "-log-level", "error", "-replication", "1",
	}
	return a
}

// says registers a telephone of somebody and puts a message for it on the log.
func (a *away) says(name string) {
	a.t.Helper()
	u := chat.DemoUser(name)
	if err := a.store.Devices().Put(a.t.Context(), devices.Registration{
		User: u, Device: "phone", Kind: devices.Webhook, Address: "token of " + name, Settings: devices.Settings{Provider: "fcm"},
	}); err != nil {
		a.t.Fatal(err)
	}
	p := bus.Push{
		User: u, Conversation: chat.DirectConversation(u, chat.DemoUser("alice")), Seq: 1, Sender: chat.DemoUser("alice"), Kind: chat.KindText,
		ID: chat.NewMessageID(1_790_000_000_000_000, bus.FirstGeneration, 0), Position: chat.Position{Generation: bus.FirstGeneration},
	}
	put(a.t.Context(), a.t, a.client, bus.Message{Topic: bus.TopicPush, Partition: bus.PartitionOfUser(u, 2), Key: u[:], Value: p.Append(nil)})
}

// The program calls the webhook of who is away, from what is registered in
// PostgreSQL.
func TestRouterNotifiesWhoIsRegistered(t *testing.T) {
	called := make(chan string, 1)
	a := newAway(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // what is missing is seen below
		called <- r.Header.Get("Webhook-Signature") + " " + string(body)
	})
	ended := make(chan error, 1)
	running, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { ended <- run(running, a.flags, io.Discard) }()
	a.says("bob")
	select {
	case call := <-called:
		if !strings.HasPrefix(call, "v1,") || !strings.Contains(call, `"token":"token of bob"`) {
			t.Errorf("the call is %s", call)
		}
	case err := <-ended:
		t.Fatalf("the router ended with %v", err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the router ended with %v", err)
	}
}

// A router that is killed with kill -9 while the webhook is away loses nothing: the
// next one calls for everybody.
func TestKilledRouterLosesNoNotification(t *testing.T) {
	const people = 40
	var mu sync.Mutex
	open, calls, told := false, 0, make(map[string]bool)
	more := make(chan struct{}, 1)
	a := newAway(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // what is missing names nobody
		mu.Lock()
		calls++
		if open {
			_, name, _ := strings.Cut(string(body), "token of ")
			name, _, _ = strings.Cut(name, `"`)
			told[name] = true
		} else {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		mu.Unlock()
		select {
		case more <- struct{}{}:
		default:
		}
	})
	until := func(so func() bool) {
		t.Helper()
		late := time.After(patience)
		for {
			mu.Lock()
			done := so()
			mu.Unlock()
			if done {
				return
			}
			select {
			case <-more:
			case <-late:
				t.Fatalf("%d calls, %d were told", calls, len(told))
			}
		}
	}
	start := func() *exec.Cmd {
		router := exec.CommandContext(t.Context(), os.Args[0], a.flags...)
		router.Env, router.Stderr = append(os.Environ(), asProgram+"=1"), os.Stderr
		if err := router.Start(); err != nil {
			t.Fatal(err)
		}
		return router
	}
	for i := range people {
		a.says(fmt.Sprint("person ", i))
	}
	first := start()
	until(func() bool { return calls >= people })
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait() // it was killed
	mu.Lock()
	open = true
	mu.Unlock()
	second := start()
	until(func() bool { return len(told) == people })
	if err := second.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := second.Wait(); err != nil {
		t.Errorf("the second router ended with %v", err)
	}
}
