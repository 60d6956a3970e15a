package terminal

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// server answers the calls that terminals make, and keeps their bodies by path.
func server(t *testing.T) (base string, bodies map[string]string) {
	bodies = make(map[string]string)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		bodies[r.URL.Path] = string(body)
		switch {
		case r.URL.Path == "/dev/token" && r.Header.Get("Content-Type") == "application/json":
			_, _ = io.WriteString(w, `{"token":"t"}`)
		case r.URL.Path == "/api/v1/conversations" && r.Header.Get("Authorization") == "Bearer t":
			_, _ = io.WriteString(w, `{"id":"`+chat.ConversationID{0x7a}.String()+`"}`)
		default:
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	t.Cleanup(func() { s.Close(); http.DefaultClient.CloseIdleConnections() })
	return s.URL, bodies
}

func TestCommands(t *testing.T) {
	base, bodies := server(t)
	out := new(bytes.Buffer)
	c := New(Config{REST: base, User: "alice", Out: out})
	bob, carol := chat.DemoUser("bob").String(), chat.DemoUser("carol").String()
	for _, step := range []struct {
		line, fails string
		asks        []string // what the body of the conversation asked for names
	}{
		{line: "hello", fails: "/with NAME"},
		{line: "/with", fails: "whom?"},
		{line: "/dance", fails: "no such command"},
		{line: "/group team", fails: "/group TITLE NAME"},
		{line: "  "},
		{line: "/help"},
		{line: "/with bob", asks: []string{`"direct"`, bob}},
		{line: "/group team bob carol", asks: []string{`"group"`, `"team"`, bob, carol}},
	} {
		err := c.line(t.Context(), step.line)
		if (err != nil) != (step.fails != "") || err != nil && !strings.Contains(err.Error(), step.fails) {
			t.Errorf("%q: got error %v, want %q", step.line, err, step.fails)
		}
		for _, want := range step.asks {
			if got := bodies["/api/v1/conversations"]; !strings.Contains(got, want) {
				t.Errorf("%q asked for %s, want %s in it", step.line, got, want)
			}
		}
	}
	if want := "you talk to bob\n— you talk to team\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("the screen says %q, want %q at the end", out, want)
	}
}

func TestScreenNamesWhoSpeaksAndWhere(t *testing.T) {
	out := new(bytes.Buffer)
	c := New(Config{User: "alice", Out: out})
	c.learn("bob")
	here, elsewhere := chat.ConversationID{1}, chat.ConversationID{2}
	c.show(wire.Message{ConversationID: here, Event: &wire.Event{Change: "created", Name: "team"}})
	c.show(wire.Message{ConversationID: here, SenderID: chat.DemoUser("bob"), Content: "hello"})
	c.show(wire.Message{ConversationID: elsewhere, SenderID: chat.UserID{0xca}, Content: "psst"})
	lines := strings.Split(out.String(), "\n")
	for i, want := range []string{"· created team", " bob: hello", " ca000000 in 02000000: psst"} {
		if !strings.HasSuffix(lines[i], want) {
			t.Errorf("line %d is %q, want it to end with %q", i, lines[i], want)
		}
	}
}

func TestRefusedTokenSaysWhoGivesThem(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	if _, err := Token(t.Context(), s.URL, chat.DemoUser("alice")); err == nil || !strings.Contains(err.Error(), "-auth-keys") {
		t.Errorf("got %v, want the reason", err)
	}
}
