package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"switchboard/internal/auth"
	"switchboard/internal/bus"
	"switchboard/internal/bus/embedded"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/chat"
	"switchboard/internal/loopback"
)

// Connections that the CQL driver still makes when its session is closed give up
// by themselves, after three tries a second apart.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/gocql/gocql.(*hostConnPool).connectMany"),
		goleak.IgnoreAnyFunction("github.com/gocql/gocql.(*hostConnPool).connectMany.func1"))
}

func TestFlagsThatCannotWork(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "keys.json")
	if err := auth.Generate(keys); err != nil {
		t.Fatal(err)
	}
	good := []string{"-kafka", "127.0.0.1:1", "-archive", filepath.Join(t.TempDir(), "archive.db"), "-auth-keys", keys}
	with := func(more ...string) []string { return append(append([]string{}, good...), more...) }
	for want, args := range map[string][]string{
		`-serve "everything": this version has fold, rest, receipts, projection, search`: with("-serve", "everything"),
		`-search: no file given, nor -opensearch, which -serve search needs`:             with("-serve", "fold,search"),
		`-search and -opensearch: there is one search index`:                             with("-search", "search.db", "-opensearch", "127.0.0.1:9200"),
		`-rest-searches: want 0, or two numbers`:                                         with("-rest-searches", "50"),
		`-archive: no file given, nor -cql`:                                              good[:2],
		`-kafka: no broker given`:                                                        good[2:],
		`-auth-keys: no file given`:                                                      good[:4],
		`-archive and -cql: there is one archive`:                                        with("-cql", "127.0.0.1:9042"),
		`-postgres: no URL given, which -serve projection needs`:                         with("-serve", "fold,rest,projection"),
		`-postgres: want a URL`:                                                          with("-postgres", "127.0.0.1:5432"),
		`-postgres: read the URL`:                                                        with("-postgres", "postgres://app@127.0.0.1/app?sslmode=perhaps"),
		`-postgres: the URL holds a password`:                                            with("-postgres", "postgres://app:secret@127.0.0.1/app"),
		`-server "REST 1"`:                                                               with("-server", "REST 1"),
		`-members: want 2 to 10000`:                                                      with("-members", "10001"),
		`-generation and -replication`:                                                   with("-generation", "0"),
		`-heartbeat is at least 1s`:                                                      with("-heartbeat", "1ms"),
		`-rest-reads: want 0, or two numbers`:                                            with("-rest-reads", "50"),
		`no such file`:                                                                   with("-auth-keys", keys+".none"),
		`flag provided but not defined`:                                                  with("-color", "blue"),
		`-partitions and -replication are at least 1`:                                    {"migrate", "-kafka", "127.0.0.1:1", "-partitions", "0"},
	} {
		if args[0] != "migrate" {
			args = append([]string{"-ops-listen", "127.0.0.1:0", "-listen", "127.0.0.1:0"}, args...)
		}
		err := run(t.Context(), args, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %s", args, err, want)
		}
		if kind := fmt.Sprintf("%T", err); kind != "*daemon.usageError" {
			t.Errorf("%v: a %s, want a usage error, which ends with status 2", args, kind)
		}
	}
}

