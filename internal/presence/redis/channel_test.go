package redis_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"switchboard/internal/presence"
	"switchboard/internal/presence/embedded"
	"switchboard/internal/presence/presencetest"
	"switchboard/internal/presence/redis"
)

func openChannel(t testing.TB, addrs ...string) *redis.Channel {
	t.Helper()
	return openChannelAs(t, redis.Config{Addrs: addrs})
}

func openChannelAs(t testing.TB, cfg redis.Config) *redis.Channel {
	t.Helper()
	c, err := redis.OpenChannel(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return c
}

func startServer(t testing.TB) *embedded.Server {
	t.Helper()
	server, err := embedded.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return server
}

func TestChannelOnEmbeddedRedis(t *testing.T) {
	presencetest.RunChannel(t, func(t *testing.T) presence.Channel {
		return openChannel(t, startServer(t).Addr())
	})
}

// The servers may be named in any order.
func TestChannelOnThreeServers(t *testing.T) {
	presencetest.RunChannel(t, func(t *testing.T) presence.Channel {
		one, two, three := startServer(t), startServer(t), startServer(t)
		return &crossed{
			Channel:  openChannel(t, one.Addr(), two.Addr(), three.Addr()),
			listener: openChannel(t, three.Addr(), one.Addr(), two.Addr()),
		}
	})
}

// crossed publishes through one channel and listens through another.
type crossed struct {
	*redis.Channel
	listener *redis.Channel
}

func (c *crossed) Listen(ctx context.Context, server string, heard func(), hear func([]byte)) error {
	return c.listener.Listen(ctx, server, heard, hear)
}

func TestChannelOnRealRedis(t *testing.T) {
	addrs := os.Getenv("SWITCHBOARD_TEST_REDIS")
	if addrs == "" {
		t.Skip("SWITCHBOARD_TEST_REDIS is not set: no real Redis to test against")
	}
	presencetest.RunChannel(t, func(t *testing.T) presence.Channel {
		return openChannel(t, strings.Split(addrs, ",")...)
	})
}

func TestServersAreSpreadOverTheChannels(t *testing.T) {
	one, two := startServer(t), startServer(t)
	both, only := openChannel(t, one.Addr(), two.Addr()), openChannel(t, one.Addr())
	two.Close() // Whatever goes there fails.
	failed := 0
	for i := range 100 {
		notes := []presence.Note{{Server: fmt.Sprintf("gw-%d", i), Payload: []byte("a")}}
		if both.Publish(t.Context(), notes) != nil {
			failed++
		}
		if err := only.Publish(t.Context(), notes); err != nil {
			t.Fatal(err)
		}
	}
	if failed < 20 || failed > 80 {
		t.Errorf("%d of 100 servers are on one of two channels", failed)
	}
}

// A server that goes away is no end: when it is back, listening is on again, and
// whoever listens is told.
func TestListeningGoesOnWhenTheServerIsBack(t *testing.T) {
	server := startServer(t)
	c := openChannel(t, server.Addr())
	ctx, cancel := context.WithCancel(context.Background())
	listening, heard, ended := make(chan struct{}, 10), make(chan string, 10), make(chan error, 1)
	go func() {
		ended <- c.Listen(ctx, "gw-1", func() { listening <- struct{}{} }, func(p []byte) { heard <- string(p) })
	}()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Listen ended with %v", err)
		}
	}()
	await(t, listening)
	server.Close()
	if err := c.Publish(t.Context(), []presence.Note{{Server: "gw-1"}}); err == nil {
		t.Error("published to a server that is away")
	}
	if err := server.Restart(); err != nil {
		t.Fatal(err)
	}
	await(t, listening)
	if err := c.Publish(t.Context(), []presence.Note{{Server: "gw-1", Payload: []byte("again")}}); err != nil {
		t.Fatal(err)
	}
	if got := await(t, heard); got != "again" {
		t.Errorf("heard %q", got)
	}
}

func await[T any](t *testing.T, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(20 * time.Second):
		t.Fatal("it never came")
	}
	return v
}

func TestAChannelNeedsAnAddress(t *testing.T) {
	if _, err := redis.OpenChannel(redis.Config{}); err == nil {
		t.Error("opened without an address")
	}
}
