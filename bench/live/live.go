// Package live shows how a run stands while it lasts. On a terminal that is a view of a
// few lines, drawn again in its place; elsewhere it is one line more each time, for a
// log. What the command writes meanwhile stays, above the view.
//
//	State ──▶ Screen ──▶ terminal: the view, over the one before
//	                └──▶ file, pipe, TERM=dumb: Line
//
// It does not know what is measured. What it draws is text and a handful of escape
// sequences that any terminal knows. Each drawing is one write, so nothing flickers,
// and the cursor is hidden within it only: a program that is killed leaves nothing
// to put right.
package live

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// every is how often Run shows how things stand.
const every = time.Second

// Screen is the output of a run. It is for any number of goroutines.
type Screen struct {
	// Fixed after construction.
	out      io.Writer
	terminal *os.File // out, if views can be drawn there; nil: lines
	colour   bool

	mu    sync.Mutex
	state *State // that is shown on the terminal; nil: none
	shown []line // as it stands there
	begun []byte // of a line that is to stay: its end is still to be written
}

// Open returns a screen on out. getenv is os.Getenv: a terminal without a TERM, or with
// TERM=dumb, gets lines, and with NO_COLOR the view has no colour.
func Open(out io.Writer, getenv func(name string) string) *Screen {
	s := &Screen{out: out}
	if term := getenv("TERM"); term != "" && term != "dumb" && isTerminal(out) {
		s.terminal, s.colour = out.(*os.File), getenv("NO_COLOR") == ""
	}
	return s
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}

// The size of a terminal that does not say it.
const (
	usualColumns = 80
	usualRows    = 24
)

// size asks the terminal each time: it may be another one by now.
func (s *Screen) size() (columns, rows int) {
	size, err := unix.IoctlGetWinsize(int(s.terminal.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 || size.Row == 0 {
		return usualColumns, usualRows
	}
	return int(size.Col), int(size.Row)
}

// Show shows how it stands now.
func (s *Screen) Show(state State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.terminal == nil {
		_, _ = io.WriteString(s.out, state.logLine()) // Who does not read it does not want it.
		return
	}
	s.state = &state
	_ = s.draw(nil) // Likewise.
}

// Write puts what stays above the view, line by line.
func (s *Screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == nil {
		return s.out.Write(p)
	}
	s.begun = append(s.begun, p...)
	whole := bytes.LastIndexByte(s.begun, '\n') + 1
	if whole == 0 {
		return len(p), nil
	}
	if err := s.draw(s.begun[:whole]); err != nil {
		return 0, err
	}
	s.begun = append(s.begun[:0], s.begun[whole:]...)
	return len(p), nil
}

// draw draws the view again below what stays.
func (s *Screen) draw(stays []byte) error {
	columns, rows := s.size()
	next := s.state.lines(columns, rows, s.colour)
	over := min(rowsOf(s.shown, columns), rows-1) // Further up is nothing that can be reached.
	s.shown = next
	_, err := s.out.Write(drawing(over, stays, next))
	return err
}

// Clear takes the view away. What is written from then on goes through.
func (s *Screen) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == nil {
		return
	}
	columns, rows := s.size()
	over := min(rowsOf(s.shown, columns), rows-1)
	_, _ = s.out.Write(drawing(over, s.begun, nil)) // As in Show.
	s.state, s.shown, s.begun = nil, nil, nil
}

// Log is where something else writes that would write to a file: to the file, but if
// the view and the file are on terminals, which may be one, through the screen.
func (s *Screen) Log(file *os.File) io.Writer {
	if s.terminal != nil && isTerminal(file) {
		return s
	}
	return file
}

// Run shows how things stand every second until ctx ends. Then the view is gone.
func (s *Screen) Run(ctx context.Context, look func() State) {
	defer s.Clear()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.Show(look())
		}
	}
}

// The escape sequences of ECMA-48 that a drawing is made of.
const (
	hideCursor = "\x1b[?25l"
	showCursor = "\x1b[?25h"
	upRows     = "\x1b[%dA"
	eraseLine  = "\x1b[K" // from here to its end
	eraseBelow = "\x1b[J" // from here to the end of the screen
)

// drawing is what replaces a view that takes so many rows. The cursor is below it, at
// the beginning of a row, and is afterwards below the next.
func drawing(over int, stays []byte, next []line) []byte {
	var b bytes.Buffer
	b.WriteString(hideCursor + "\r")
	if over > 0 {
		fmt.Fprintf(&b, upRows, over)
	}
	if len(stays) > 0 {
		b.WriteString(eraseBelow)
		b.Write(stays)
	}
	for _, l := range next {
		b.WriteString(l.text + eraseLine + "\r\n")
	}
	b.WriteString(eraseBelow + showCursor)
	return b.Bytes()
}
