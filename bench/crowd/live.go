package crowd

import (
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// live is the output of a run: what is written, and a line that says how it stands.
// On a terminal that line is written over, elsewhere each is one more.
type live struct {
	out      io.Writer
	terminal bool

	mu      sync.Mutex
	pending bool // the line is there
}

func newLive(out io.Writer) *live {
	l := &live{out: out}
	if file, ok := out.(*os.File); ok {
		_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
		l.terminal = err == nil
	}
	return l
}

// emptied goes to the beginning of the line and empties it.
const emptied = "\r\x1b[K"

// Say shows how it stands.
func (l *live) Say(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.terminal {
		_, _ = io.WriteString(l.out, line+"\n") // Who does not read it does not want it.
		return
	}
	_, _ = io.WriteString(l.out, emptied+line) // Likewise.
	l.pending = true
}

// Write puts what stays above the line.
func (l *live) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pending {
		l.pending = false
		if _, err := io.WriteString(l.out, emptied); err != nil {
			return 0, err
		}
	}
	return l.out.Write(p)
}
