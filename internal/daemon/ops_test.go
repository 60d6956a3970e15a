package daemon

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"switchboard/internal/metrics"
)

// startOps runs an ops listener until the test ends.
func startOps(t *testing.T, listen string) *Ops {
	t.Helper()
	set := metrics.New()
	set.Counter(`switchboard_test_total{part="a"}`).Add(3)
	o, err := NewOps(listen, set, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- o.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: got %v, want the end of its context", err)
		}
	})
	return o
}

// get asks on a connection of its own and returns status and body.
func get(t *testing.T, o *Ops, path string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + o.Addr() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestReadyWhenEveryExpectedPartIs(t *testing.T) {
	o := startOps(t, "127.0.0.1:0")
	steps := []struct {
		name   string
		do     func()
		status int
		body   string
	}{
		{"nothing is known yet", func() {}, 503, "program: starting\n"},
		{"parts are expected", func() { o.Expect("redis", "kafka") }, 503, "kafka: starting\nredis: starting\n"},
		{"one is ready, one says why not", func() {
			o.SetReady("redis", nil)
			o.SetReady("kafka", errors.New("dial 10.0.0.1:9092:\nrefused"))
		}, 503, "kafka: dial 10.0.0.1:9092:; refused\n"},
		{"all are ready", func() { o.SetReady("kafka", nil) }, 200, "ok\n"},
		{"expecting again forgets nothing", func() { o.Expect("kafka") }, 200, "ok\n"},
		{"one is lost", func() { o.SetReady("redis", errors.New("timeout")) }, 503, "redis: timeout\n"},
	}
	for _, s := range steps {
		s.do()
		if status, body := get(t, o, "/readyz"); status != s.status || body != s.body {
			t.Errorf("%s: got %d %q, want %d %q", s.name, status, body, s.status, s.body)
		}
	}
	if status, _ := get(t, o, "/livez"); status != 200 {
		t.Errorf("a lost server must not be a reason to restart: /livez got %d, want 200", status)
	}
}

func TestUnreadyWhileDraining(t *testing.T) {
	o := startOps(t, "127.0.0.1:0")
	o.SetReady("kafka", nil)
	ctx, stop := context.WithCancel(t.Context())
	told := make(chan struct{})
	o.DrainAt(ctx)
	context.AfterFunc(ctx, func() { close(told) })
	stop()
	<-told
	for deadline := time.Now().Add(5 * time.Second); ; {
		status, body := get(t, o, "/readyz")
		if status == 503 && body == "program: stopping\n" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %d %q, want 503 and the reason", status, body)
		}
	}
}

func TestDeadWhenACheckSaysSo(t *testing.T) {
	o := startOps(t, "127.0.0.1:0")
	stalled := errors.New("loop 3 has not turned for 10s")
	o.Check("edge", func() error { return stalled })
	o.Check("archive", func() error { return nil })
	if status, body := get(t, o, "/livez"); status != 503 || body != "edge: loop 3 has not turned for 10s\n" {
		t.Errorf("got %d %q, want 503 and the reason", status, body)
	}
}

func TestMetricsAndProfiles(t *testing.T) {
	o := startOps(t, ":0")
	status, body := get(t, o, "/metrics")
	for _, want := range []string{`switchboard_test_total{part="a"} 3`, "switchboard_build_info{version=", "process_resident_memory_bytes", "go_goroutines"} {
		if status != 200 || !strings.Contains(body, want) {
			t.Errorf("/metrics: status %d, %q is missing", status, want)
		}
	}
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/goroutine?debug=1", "/debug/pprof/cmdline"} {
		if status, body := get(t, o, path); status != 200 || body == "" {
			t.Errorf("%s: got %d and %d bytes", path, status, len(body))
		}
	}
	if status, _ := get(t, o, "/"); status != 404 {
		t.Errorf("/: got %d, want 404", status)
	}
}

func TestOpsIsLoopbackUnlessToldOtherwise(t *testing.T) {
	o := startOps(t, ":0")
	host, _, err := net.SplitHostPort(o.Addr())
	if err != nil || host != "127.0.0.1" {
		t.Errorf("got %s (%v), want 127.0.0.1", o.Addr(), err)
	}
	_, err = NewOps("9100", metrics.New(), slog.New(slog.DiscardHandler))
	if !hopeless(err) {
		t.Errorf("an address without a port: got %v, want a usage error", err)
	}
	_, err = NewOps(o.Addr(), metrics.New(), slog.New(slog.DiscardHandler))
	if err == nil || hopeless(err) {
		t.Errorf("a taken port: got %v, want a failure that is not a usage error", err)
	}
}

// systemd listens on a socket as the real one does and returns what it hears.
func systemd(t *testing.T) *net.UnixConn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return conn
}

func hear(t *testing.T, conn *net.UnixConn) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1024)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}

