package node

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"switchboard/internal/auth"
	"switchboard/internal/bus"
	kfake "switchboard/internal/bus/embedded"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/internal/presence"
	miniredis "switchboard/internal/presence/embedded"
	"switchboard/internal/presence/redis"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Keep-alive connections of the client that dialled.
		goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"))
}

const (
	partitions = 4
	patience   = 10 * time.Second
)

var alice, bob = chat.DemoUser("alice"), chat.DemoUser("bob")

// world is a gateway over a real log and a real directory inside this process.
// The test plays the storage worker and the router.
type world struct {
	*testing.T
	cfg      Config
	keys     *auth.Keys
	redis    *miniredis.Server
	client   *kafka.Client
	producer *kafka.Producer
	inbound  []bus.Reader
	node     *Node
	stop     func() error // ends the node and returns what Run said
	ended    func() error // waits until the node ends by itself
	offset   int64        // of the next outcome
}

func newWorld(t *testing.T, change func(*Config)) *world {
	t.Helper()
	w := &world{T: t}
	cluster, err := kfake.Start(kfake.Config{})
	w.must(err)
	t.Cleanup(cluster.Close)
	w.redis, err = miniredis.Start()
	w.must(err)
	t.Cleanup(w.redis.Close)
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	w.client = kafka.Open(kafka.Config{Brokers: []string{cluster.Addr()}, ClientID: "test", Log: log})
	t.Cleanup(w.client.Close)
	directory, err := redis.Open(redis.Config{Addrs: []string{w.redis.Addr()}})
	w.must(err)
	t.Cleanup(func() { w.must(directory.Close()) })
	_, err = w.client.Admin().Ensure(t.Context(), bus.Topics(bus.FirstGeneration, partitions), 1)
	w.must(err)
	for p := range int32(partitions) {
		reader := w.client.Log().Open(bus.InboundTopic(bus.FirstGeneration), p, 0)
		t.Cleanup(reader.Close)
		w.inbound = append(w.inbound, reader)
	}
	file := filepath.Join(t.TempDir(), "keys.json")
	w.must(auth.Generate(file))
	w.keys, err = auth.Open(file, "", "")
	w.must(err)
	w.producer = w.client.Producer(kafka.ProducerConfig{Flush: time.Second})
	background(t, w.producer.Run)
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	w.must(err)
	w.cfg = Config{
		Listener: listener.(*net.TCPListener), Server: "gw-1", Boot: 1000, Keys: w.keys,
		Producer: w.producer, Log: w.client.Log(), Admin: w.client.Admin(), Directory: directory,
		Generation: bus.FirstGeneration, Partitions: partitions,
		DrainTimeout: 400 * time.Millisecond, Loops: 2, Logger: log, Metrics: metrics.New(),
	}
	if change != nil {
		change(&w.cfg)
	}
	w.node, err = New(w.cfg)
	w.must(err)
	w.stop, w.ended = background(t, w.node.Run)
	return w
}

// background runs a part until the test ends or stop is called; stop and ended
// return what the part returned.
func background(t *testing.T, run func(context.Context) error) (stop, ended func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- run(ctx) }()
	ended = sync.OnceValue(func() error { return <-result })
	stop = func() error { cancel(); return ended() }
	t.Cleanup(func() {
		if err := stop(); err != nil && !t.Failed() && !errors.Is(err, presence.ErrReplaced) {
			t.Errorf("Run: %v", err)
		}
	})
	return stop, ended
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	w.Cleanup(cancel)
	return ctx
}

func (w *world) token(u chat.UserID) string {
	token, err := w.keys.Mint(u, time.Hour)
	w.must(err)
	return token
}

// client is a socket as another library sees it.
type client struct {
	*world
	socket *websocket.Conn
}

type frame struct {
	Type, ID string
	Data     map[string]any
}

