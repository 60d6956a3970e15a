package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// retryAfter is what a client is told of a refusal that passes by itself.
const retryAfter = time.Second

// restartAfter is what a client is told where something is not served at all: only
// another server, or another configuration, may.
const restartAfter = time.Minute

func badRequest(format string, args ...any) error {
	return chat.Errorf(chat.BadRequest, format, args...)
}

func unavailable(why string) error {
	return &chat.Error{Code: chat.Unavailable, Message: why, RetryAfter: retryAfter}
}

// without refuses what this server was started without.
func without(why string) error {
	return &chat.Error{Code: chat.Unavailable, Message: why, RetryAfter: restartAfter}
}

// notMember is the one answer for a conversation that the caller has left, was
// never in, or that does not exist.
func notMember() *chat.Error {
	return chat.Errorf(chat.NotMember, "there is no such conversation for you")
}

// problem answers with what may be told of err and returns the status. An error
// of an unknown kind is logged here, and only here.
func (s *Server) problem(w http.ResponseWriter, r *http.Request, err error) int {
	if canceled(r, err) {
		err = unavailable("the client went away")
	} else if errors.Is(err, context.DeadlineExceeded) {
		err = &chat.Error{Code: chat.Timeout, Message: "the archive did not answer in time; try again", RetryAfter: retryAfter}
	}
	known, ok := errors.AsType[*chat.Error](err)
	if !ok {
		s.Logger.Error("request failed", "err", err, "method", r.Method, "path", r.URL.Path, "request_id", w.Header().Get(requestIDHeader))
		known = chat.AsError(err)
		known.RetryAfter = retryAfter
	}
	if known.Code == chat.NotMember {
		known = notMember() // Also when the fold says it: the answers must not differ.
	}
	return writeProblem(w, known.Code.Status(), known)
}

// methodNotAllowed is the one problem whose status is not that of its code.
func (s *Server) methodNotAllowed(w http.ResponseWriter, r *http.Request) {
	writeProblem(w, http.StatusMethodNotAllowed, chat.Errorf(chat.BadRequest, "the route has no method %.20q", r.Method))
}

func writeProblem(w http.ResponseWriter, status int, e *chat.Error) int {
	if e.RetryAfter > 0 {
		seconds := (e.RetryAfter + time.Second - 1) / time.Second
		w.Header().Set("Retry-After", strconv.Itoa(int(seconds)))
	}
	// A client that does not read its refusal has nothing to be told.
	_ = writeJSON(w, status, "application/problem+json", wire.Problem{
		Type:         "about:blank",
		Title:        http.StatusText(status),
		Status:       status,
		Detail:       e.Message,
		Code:         e.Code,
		Temporary:    e.Code.Temporary(),
		RetryAfterMS: e.RetryAfter.Milliseconds(),
		RequestID:    w.Header().Get(requestIDHeader),
	})
	return status
}

// writeJSON writes an answer whole. Text is not escaped for HTML: content comes
// back as it was sent.
func writeJSON(w http.ResponseWriter, status int, mediaType string, body any) error {
	if body == nil {
		w.WriteHeader(status)
		return nil
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(body); err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(text.Len()))
	w.WriteHeader(status)
	_, err := w.Write(text.Bytes())
	return err
}