func TestSystemdHearsReadyOnce(t *testing.T) {
	conn := systemd(t)
	o := startOps(t, "127.0.0.1:0")
	o.Expect("kafka", "redis")
	o.SetReady("kafka", nil)
	o.SetReady("redis", nil)
	o.SetReady("redis", errors.New("timeout"))
	o.SetReady("redis", nil)
	if err := notify("X_END=1"); err != nil {
		t.Fatal(err)
	}
	want := []string{"STATUS=redis: starting", "READY=1", "STATUS=ready", "STATUS=redis: timeout", "STATUS=ready", "X_END=1"}
	for i := range want {
		if got := hear(t, conn); got != want[i] {
			t.Errorf("line %d: got %q, want %q", i, got, want[i])
		}
	}
}

// Parts that try again say the same thing for minutes, and some of them at length.
func TestSystemdHearsWhatKeepsUsOnce(t *testing.T) {
	conn := systemd(t)
	o := startOps(t, "127.0.0.1:0")
	o.Expect("kafka")
	for range 3 {
		o.SetReady("kafka", errors.New("dial 10.0.0.1:9092:\nrefused"))
	}
	o.SetReady("kafka", errors.New(strings.Repeat("ü", statusBytes)))
	if got, want := hear(t, conn), "STATUS=kafka: dial 10.0.0.1:9092:; refused"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := hear(t, conn); len(got) > len(stateStatus)+statusBytes || !strings.HasPrefix(got, "STATUS=kafka: üü") || !utf8.ValidString(got) {
		t.Errorf("got %d bytes %q, want at most %d of whole letters", len(got), got, statusBytes)
	}
}

func TestSystemdHearsStopping(t *testing.T) {
	conn := systemd(t)
	p := newProcess()
	p.main(func(ctx context.Context, _ []string, _ io.Writer) error {
		p.signals <- syscall.SIGTERM
		<-ctx.Done()
		return nil
	})
	if got := hear(t, conn); got != "STOPPING=1" {
		t.Errorf("got %q, want STOPPING=1", got)
	}
}

func TestWatchdogIsFedWhileAlive(t *testing.T) {
	conn := systemd(t)
	t.Setenv("WATCHDOG_USEC", "20000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	o := startOps(t, "127.0.0.1:0")
	if got := hear(t, conn); got != "WATCHDOG=1" {
		t.Errorf("got %q, want WATCHDOG=1", got)
	}
	asked := make(chan struct{}, 1)
	o.Check("edge", func() error {
		select {
		case asked <- struct{}{}:
		default:
		}
		return errors.New("stalled")
	})
	<-asked // from here on no beat is sent; one may have been on its way
	<-asked
	if err := notify("X_END=1"); err != nil {
		t.Fatal(err)
	}
	var heard []string
	for len(heard) == 0 || heard[len(heard)-1] != "X_END=1" {
		heard = append(heard, hear(t, conn))
	}
	<-asked
	if err := conn.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 64)); err == nil {
		t.Errorf("heard %d bytes from a program that is not alive", n)
	}
}

func TestWrongWatchdogIsAUsageError(t *testing.T) {
	t.Setenv("WATCHDOG_USEC", "soon")
	if _, err := NewOps("127.0.0.1:0", metrics.New(), slog.New(slog.DiscardHandler)); !hopeless(err) {
		t.Errorf("got %v, want a usage error", err)
	}
}

func TestHangupReloads(t *testing.T) {
	conn := systemd(t)
	var logged bytes.Buffer
	log := slog.New(slog.NewTextHandler(&logged, nil))
	results := make(chan error, 2)
	results <- nil
	results <- errors.New("keys.json: unexpected end")
	part := OnHangup(log, func() error { return <-results })
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- part(ctx) }()
	for range 2 {
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		if got := hear(t, conn); !strings.HasPrefix(got, "RELOADING=1\nMONOTONIC_USEC=") {
			t.Errorf("got %q, want RELOADING=1 and the time", got)
		}
		if got := hear(t, conn); got != "READY=1" {
			t.Errorf("got %q, want READY=1", got)
		}
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the end of the context", err)
	}
	if got := logged.String(); !strings.Contains(got, "msg=reloaded") || !strings.Contains(got, "unexpected end") {
		t.Errorf("log: got %q, want the reload and the failure", got)
	}
}

// Whoever waits at the start says why: one line is enough. What is lost later is
// said here, once for each reason.
func TestPartsAreLoggedFromTheirFirstStart(t *testing.T) {
	var out strings.Builder
	o, err := NewOps("127.0.0.1:0", metrics.New(), slog.New(slog.NewTextHandler(&out, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { // It does not run, so that the log is ours alone; the end closes it.
		ended, end := context.WithCancel(context.Background())
		end()
		_ = o.Run(ended)
	}()
	o.Expect("redis")
	o.SetReady("redis", errors.New("refused"))
	if out.Len() > 0 {
		t.Errorf("a part that has not begun is logged: %q", out.String())
	}
	o.SetReady("redis", nil)
	for _, lost := range []string{"read from port 1: reset", "read from port 2: reset", "timeout"} {
		o.SetReady("redis", errors.New(lost))
	}
	text := out.String()
	for want, n := range map[string]int{"part is ready": 1, "part is not ready": 2, "reset": 1, "timeout": 1} {
		if got := strings.Count(text, want); got != n {
			t.Errorf("%q is logged %d times, want %d:\n%s", want, got, n, text)
		}
	}
}
