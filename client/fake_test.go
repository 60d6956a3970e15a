package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait for something that must happen.
const patience = 20 * time.Second

// The cast.
var (
	talk  = chat.ConversationID{0x7a}
	alice = chat.UserID{0xa1}
)

// script is a server that does as the test says: history and sync are what the
// test put there, and each connection is handed to the test.
type script struct {
	t      *testing.T
	server *httptest.Server
	conns  chan *socket // those that were accepted and got `connected`

	connected wire.Connected // what is said first; fixed before the first connection

	mu      sync.Mutex
	history []wire.Message // of talk
	synced  []wire.Message // what sync answers above have
	heads   []wire.Head    // and which conversations it says are to be paged
	brief   []wire.Head    // the next sync says that alone
	left    bool           // history is closed
	refuse  int            // the status of every upgrade, unless 0
	busy    []int          // the statuses of the next syncs
	full    []int          // and those of the next pages of history
	fail    fault          // what becomes of every REST call, unless nil
	asked   chan string    // paths of REST calls
}

// fault is one way in which a call fails for now.
type fault func(w http.ResponseWriter, r *http.Request)

var faults = map[string]fault{
	"refused": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
	"cut off": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	"garbled": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{")) },
	"silent": func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then it is heard that the client goes
		<-r.Context().Done()
	},
}

// failing has every REST call from now on fail in this way; nil = none.
func (s *script) failing(f fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = f
}

// unlocked calls f without the lock that the caller has.
func (s *script) unlocked(f func()) {
	s.mu.Unlock()
	defer s.mu.Lock()
	f()
}

// socket is the server's end of one connection.
type socket struct {
	*websocket.Conn
	t    *testing.T
	done chan struct{}
}

func newScript(t *testing.T) *script {
	s := scriptOf(t)
	s.server = httptest.NewServer(s)
	t.Cleanup(func() {
		s.server.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return s
}

func scriptOf(t *testing.T) *script {
	return &script{t: t, conns: make(chan *socket), asked: make(chan string, 1000), connected: wire.Connected{UserID: alice}}
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.asked <- r.URL.Path:
	default:
	}
	switch {
	case strings.HasSuffix(r.URL.Path, "/ws") && s.refuse != 0:
		w.WriteHeader(s.refuse)
	case strings.HasSuffix(r.URL.Path, "/ws"):
		s.unlocked(func() { s.accept(w, r) })
	case s.fail != nil:
		fail := s.fail
		s.unlocked(func() { fail(w, r) })
	case strings.HasSuffix(r.URL.Path, "/sync") && len(s.busy) > 0:
		w.WriteHeader(s.busy[0])
		_ = json.NewEncoder(w).Encode(wire.Problem{RetryAfterMS: 400})
		s.busy = s.busy[1:]
	case strings.HasSuffix(r.URL.Path, "/sync") && s.brief != nil:
		_ = json.NewEncoder(w).Encode(wire.SyncResponse{Heads: s.brief})
		s.brief = nil
	case strings.HasSuffix(r.URL.Path, "/sync"):
		answer := wire.SyncResponse{Heads: s.heads}
		var asked wire.SyncRequest
		_ = json.NewDecoder(r.Body).Decode(&asked)
		if _, named := asked.Have[talk]; s.left && !named {
			s.synced = nil // of what has ended, only who names it is told
		}
		for _, m := range s.synced {
			data, _ := json.Marshal(m)
			answer.Events = append(answer.Events, Event{Type: "new_message", Data: data})
		}
		_ = json.NewEncoder(w).Encode(answer)
	case s.left:
		w.WriteHeader(http.StatusNotFound)
	case len(s.full) > 0:
		w.WriteHeader(s.full[0])
		_ = json.NewEncoder(w).Encode(wire.Problem{RetryAfterMS: 2000})
		s.full = s.full[1:]
	default:
		_ = json.NewEncoder(w).Encode(wire.MessagePage{Messages: s.history})
	}
}

func (s *script) accept(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{wire.Subprotocol}})
	if err != nil {
		if s.t.Context().Err() == nil {
			s.t.Errorf("accept: %v", err)
		}
		return
	}
	c := &socket{Conn: conn, t: s.t, done: make(chan struct{})}
	c.say("connected", s.connected)
	select {
	case s.conns <- c:
		<-c.done
	case <-s.t.Context().Done(): // it came as the test ended; of what is hijacked, the request would not say so
	case <-time.After(patience):
		s.t.Error("a connection that the test did not expect")
	}
	_ = conn.CloseNow() // the test is done with it
}

