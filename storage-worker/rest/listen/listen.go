// Package listen answers HTTP on a listener until it is told to end. It bounds what a
// connection may take, and ends without leaving anybody at work:
//
//	told to end ──▶ no new requests ──DrainTimeout──▶ requests are cancelled, connections closed ──CutTimeout──▶ end
//
// What is answered is none of its business.
package listen

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// The limits of a connection. Each ends in a closed connection.
const (
	// HeaderTimeout bounds how long a client may take to send a header.
	HeaderTimeout = 10 * time.Second
	// BodyTimeout bounds how long it may take to send a whole request, unless the
	// handler sets other deadlines.
	BodyTimeout = 30 * time.Second
	// AnswerTimeout bounds how long it may take to read the answer, likewise.
	AnswerTimeout = 90 * time.Second
	// IdleTimeout bounds how long a connection may wait for its next request.
	IdleTimeout = 2 * time.Minute
	// HeaderBytes bounds a request's header.
	HeaderBytes = 32 << 10
	// DrainTimeout is how long requests may go on after the server was told to
	// end. Files that are on their way may take longer and are cut off.
	DrainTimeout = 15 * time.Second
	// CutTimeout is how long handlers then have to put away what they were at.
	CutTimeout = 30 * time.Second
)

// Serve answers on the listener until ctx ends; then requests that are under way may
// finish within [DrainTimeout], and are cut off after it, which is no error.
func Serve(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	return serve(ctx, l, h, log, DrainTimeout, CutTimeout)
}

func serve(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger, drain, cut time.Duration) error {
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	busy := &handlers{next: h, none: make(chan struct{})}
	server := &http.Server{
		Handler:           busy,
		ReadHeaderTimeout: HeaderTimeout, ReadTimeout: BodyTimeout,
		WriteTimeout: AnswerTimeout, IdleTimeout: IdleTimeout,
		MaxHeaderBytes: HeaderBytes,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext:    func(net.Listener) context.Context { return requests },
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve REST: %w", err)
	case <-ctx.Done():
	}
	grace, stop := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer stop()
	err := server.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		log.Warn("requests that take long are cut off", "requests", busy.end())
		cancel()
		err = server.Close()
		select {
		case <-busy.none:
		case <-time.After(cut):
			log.Warn("requests do not end")
		}
	}
	if err != nil {
		err = fmt.Errorf("drain REST: %w", err)
	}
	if e := <-ended; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// handlers are those that are at work.
type handlers struct {
	// Fixed after construction.
	next http.Handler
	none chan struct{} // closed when there are none and will be none

	mu     sync.Mutex
	n      int
	ending bool
}

// ServeHTTP implements [http.Handler].
func (h *handlers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.enter() {
		panic(http.ErrAbortHandler) // Its connection is being closed.
	}
	defer h.leave()
	h.next.ServeHTTP(w, r)
}

func (h *handlers) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ending {
		return false
	}
	h.n++
	return true
}

func (h *handlers) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n--; h.n == 0 && h.ending {
		close(h.none)
	}
}

// end lets no more begin and returns how many are at work.
func (h *handlers) end() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ending = true
	if h.n == 0 {
		close(h.none)
	}
	return h.n
}