// dial opens a socket, by header unless the token is empty.
func (w *world) dial(token, device string) *client {
	w.Helper()
	header := http.Header{}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	if device != "" {
		header.Set("X-Device-Id", device)
	}
	socket, response, err := websocket.Dial(w.ctx(), "ws://"+w.node.Addr().String()+"/api/v1/ws",
		&websocket.DialOptions{HTTPHeader: header, Subprotocols: []string{"chat.v1.json"}})
	if response != nil && response.Body != nil {
		_ = response.Body.Close()
	}
	w.must(err)
	socket.SetReadLimit(-1)
	w.Cleanup(func() { _ = socket.CloseNow() })
	if got := socket.Subprotocol(); got != "chat.v1.json" {
		w.Errorf("subprotocol %q", got)
	}
	return &client{world: w, socket: socket}
}

// connect opens a socket and reads `connected`.
func (w *world) connect(u chat.UserID, device string) *client {
	w.Helper()
	c := w.dial(w.token(u), device)
	if f := c.read("connected"); f.Data["user_id"] != u.String() {
		w.Errorf("connected as %v", f.Data)
	}
	return c
}

func (c *client) write(text string) {
	c.Helper()
	c.must(c.socket.Write(c.ctx(), websocket.MessageText, []byte(text)))
}

func (c *client) read(want string) (f frame) {
	c.Helper()
	_, payload, err := c.socket.Read(c.ctx())
	c.must(err)
	c.must(json.Unmarshal(payload, &f))
	if f.Type != want {
		c.Fatalf("read %s, want %s", payload, want)
	}
	return f
}

// closed reads the close.
func (c *client) closed(want chat.CloseCode) {
	c.Helper()
	_, payload, err := c.socket.Read(c.ctx())
	var e websocket.CloseError
	if !errors.As(err, &e) || e.Code != websocket.StatusCode(want) || e.Reason != want.Reason() {
		c.Fatalf("read %s, %v; want a close with %d", payload, err, want)
	}
}

// take reads one record of inbound.
func (w *world) take(conversation chat.ConversationID) (in bus.Inbound) {
	w.Helper()
	records, err := w.inbound[bus.PartitionOf(conversation, partitions)].Next(w.ctx())
	w.must(err)
	w.must(bus.ParseInbound(records[0].Value, &in))
	return in
}

// deliver writes one delivery as the router does.
func (w *world) deliver(d *bus.Delivery) {
	w.Helper()
	d.Class = bus.Durable
	d.Position = chat.Position{Generation: bus.FirstGeneration, Offset: w.offset}
	w.offset++
	acked := make(chan error, 1)
	w.must(w.producer.Produce(bus.Message{Topic: bus.DeliveryTopic("gw-1"), Value: d.Append(nil)},
		func(_ int64, err error) { acked <- err }))
	w.must(<-acked)
}

// places asks the directory where a user is.
func (w *world) places(u chat.UserID) presence.Places {
	w.Helper()
	places, err := w.cfg.Directory.Where(w.ctx(), []chat.UserID{u})
	w.must(err)
	return places[0]
}

func TestMessageGoesThereAndBack(t *testing.T) {
	w := newWorld(t, nil)
	a, b, tablet := w.connect(alice, "phone"), w.connect(bob, ""), w.connect(alice, "tablet")
	if p := w.places(alice); len(p.Routes) != 2 || !p.Online || p.Routes[0].Slot != "gw-1" || p.Routes[0].Boot != 1000 {
		t.Errorf("alice is at %+v", p)
	}
	conversation := chat.DirectConversation(alice, bob)
	a.write(`{"type":"send_message","id":"c17","data":{"conversation_id":"` + conversation.String() + `","content":"h\u00e9llo","type":"text"}}`)
	in := w.take(conversation)
	if in.Sender != alice || in.Send.Content != "héllo" || in.ReplyTo.ID != "c17" || in.Request.IsZero() {
		t.Errorf("inbound has %+v", in)
	}
	w.deliver(&bus.Delivery{
		Frames: []bus.Frame{{
			Payload: []byte(`{"type":"new_message","data":{"seq":1}}`), Recipients: []chat.UserID{alice, bob},
			ExceptBoot: in.ReplyTo.Boot, ExceptSession: in.ReplyTo.Session,
		}},
		Answer: &bus.Answer{Boot: in.ReplyTo.Boot, Session: in.ReplyTo.Session, Payload: []byte(`{"type":"message_sent","id":"c17","data":{}}`)},
	})
	if f := a.read("message_sent"); f.ID != "c17" {
		t.Errorf("message_sent answers %q", f.ID)
	}
	b.read("new_message")
	tablet.read("new_message")
	a.write(`{"type":"heartbeat","id":"h"}`)
	a.read("heartbeat_ack") // And not the push of its own message.
}

