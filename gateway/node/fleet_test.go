package node

import (
	"context"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/coder/websocket"

	"switchboard/gateway/edge"
	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/internal/presence/redis"
)

// channel opens a channel on the world's Redis.
func (w *world) channel() *redis.Channel {
	w.Helper()
	c, err := redis.OpenChannel(redis.Config{Addrs: []string{w.redis.Addr()}})
	w.must(err)
	w.Cleanup(func() { w.must(c.Close()) })
	return c
}

// second is another gateway over the same servers.
func (w *world) second(server string) *world {
	w.Helper()
	other := *w
	cfg := w.cfg
	var err error
	cfg.Listener, err = edge.Listen(w.ctx(), "127.0.0.1:0")
	w.must(err)
	cfg.Server, cfg.Boot, cfg.Metrics, cfg.Channel = server, cfg.Boot+1, metrics.New(), w.channel()
	other.cfg = cfg
	other.node, err = New(cfg)
	w.must(err)
	other.stop, other.ended = background(w.T, other.node.Run)
	return &other
}

// two are two gateways that hear each other.
func two(t *testing.T) (*world, *world) {
	t.Helper()
	w := newWorld(t, nil)
	one, other := w.second("gw-a"), w.second("gw-b")
	for listening := []bool{false}; !listening[0] || !listening[1]; {
		var err error
		listening, err = one.cfg.Channel.Listening(w.ctx(), []string{"gw-a", "gw-b"})
		w.must(err)
	}
	return one, other
}

func TestADeviceThatConnectsElsewhereClosesTheOldSocket(t *testing.T) {
	one, other := two(t)
	old, tablet := one.connect(alice, "phone"), one.connect(alice, "tablet")
	for range 3 {
		began := time.Now()
		young := other.connect(alice, "phone")
		old.closed(chat.CloseSessionReplaced)
		t.Logf("closed %v after the newcomer had begun to connect", time.Since(began))
		young.write(`{"type":"heartbeat"}`)
		young.read("heartbeat_ack")
		old, one, other = young, other, one
	}
	tablet.write(`{"type":"heartbeat"}`)
	tablet.read("heartbeat_ack")
}

func TestAnEleventhConnectionElsewhereClosesTheOldest(t *testing.T) {
	one, other := two(t)
	var clients []*client
	for i := range 2 * chat.ConnectionsPerUser {
		clients = append(clients, []*world{one, other}[i%2].connect(alice, strconv.Itoa(i)))
		if i >= chat.ConnectionsPerUser {
			clients[i-chat.ConnectionsPerUser].closed(chat.CloseSessionReplaced)
		}
	}
	for _, c := range clients[chat.ConnectionsPerUser:] {
		c.write(`{"type":"heartbeat"}`)
		c.read("heartbeat_ack")
	}
}

// refused dials in vain and returns the answer's status and Retry-After.
func (w *world) refused(header http.Header) (status, retryAfter int) {
	w.Helper()
	socket, response, err := websocket.Dial(w.ctx(), "ws://"+w.node.Addr().String()+"/api/v1/ws", &websocket.DialOptions{HTTPHeader: header})
	if err == nil {
		_ = socket.CloseNow()
		return http.StatusSwitchingProtocols, 0
	}
	if response == nil {
		w.Fatal(err)
	}
	w.must(response.Body.Close())
	retryAfter, _ = strconv.Atoi(response.Header.Get("Retry-After"))
	return response.StatusCode, retryAfter
}

func (w *world) wantRefused(header http.Header, want int) {
	w.Helper()
	if status, retry := w.refused(header); status != want || retry < 1 || retry > 10 {
		w.Errorf("refused with %d, Retry-After %d; want %d and some seconds", status, retry, want)
	}
}

func (w *world) bearer(u chat.UserID) http.Header {
	return http.Header{"Authorization": {"Bearer " + w.token(u)}}
}

func TestMaxConnectionsIs503WithRetryAfter(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.MaxConnections = 2 })
	first := w.connect(alice, "")
	w.connect(bob, "")
	w.wantRefused(w.bearer(alice), http.StatusServiceUnavailable)
	w.must(first.socket.Close(websocket.StatusNormalClosure, ""))
	for ; ; time.Sleep(20 * time.Millisecond) { // Its place is free soon.
		if status, _ := w.refused(w.bearer(alice)); status == http.StatusSwitchingProtocols {
			return
		}
	}
}

func TestRedisThatDoesNotAnswerIs503WithRetryAfter(t *testing.T) {
	w := newWorld(t, nil)
	here := w.connect(bob, "")
	w.redis.Refuse("LOADING away for a while")
	patient := w.dial(w.token(alice), "")
	for { // Those who find out get their `connected` later.
		status, retry := w.refused(w.bearer(alice))
		if status == http.StatusServiceUnavailable {
			if retry < 1 {
				t.Errorf("Retry-After is %d", retry)
			}
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	here.write(`{"type":"heartbeat"}`)
	here.read("heartbeat_ack")
	w.redis.Refuse("")
	patient.read("connected")
	w.connect(alice, "")
}

// clogged is a producer that has no room.
type clogged struct{ bus.Producer }

func (clogged) Produce(bus.Message, func(int64, error)) error { return bus.ErrOverloaded }

func TestKafkaThatTakesNothingIs503WithRetryAfter(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Producer = clogged{c.Producer} })
	here := w.connect(alice, "")
	here.write(`{"type":"send_message","id":"c1","data":{"conversation_id":"` + chat.DirectConversation(alice, bob).String() + `","content":"x","type":"text"}}`)
	if f := here.read("error"); f.Data["code"] != "unavailable" || f.Data["retry_after_ms"] == 0.0 {
		t.Errorf("the sender is told %+v", f)
	}
	w.wantRefused(w.bearer(bob), http.StatusServiceUnavailable)
	for { // Nobody sends any more.
		if status, _ := w.refused(w.bearer(bob)); status == http.StatusSwitchingProtocols {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func TestDrainingIs503WithRetryAfter(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.DrainTimeout = patience })
	here := w.connect(alice, "")
	go func() { w.node.sessions.Drain(context.Background(), patience) }()
	here.read("reconnect")
	w.wantRefused(w.bearer(bob), http.StatusServiceUnavailable)
	w.must(here.socket.Close(websocket.StatusNormalClosure, ""))
}

func TestTooManyOpensIs429WithRetryAfter(t *testing.T) {
	w := newWorld(t, nil)
	for range 2 * chat.OpenBurst {
		status, retry := w.refused(w.bearer(alice))
		if status != http.StatusSwitchingProtocols {
			if status != http.StatusTooManyRequests || retry < 1 {
				t.Errorf("refused with %d, Retry-After %d", status, retry)
			}
			w.connect(bob, "") // Others are not concerned.
			return
		}
	}
	t.Error("a user may connect as often as it likes")
}