func startKafka(t *testing.T) string {
	t.Helper()
	cluster, err := embedded.Start(embedded.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster.Addr()
}

// program is a running worker.
type program struct {
	t         *testing.T
	rest, ops string
	keys      *auth.Keys
	stop      context.CancelFunc
	ended     chan error
}

// startWorker runs a worker on the archive in dir, unless more flags name
// another.
func startWorker(t *testing.T, brokers, dir string, more ...string) *program {
	t.Helper()
	file := filepath.Join(dir, "keys.json")
	if err := auth.Generate(file); err != nil {
		t.Fatal(err)
	}
	keys, err := auth.Open(file, "", "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	addresses, err := loopback.Addresses(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, rest: addresses[0], ops: addresses[1], keys: keys, stop: cancel, ended: make(chan error, 1)}
	if len(more) == 0 {
		more = []string{"-archive", filepath.Join(dir, "archive.db")}
	}
	go func() {
		p.ended <- run(ctx, append([]string{
			"-kafka", brokers, "-auth-keys", file, "-replication", "1",
			"-listen", p.rest, "-ops-listen", p.ops, "-log-level", "error",
		}, more...), os.Stdout)
	}()
	return p
}

// end stops the worker and waits for it.
func (p *program) end() {
	p.t.Helper()
	p.stop()
	if err := <-p.ended; err != nil {
		p.t.Errorf("ended with %v", err)
	}
}

var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 15 * time.Second}

// call returns the status and the body of an answer.
func (p *program) call(method, url, body string) (int, string) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	token, err := p.keys.Mint(chat.DemoUser("alice"), time.Hour)
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	response, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// await polls /readyz until it has the status and says what it should.
func (p *program) await(status int, says string) {
	p.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		got, text := p.call("GET", "http://"+p.ops+"/readyz", "")
		if got == status && strings.Contains(text, says) {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("/readyz: %d %s, want %d %s", got, text, status, says)
		}
		select {
		case err := <-p.ended:
			p.t.Fatalf("ended with %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// route does for the answers what the router does: it takes them from the
// accepted log to the server that waits for them.
func route(t *testing.T, brokers string, partitions int32) {
	t.Helper()
	log := kafka.Open(kafka.Config{Brokers: []string{brokers}, ClientID: "test", Log: slog.New(slog.DiscardHandler)})
	producer := log.Producer(kafka.ProducerConfig{})
	ctx, stop := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	parts.Go(func() {
		if err := producer.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	follow := func(reader bus.Reader, take func(*testing.T, bus.Producer, bus.Record)) {
		parts.Go(func() {
			defer reader.Close()
			for {
				records, err := reader.Next(ctx)
				if err != nil {
					return
				}
				for _, r := range records {
					take(t, producer, r)
				}
			}
		})
	}
	for p := range partitions {
		follow(log.Log().Open(bus.AcceptedTopic(1), p, 0), answer)
		follow(log.Log().Open(bus.TopicStatus, p, 0), confirm)
	}
	t.Cleanup(func() {
		stop()
		parts.Wait()
		log.Close()
	})
}

func answer(t *testing.T, producer bus.Producer, r bus.Record) {
	var a bus.Accepted
	if err := bus.ParseAccepted(r.Value, &a); err != nil {
		t.Error(err)
		return
	}
	out := bus.Answer{
		Boot: a.ReplyTo.Boot, Session: a.ReplyTo.Session, Outcome: a.Outcome, Seq: a.Seq, ID: a.ID, Code: a.Code, Message: a.Message,
	}
	if a.Outcome == bus.Stored {
		out.Seq, out.ID = a.Events[0].Seq, a.Events[0].ID
	}
	d := bus.Delivery{Class: bus.Durable, Position: a.Position, Partition: r.Partition, Answer: &out}
	m := bus.Message{Topic: bus.DeliveryTopic(a.ReplyTo.Server), Value: d.Append(nil)}
	if err := producer.Produce(m, func(int64, error) {}); err != nil {
		t.Error(err)
	}
}

// confirm does the same for marks.
func confirm(t *testing.T, producer bus.Producer, r bus.Record) {
	var s bus.Status
	if err := bus.ParseStatus(r.Value, &s); err != nil {
		t.Error(err)
	}
	if s.Outcome == 0 {
		return
	}
	d := bus.Delivery{Class: bus.Latest, Answer: &bus.Answer{Boot: s.ReplyTo.Boot, Session: s.ReplyTo.Session, Outcome: s.Outcome, Code: s.Code}}
	m := bus.Message{Topic: bus.DeliveryTopic(s.ReplyTo.Server), Value: d.Append(nil)}
	if err := producer.Produce(m, func(int64, error) {}); err != nil {
		t.Error(err)
	}
}

// The program waits for its topics, folds, serves, and finds everything again
// after a restart.
func TestAWorkerFoldsAndServes(t *testing.T) {
	foldAndServe(t, "topic chat.inbound is missing")
}

// foldAndServe is a worker's life with an archive that the flags name: first it
// waits for something.
func foldAndServe(t *testing.T, waits string, flags ...string) {
	brokers, dir := startKafka(t), t.TempDir()
	p := startWorker(t, brokers, dir, flags...)
	p.await(503, waits)
	migrate := append([]string{"migrate", "-kafka", brokers, "-partitions", "2", "-replication", "1"}, flags...)
	if err := run(t.Context(), migrate, io.Discard); err != nil {
		t.Fatal(err)
	}
	p.await(200, "ok")
	route(t, brokers, 2)

	const conversations = "/api/v1/conversations"
	direct := fmt.Sprintf(`{"type":"direct","member_ids":[%q]}`, chat.DemoUser("bob"))
	if status, text := p.call("POST", "http://"+p.rest+conversations, direct); status != 201 {
		t.Fatalf("create: got %d %s", status, text)
	}
	path := conversations + "/" + chat.DirectConversation(chat.DemoUser("alice"), chat.DemoUser("bob")).String()
	message := fmt.Sprintf(`{"type":"text","content":"hello","client_message_id":%q}`, chat.NewRequestID())
	status, sent := p.call("POST", "http://"+p.rest+path+"/messages", message)
	if status != 201 || !strings.Contains(sent, `"seq":2,`) || !strings.Contains(sent, `"duplicate":false`) {
		t.Errorf("send: got %d %s", status, sent)
	}
	if status, text := p.call("POST", "http://"+p.rest+path+"/read", `{"seq":2}`); status != 204 {
		t.Errorf("read: got %d %s", status, text)
	}
	if status, text := p.call("POST", "http://"+p.rest+path+"/read", `{"seq":3}`); status != 400 {
		t.Errorf("read beyond the head: got %d %s", status, text)
	}
	_, before := p.call("GET", "http://"+p.rest+path+"/messages", "")
	if !strings.Contains(before, `"content":"hello"`) {
		t.Errorf("history: %s", before)
	}
	p.end()

	p = startWorker(t, brokers, dir, flags...)
	defer p.end()
	p.await(200, "ok")
	if _, after := p.call("GET", "http://"+p.rest+path+"/messages", ""); after != before {
		t.Errorf("history after a restart: got %s, want %s", after, before)
	}
	status, again := p.call("POST", "http://"+p.rest+path+"/messages", message)
	if want := strings.Replace(sent, `"duplicate":false`, `"duplicate":true`, 1); status != 200 || again != want {
		t.Errorf("the retry: got %d %s, want 200 %s", status, again, want)
	}
	if status, _ := p.call("POST", "http://"+p.rest+conversations, direct); status != 200 {
		t.Errorf("the same conversation: got %d, want 200", status)
	}
}
