// Package embedded is the Redis of `dev` and of tests: a server in this process
// that speaks Redis's protocol on a loopback port, so that the same client code
// runs against it as against the real one. It keeps nothing on disk: after a
// restart every gateway registers its sessions anew, as it would after a real
// Redis had lost its memory.
//
// It is the home of miniredis.
package embedded

import (
	"context"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// Server is a running server.
type Server struct {
	redis *miniredis.Miniredis
}

// Start listens on a free loopback port.
func Start() (*Server, error) {
	r := miniredis.NewMiniRedis()
	if err := r.Start(); err != nil {
		return nil, fmt.Errorf("start the embedded Redis: %w", err)
	}
	return &Server{redis: r}, nil
}

// Addr is where it listens, host:port.
func (s *Server) Addr() string { return s.redis.Addr() }

// Run lets keys expire until ctx ends. The server's time moves only when told,
// so without Run no lease ever lapses.
func (s *Server) Run(ctx context.Context) error {
	const step = time.Second // walking all keys with a TTL holds a lock: seldom enough
	ticker := time.NewTicker(step)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			s.Advance(step)
		}
	}
}

// Advance moves the server's time, for tests that wait for an expiry.
func (s *Server) Advance(d time.Duration) { s.redis.FastForward(d) }

// Flush forgets everything, as a Redis without persistence does when it dies.
func (s *Server) Flush() { s.redis.FlushAll() }

// Refuse makes every command fail with the given error text; "" ends that.
func (s *Server) Refuse(text string) { s.redis.SetError(text) }

// Close ends the server.
func (s *Server) Close() { s.redis.Close() }

// Restart listens again on the same address after Close, with what was there.
func (s *Server) Restart() error {
	if err := s.redis.Restart(); err != nil {
		return fmt.Errorf("restart the embedded Redis: %w", err)
	}
	return nil
}

// SetField writes a field of a hash behind the directory's back, for tests.
func (s *Server) SetField(key, field, value string) { s.redis.HSet(key, field, value) }
