package single

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"switchboard/internal/auth"
	kfake "switchboard/internal/bus/embedded"
)

// config is of a system in a folder, on ports that the kernel picks.
func config(data string) Config {
	return Config{
		Listen: "127.0.0.1:0", GatewayListen: "127.0.0.1:0", OpsListen: "127.0.0.1:0",
		Data: data, Logger: slog.New(slog.DiscardHandler),
	}
}

// refused opens a system that must not open, and returns the one line that says
// why.
func refused(t *testing.T, cfg Config) error {
	t.Helper()
	s, err := Open(t.Context(), cfg)
	if err == nil {
		s.Close()
		t.Fatal("it opened")
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("got %q, want one line", err)
	}
	return err
}

func TestFolderInUseIsSaidInOneLine(t *testing.T) {
	data := t.TempDir()
	first, err := Open(t.Context(), config(data))
	if err != nil {
		t.Fatal(err)
	}
	err = refused(t, config(data))
	if !errors.Is(err, kfake.ErrInUse) || !strings.Contains(err.Error(), data) {
		t.Errorf("got %q, want that the folder %s is in use", err, data)
	}
	first.Close()
	second, err := Open(t.Context(), config(data))
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	second.Close()
}

func TestPortInUseIsSaidWithItsFlag(t *testing.T) {
	var listening net.ListenConfig
	taken, err := listening.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, set := range map[string]func(*Config){
		"-listen":         func(c *Config) { c.Listen = taken.Addr().String() },
		"-gateway-listen": func(c *Config) { c.GatewayListen = taken.Addr().String() },
		"-ops-listen":     func(c *Config) { c.OpsListen = taken.Addr().String() },
	} {
		cfg := config(t.TempDir())
		set(&cfg)
		if err := refused(t, cfg); !strings.HasPrefix(err.Error(), name+":") || !strings.Contains(err.Error(), taken.Addr().String()) {
			t.Errorf("%s: got %q, want the flag and the address", name, err)
		}
	}
}

// post asks a running system for a token.
func post(t *testing.T, s *System) (status int) {
	t.Helper()
	body := bytes.NewReader([]byte(`{"user_id":"00000000-0000-4000-8000-000000000001"}`))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URLs().REST+"/dev/token", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode
}

func TestTokensAreGivenOnlyWithoutKeysOfTheOperator(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "keys.json")
	if err := auth.Generate(keys); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]int{"": http.StatusOK, keys: http.StatusNotFound} {
		cfg := config(t.TempDir())
		cfg.AuthKeys = file
		s, err := Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ready, ended := make(chan struct{}), make(chan error, 1)
		go func() { ended <- s.Run(ctx, func() { close(ready) }) }()
		select {
		case <-ready:
			if got := post(t, s); got != want {
				t.Errorf("with -auth-keys %q: got status %d, want %d", file, got, want)
			}
		case err := <-ended:
			ended <- err
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
		s.Close()
	}
}
