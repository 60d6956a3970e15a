package live

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// glass is what a terminal shows, as far as drawings need one.
type glass struct {
	rows   [][]rune
	row    int
	column int
	hidden bool // the cursor
}

func (g *glass) Write(p []byte) (int, error) {
	text := []rune(string(p))
	for i := 0; i < len(text); i++ {
		for len(g.rows) <= g.row {
			g.rows = append(g.rows, nil)
		}
		switch r := text[i]; r {
		case '\r':
			g.column = 0
		case '\n':
			g.row++
		case '\x1b':
			end := i + slices.IndexFunc(text[i+2:], func(r rune) bool { return r >= '@' }) + 2
			g.escape(string(text[i+2:end]), text[end])
			i = end
		default:
			row := append(g.rows[g.row], slices.Repeat([]rune{' '}, max(g.column+1-len(g.rows[g.row]), 0))...)
			row[g.column] = r
			g.rows[g.row] = row
			g.column++
		}
	}
	return len(p), nil
}

func (g *glass) escape(parameters string, kind rune) {
	switch kind {
	case 'A':
		n, _ := strconv.Atoi(parameters)
		g.row -= n
	case 'K':
		g.rows[g.row] = g.rows[g.row][:min(g.column, len(g.rows[g.row]))]
	case 'J':
		g.rows = g.rows[:g.row+1]
		g.escape("", 'K')
	case 'h', 'l':
		g.hidden = kind == 'l'
	}
}

