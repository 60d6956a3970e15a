package contract

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"switchboard/dev/single"
	"switchboard/internal/auth"
)

// patience bounds every wait for something that must happen.
const patience = 30 * time.Second

// page is the one origin whose pages may call.
const page = "https://chat.example.com"

var siteFile = flag.String("site", "", "`FILE` with the addresses of a running system, as dev cluster writes it; empty starts one")

// site is a system that runs.
type site struct {
	REST     []string          `json:"rest"`
	WS       []string          `json:"ws"`
	Ops      map[string]string `json:"ops"`
	AuthKeys string            `json:"auth_keys"`

	keys *auth.Keys
	stop func() error // drains it and waits for its end; only the first call counts
}

// shared returns the system that all tests share.
var shared = sync.OnceValues(func() (*site, error) {
	if *siteFile != "" {
		return find(*siteFile)
	}
	data, err := os.MkdirTemp("", "switchboard-contract-")
	if err != nil {
		return nil, err
	}
	s, err := open(data, func(*single.Config) {})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(data))
	}
	end := s.stop
	s.stop = func() error { return errors.Join(end(), os.RemoveAll(data)) }
	return s, nil
})

// used says that some test asked for the shared system.
var used atomic.Bool

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if used.Load() {
		if s, err := shared(); err == nil && s.stop() != nil {
			fmt.Fprintln(os.Stderr, s.stop())
			code = 1
		}
	}
	os.Exit(code)
}

// find reads where a system is.
func find(file string) (*site, error) {
	s := &site{stop: func() error { return nil }}
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, s)
	}
	if err == nil {
		s.keys, err = auth.Open(s.AuthKeys, "", "")
	}
	if err == nil && (len(s.REST) == 0 || len(s.WS) == 0) {
		err = errors.New("no address of REST, or none of a gateway")
	}
	if err != nil {
		return nil, fmt.Errorf("find the system of %s: %w", file, err)
	}
	return s, nil
}

// open starts a system in a folder.
func open(data string, with func(*single.Config)) (*site, error) {
	const anywhere = "127.0.0.1:0"
	cfg := single.Config{
		Listen: anywhere, GatewayListen: anywhere, OpsListen: anywhere,
		Data: data, AuthKeys: filepath.Join(data, "keys.json"), Origins: []string{page},
		Logger: slog.New(slog.DiscardHandler),
	}
	with(&cfg)
	if err := auth.Generate(cfg.AuthKeys); err != nil {
		return nil, err
	}
	keys, err := auth.Open(cfg.AuthKeys, "", "")
	if err != nil {
		return nil, err
	}
	system, err := single.Open(context.Background(), cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- system.Run(ctx, func() { close(ready) }) }()
	stop := sync.OnceValue(func() error {
		cancel()
		defer system.Close()
		return <-ended
	})
	select {
	case <-ready:
	case <-time.After(patience):
		return nil, errors.Join(errors.New("the system is not ready"), stop())
	}
	at := system.URLs()
	return &site{
		REST: []string{at.REST}, WS: []string{at.WebSocket}, Ops: map[string]string{"dev": at.Ops}, keys: keys, stop: stop,
	}, nil
}

// here returns the system that all tests share.
func here(t *testing.T) *site {
	t.Helper()
	if testing.Short() {
		t.Skip("walks through the whole system")
	}
	used.Store(true)
	s, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// embedded is here for tests that need the settings of the system which they
// start themselves.
func embedded(t *testing.T) *site {
	t.Helper()
	if *siteFile != "" {
		t.Skip("the system that runs may have other settings")
	}
	return here(t)
}

// alone starts a system for one test, with settings of its own.
func alone(t *testing.T, with func(*single.Config)) *site {
	t.Helper()
	if testing.Short() || *siteFile != "" {
		t.Skip("starts a system of its own")
	}
	t.Parallel() // Nothing is shared.
	s, err := open(t.TempDir(), with)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}
