package single

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"switchboard/client"
	"switchboard/dev/handset"
	"switchboard/gateway/edge"
	"switchboard/gateway/node"
	"switchboard/internal/bus"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
)

// wing is a second gateway on the servers of a system, which has only one.
type wing struct {
	address string
	url     string
	end     context.CancelFunc
	ended   chan error

	mu     sync.Mutex
	states map[string]error // by part, as readiness shows them
}

// wing starts it.
func (s *System) wing(t *testing.T, slot string, drain time.Duration) *wing {
	t.Helper()
	listener, err := edge.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wing{address: listener.Addr().String(), ended: make(chan error, 1), states: make(map[string]error)}
	w.url = "ws://" + w.address + "/api/v1/ws"
	var producers [3]*kafka.Producer
	for i := range producers {
		producers[i] = s.client.Producer(kafka.ProducerConfig{Leader: i == 2})
		background(t, producers[i].Run)
	}
	accepts := make(chan struct{})
	n, err := node.New(node.Config{
		Listener: listener, Server: slot, Boot: uint64(time.Now().UnixNano()), Keys: s.keys,
		Producer: producers[0], Receipts: producers[1], Signals: producers[2], Channel: s.channel,
		Log: s.client.Log(), Admin: s.client.Admin(), Directory: s.directory,
		Generation: bus.FirstGeneration, Partitions: Partitions, DrainTimeout: drain, Loops: 2,
		Ready: func(part string, err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			if _, known := w.states[part]; part == "gateway" && !known {
				close(accepts)
			}
			w.states[part] = err
		},
		Logger: s.cfg.Logger, Metrics: metrics.New(),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.end = background(t, func(ctx context.Context) error {
		err := n.Run(ctx)
		w.ended <- err
		return err
	})
	select {
	case <-accepts:
	case <-time.After(patience):
		t.Fatal("the second gateway does not accept")
	}
	return w
}

// background runs a part until the test ends or stop is called.
func background(t *testing.T, run func(context.Context) error) (stop context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("a part ended with %v", err)
		}
	})
	return cancel
}

// firstOf is a balancer: it leads to the first address at which somebody listens.
func firstOf(addresses ...string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, kind, _ string) (c net.Conn, err error) {
		for _, address := range addresses {
			if c, err = new(net.Dialer).DialContext(ctx, kind, address); err == nil {
				return c, nil
			}
		}
		return nil, err
	}
}

// gather connects 40 devices to a second gateway, behind a balancer that leads them
// to the first when nobody listens at the second.
func (s *System) gather(ctx context.Context, t *testing.T, w *wing) *handset.Crowd {
	t.Helper()
	crowd, err := handset.Gather(ctx, "mover", 20, chat.NewRequestID(), func(user chat.UserID, device string) handset.Config {
		return handset.Config{
			Base: s.URLs().REST, Token: s.tokens(user), URL: w.url, Name: device,
			Dial: firstOf(w.address, s.sockets.Addr().String()),
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

// A gateway that ends sends everybody to the other one, a few at a time, and
// nobody misses anything.
func TestDrainLosesNothing(t *testing.T) {
	t.Parallel()
	s := start(t)
	const drain = 6 * time.Second
	w := s.wing(t, "gw-2", drain)
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	crowd := s.gather(ctx, t, w)
	token, err := s.keys.Mint(chat.DemoUser("stubborn"), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	stubborn, err := client.Dial(t.Context(), w.url, token, "")
	if err != nil {
		t.Fatal(err)
	}
	defer stubborn.Drop()
	hush := crowd.Begin(ctx)

	begun := time.Now()
	w.end()
	e, err := stubborn.Next(t.Context())
	if err != nil || e.Type != "reconnect" {
		t.Fatalf("who stays heard %q, %v, want reconnect", e.Type, err)
	}
	if _, err := client.Dial(t.Context(), w.url, token, ""); err == nil {
		t.Error("a newcomer was let in")
	}
	w.mu.Lock()
	if w.states["gateway"] == nil {
		t.Error("it calls itself ready")
	}
	w.mu.Unlock()
	var closed *client.CloseError
	if _, err := stubborn.Next(t.Context()); !errors.As(err, &closed) || closed.Code != chat.CloseDraining {
		t.Errorf("who stayed saw %v, want 4001", err)
	}
	if stayed := time.Since(begun); stayed < drain {
		t.Errorf("who stayed was closed after %v, want %v", stayed, drain)
	}
	select {
	case err := <-w.ended:
		if err != nil {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
	hush()
	counts, err := crowd.Moves(begun, int(drain/time.Second))
	if err != nil {
		t.Error(err)
	}
	if most := slices.Max(counts); most > len(crowd.Devices)*2/3 {
		t.Errorf("%d of %d devices connected in the same second", most, len(crowd.Devices))
	}
	acked, longest := crowd.Silence()
	events, err := crowd.Judge(ctx)
	if err != nil {
		t.Error(err)
	}
	t.Logf("connected elsewhere, by the second: %v; %d sends answered, never none for more than %v; %d events",
		counts, acked, longest.Round(time.Millisecond), events)
}
