package rest

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"switchboard/internal/auth"
	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/internal/wire"
	"switchboard/storage-worker/archive"
	"switchboard/storage-worker/archive/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var alice, bob, carol = chat.DemoUser("alice"), chat.DemoUser("bob"), chat.DemoUser("carol")

// counted counts what is asked of a store.
type counted struct {
	archive.Store
	authorizations, others atomic.Int64
	fail                   error  // of every read but StaysIn
	meanwhile              func() // happens once, before something of a conversation is read
}

// happen has happen what is to happen meanwhile.
func (c *counted) happen() {
	if happens := c.meanwhile; happens != nil {
		c.meanwhile = nil
		happens()
	}
}

func (c *counted) StaysIn(ctx context.Context, u chat.UserID, id chat.ConversationID) ([]archive.Stay, error) {
	c.authorizations.Add(1)
	return c.Store.StaysIn(ctx, u, id)
}

func (c *counted) Stays(ctx context.Context, u chat.UserID) ([]archive.Stay, error) {
	c.others.Add(1)
	if c.fail != nil {
		return nil, c.fail
	}
	return c.Store.Stays(ctx, u)
}

func (c *counted) Spans(ctx context.Context, id chat.ConversationID) ([]archive.Span, error) {
	c.others.Add(1)
	c.happen()
	return c.Store.Spans(ctx, id)
}

func (c *counted) Info(ctx context.Context, id chat.ConversationID) (archive.Info, error) {
	c.others.Add(1)
	c.happen()
	return c.Store.Info(ctx, id)
}

func (c *counted) Tip(ctx context.Context, id chat.ConversationID, border chat.MessageID) (archive.Tip, error) {
	c.others.Add(1)
	c.happen()
	return c.Store.Tip(ctx, id, border)
}

func (c *counted) Entries(ctx context.Context, id chat.ConversationID, from, to chat.Seq, limit int, newest bool) ([]archive.Row, error) {
	c.others.Add(1)
	c.happen()
	return c.Store.Entries(ctx, id, from, to, limit, newest)
}

// rig is a server on a road of its own, with its reply topic being read.
type rig struct {
	*Server
	t     testing.TB
	road  *road
	store *counted
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := idleRig(t)
	ctx, cancel := context.WithCancel(context.Background())
	if err := r.Prepare(ctx); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run ended with %v", err)
		}
	})
	return r
}

// idleRig is a rig whose Run is not running.
func idleRig(t testing.TB, change ...func(*Config)) *rig {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := auth.Generate(file); err != nil {
		t.Fatal(err)
	}
	keys, err := auth.Open(file, "", "")
	if err != nil {
		t.Fatal(err)
	}
	store := memory.New()
	r := &rig{t: t, road: newRoad(t, store), store: &counted{Store: store}}
	config := Config{
		Store: r.store, Producer: r.road, Log: r.road, Admin: r.road, Keys: keys,
		Server: "rest-1", Generation: 1, Partitions: 16, Replication: 1,
		GatewayURL: "ws://127.0.0.1:8081/api/v1/ws", Origins: []string{"https://chat.example"},
		Members: 5, Conversations: 6,
		Logger: slog.New(slog.DiscardHandler), Metrics: metrics.New(),
	}
	for _, c := range change {
		c(&config)
	}
	r.Server = New(config)
	return r
}

// token returns a token for u.
func (r *rig) token(u chat.UserID) string {
	r.t.Helper()
	token, err := r.Keys.Mint(u, time.Hour)
	if err != nil {
		r.t.Fatal(err)
	}
	return token
}

// request makes a request of u; header holds names and values in turn.
func (r *rig) request(u chat.UserID, method, path, body string, header ...string) *http.Request {
	r.t.Helper()
	req := httptest.NewRequestWithContext(r.t.Context(), method, path, strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer "+r.token(u))
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return req
}

func (r *rig) serve(req *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, req)
	return w
}

// do calls and decodes the answer, which must have the status.
func (r *rig) do(u chat.UserID, status int, out any, method, path, body string, header ...string) *httptest.ResponseRecorder {
	r.t.Helper()
	w := r.serve(r.request(u, method, path, body, header...))
	if w.Code != status {
		r.t.Fatalf("%s %s: got %d %s, want %d", method, path, w.Code, w.Body, status)
	}
	if out != nil {
		if err := json.Unmarshal(w.Body.Bytes(), out); err != nil {
			r.t.Fatalf("%s %s: %v in %s", method, path, err, w.Body)
		}
	}
	return w
}

