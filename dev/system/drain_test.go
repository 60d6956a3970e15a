package system

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"switchboard/client"
	"switchboard/internal/chat"
)

// One gateway of two is told to end while people talk on it.
func TestDrainOnRealServers(t *testing.T) {
	c := commonCluster(t)
	t.Run("everybody moves", c.everybodyMoves)
	t.Run("a second signal", c.secondSignal)
}

func (c *cluster) everybodyMoves(t *testing.T) {
	const drain = 8 * time.Second
	from, address := c.gateway(t, "gw-from", "-drain-timeout", drain.String())
	_, other := c.gateway(t, "gw-to")
	crowd := c.gather(t, "mover", 20, chat.NewRequestID(), address, other)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stubborn := c.stubborn(t, address)
	hush := crowd.Begin(ctx)
	for crowd.Answered() < 50 && ctx.Err() == nil {
		rest(ctx, 50*time.Millisecond)
	}

	begun := time.Now()
	from.signal(syscall.SIGTERM)
	if e, err := stubborn.Next(ctx); err != nil || e.Type != "reconnect" || !strings.Contains(string(e.Data), `"drain"`) {
		t.Errorf("who stays heard %s %s, %v, want reconnect", e.Type, e.Data, err)
	}
	if conn, err := new(net.Dialer).DialContext(ctx, "tcp", address); err == nil {
		t.Error("a newcomer was let in")
		_ = conn.Close() // the test has failed
	}
	if status, body := readiness(ctx, strings.TrimPrefix(from.ops, "http://")); status != http.StatusServiceUnavailable {
		t.Errorf("/readyz: %d %q, want 503", status, body)
	}
	var closed *client.CloseError
	if _, err := stubborn.Next(ctx); !errors.As(err, &closed) || closed.Code != chat.CloseDraining {
		t.Errorf("who stayed saw %v, want 4001", err)
	}
	stayed := time.Since(begun)
	if stayed < drain {
		t.Errorf("who stayed was closed after %v, want %v", stayed, drain)
	}
	if status := from.ends(); status != 0 {
		t.Errorf("the gateway ended with status %d, want 0", status)
	}
	hush()
	acked, longest := crowd.Silence()
	counts, err := crowd.Moves(begun, int(drain/time.Second))
	if err != nil {
		t.Error(err)
	}
	if most := slices.Max(counts); most > len(crowd.Devices)/2 {
		t.Errorf("%d of %d devices connected in the same second", most, len(crowd.Devices))
	}
	events, err := crowd.Judge(ctx)
	if err != nil {
		t.Error(err)
	}
	t.Logf("connected elsewhere, by the second: %v; who stayed was closed after %v, the process ended after %v",
		counts, stayed.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
	t.Logf("%d sends answered, never none for more than %v; %d events, %d devices complete",
		acked, longest.Round(time.Millisecond), events, len(crowd.Devices))
}

// stubborn is a connection of somebody who does nothing.
func (c *cluster) stubborn(t *testing.T, address string) *client.Conn {
	t.Helper()
	token, err := c.Keys.Mint(chat.DemoUser("stubborn"), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := client.Dial(t.Context(), socketAt(address), token, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Drop)
	return conn
}

// Who has no patience with the drain says so by a second signal, whichever it is:
// these gateways would wait for an hour.
func (c *cluster) secondSignal(t *testing.T) {
	for _, second := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(second.String(), func(t *testing.T) {
			g, address := c.gateway(t, "gw-wait", "-drain-timeout", "1h")
			stubborn := c.stubborn(t, address)
			g.signal(syscall.SIGTERM)
			if e, err := stubborn.Next(t.Context()); err != nil || e.Type != "reconnect" {
				t.Fatalf("who stays heard %q, %v, want reconnect", e.Type, err)
			}
			g.signal(second)
			if status := g.ends(); status != 1 {
				t.Errorf("it ended with status %d, want 1", status)
			}
		})
	}
}
