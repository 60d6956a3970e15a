package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

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

// The program calls the webhook of who is away, from what is registered in
// PostgreSQL.
func TestRouterNotifiesWhoIsRegistered(t *testing.T) {
	tables := schema(t)
	called := make(chan string, 1)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // what is missing is seen below
		called <- r.Header.Get("Webhook-Signature") + " " + string(body)
	}))
	t.Cleanup(hook.Close)
	kafkaServer, err := broker.Start(broker.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer kafkaServer.Close()
	redisServer, err := directory.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer redisServer.Close()
	client := kafka.Open(kafka.Config{Brokers: []string{kafkaServer.Addr()}, Log: slog.New(slog.DiscardHandler)})
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := client.Admin().Ensure(ctx, bus.Topics(bus.FirstGeneration, 2), 1); err != nil {
		t.Fatal(err)
	}
	store, err := postgres.Open(ctx, postgres.Config{URL: tables})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	bob := chat.DemoUser("bob")
	if err := store.Devices().Put(ctx, devices.Registration{
		User: bob, Device: "phone", Kind: devices.Webhook, Address: "token", Settings: devices.Settings{Provider: "fcm"},
	}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	running, stop := context.WithCancel(ctx)
	go func() {
		ended <- run(running, []string{
			"-postgres", tables, "-push-webhook", hook.URL, "-push-webhook-secret", written(t, secret),
			"-kafka", kafkaServer.Addr(), "-redis", redisServer.Addr(), "-ops-listen", "127.0.0.1:0", "-log-level", "error", "-replication", "1",
		}, io.Discard)
	}()
	p := bus.Push{
		User: bob, Conversation: chat.DirectConversation(bob, chat.DemoUser("alice")), Seq: 1, Sender: chat.DemoUser("alice"), Kind: chat.KindText,
		ID: chat.NewMessageID(1_790_000_000_000_000, bus.FirstGeneration, 0), Position: chat.Position{Generation: bus.FirstGeneration},
	}
	put(ctx, t, client, bus.Message{Topic: bus.TopicPush, Partition: bus.PartitionOfUser(bob, 2), Key: bob[:], Value: p.Append(nil)})
	select {
	case call := <-called:
		if !strings.HasPrefix(call, "v1,") || !strings.Contains(call, `"token":"token"`) || !strings.Contains(call, p.Conversation.String()) {
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