// refused calls; the answer must be a problem of that code.
func (r *rig) refused(u chat.UserID, code chat.Code, method, path, body string, header ...string) *httptest.ResponseRecorder {
	r.t.Helper()
	w := r.serve(r.request(u, method, path, body, header...))
	r.isProblem(w, code.Status(), code)
	return w
}

func (r *rig) isProblem(w *httptest.ResponseRecorder, status int, code chat.Code) wire.Problem {
	r.t.Helper()
	var p wire.Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		r.t.Fatalf("%v in %d %s", err, w.Code, w.Body)
	}
	if w.Code != status || p.Status != status || p.Code != code || p.Temporary != code.Temporary() || p.Title == "" || p.Type != "about:blank" {
		r.t.Errorf("got %d %s, want %d %s", w.Code, w.Body, status, code)
	}
	if after := w.Header().Get("Retry-After"); (p.RetryAfterMS > 0) != p.Temporary || (after != "") != p.Temporary {
		r.t.Errorf("%s: retry after %d ms, header %q", code, p.RetryAfterMS, after)
	}
	if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
		r.t.Errorf("Content-Type %q", got)
	}
	if p.RequestID == "" || p.RequestID != w.Header().Get("X-Request-Id") {
		r.t.Errorf("request id %q, header %q", p.RequestID, w.Header().Get("X-Request-Id"))
	}
	return p
}

// group makes a group of alice and others, and returns its path.
func (r *rig) group(others ...chat.UserID) (chat.ConversationID, string) {
	r.t.Helper()
	ids, err := json.Marshal(others)
	if err != nil {
		r.t.Fatal(err)
	}
	var c wire.Conversation
	r.do(alice, http.StatusCreated, &c, "POST", "/api/v1/conversations", `{"type":"group","name":"g","member_ids":`+string(ids)+`}`)
	return c.ID, "/api/v1/conversations/" + c.ID.String()
}

// say sends a text.
func (r *rig) say(u chat.UserID, path, text string) wire.MessageSent {
	r.t.Helper()
	body, err := json.Marshal(map[string]string{"type": "text", "content": text})
	if err != nil {
		r.t.Fatal(err)
	}
	var sent wire.MessageSent
	r.do(u, http.StatusCreated, &sent, "POST", path+"/messages", string(body))
	return sent
}

