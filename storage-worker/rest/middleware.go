package rest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"switchboard/internal/chat"
)

// requestIDHeader carries the request's name, ours or a proxy's, into logs and
// problems.
const requestIDHeader = "X-Request-Id"

// requestIDBytes bounds an id that a proxy gave.
const requestIDBytes = 64

// requestID names the request and marks every answer as private.
func (s *Server) requestID(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get(requestIDHeader)
		if !validRequestID(id) {
			var random [12]byte
			rand.Read(random[:]) // never fails: crypto/rand crashes the program instead
			id = hex.EncodeToString(random[:])
		}
		h := w.Header()
		h.Set(requestIDHeader, id)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

func validRequestID(id string) bool {
	if id == "" || len(id) > requestIDBytes {
		return false
	}
	return strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == ""
}

// recovered turns a panic into an internal error: one bad request must not end
// the others.
func (s *Server) recovered(next http.Handler) http.Handler {
	panics := s.Metrics.Counter("switchboard_rest_panics_total")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch p := recover(); p {
			case nil:
			case http.ErrAbortHandler:
				panic(p)
			default:
				panics.Inc()
				s.problem(w, r, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// cors lets exactly the configured origins call from a browser. Tokens travel
// in a header of their own and never in a cookie, so other origins need not be
// refused: their browsers keep the answer from them.
func (s *Server) cors(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Add("Vary", "Origin")
		origin := r.Header.Get("Origin")
		if s.origins[origin] {
			h.Set("Access-Control-Allow-Origin", origin)
			h.Set("Access-Control-Expose-Headers", "X-Request-Id, Retry-After")
		}
		if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
			next.ServeHTTP(w, r)
			return
		}
		if s.origins[origin] {
			h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE")
			h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key, X-Request-Id")
			h.Set("Access-Control-Max-Age", "600")
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

// inFlight is a request among those that are worked on; its context has it by
// inFlightKey.
type inFlight struct {
	ctx   context.Context //nolint:containedctx // That of the request, which has no end of its own.
	leave func()          // it is one no more; may be called again
}

type inFlightKey struct{}

// bounded refuses requests beyond [RequestsInFlight] and bounds the time of the
// others.
func (s *Server) bounded(next http.Handler) http.Handler {
	refused := s.Metrics.Counter(`switchboard_rest_refused_total{reason="in_flight"}`)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := &inFlight{r.Context(), sync.OnceFunc(func() { s.inFlight.Add(-1) })}
		defer at.leave()
		if s.inFlight.Add(1) > RequestsInFlight {
			refused.Inc()
			s.problem(w, r, unavailable("too many requests are being worked on"))
			return
		}
		ctx, cancel := context.WithTimeout(context.WithValue(at.ctx, inFlightKey{}, at), RequestTimeout)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// dispatch chooses the handler by method, authenticates and writes what comes
// back. The path is that of the route, for metrics.
func (s *Server) dispatch(path string, methods map[string]method) http.Handler {
	answers := make(map[string]raw, len(methods))
	for name, m := range methods {
		answers[name] = func(w http.ResponseWriter, r *http.Request) int { return s.answer(w, r, m) }
	}
	return s.choose(path, answers)
}

// choose chooses by method who answers.
func (s *Server) choose(path string, answers map[string]raw) http.Handler {
	allow := slices.Sorted(maps.Keys(answers))
	if answers[http.MethodGet] != nil {
		allow = append(allow, http.MethodHead)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := r.Method
		if name == http.MethodHead {
			name = http.MethodGet
		}
		answer := answers[name]
		if answer == nil {
			w.Header().Set("Allow", strings.Join(allow, ", "))
			s.methodNotAllowed(w, r)
			return
		}
		began := time.Now()
		status := answer(w, r)
		s.Metrics.Histogram(`switchboard_rest_request_duration_seconds{method="` + name + `",route="` + path + `"}`).UpdateDuration(began)
		s.Metrics.Counter(`switchboard_rest_requests_total{method="` + name + `",route="` + path + `",status="` + strconv.Itoa(status) + `"}`).Inc()
	})
}

// answer returns the status that it wrote. Who the caller is comes first: a token
// that is no good costs its signature and nothing else. How fast the caller is comes
// before anything is read, the body included.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, m method) int {
	who, err := s.authenticate(r)
	if err != nil {
		challenge := `Bearer realm="switchboard"`
		if r.Header.Get("Authorization") != "" {
			challenge += `, error="invalid_token"` // RFC 6750 §3.1
		}
		w.Header().Set("WWW-Authenticate", challenge)
		return s.problem(w, r, err)
	}
	if err := s.users.admit(who, m.kind); err != nil {
		return s.problem(w, r, err)
	}
	defer s.users.leave(who)
	out, err := m.handle(r, who)
	return s.finish(w, r, out, err)
}

// finish writes what came back, unless it is written.
func (s *Server) finish(w http.ResponseWriter, r *http.Request, out reply, err error) int {
	if err != nil {
		return s.problem(w, r, err)
	}
	if status, done := out.body.(written); done {
		return int(status)
	}
	if err := writeJSON(w, out.status, "application/json", out.body); err != nil {
		s.Logger.Debug("answer not written", "err", err, "request_id", w.Header().Get(requestIDHeader))
	}
	return out.status
}

// authenticate returns whose token the request bears.
func (s *Server) authenticate(r *http.Request) (chat.UserID, error) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return chat.UserID{}, chat.Errorf(chat.Unauthorized, "the request has no header Authorization: Bearer")
	}
	who, err := s.Keys.Verify(strings.TrimSpace(token))
	return who.User, err
}

// canceled reports whether the request ended because its client went away.
func canceled(r *http.Request, err error) bool {
	return errors.Is(err, context.Canceled) && r.Context().Err() != nil
}
