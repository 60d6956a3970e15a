package system

import (
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

// screen is what a terminal shows.
type screen struct {
	mu   sync.Mutex
	text strings.Builder
	more chan struct{}
}

// newScreen reads until the program ends.
func newScreen(out io.Reader) *screen {
	s := blankScreen()
	go func() { _, _ = io.Copy(s, out) }() // the program's end ends it
	return s
}

// blankScreen is a screen to write on.
func blankScreen() *screen { return &screen{more: make(chan struct{}, 1)} }

// Write shows more.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(p)
	select {
	case s.more <- struct{}{}:
	default:
	}
	return len(p), nil
}

// String returns all that was shown.
func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// await waits until the text is on the screen.
func (s *screen) await(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(patience)
	for {
		shown := s.String()
		if strings.Contains(shown, text) {
			return
		}
		select {
		case <-s.more:
		case <-deadline:
			t.Fatalf("%q is not on the screen:\n%s", text, shown)
		}
	}
}