func (g *glass) String() string {
	var b strings.Builder
	for _, row := range g.rows {
		b.WriteString(string(row) + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

// state is one with two rows, the second of which is bad if something was wrong.
func state(passed time.Duration, wrong int) State {
	return State{
		Title: "bench echo", Phase: "echoes", Passed: passed, Ends: 30 * time.Second, Line: fmt.Sprintf("10 open  wrong %d", wrong),
		Rows: []Row{{Name: "connections", Text: "10 open"}, {Name: "messages", Text: fmt.Sprintf("%d wrong", wrong), Bad: wrong > 0}},
	}
}

func texts(lines []line) (all []string) {
	for _, l := range lines {
		all = append(all, l.text)
	}
	return all
}

func TestAViewFitsItsTerminal(t *testing.T) {
	s := state(12*time.Second, 3)
	for name, tt := range map[string]struct {
		columns, rows int
		want          []string
	}{
		"wide":   {80, 24, []string{"bench echo: echoes  12s, 18s left", "  connections  10 open", "  messages     3 wrong"}},
		"narrow": {20, 24, []string{"bench echo: echoes ", "  connections  10 o", "  messages     3 wr"}},
		"low":    {80, 3, []string{"bench echo: echoes  12s, 18s left", "  connections  10 open"}},
		"tiny":   {2, 2, []string{"b"}},
		"none":   {1, 1, nil},
	} {
		lines := s.lines(tt.columns, tt.rows, false)
		if got := texts(lines); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
		for i, l := range lines {
			if l.columns != len([]rune(tt.want[i])) {
				t.Errorf("%s: %q counts as %d columns", name, l.text, l.columns)
			}
		}
	}
}

func TestColourTakesNoColumn(t *testing.T) {
	s := state(40*time.Second, 3)
	got := s.lines(80, 24, true)
	if want := bold + "bench echo: echoes" + plain + faint + "  40s, 10s longer than planned" + plain; got[0].text != want || got[0].columns != 48 {
		t.Errorf("got %q of %d columns, want %q", got[0].text, got[0].columns, want)
	}
	if want := faint + "  messages     " + plain + red + "3 wrong" + plain; got[2].text != want || got[2].columns != 22 {
		t.Errorf("got %q of %d columns, want %q", got[2].text, got[2].columns, want)
	}
	// What does not fit is cut, and its colour ends all the same.
	if got := s.lines(6, 24, true)[0]; got.text != bold+"bench"+plain || got.columns != 5 {
		t.Errorf("got %q of %d columns", got.text, got.columns)
	}
}

// What a server says is not to be obeyed, and not to be wider than it is counted.
func TestWhatIsShownDoesNotMoveTheCursor(t *testing.T) {
	for text, want := range map[string]string{
		"12 µs, 3 × ü":      "12 µs, 3 × ü",
		"a\x1b[2Jb\r\n\x7f": "a?[2Jb???",
		"漢\u0301\u00ad":     "???",
	} {
		if got := printable(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// A terminal that has become narrower has wrapped what was drawn before.
func TestANarrowerTerminalHasWrappedTheView(t *testing.T) {
	s := state(12*time.Second, 0)
	lines := append(s.lines(80, 24, false), line{}) // 33, 22, 22 and 0 columns
	for columns, want := range map[int]int{80: 4, 33: 4, 22: 5, 21: 7, 11: 8} {
		if got := rowsOf(lines, columns); got != want {
			t.Errorf("%d columns: got %d rows, want %d", columns, got, want)
		}
	}
}

// pseudo returns both ends of a pseudo terminal: what is written to the second can be
// read from the first.
func pseudo(t *testing.T) (screen, program *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	t.Cleanup(func() { screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return screen, program
}

func resize(t *testing.T, terminal *os.File, columns, rows uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows}); err != nil {
		t.Fatal(err)
	}
}

// environment is one of a few variables.
func environment(pairs ...string) func(string) string {
	return func(name string) string {
		for _, pair := range pairs {
			if value, ok := strings.CutPrefix(pair, name+"="); ok {
				return value
			}
		}
		return ""
	}
}

// watcher reads what a program writes to its terminal, drawing by drawing.
type watcher struct {
	t      *testing.T
	screen *os.File
	glass  glass
	raw    bytes.Buffer
	seen   int // drawings
}

// after reads until so many drawings more have come.
func (w *watcher) after(drawings int) string {
	w.t.Helper()
	buffer := make([]byte, 4096)
	for w.seen += drawings; strings.Count(w.raw.String(), showCursor) < w.seen; {
		n, err := w.screen.Read(buffer)
		if err != nil {
			w.t.Fatal(err)
		}
		w.raw.Write(buffer[:n])
		_, _ = w.glass.Write(buffer[:n]) // It takes everything.
	}
	if w.glass.hidden || w.glass.column != 0 {
		w.t.Errorf("the cursor is at column %d, hidden: %t", w.glass.column, w.glass.hidden)
	}
	return w.glass.String()
}

func TestATerminalShowsOneView(t *testing.T) {
	screen, program := pseudo(t)
	resize(t, program, 60, 10)
	s := Open(program, environment("TERM=xterm", "NO_COLOR=1"))
	w := &watcher{t: t, screen: screen}
	check := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
	fmt.Fprintln(s, "before")
	s.Show(state(12*time.Second, 0))
	check(w.after(1), "before\nbench echo: echoes  12s, 18s left\n  connections  10 open\n  messages     0 wrong")
	shorter := state(9*time.Second, 0)
	shorter.Rows = shorter.Rows[:1]
	s.Show(shorter)
	check(w.after(1), "before\nbench echo: echoes  9s, 21s left\n  connections  10 open")
	fmt.Fprint(s, "it ")
	fmt.Fprint(s, "stays\nand ")
	fmt.Fprintln(s.Log(program), "this")
	check(w.after(2), "before\nit stays\nand this\nbench echo: echoes  9s, 21s left\n  connections  10 open")
	resize(t, program, 12, 10)
	s.Show(shorter)
	w.after(1) // As many rows up as the lines take when they are wrapped: the glass did not wrap them.
	if got, want := w.raw.String(), hideCursor+"\r\x1b[5Abench echo:"+eraseLine; !strings.Contains(got, want) {
		t.Errorf("got %q, want %q in it", got, want)
	}
	s.Clear()
	w.after(1)
	fmt.Fprintln(s, "after")
	program.Close()
	rest, _ := io.ReadAll(screen) // It ends with an error when nobody writes any more.
	if got := string(rest); got != "after\r\n" {
		t.Errorf("got %q after the view", got)
	}
	if strings.Contains(w.raw.String(), bold) {
		t.Error("it has colours in spite of NO_COLOR")
	}
}

func TestEachDrawingIsOneWrite(t *testing.T) {
	_, program := pseudo(t)
	var writes [][]byte
	s := Open(program, environment("TERM=xterm"))
	s.out = writerFunc(func(p []byte) { writes = append(writes, bytes.Clone(p)) })
	s.Show(state(time.Second, 1))
	s.Show(state(2*time.Second, 0))
	fmt.Fprintln(s, "stays")
	s.Clear()
	if len(writes) != 4 {
		t.Errorf("got %d writes, want 4: %q", len(writes), writes)
	}
	for _, one := range writes {
		if !bytes.HasPrefix(one, []byte(hideCursor)) || !bytes.HasSuffix(one, []byte(showCursor)) {
			t.Errorf("%q leaves the cursor as it is", one)
		}
	}
	if !bytes.Contains(writes[0], []byte(red+"1 wrong")) {
		t.Errorf("%q has no colours", writes[0])
	}
}

type writerFunc func(p []byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}

// What is no terminal, or one that knows no escape sequence, gets a line each time.
func TestALogGetsLines(t *testing.T) {
	const want = "   12 s  echoes: 10 open  wrong 3\nstays\n   13 s  echoes: 10 open  wrong 3\n"
	tell := func(s *Screen) {
		s.Show(state(12*time.Second, 3))
		fmt.Fprintln(s, "stays")
		s.Show(state(13*time.Second, 3))
		s.Clear()
	}
	var out strings.Builder
	tell(Open(&out, environment("TERM=xterm")))
	if got := out.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, variable := range []string{"TERM=dumb", "TERM=", "COLOR=1"} {
		screen, program := pseudo(t)
		s := Open(program, environment(variable))
		tell(s)
		if s.Log(program) != program {
			t.Errorf("%s: others do not write where they would", variable)
		}
		program.Close()
		got, _ := io.ReadAll(screen) // It ends with an error when nobody writes any more.
		if strings.ReplaceAll(string(got), "\r\n", "\n") != want {
			t.Errorf("%s: got %q, want %q", variable, got, want)
		}
	}
}

func TestRunShowsItEverySecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		s := Open(&out, environment())
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		began := time.Now()
		go func() {
			defer close(ended)
			s.Run(ctx, func() State { return State{Phase: "all", Passed: time.Since(began), Line: "is well"} })
		}()
		time.Sleep(2500 * time.Millisecond)
		cancel()
		<-ended
		if got, want := out.String(), "    1 s  all: is well\n    2 s  all: is well\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