func TestGateway(t *testing.T) {
	r := newRig(t)
	w := r.do(alice, 200, nil, "GET", "/api/v1/gateway", "")
	want := `{"url":"ws://127.0.0.1:8081/api/v1/ws","protocols":["chat.v1.json"],"heartbeat_ms":30000}` + "\n"
	if w.Body.String() != want {
		t.Errorf("got %s, want %s", w.Body, want)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "ETag": "",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestTheGatewayIsOnTheSameHostUnlessSaidOtherwise(t *testing.T) {
	r := idleRig(t, func(c *Config) { c.GatewayURL = "" })
	for proto, want := range map[string]string{"": "ws://chat.example/api/v1/ws", "http": "ws://chat.example/api/v1/ws", "https": "wss://chat.example/api/v1/ws"} {
		var got wire.GatewayInfo
		r.do(alice, 200, &got, "GET", "http://chat.example/api/v1/gateway", "", "X-Forwarded-Proto", proto)
		if got.URL != want {
			t.Errorf("by %q: got %s, want %s", proto, got.URL, want)
		}
	}
}

func TestAuthentication(t *testing.T) {
	r := newRig(t)
	old, err := r.Keys.Mint(alice, -time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		header, challenge string
		code              chat.Code
	}{
		"none":          {"", `Bearer realm="switchboard"`, chat.Unauthorized},
		"another kind":  {"Basic YTpi", `Bearer realm="switchboard", error="invalid_token"`, chat.Unauthorized},
		"garbage":       {"Bearer x.y.z", `Bearer realm="switchboard", error="invalid_token"`, chat.Unauthorized},
		"expired":       {"Bearer " + old, `Bearer realm="switchboard", error="invalid_token"`, chat.TokenExpired},
		"in lower case": {"bearer " + r.token(alice), "", ""},
	} {
		req := r.request(alice, "GET", "/api/v1/conversations", "")
		req.Header.Del("Authorization")
		if c.header != "" {
			req.Header.Set("Authorization", c.header)
		}
		w := r.serve(req)
		if c.code != "" {
			r.isProblem(w, 401, c.code)
		} else if w.Code != 200 {
			t.Errorf("%s: got %d", name, w.Code)
		}
		if got := w.Header().Get("WWW-Authenticate"); got != c.challenge {
			t.Errorf("%s: challenge %q, want %q", name, got, c.challenge)
		}
	}
}

func TestRoutesAndMethods(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{
		"/", "/api/v1", "/api/v1/gateway/", "/api/v1/conversations/x/y", "/api/v2/gateway", "/metrics", "/livez", "//api/v1/gateway", "/api/v1//gateway",
		"/api/./v1/gateway", "/api/v1/x/../gateway", "/api/v1/conversations/%2e%2e/gateway", "/API/v1/gateway",
	} {
		r.isProblem(r.serve(r.request(alice, "GET", path, "")), 404, chat.NotFound)
	}
	_, path := r.group(bob)
	for _, c := range []struct{ method, path, allow string }{
		{"DELETE", "/api/v1/gateway", "GET, HEAD"},
		{"PUT", "/api/v1/conversations", "GET, POST, HEAD"},
		{"GET", "/api/v1/sync", "POST"},
		{"GET", path + "/members/" + bob.String(), "DELETE, PUT"},
		{"BREW", path, "GET, PATCH, HEAD"},
		{"OPTIONS", path, "GET, PATCH, HEAD"},
	} {
		w := r.serve(r.request(alice, c.method, c.path, ""))
		r.isProblem(w, 405, chat.BadRequest)
		if got := w.Header().Get("Allow"); got != c.allow {
			t.Errorf("%s %s: Allow %q, want %q", c.method, c.path, got, c.allow)
		}
	}
	if w := r.serve(r.request(alice, "HEAD", path, "")); w.Code != 200 {
		t.Errorf("HEAD: got %d", w.Code)
	}
}

func TestCORSIsForTheConfiguredOriginsExactly(t *testing.T) {
	r := newRig(t)
	for origin, want := range map[string]string{
		"https://chat.example": "https://chat.example", "https://chat.example.evil": "", "http://chat.example": "",
		"https://chat.example:443": "", "null": "", "": "",
	} {
		preflight := httptest.NewRequestWithContext(t.Context(), "OPTIONS", "/api/v1/conversations", nil)
		preflight.Header.Set("Access-Control-Request-Method", "POST")
		plain := r.request(alice, "GET", "/api/v1/conversations", "")
		for _, req := range []*http.Request{preflight, plain} {
			if origin != "" {
				req.Header.Set("Origin", origin)
			}
			w := r.serve(req)
			if got := w.Header().Get("Access-Control-Allow-Origin"); got != want {
				t.Errorf("%s from %q: allowed %q, want %q", req.Method, origin, got, want)
			}
			if w.Header().Get("Vary") != "Origin" {
				t.Errorf("%s from %q: no Vary", req.Method, origin)
			}
			if methods := w.Header().Get("Access-Control-Allow-Methods"); req == preflight && (w.Code != 204 || (methods == "") != (want == "")) {
				t.Errorf("preflight from %q: %d, methods %q", origin, w.Code, methods)
			}
		}
	}
	// The problem of a refused token can be read from a script, too.
	req := httptest.NewRequestWithContext(t.Context(), "GET", "/api/v1/conversations", nil)
	req.Header.Set("Origin", "https://chat.example")
	if w := r.serve(req); w.Code != 401 || w.Header().Get("Access-Control-Allow-Origin") == "" {
		t.Errorf("got %d, %v", w.Code, w.Header())
	}
}

func TestBodiesThatAreNoneOfOurs(t *testing.T) {
	r := newRig(t)
	_, path := r.group(bob)
	for name, c := range map[string]struct {
		body, mediaType string
		code            chat.Code
	}{
		"a form":            {"type=text", "application/x-www-form-urlencoded", chat.BadRequest},
		"another type":      {`{}`, "text/plain", chat.UnsupportedMedia},
		"many parts":        {`{}`, "multipart/form-data; boundary=x", chat.UnsupportedMedia},
		"another charset":   {`{}`, "application/json; charset=latin1", chat.UnsupportedMedia},
		"no JSON":           {`{"type"`, "application/json", chat.BadRequest},
		"an array":          {`[]`, "application/json", chat.BadRequest},
		"null":              {` null`, "application/json", chat.BadRequest},
		"two objects":       {`{} {}`, "application/json", chat.BadRequest},
		"not UTF-8":         {"{\"name\":\"\xff\"}", "application/json", chat.BadRequest},
		"half a pair":       {`{"name":"\ud83d","type":"group"}`, "application/json", chat.BadRequest},
		"the lower half":    {`{"name":"\ude00","type":"group"}`, "application/json", chat.BadRequest},
		"two upper halves":  {`{"name":"\ud83d\ud83d","type":"group"}`, "application/json", chat.BadRequest},
		"longer than 1 MiB": {`{"name":"` + strings.Repeat("x", LargeBodyBytes) + `"}`, "application/json", chat.TooLarge},
	} {
		for _, call := range []struct{ method, path string }{
			{"POST", "/api/v1/conversations"}, {"PATCH", path}, {"POST", path + "/messages"}, {"POST", "/api/v1/sync"}, {"PUT", path + "/members/" + carol.String()},
		} {
			req := r.request(alice, call.method, call.path, c.body)
			req.Header.Del("Content-Type")
			if c.mediaType != "" {
				req.Header.Set("Content-Type", c.mediaType)
			}
			w := r.serve(req)
			if w.Code != c.code.Status() {
				t.Errorf("%s to %s %s: got %d %s, want %s", name, call.method, call.path, w.Code, w.Body, c.code)
			}
		}
	}
	r.refused(alice, chat.UnsupportedMedia, "PATCH", path, `{}`, "Content-Encoding", "gzip")
	r.do(alice, 200, nil, "PATCH", path, `{}`, "Content-Encoding", "identity")
	var c wire.Conversation
	r.do(alice, 200, &c, "PATCH", path, `{"name":"\ud83d\ude00 \\ud83d"}`, "Content-Type", "application/json; charset=UTF-8")
	if want := `😀 \ud83d`; c.Name != want {
		t.Errorf("name %q, want %q", c.Name, want)
	}
}

func TestAPanicEndsOneRequest(t *testing.T) {
	r := newRig(t)
	r.road.before = func(*bus.Inbound) { panic("of a test") }
	w := r.serve(r.request(alice, "POST", "/api/v1/conversations", `{"type":"direct","member_ids":["`+bob.String()+`"]}`))
	p := r.isProblem(w, 500, chat.Internal)
	if strings.Contains(p.Detail, "test") || w.Header().Get("Retry-After") != "1" {
		t.Errorf("got %s, %v", w.Body, w.Header())
	}
	r.road.before = nil
	r.do(alice, 200, nil, "GET", "/api/v1/gateway", "")
}

func TestAStoreThatFails(t *testing.T) {
	r := newRig(t)
	r.store.fail = io.ErrUnexpectedEOF
	if p := r.isProblem(r.refused(alice, chat.Internal, "GET", "/api/v1/conversations", ""), 500, chat.Internal); strings.Contains(p.Detail, "EOF") {
		t.Errorf("the problem tells %q", p.Detail)
	}
	r.store.fail = context.DeadlineExceeded
	r.refused(alice, chat.Timeout, "GET", "/api/v1/conversations", "")
}

func TestTooManyRequestsAtOnce(t *testing.T) {
	r := newRig(t)
	r.inFlight.Add(RequestsInFlight)
	w := r.refused(alice, chat.Unavailable, "GET", "/api/v1/gateway", "")
	if w.Header().Get("Retry-After") != "1" {
		t.Errorf("Retry-After %q", w.Header().Get("Retry-After"))
	}
	r.inFlight.Add(-1)
	r.do(alice, 200, nil, "GET", "/api/v1/gateway", "")
}

func TestRequestIDs(t *testing.T) {
	r := newRig(t)
	for given, kept := range map[string]bool{"abc-123_X.z": true, "": false, "a b": false, strings.Repeat("x", 65): false, "\"": false} {
		w := r.serve(r.request(alice, "GET", "/api/v1/gateway", "", "X-Request-Id", given))
		if got := w.Header().Get("X-Request-Id"); (got == given) != kept || len(got) == 0 {
			t.Errorf("given %q, got %q", given, got)
		}
	}
}
