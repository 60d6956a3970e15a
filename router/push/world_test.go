package push

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	_ "modernc.org/sqlite" // the driver

	"switchboard/internal/bus"
	broker "switchboard/internal/bus/embedded"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/chat"
	"switchboard/internal/devices"
	tables "switchboard/internal/devices/sqlite"
	"switchboard/internal/metrics"
)

const (
	partitions = 4
	patience   = time.Minute
	hookSecret = "a secret of the webhook, 32 byte"
)

// world is a log, the tables of devices, a push service and a webhook.
type world struct {
	t       *testing.T
	client  *kafka.Client
	store   *tables.Store
	key     []byte // of VAPID, in PEM
	public  *ecdsa.PublicKey
	service *httptest.Server
	keys    *ecdh.PrivateKey // of all browsers
	secret  []byte
	subject string
	sender  *Sender // the last one that was started
	broker  string
	file    string // of the tables of devices

	mu    sync.Mutex
	heard []heard
	// answer decides on a status; nil and 0 are 201.
	answer func(h heard) int
	more   chan struct{}
}

// heard is a notice that arrived at the service or the webhook.
type heard struct {
	device string // as the path or the call names it
	id     string // of a webhook
	notice Notice
	fields map[string]any
	topic  string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	server, err := broker.Start(broker.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	w := &world{
		t: t, more: make(chan struct{}, 1), secret: make([]byte, 16), subject: "mailto:ops@example.com",
		broker: server.Addr(), file: filepath.Join(t.TempDir(), "devices.db"),
	}
	w.client = kafka.Open(kafka.Config{Brokers: []string{server.Addr()}, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(w.client.Close)
	if _, err := w.client.Admin().Ensure(t.Context(), bus.Topics(bus.FirstGeneration, partitions), 1); err != nil {
		t.Fatal(err)
	}
	if w.store, err = openStore(t.Context(), w.file); err != nil {
		t.Fatal(err)
	}
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(signer)
	if err != nil {
		t.Fatal(err)
	}
	w.key, w.public = pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), &signer.PublicKey
	if w.keys, err = ecdh.P256().GenerateKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	w.service = httptest.NewServer(w)
	t.Cleanup(w.service.Close)
	return w
}

// openStore opens the tables of devices, which several processes may do. Their
// connection ends with the process.
func openStore(ctx context.Context, file string) (*tables.Store, error) {
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	return tables.New(ctx, db)
}

func (w *world) p256dh() string {
	return base64.RawURLEncoding.EncodeToString(w.keys.PublicKey().Bytes())
}

func (w *world) auth() string { return base64.RawURLEncoding.EncodeToString(w.secret) }

// ServeHTTP is the push service, which reads what only a browser can, and the
// webhook at /hook.
func (w *world) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.t.Error(err)
	}
	var h heard
	if r.URL.Path == "/hook" {
		h, err = w.hooked(r, body)
	} else {
		h, err = w.pushed(r, body)
	}
	if err != nil {
		w.t.Errorf("%s: %v", r.URL.Path, err)
		out.WriteHeader(http.StatusBadRequest)
		return
	}
	w.mu.Lock()
	status := 0
	if w.answer != nil {
		status = w.answer(h)
	}
	w.heard = append(w.heard, h)
	w.mu.Unlock()
	if status == 0 {
		status = http.StatusCreated
	}
	out.WriteHeader(status)
	select {
	case w.more <- struct{}{}:
	default:
	}
}

// pushed verifies who sends and decrypts, by RFC 8292 and RFC 8291.
func (w *world) pushed(r *http.Request, body []byte) (h heard, err error) {
	h.device, h.topic = strings.TrimPrefix(r.URL.Path, "/push/"), r.Header.Get("Topic")
	token, key, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Authorization"), "vapid t="), ", k=")
	claims := jwt.MapClaims{}
	if _, err = jwt.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return w.public, nil }, jwt.WithValidMethods([]string{"ES256"}), jwt.WithAudience(w.service.URL)); err != nil {
		return h, err
	}
	point, err := w.public.Bytes()
	if err != nil || key != base64.RawURLEncoding.EncodeToString(point) || claims["sub"] != w.subject {
		return h, fmt.Errorf("signed by %s for %v", key, claims)
	}
	salt, ours, sealed := body[:16], body[21:86], body[86:]
	theirs, err := ecdh.P256().NewPublicKey(ours)
	if err != nil {
		return h, err
	}
	shared, err := w.keys.ECDH(theirs)
	if err != nil {
		return h, err
	}
	derive := func(secret, salt []byte, info string, length int) []byte {
		key, err := hkdf.Key(sha256.New, secret, salt, info, length)
		if err != nil {
			w.t.Error(err)
		}
		return key
	}
	ikm := derive(shared, w.secret, "WebPush: info\x00"+string(w.keys.PublicKey().Bytes())+string(ours), 32)
	block, err := aes.NewCipher(derive(ikm, salt, "Content-Encoding: aes128gcm\x00", 16))
	if err != nil {
		return h, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return h, err
	}
	text, err := gcm.Open(nil, derive(ikm, salt, "Content-Encoding: nonce\x00", 12), sealed, nil)
	if err != nil {
		return h, err
	}
	text = []byte(strings.TrimSuffix(strings.TrimRight(string(text), "\x00"), "\x02"))
	return h, h.read(text)
}