func TestConnectByFrame(t *testing.T) {
	w := newWorld(t, nil)
	c := w.dial("", "")
	c.write(`{"type":"connect","id":"c1","data":{"token":"` + w.token(alice) + `","device_id":"laptop"}}`)
	f := c.read("connected")
	if f.ID != "c1" || f.Data["device_id"] != "laptop" || f.Data["server"] != "gw-1" {
		t.Errorf("connected = %+v", f)
	}
	bad := w.dial("", "")
	bad.write(`{"type":"connect","data":{"token":"x.y.z"}}`)
	if f := bad.read("error"); f.Data["code"] != "unauthorized" {
		t.Errorf("error = %+v", f)
	}
	bad.closed(chat.CloseAuthFailed)
}

func TestUpgradeIsRefused(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Origins = []string{"https://chat.example"} })
	for name, test := range map[string]struct {
		path   string
		header http.Header
		status int
	}{
		"token":  {"/api/v1/ws", http.Header{"Authorization": {"Bearer x"}}, 401},
		"path":   {"/ws", nil, 404},
		"origin": {"/api/v1/ws", http.Header{"Origin": {"https://evil.example"}}, 403},
		"asked":  {"/api/v1/ws", http.Header{"Sec-Websocket-Protocol": {"mqtt"}}, 426},
	} {
		_, response, err := websocket.Dial(w.ctx(), "ws://"+w.node.Addr().String()+test.path, &websocket.DialOptions{HTTPHeader: test.header})
		if err == nil || response == nil || response.StatusCode != test.status {
			t.Errorf("%s: %v, %v; want status %d", name, response, err, test.status)
			continue
		}
		w.must(response.Body.Close())
	}
}

func TestDirectoryOutageDelaysConnected(t *testing.T) {
	w := newWorld(t, nil)
	old := w.connect(bob, "")
	w.redis.Refuse("LOADING away for a while")
	c := w.dial(w.token(alice), "")
	c.write(`{"type":"heartbeat","id":"early"}`)
	old.write(`{"type":"heartbeat","id":"h"}`)
	old.read("heartbeat_ack") // Who is here is served on.
	w.redis.Refuse("")
	c.read("connected")
	if f := c.read("heartbeat_ack"); f.ID != "early" {
		t.Errorf("heartbeat_ack answers %q", f.ID)
	}
}

func TestSlotTakenByAYoungerBoot(t *testing.T) {
	w := newWorld(t, nil)
	c := w.connect(alice, "")
	w.must(w.cfg.Directory.Claim(w.ctx(), "gw-1", 2000))
	c.closed(chat.CloseServerError) // At the next renewal.
	if err := w.stop(); !errors.Is(err, presence.ErrReplaced) {
		t.Errorf("Run = %v, want ErrReplaced", err)
	}
	if lapsed, err := w.cfg.Directory.Renew(w.ctx(), "gw-1", 2000); lapsed || err != nil {
		t.Errorf("the younger boot's lease: lapsed %v, %v", lapsed, err)
	}
}

