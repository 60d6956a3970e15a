package soak

import (
	"context"
	"fmt"
	"io"
	"net"
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

// notes is a watcher that writes down.
type notes struct {
	mu    sync.Mutex
	lines []string
}

func (n *notes) note(line string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, line)
}

func (n *notes) open() int {
	n.note("opened")
	return 1
}
func (n *notes) received(_ int, e wire.Envelope) { n.note("received " + e.Type) }
func (n *notes) sent(e wire.Envelope)            { n.note("sent " + e.Type) }
func (n *notes) closed(int)                      { n.note("closed") }
func (n *notes) synced(_ time.Time, asked wire.SyncRequest, s wire.SyncResponse) {
	n.note(fmt.Sprintf("synced %d %s", asked.Limit, s.Events[0].Data))
}

func (n *notes) paged(above chat.Seq, p wire.MessagePage) {
	n.note(fmt.Sprintf("paged %d %s", above, p.Messages[0].Content))
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.lines, ", ")
}

// nobody is an address at which nobody listens.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestNetworkPassesOverDeadServersAndSeesBodies(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch {
		case strings.HasSuffix(r.URL.Path, "/sync"):
			_, _ = io.WriteString(w, `{"events":[{"type":"new_message","data":`+string(body)+`}],"heads":[]}`)
		case strings.HasSuffix(r.URL.Path, "/messages"):
			_, _ = io.WriteString(w, `{"messages":[{"content":"hello"}]}`)
		}
	}))
	defer server.Close()
	seen := &notes{}
	n := newNetwork(&Site{REST: []string{"http://" + nobody(t), server.URL}}, seen)
	defer n.close()
	calls := &http.Client{Transport: n}
	for range 8 { // one of the two is first by chance
		response, err := calls.Post("http://anywhere/api/v1/sync", "application/json", strings.NewReader(`{"limit":7}`))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || !strings.Contains(string(text), `{"limit":7}`) {
			t.Fatalf("body %q, %v", text, err)
		}
	}
	response, err := calls.Get("http://anywhere/api/v1/conversations/x/messages?after_seq=5")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if got := seen.String(); strings.Count(got, `synced 7 {"limit":7}`) != 8 || !strings.Contains(got, "paged 5 hello") {
		t.Errorf("seen: %s", got)
	}
}

func TestCutConnectionEndsAfterTheMessage(t *testing.T) {
	arrived := make(chan string, 1)
	ended := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		socket, err := websocket.Accept(w, r, nil)
		if err != nil {
			ended <- err
			return
		}
		defer func() { _ = socket.CloseNow() }()
		_ = socket.Write(r.Context(), websocket.MessageText, []byte(`{"type":"connected","data":{}}`))
		_, frame, _ := socket.Read(r.Context())
		arrived <- string(frame)
		_, _, err = socket.Read(r.Context())
		ended <- err
	}))
	defer server.Close()
	seen := &notes{}
	n := newNetwork(&Site{WS: []string{"ws" + strings.TrimPrefix(server.URL, "http")}}, seen)
	defer n.close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	socket, _, err := websocket.Dial(ctx, "ws://anywhere/", &websocket.DialOptions{HTTPClient: &http.Client{Transport: n}}) //nolint:bodyclose // it is the socket
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.CloseNow() }()
	if _, _, err := socket.Read(ctx); err != nil {
		t.Fatal(err)
	}
	n.cut.Store(true)
	const message = `{"type":"send_message","data":{}}`
	_ = socket.Write(ctx, websocket.MessageText, []byte(message)) // fails: the network is gone
	if got := <-arrived; got != message {
		t.Errorf("arrived: %q", got)
	}
	if err := <-ended; err == nil || websocket.CloseStatus(err) != -1 {
		t.Errorf("the server met %v, want an end without a goodbye", err)
	}
	if got, want := seen.String(), "opened, received connected, sent send_message, closed"; got != want {
		t.Errorf("seen: %s, want %s", got, want)
	}
}
