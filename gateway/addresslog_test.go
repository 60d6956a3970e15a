package main

import (
	"io"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// addressLog is the program's log, in which tests find the ports that the
// system chose.
type addressLog struct {
	mu    sync.Mutex
	lines []string
	more  chan struct{}
}

var _ io.Writer = (*addressLog)(nil)

func newAddressLog() *addressLog { return &addressLog{more: make(chan struct{}, 1)} }

// Write takes one line.
func (l *addressLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(line))
	select {
	case l.more <- struct{}{}:
	default:
	}
	return len(line), nil
}

var address = regexp.MustCompile(`address=(\S+)`)

// find returns the address of the line that says what.
func (l *addressLog) find(what string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if m := address.FindStringSubmatch(line); m != nil && strings.Contains(line, what) {
			return m[1]
		}
	}
	return ""
}

// says reports whether a line has been written that contains what.
func (l *addressLog) says(what string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.lines, func(line string) bool { return strings.Contains(line, what) })
}

// await waits for such a line.
func (l *addressLog) await(t *testing.T, what string) string {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		if found := l.find(what); found != "" {
			return found
		}
		select {
		case <-l.more:
		case <-timeout:
			t.Fatalf("the log never said %q: %q", what, l.lines)
		}
	}
}
