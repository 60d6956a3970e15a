package soak

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"switchboard/internal/auth"
)

// lookEvery is how often the state of a process is looked at while waiting.
const lookEvery = 50 * time.Millisecond

// Site is a running system as an outsider meets it: addresses, and the folder of
// `dev cluster` in which each of its processes has a pid file.
type Site struct {
	REST []string // URLs; any of them serves everybody
	WS   []string
	Ops  map[string]string // by program
	Keys *auth.Keys        // sign the tokens of the crowd

	Redis      string
	RedisCA    string // file; empty = no TLS
	RedisLogin string // file with user:password; empty = none

	run string // folder of pid and hold files; empty = nothing can be killed

	mu    sync.Mutex
	lives map[string]int // the process of each name, as it was found or as a fault left it
}

// addresses is DATA/run/addresses.json.
type addresses struct {
	REST     []string          `json:"rest"`
	WS       []string          `json:"ws"`
	Ops      map[string]string `json:"ops"`
	Redis    string            `json:"redis"`
	AuthKeys string            `json:"auth_keys"`
	Secure   map[string]string `json:"secure"`
}

// OpenSite reads what `dev cluster -data data` wrote about itself.
func OpenSite(data string) (*Site, error) {
	run := filepath.Join(data, "run")
	text, err := os.ReadFile(filepath.Join(run, "addresses.json"))
	if err != nil {
		return nil, fmt.Errorf("find the cluster: %w", err)
	}
	var a addresses
	if err := json.Unmarshal(text, &a); err != nil {
		return nil, fmt.Errorf("find the cluster: %w", err)
	}
	keys, err := auth.Open(a.AuthKeys, "", "")
	if err != nil {
		return nil, fmt.Errorf("keys of the cluster: %w", err)
	}
	s := &Site{
		REST: a.REST, WS: a.WS, Ops: a.Ops, Keys: keys, run: run, lives: make(map[string]int),
		Redis: a.Redis, RedisCA: a.Secure["ca"], RedisLogin: a.Secure["redis_credentials"],
	}
	for _, name := range s.Names("") {
		if s.lives[name], err = s.PID(name); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// unasked names what died although no fault killed it: since it is started again,
// nobody else would notice.
func (s *Site) unasked() (died []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, before := range s.lives {
		if pid, err := s.PID(name); err != nil || pid != before || syscall.Kill(pid, 0) != nil {
			died = append(died, fmt.Sprintf("%s, process %d, died and nobody had killed it: see its log", name, before))
		}
	}
	return died
}

// Names returns the processes of a kind, such as "gateway" or "kafka", that run; all
// of them for "".
func (s *Site) Names(kind string) []string {
	if s.run == "" {
		return nil
	}
	var names []string
	files, _ := filepath.Glob(filepath.Join(s.run, kind+"*.pid")) // the pattern is well formed
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".pid")
		if kind == "" || name == kind || strings.HasPrefix(name, kind+"-") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// PID returns the process id of a program or server.
func (s *Site) PID(name string) (int, error) {
	text, err := os.ReadFile(filepath.Join(s.run, name+".pid"))
	if err != nil {
		return 0, fmt.Errorf("find the process of %s: %w", name, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("find the process of %s: %w", name, err)
	}
	return pid, nil
}

// signal sends a signal to a process of the site.
func (s *Site) signal(name string, what syscall.Signal) error {
	pid, err := s.PID(name)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, what); err != nil {
		return fmt.Errorf("signal %s: %w", name, err)
	}
	return nil
}

// Kill ends a process with SIGKILL and returns when its next life has begun.
func (s *Site) Kill(ctx context.Context, name string) error {
	before, err := s.PID(name)
	if err != nil {
		return err
	}
	if err := s.signal(name, syscall.SIGKILL); err != nil {
		return err
	}
	return s.reborn(ctx, name, before)
}

// reborn waits until a process has a pid other than before.
func (s *Site) reborn(ctx context.Context, name string, before int) error {
	for {
		pid, err := s.PID(name)
		switch {
		case err == nil && pid != before && syscall.Kill(pid, 0) == nil:
			s.mu.Lock()
			defer s.mu.Unlock()
			s.lives[name] = pid
			return nil
		case err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, strconv.ErrSyntax):
			return err
		}
		if err := pause(ctx, lookEvery); err != nil {
			return fmt.Errorf("wait for %s to come back: %w", name, err)
		}
	}
}

// Hold kills a process and keeps it from coming back until release is called,
// which returns when it is back.
func (s *Site) Hold(name string) (release func(context.Context) error, err error) {
	hold := filepath.Join(s.run, name+".hold")
	if err := os.WriteFile(hold, nil, 0o600); err != nil {
		return nil, fmt.Errorf("hold %s: %w", name, err)
	}
	before, err := s.PID(name)
	if err == nil {
		err = s.signal(name, syscall.SIGKILL)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(hold))
	}
	return func(ctx context.Context) error {
		if err := os.Remove(hold); err != nil {
			return fmt.Errorf("let %s go: %w", name, err)
		}
		return s.reborn(ctx, name, before)
	}, nil
}

// pause waits, or returns why it could not.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
