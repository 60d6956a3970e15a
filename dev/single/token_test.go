package single

import (
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"switchboard/internal/auth"
)

func TestTokensAreForWhoSitsAtThisMachine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := auth.Generate(file); err != nil {
		t.Fatal(err)
	}
	keys, err := auth.Open(file, "", "")
	if err != nil {
		t.Fatal(err)
	}
	const json, user = "application/json", `{"user_id":"00000000-0000-4000-8000-000000000001"}`
	for _, c := range []struct {
		name, host, origin, kind, body string
		want                           int
	}{
		{"program", "127.0.0.1:8080", "", json, user, 200},
		{"program by name", "localhost:8080", "", json + "; charset=utf-8", user, 200},
		{"program over IPv6", "[::1]:8080", "", json, user, 200},
		{"page of this server", "127.0.0.1:8080", "http://127.0.0.1:8080", json, user, 200},
		{"page on the list", "127.0.0.1:8080", "http://localhost:5173", json, user, 200},
		{"another machine", "192.0.2.1:8080", "", json, user, 403},
		{"foreign page", "127.0.0.1:8080", "https://evil.example", json, user, 403},
		{"page of another port", "127.0.0.1:8080", "http://127.0.0.1:9999", json, user, 403},
		{"sandboxed page", "127.0.0.1:8080", "null", json, user, 403},
		{"rebound name", "evil.example:8080", "http://evil.example:8080", json, user, 403},
		{"rebound name without origin", "evil.example:8080", "", json, user, 403},
		{"name that looks like an address", "127.0.0.1.evil.example:8080", "", json, user, 403},
		{"curl", "127.0.0.1:8080", "", "application/x-www-form-urlencoded", user, 200},
		{"simple request of a foreign page", "127.0.0.1:8080", "https://evil.example", "text/plain", user, 403},
		{"nobody", "127.0.0.1:8080", "", json, `{"user_id":"00000000-0000-0000-0000-000000000000"}`, 400},
		{"no JSON", "127.0.0.1:8080", "", json, `user`, 400},
		{"too much", "127.0.0.1:8080", "", json, `{"user_id":"` + strings.Repeat("0", tokenBody) + `"}`, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/dev/token", strings.NewReader(c.body))
			r.Host, r.RemoteAddr = c.host, "127.0.0.1:50000"
			if c.name == "another machine" {
				r.RemoteAddr = "192.0.2.7:50000"
			}
			r.Header.Set("Content-Type", c.kind)
			if c.origin != "" {
				r.Header.Set("Origin", c.origin)
			}
			w := httptest.NewRecorder()
			(&tokens{keys: keys, origins: []string{"http://localhost:5173"}}).ServeHTTP(w, r)
			if w.Code != c.want {
				t.Errorf("got %d %s, want %d", w.Code, w.Body, c.want)
			}
			if got := strings.Contains(w.Body.String(), `"token"`); got != (c.want == 200) {
				t.Errorf("got a token: %t, at status %d", got, w.Code)
			}
		})
	}
}

func TestThePageIsAtTheRoot(t *testing.T) {
	s := start(t)
	for method, want := range map[string]int{
		http.MethodGet: http.StatusOK, http.MethodHead: http.StatusOK, http.MethodPost: http.StatusNotFound,
	} {
		for _, path := range []string{"/", "/dev"} {
			request, err := http.NewRequestWithContext(t.Context(), method, s.URLs().REST+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			if err := response.Body.Close(); err != nil {
				t.Error(err)
			}
			if response.StatusCode != want {
				t.Errorf("%s %s: got %d, want %d", method, path, response.StatusCode, want)
			}
		}
	}
}

// The page's sockets go to another port, whose list of origins is the operator's.
func TestThePageMayConnect(t *testing.T) {
	s := start(t)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(s.URLs().REST, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	for origin, want := range map[string]int{
		s.URLs().REST: http.StatusSwitchingProtocols, "http://localhost:" + port: http.StatusSwitchingProtocols,
		"http://127.0.0.1:1": http.StatusForbidden, "https://evil.example": http.StatusForbidden,
	} {
		socket, response, err := websocket.Dial(t.Context(), s.URLs().WebSocket, &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {origin}}})
		if socket != nil {
			_ = socket.CloseNow()
		}
		if response == nil {
			t.Fatal(err)
		}
		if response.Body != nil {
			_ = response.Body.Close()
		}
		if response.StatusCode != want {
			t.Errorf("origin %s: got %d, want %d", origin, response.StatusCode, want)
		}
	}
}
