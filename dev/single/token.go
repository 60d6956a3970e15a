package single

import (
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"switchboard/internal/auth"
	"switchboard/internal/chat"
)

// TokenTTL is how long a token from POST /dev/token is good.
const TokenTTL = 24 * time.Hour

// tokenBody bounds the request: one id.
const tokenBody = 1 << 10

// tokens gives a token of any user to whoever asks: only where the keys are the
// demonstration's own. Whoever asks must sit at this machine, though, even if
// -listen is open to the network, and every web page that the developer opens
// sends requests from here. So a page, which says where it comes from with every
// POST, must come from here or from -origins; and the server must be called by
// address or as localhost, since a page can make its own name mean 127.0.0.1 (DNS
// rebinding) and is then of the same origin.
type tokens struct {
	keys    *auth.Keys
	origins []string
}

func (t *tokens) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !here(r) {
		http.Error(w, "tokens are given on this machine only; with -auth-keys, sign your own", http.StatusForbidden)
		return
	}
	if !local(r.Host) {
		http.Error(w, "tokens are given to who calls this server by IP address or as localhost", http.StatusForbidden)
		return
	}
	if origin := r.Header.Get("Origin"); origin != "" && !sameOrigin(origin, r.Host) && !slices.Contains(t.origins, origin) {
		http.Error(w, "pages of this origin get no tokens; see -origins", http.StatusForbidden)
		return
	}
	var body struct {
		UserID chat.UserID `json:"user_id"`
	}
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, tokenBody)).Decode(&body)
	if err != nil || body.UserID.IsZero() {
		http.Error(w, `want {"user_id":"<UUID>"}`, http.StatusBadRequest)
		return
	}
	token, err := t.keys.Mint(body.UserID, TokenTTL)
	if err != nil {
		http.Error(w, "no token can be signed", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(map[string]any{ // the client is gone if this fails
		"token": token, "user_id": body.UserID, "expires_in": int(TokenTTL.Seconds()),
	})
}

// here reports whether a request comes from the machine that it came to.
func here(r *http.Request) bool {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	if from.Addr().Unmap().IsLoopback() {
		return true
	}
	to, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && to.AddrPort().Addr().Unmap() == from.Addr().Unmap()
}

// local reports whether a Host header holds no name that somebody else's DNS
// answers for.
func local(host string) bool {
	name := (&url.URL{Host: host}).Hostname()
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	return name == "localhost" || strings.HasSuffix(name, ".localhost") || net.ParseIP(name) != nil
}

// sameOrigin reports whether a page came from this server.
func sameOrigin(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Scheme == "http" && u.Host == host
}
