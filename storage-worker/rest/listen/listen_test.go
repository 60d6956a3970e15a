package listen

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run serves one request with a handler, which tells the server to end. It returns
// what the log says, how Serve ended, and how the request.
func run(t *testing.T, drain, cut time.Duration, handle func(w http.ResponseWriter, r *http.Request, tell func())) (logged string, served, asked error) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var log bytes.Buffer
	done := make(chan error, 1)
	go func() {
		done <- serve(ctx, l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handle(w, r, cancel) }),
			slog.New(slog.NewTextHandler(&log, nil)), drain, cut)
	}()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(r)
	if err == nil {
		_, err = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
	}
	served = <-done
	return log.String(), served, err
}

func TestRequestsUnderWayFinish(t *testing.T) {
	logged, served, asked := run(t, time.Minute, time.Minute, func(w http.ResponseWriter, r *http.Request, tell func()) {
		tell()
		_, _ = io.WriteString(w, "hello")
	})
	if served != nil || asked != nil || logged != "" {
		t.Errorf("got %v and %v, %q", served, asked, logged)
	}
}

// A request that takes long is told to end and awaited: no failure of the server's.
func TestRequestsThatTakeLongAreCutOff(t *testing.T) {
	ended := false
	logged, served, asked := run(t, 20*time.Millisecond, time.Minute, func(w http.ResponseWriter, r *http.Request, tell func()) {
		tell()
		<-r.Context().Done()
		ended = true
	})
	if served != nil || asked == nil || !ended || !strings.Contains(logged, "cut off") {
		t.Errorf("got %v and %v, ended %v, %q", served, asked, ended, logged)
	}
}

func TestAReaderThatStandsStillIsCutOff(t *testing.T) {
	var wrote error
	_, served, _ := run(t, 20*time.Millisecond, time.Minute, func(w http.ResponseWriter, r *http.Request, tell func()) {
		tell()
		piece := make([]byte, 64<<10)
		for wrote == nil { // The client reads as long as there is a connection.
			_, wrote = w.Write(piece)
		}
	})
	if served != nil || wrote == nil {
		t.Errorf("got %v, %v", served, wrote)
	}
}

func TestAHandlerThatDoesNotEndHoldsUpNothing(t *testing.T) {
	release, left := make(chan struct{}), make(chan struct{})
	logged, served, _ := run(t, time.Millisecond, time.Millisecond, func(w http.ResponseWriter, r *http.Request, tell func()) {
		defer close(left)
		tell()
		<-release
	})
	close(release)
	<-left
	if served != nil || !strings.Contains(logged, "do not end") {
		t.Errorf("got %v, %q", served, logged)
	}
}

func TestAListenerThatFailsIsAnError(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Serve(t.Context(), l, http.NotFoundHandler(), slog.New(slog.DiscardHandler)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want %v", err, net.ErrClosed)
	}
}
