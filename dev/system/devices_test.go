package system

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"switchboard/client"
	"switchboard/internal/chat"
)

// socket is one connection to one of a cluster's gateways.
type socket struct {
	*client.Conn

	name  string
	ended chan error // gets what ended it
}

// dial connects a device of a user, of its own if the name is empty.
func (c *cluster) dial(t *testing.T, gateway int, user, device string) *socket {
	t.Helper()
	token, err := c.Keys.Mint(chat.DemoUser(user), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := client.Dial(ctx, c.WS[gateway], token, device)
	if err != nil {
		t.Fatalf("%s on gateway %d: %v", device, gateway, err)
	}
	t.Cleanup(conn.Drop)
	s := &socket{Conn: conn, name: device, ended: make(chan error, 1)}
	go func() {
		for {
			if _, err := conn.Next(context.Background()); err != nil {
				s.ended <- err
				return
			}
		}
	}()
	return s
}

// replaced waits until the socket was closed since another one took its place, and
// returns how long that took.
func (s *socket) replaced(t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	select {
	case err := <-s.ended:
		var closed *client.CloseError
		if !errors.As(err, &closed) || closed.Code != chat.CloseSessionReplaced {
			t.Fatalf("%s ended with %v, want %d", s.name, err, chat.CloseSessionReplaced)
		}
	case <-time.After(patience):
		t.Fatalf("%s is still connected", s.name)
	}
	return time.Since(began)
}

// alive checks that a socket was not closed.
func (s *socket) alive(t *testing.T) {
	t.Helper()
	select {
	case err := <-s.ended:
		t.Fatalf("%s was closed: %v", s.name, err)
	default:
	}
	if err := s.Write(t.Context(), "heartbeat", "", nil); err != nil {
		t.Fatalf("%s: %v", s.name, err)
	}
}

// A device that connects to another gateway, and an eleventh connection, close the
// older one, which is on another host than the newcomer; what is dead costs nobody
// its place.
func TestDevicesOverTwoGateways(t *testing.T) {
	c := commonCluster(t)
	t.Run("a device", func(t *testing.T) { deviceMoves(t, c) })
	t.Run("an eleventh connection", func(t *testing.T) { elevenConnections(t, c) })
	t.Run("a word that is lost", func(t *testing.T) { wordIsLost(t, c) })
	t.Run("a gateway that was killed", func(t *testing.T) { deadGateway(t, c) })
}

// summary is the median and the longest of some times.
func summary(times []time.Duration) string {
	slices.Sort(times)
	return fmt.Sprintf("median %v, longest %v of %d", times[len(times)/2], times[len(times)-1], len(times))
}

func deviceMoves(t *testing.T, c *cluster) {
	old, tablet := c.dial(t, 0, "mover", "phone"), c.dial(t, 0, "mover", "tablet")
	var times []time.Duration
	for i := range 20 {
		young := c.dial(t, (i+1)%2, "mover", "phone")
		times = append(times, old.replaced(t))
		old = young
	}
	old.alive(t)
	tablet.alive(t)
	t.Logf("closed after the newcomer's `connected`: %s", summary(times))
	if median := times[len(times)/2]; median > time.Second {
		t.Errorf("half of the old sockets lived for more than %v", median)
	}
}

func elevenConnections(t *testing.T, c *cluster) {
	var all []*socket
	var times []time.Duration
	for i := range 2 * chat.ConnectionsPerUser {
		all = append(all, c.dial(t, i%2, "collector", fmt.Sprint("device ", i)))
		if i >= chat.ConnectionsPerUser {
			times = append(times, all[i-chat.ConnectionsPerUser].replaced(t))
		}
	}
	for _, s := range all[chat.ConnectionsPerUser:] {
		s.alive(t)
	}
	t.Logf("closed after the newcomer's `connected`: %s", summary(times))
}

// wordIsLost cuts the gateways' ears off just before newcomers come.
func wordIsLost(t *testing.T, c *cluster) {
	redis := goredis.NewClient(&goredis.Options{Addr: c.Redis})
	defer redis.Close()
	var times []time.Duration
	for i := range 5 {
		name := fmt.Sprint("unlucky ", i)
		old := c.dial(t, 0, name, "phone")
		if err := redis.ClientKillByFilter(t.Context(), "TYPE", "pubsub").Err(); err != nil {
			t.Fatal(err)
		}
		young := c.dial(t, 1, name, "phone")
		times = append(times, old.replaced(t))
		young.alive(t)
	}
	t.Logf("closed although nobody listened: %s", summary(times))
}

// deadGateway kills the gateway of a user's youngest connections, which come back to
// the other one without the names that they had.
func deadGateway(t *testing.T, c *cluster) {
	const half = chat.ConnectionsPerUser / 2
	var living, dead []*socket
	for i := range half {
		living = append(living, c.dial(t, 1, "survivor", fmt.Sprint("old ", i)))
	}
	for i := range half {
		dead = append(dead, c.dial(t, 0, "survivor", fmt.Sprint("lost ", i)))
	}
	release, err := c.Hold("gateway-1")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range dead {
		if err := <-s.ended; err == nil {
			t.Errorf("%s ended without a reason", s.name)
		}
	}
	for i := range half {
		living = append(living, c.dial(t, 1, "survivor", fmt.Sprint("new ", i)))
	}
	// Until the lease of the dead one is over, and what was put off is done.
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Second) {
		for _, s := range living {
			s.alive(t)
		}
	}
	if err := release(t.Context()); err != nil {
		t.Fatal(err)
	}
}