// next waits for the client's next connection, which the test's end closes.
func (s *script) next() *socket {
	s.t.Helper()
	select {
	case c := <-s.conns:
		s.t.Cleanup(sync.OnceFunc(func() { close(c.done) }))
		return c
	case <-time.After(patience):
		s.t.Fatal("the client does not connect")
		return nil
	}
}

// say sends one frame.
func (c *socket) say(kind string, data any) {
	frame, err := encode(kind, "", data)
	if err == nil {
		err = c.Write(context.Background(), websocket.MessageText, frame)
	}
	if err != nil && c.t.Context().Err() == nil { // a client may go as its test ends
		c.t.Errorf("say %s: %v", kind, err)
	}
}

// sent is what the client sends.
type sent struct {
	Type string
	Data struct {
		ClientMessageID chat.RequestID `json:"client_message_id"`
		Content         string
		Seq             chat.Seq
	}
}

// hear waits for the client's next frame.
func (c *socket) hear() (f sent) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, frame, err := c.Read(ctx)
	if err == nil {
		err = json.Unmarshal(frame, &f)
	}
	if err != nil {
		c.t.Fatalf("hear: %v", err)
	}
	return f
}

// device is a client at work whose applied seqs come one by one.
type device struct {
	*Client
	t       *testing.T
	applied chan wire.Message
	ended   chan error
	cancel  context.CancelFunc
}

// device starts one that has applied seq 1 of talk in an earlier life.
func (s *script) device(change ...func(*Config)) *device {
	d := &device{t: s.t, applied: make(chan wire.Message, 100), ended: make(chan error, 1)}
	cfg := Config{
		REST:  &REST{Base: s.server.URL, Token: func(context.Context) (string, error) { return "token", nil }},
		URL:   "ws" + strings.TrimPrefix(s.server.URL, "http") + "/ws",
		Apply: func(m wire.Message) { d.applied <- m },
		Have:  map[chat.ConversationID]chat.Seq{talk: 1},
	}
	for _, c := range change {
		c(&cfg)
	}
	d.Client = New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	ended := make(chan struct{})
	go func() { defer close(ended); d.ended <- d.Run(ctx) }()
	s.t.Cleanup(func() { cancel(); <-ended })
	return d
}

// wants waits for events with these seqs, in this order, and no other before.
func (d *device) wants(seqs ...chat.Seq) {
	d.t.Helper()
	for _, want := range seqs {
		select {
		case m := <-d.applied:
			if m.Seq != want {
				d.t.Fatalf("applied seq %d, want %d", m.Seq, want)
			}
		case <-time.After(patience):
			d.t.Fatalf("seq %d is not applied", want)
		}
	}
}

// at is the message with a seq.
func at(seq chat.Seq) wire.Message {
	return wire.Message{ConversationID: talk, Seq: seq, SenderID: alice, Type: "text"}
}

// sending has a message sent; its outcome comes.
func (d *device) sending(content string) <-chan result {
	done := make(chan result, 1)
	go func() {
		answer, err := d.Send(d.t.Context(), Outgoing{Conversation: talk, Content: content})
		done <- result{answer, err}
	}()
	return done
}

// outcome waits for one that must come, in whatever time a test has.
func (d *device) outcome(done <-chan result) result {
	d.t.Helper()
	select {
	case r := <-done:
		return r
	case <-time.After(10 * CallLimit):
		d.t.Fatal("the send does not return")
		return result{}
	}
}