// hooked verifies the signature of a call.
func (w *world) hooked(r *http.Request, body []byte) (h heard, err error) {
	hook := &Hook{secret: []byte(hookSecret)}
	h.id = r.Header.Get("Webhook-Id")
	if got, want := r.Header.Get("Webhook-Signature"), hook.sign(h.id, r.Header.Get("Webhook-Timestamp"), body); got != want || h.id == "" {
		return h, fmt.Errorf("the signature of %q is %q", h.id, got)
	}
	var c struct {
		DeviceID, Provider, Token string
		Notification              json.RawMessage
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return h, err
	}
	for name, to := range map[string]any{"device_id": &c.DeviceID, "provider": &c.Provider, "token": &c.Token, "notification": &c.Notification} {
		if err := json.Unmarshal(fields[name], to); err != nil {
			return h, err
		}
	}
	if c.Provider != "fcm" || c.DeviceID == "" || len(fields) != 5 {
		return h, fmt.Errorf("the call is %s", body)
	}
	h.device = c.Token
	return h, h.read(c.Notification)
}

func (h *heard) read(text []byte) error {
	if err := json.Unmarshal(text, &h.fields); err != nil {
		return err
	}
	return json.Unmarshal(text, &h.notice)
}

// browser registers a device that is reached by the service.
func (w *world) browser(u chat.UserID, device, address string, muted ...chat.ConversationID) {
	w.t.Helper()
	w.register(devices.Registration{
		User: u, Device: device, Kind: devices.WebPush, Address: w.service.URL + "/push/" + address,
		Settings: devices.Settings{
			P256DH: w.p256dh(), Auth: w.auth(), Muted: muted,
		},
	})
}

// phone registers a device that is reached by the webhook.
func (w *world) phone(u chat.UserID, device, token string) {
	w.t.Helper()
	w.register(devices.Registration{User: u, Device: device, Kind: devices.Webhook, Address: token, Settings: devices.Settings{Provider: "fcm"}})
}

func (w *world) register(r devices.Registration) {
	w.t.Helper()
	if err := r.Check(); err != nil {
		w.t.Fatal(err)
	}
	if err := w.store.Put(w.t.Context(), r); err != nil {
		w.t.Fatal(err)
	}
}

// config is of a sender in this world.
func (w *world) config() Config {
	w.t.Helper()
	web, err := NewWebPush(w.key, "mailto:ops@example.com", true)
	if err != nil {
		w.t.Fatal(err)
	}
	hook, err := NewHook(w.service.URL+"/hook", []byte(hookSecret))
	if err != nil {
		w.t.Fatal(err)
	}
	return Config{
		Log: w.client.Log(), Partitions: partitions, Devices: w.store, WebPush: web, Webhook: hook,
		Pushes:   w.client.Group(bus.TopicPush, bus.PushGroup, kafka.GroupConfig{}),
		Statuses: w.client.Group(bus.TopicStatus, bus.PushReadGroup, kafka.GroupConfig{}),
		Gather:   10 * time.Millisecond, First: time.Millisecond, Last: 20 * time.Millisecond, Tries: 5,
		Logger: slog.New(slog.DiscardHandler), Metrics: metrics.New(),
	}
}

