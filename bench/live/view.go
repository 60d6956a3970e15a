package live

import (
	"fmt"
	"strings"
	"time"
)

// State is how a run stands.
type State struct {
	Title  string        // the command, such as bench echo
	Phase  string        // what it does now
	Passed time.Duration // since it began
	// Ends is when the phase should be over, counted like Passed; 0: nobody knows.
	Ends time.Duration
	Line string // all of it that a log gets
	Rows []Row
}

// Row is a row of the view.
type Row struct {
	Name string
	Text string
	Bad  bool // it is not as it should be
}

// The colours of a view.
const (
	bold  = "\x1b[1m"
	red   = "\x1b[31m"
	faint = "\x1b[2m"
	plain = "\x1b[0m"
)

// nameColumns are for the names of rows.
const nameColumns = 13

// line is a line of the view.
type line struct {
	text    string // with its colours
	columns int    // that it takes
}

// logLine is the state for a log.
func (s *State) logLine() string {
	return fmt.Sprintf("%5.0f s  %s: %s\n", s.Passed.Seconds(), printable(s.Phase), printable(s.Line))
}

// lines are the view on a terminal of some size: no line reaches its last column, where
// some terminals wrap, and the row below the last line is there as well.
func (s *State) lines(columns, rows int, colour bool) []line {
	p := pen{columns: columns - 1, colour: colour}
	p.write(bold, s.Title+": "+s.Phase)
	p.write(faint, "  "+s.time())
	p.end()
	for _, r := range s.Rows {
		p.write(faint, fmt.Sprintf("  %-*s", nameColumns, r.Name))
		style := ""
		if r.Bad {
			style = red
		}
		p.write(style, r.Text)
		p.end()
	}
	return p.lines[:min(len(p.lines), max(rows-1, 0))]
}

// time says how long it has taken, and how long the phase will.
func (s *State) time() string {
	text := clock(s.Passed)
	switch left := s.Ends - s.Passed; {
	case s.Ends == 0:
	case left >= 0:
		text += ", " + clock(left) + " left"
	default:
		text += ", " + clock(-left) + " longer than planned"
	}
	return text
}

func clock(d time.Duration) string { return d.Round(time.Second).String() }

// pen writes lines that are no longer than they may be.
type pen struct {
	columns int
	colour  bool
	lines   []line
	line    line
}

// write adds to the line what of a text fits.
func (p *pen) write(style, text string) {
	room := max(p.columns-p.line.columns, 0)
	runes := []rune(printable(text))
	runes = runes[:min(len(runes), room)]
	if len(runes) == 0 {
		return
	}
	p.line.columns += len(runes)
	if text = string(runes); p.colour && style != "" {
		text = style + text + plain
	}
	p.line.text += text
}

// end ends the line.
func (p *pen) end() { p.lines, p.line = append(p.lines, p.line), line{} }

// printable is a text of which each rune takes one column. What a server said in
// closing is among what is shown: it must not move the cursor, nor be wider than it
// is counted.
func printable(text string) string {
	const firstCombining = 0x300 // Below are ASCII, Latin and µ.
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == 0xad || r >= firstCombining {
			return '?'
		}
		return r
	}, text)
}

// rowsOf is how many rows lines take on a terminal that may have become narrower since
// they were drawn, and has wrapped them.
func rowsOf(lines []line, columns int) (rows int) {
	for _, l := range lines {
		rows += max((l.columns+columns-1)/columns, 1)
	}
	return rows
}
