package embedded_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"switchboard/internal/bus"
	"switchboard/internal/bus/embedded"
	"switchboard/internal/bus/kafka"
)

// childDir is the environment variable that makes this test binary a program
// that writes to a broker of its own until it is killed.
const childDir = "SWITCHBOARD_EMBEDDED_TEST_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := writeForEver(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// writeForEver writes 0, 1, 2 … and prints each number once it is acknowledged.
func writeForEver(dir string) error {
	cluster, err := embedded.Start(embedded.Config{Dir: dir})
	if err != nil {
		return err
	}
	client := connect(cluster)
	ctx := context.Background()
	if _, err := client.Admin().Ensure(ctx, []bus.Topic{{Name: "t", Partitions: 1}}, 1); err != nil {
		return err
	}
	producer := client.Producer(kafka.ProducerConfig{})
	go func() { _ = producer.Run(ctx) }()
	acked := make(chan int64, 1000)
	go func() {
		for i := 0; ; i++ {
			message := bus.Message{Topic: "t", Value: []byte(strconv.Itoa(i))}
			for producer.Produce(message, func(offset int64, _ error) { acked <- offset }) != nil {
				time.Sleep(time.Millisecond)
			}
		}
	}()
	for offset := range acked {
		if _, err := fmt.Fprintln(os.Stdout, offset); err != nil {
			return err
		}
	}
	return nil
}

func connect(c *embedded.Cluster) *kafka.Client {
	return kafka.Open(kafka.Config{Brokers: strings.Split(c.Addr(), ","), Log: slog.New(slog.DiscardHandler)})
}

// begin starts a broker until the test ends.
func begin(t *testing.T, config embedded.Config) (*embedded.Cluster, *kafka.Client) {
	t.Helper()
	cluster, err := embedded.Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	client := connect(cluster)
	t.Cleanup(client.Close)
	return cluster, client
}

// TestKill kills a process that holds the broker and many unacknowledged
// records. What it had acknowledged is there for the next one.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	child.Env = append(os.Environ(), childDir+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	last := int64(-1)
	for lines := bufio.NewScanner(out); last < 20_000 && lines.Scan(); {
		if last, err = strconv.ParseInt(lines.Text(), 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := embedded.Start(embedded.Config{Dir: dir}); !errors.Is(err, embedded.ErrInUse) {
		t.Errorf("second process: %v, want ErrInUse", err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // It was killed.
	if last < 20_000 {
		t.Fatalf("the child ended after offset %d", last)
	}
	_, client := begin(t, embedded.Config{Dir: dir})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	start, end, err := client.Log().Bounds(ctx, "t", 0)
	if err != nil || start != 0 || end <= last {
		t.Fatalf("after kill -9 the log holds %d to %d, %v; acknowledged was %d", start, end, err, last)
	}
	reader := client.Log().Open("t", 0, 0)
	defer reader.Close()
	for next := int64(0); next < end; {
		records, err := reader.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			if r.Offset != next || string(r.Value) != strconv.FormatInt(next, 10) {
				t.Fatalf("offset %d holds %q", r.Offset, r.Value)
			}
			next++
		}
	}
}

// TestRestart closes a broker and starts it on its port again. Topics and
// committed offsets are as they were.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	cluster, client := begin(t, embedded.Config{Dir: dir, Sync: true})
	if _, err := client.Admin().Ensure(t.Context(), []bus.Topic{{Name: "t", Partitions: 3}}, 1); err != nil {
		t.Fatal(err)
	}
	commit(t, client, -1, 42)
	addr := cluster.Addr()
	cluster.Close()
	_, port, _ := net.SplitHostPort(addr)
	number, _ := strconv.Atoi(port)
	again, client := begin(t, embedded.Config{Dir: dir, Port: number})
	if again.Addr() != addr {
		t.Errorf("address %s, want %s", again.Addr(), addr)
	}
	if n, err := client.Admin().Partitions(t.Context(), "t"); n != 3 || err != nil {
		t.Errorf("topic has %d partitions, %v", n, err)
	}
	commit(t, client, 42, 43)
}

// commit claims partition 1 once.
func commit(t *testing.T, client *kafka.Client, found, offset int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := client.Group("t", "g", kafka.GroupConfig{}).Run(ctx, func(ctx context.Context, c bus.Claim) error {
		if c.Partition() != 1 {
			<-ctx.Done()
			return nil
		}
		defer cancel()
		if c.Committed() != found {
			t.Errorf("committed is %d, want %d", c.Committed(), found)
		}
		return c.Commit(ctx, offset)
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v", err)
	}
}

func TestPortInUse(t *testing.T) {
	cluster, _ := begin(t, embedded.Config{})
	_, port, _ := net.SplitHostPort(cluster.Addr())
	number, _ := strconv.Atoi(port)
	dir := t.TempDir()
	if _, err := embedded.Start(embedded.Config{Port: number, Dir: dir}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("second broker on a port: %v", err)
	}
	begin(t, embedded.Config{Dir: dir}) // The failed start left no lock.
}

func TestOnlyOneBrokerHasAFixedPort(t *testing.T) {
	if _, err := embedded.Start(embedded.Config{Port: 9092, Brokers: 2}); err == nil {
		t.Error("two brokers were started on one port")
	}
}

func TestLeaderMoves(t *testing.T) {
	cluster, client := begin(t, embedded.Config{Brokers: 3})
	if _, err := client.Admin().Ensure(t.Context(), []bus.Topic{{Name: "t", Partitions: 1}}, 1); err != nil {
		t.Fatal(err)
	}
	before := cluster.Leader("t", 0)
	if err := cluster.MoveLeader("t", 0); err != nil {
		t.Fatal(err)
	}
	if after := cluster.Leader("t", 0); after == before || after < 0 {
		t.Errorf("leader was %d and is %d", before, after)
	}
	if err := cluster.MoveLeader("missing", 0); err == nil {
		t.Error("the leader of no partition was moved")
	}
}