// start runs a sender until the end of the test or until stop is called.
func (w *world) start(with func(*Config)) (stop func()) {
	w.t.Helper()
	cfg := w.config()
	producer := w.client.Producer(kafka.ProducerConfig{})
	cfg.Producer = producer
	with(&cfg)
	sender := New(cfg)
	w.sender = sender
	ctx, cancel := context.WithCancel(w.t.Context())
	var all sync.WaitGroup
	for _, run := range []func(context.Context) error{sender.Run, sender.RunReads} {
		all.Go(func() {
			if err := run(ctx); err != nil {
				w.t.Error(err)
			}
		})
	}
	writing, end := context.WithCancel(context.WithoutCancel(ctx))
	var writes sync.WaitGroup
	writes.Go(func() { _ = producer.Run(writing) }) // its end is asked for
	stop = sync.OnceFunc(func() {
		cancel()
		all.Wait()
		end()
		writes.Wait()
	})
	w.t.Cleanup(stop)
	return stop
}

// put writes records to the log and waits until they are there.
func (w *world) put(messages ...bus.Message) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	producer := w.client.Producer(kafka.ProducerConfig{})
	var run sync.WaitGroup
	run.Go(func() { _ = producer.Run(ctx) }) // its end is asked for
	defer run.Wait()
	defer cancel()
	done := make(chan error, len(messages))
	for _, m := range messages {
		if err := producer.Produce(m, func(_ int64, err error) { done <- err }); err != nil {
			w.t.Fatal(err)
		}
	}
	for range messages {
		if err := <-done; err != nil {
			w.t.Fatal(err)
		}
	}
}

// note is a record of chat.push.
func note(u chat.UserID, c chat.ConversationID, seq int) bus.Message {
	push := bus.Push{
		User: u, Conversation: c, ID: chat.NewMessageID(chat.Clock(1_790_000_000_000_000+seq), bus.FirstGeneration, 1),
		Seq: chat.Seq(seq), Sender: chat.DemoUser("sender"), Kind: chat.KindText,
		Position: chat.Position{Generation: bus.FirstGeneration, Offset: int64(seq)},
	}
	return bus.Message{Topic: bus.TopicPush, Partition: bus.PartitionOfUser(u, partitions), Key: u[:], Value: push.Append(nil)}
}

// said waits until the service and the webhook have heard n things, and returns all.
func (w *world) said(n int) []heard {
	w.t.Helper()
	w.until(func() bool { return w.count() >= n })
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]heard(nil), w.heard...)
}

func (w *world) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.heard)
}

// until waits for something that follows from what is heard or written.
func (w *world) until(so func() bool) {
	w.t.Helper()
	late := time.After(patience)
	for !so() {
		select {
		case <-late:
			w.t.Fatalf("it does not come to be; heard %d", w.count())
		case <-w.more:
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// dead returns what is on chat.undelivered.
func (w *world) dead() (all []bus.Push) {
	w.t.Helper()
	for partition := range int32(partitions) {
		start, end, err := w.client.Log().Bounds(w.t.Context(), bus.TopicDead, partition)
		if err != nil {
			w.t.Fatal(err)
		}
		if start == end {
			continue
		}
		reader := w.client.Log().Open(bus.TopicDead, partition, start)
		for start < end {
			records, err := reader.Next(w.t.Context())
			if err != nil {
				w.t.Fatal(err)
			}
			for _, r := range records {
				var p bus.Push
				if err := bus.ParsePush(r.Value, &p); err != nil {
					w.t.Fatal(err)
				}
				all = append(all, p)
				start = r.Offset + 1
			}
		}
		reader.Close()
	}
	return all
}

// commits joins the group of senders, when none runs, and returns what is committed.
func (w *world) commits() map[int32]int64 {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	var mu sync.Mutex
	all := make(map[int32]int64)
	group := w.client.Group(bus.TopicPush, bus.PushGroup, kafka.GroupConfig{})
	err := group.Run(ctx, func(ctx context.Context, c bus.Claim) error {
		mu.Lock()
		all[c.Partition()] = c.Committed()
		if len(all) == partitions {
			cancel()
		}
		mu.Unlock()
		<-ctx.Done()
		return nil
	})
	if len(all) != partitions {
		w.t.Fatalf("the commits of %d partitions are known: %v", len(all), err)
	}
	return all
}

// settled waits until nothing is left to say, stops the sender and looks whether
// everything on chat.push is committed.
func (w *world) settled(stop func()) {
	w.t.Helper()
	w.until(func() bool { return w.sender.waiting.Load() == 0 })
	stop()
	for partition, committed := range w.commits() {
		_, end, err := w.client.Log().Bounds(w.t.Context(), bus.TopicPush, partition)
		if err != nil {
			w.t.Fatal(err)
		}
		if committed != end {
			w.t.Errorf("partition %d is committed up to %d of %d", partition, committed, end)
		}
	}
}