func TestDrainSendsEverybodyElsewhere(t *testing.T) {
	w := newWorld(t, nil)
	a, b := w.connect(alice, ""), w.connect(bob, "")
	ended := make(chan error, 1)
	go func() { ended <- w.stop() }()
	if f := a.read("reconnect"); f.Data["reason"] != "drain" || f.Data["jitter_ms"] != 300.0 {
		t.Errorf("reconnect = %+v", f)
	}
	w.must(a.socket.Close(websocket.StatusNormalClosure, ""))
	b.read("reconnect")
	b.closed(chat.CloseDraining)
	w.must(<-ended)
	for _, u := range []chat.UserID{alice, bob} {
		if p := w.places(u); len(p.Routes) != 0 || p.Online {
			t.Errorf("a user is still at %+v", p)
		}
	}
	if lapsed, err := w.cfg.Directory.Renew(w.ctx(), "gw-1", 1000); !lapsed || err != nil {
		t.Errorf("the lease was not released: lapsed %v, %v", lapsed, err)
	}
}

func TestSameDeviceAgainReplacesTheOldSocket(t *testing.T) {
	w := newWorld(t, nil)
	first := w.connect(alice, "phone")
	second := w.connect(alice, "phone")
	first.closed(chat.CloseSessionReplaced)
	second.write(`{"type":"heartbeat"}`)
	second.read("heartbeat_ack")
}

func TestSlowReaderIsToldThatItMissedSomething(t *testing.T) {
	w := newWorld(t, nil)
	c := w.connect(alice, "")
	const frames, size = 300, 60_000
	padding := make([]byte, size)
	for i := range padding {
		padding[i] = 'x'
	}
	for i := range frames {
		w.deliver(&bus.Delivery{Frames: []bus.Frame{{
			Recipients: []chat.UserID{alice},
			Payload:    []byte(`{"type":"new_message","data":{"seq":` + strconv.Itoa(i) + `,"content":"` + string(padding) + `"}}`),
		}}})
	}
	for next := 0.0; ; next++ {
		_, payload, err := c.socket.Read(w.ctx())
		w.must(err)
		var f frame
		w.must(json.Unmarshal(payload, &f))
		if f.Type == "behind" {
			if next == 0 || next == frames || f.Data["reason"] != "slow" {
				t.Errorf("after %v of %d frames: %+v", next, frames, f.Data)
			}
			break
		}
		if f.Data["seq"] != next {
			t.Fatalf("seq %v comes after %v", f.Data["seq"], next-1)
		}
	}
	w.deliver(&bus.Delivery{Frames: []bus.Frame{{Recipients: []chat.UserID{alice}, Payload: []byte(`{"type":"new_message","data":{}}`)}}})
	c.read("new_message") // Pushing is on again.
}

func TestBadServerNameIsRefused(t *testing.T) {
	if _, err := New(Config{Server: "Gateway 1"}); err == nil {
		t.Error("a name that cannot be part of a topic's was taken")
	}
}

func TestNodeThatIsStoppedBeforeItsServersAnswer(t *testing.T) {
	redisAway := make(chan struct{})
	w := newWorld(t, func(c *Config) {
		c.Ready = func(part string, err error) {
			if part == "kafka" && err == nil {
				close(redisAway)
			}
		}
		c.Directory = silent{c.Directory}
	})
	<-redisAway
	if err := w.stop(); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

func TestNodeThatFindsAYoungerBootInItsSlot(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		if err := c.Directory.Claim(context.Background(), "gw-1", 2000); err != nil {
			t.Fatal(err)
		}
	})
	if err := w.ended(); !errors.Is(err, presence.ErrReplaced) {
		t.Errorf("Run = %v, want ErrReplaced", err)
	}
}

// silent is a directory that cannot be claimed.
type silent struct{ presence.Directory }

func (silent) Claim(context.Context, string, uint64) error { return errors.New("away") }
