// Package room says how many connections a process has room for, and which limit
// binds. What the kernel would refuse bounds them. What it would not, memory, is
// only told: whether connections do without is for who runs the host to judge,
// with the program tuning, which looks at all of it.
package room

import (
	"fmt"
	"math"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Refusals is how many connections over the limit are answered politely at a
// time; they have descriptors of their own beyond it. Others get a bare 503.
const Refusals = 128

// reservedDescriptors are kept for everything that is no connection: logs, the
// bus, presence, pprof.
const reservedDescriptors = 256

// mostDescriptors bounds the table of descriptors where the limit is "unlimited".
const mostDescriptors = 1 << 24

// The memory of a connection at rest, kernel_bytes and user_bytes of docs/capacity.md
// together and rounded up, and what is left to everything else. There it is the
// host's; a limit of a control group is this process's alone, whose own 16 MB do not
// count.
const (
	connectionBytes = 4290
	hostShare       = 10 // a tenth of the host's memory
)

// Limit is one of the things of which each connection takes some.
type Limit struct {
	Name        string // as operators know it
	Connections int    // how many it has room for
}

// Room is what a process has.
type Room struct {
	Descriptors int   // all that it may have
	Bound       Limit // the kernel refuses more
	Memory      Limit // the host suffers from more; no name when nothing is known of it
}

// Look reads the limits of this process. root is where the kernel's files are: "/",
// but in tests. configured is a limit of the operator's own; 0 is none.
func Look(root string, configured int) (Room, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return Room{}, fmt.Errorf("read RLIMIT_NOFILE: %w", err)
	}
	r := Room{Descriptors: int(min(limit.Cur, mostDescriptors))}
	r.Bound = bound(configured, r.Descriptors, files(root), watches(root))
	r.Memory = memory(root)
	return r, nil
}

// bound returns the least of what the operator says and the kernel allows; 0 is what
// nobody knows.
func bound(configured, descriptors, files, watches int) Limit {
	least := Limit{"RLIMIT_NOFILE", spare(descriptors)}
	if files > 0 && spare(files) < least.Connections {
		least = Limit{"fs.file-max", spare(files)}
	}
	if watches > 0 && watches < least.Connections {
		least = Limit{"fs.epoll.max_user_watches", watches}
	}
	if configured > 0 && configured <= least.Connections {
		return Limit{"max connections", configured}
	}
	return least
}

// spare returns how many descriptors are left to connections. Half of few are all
// the same.
func spare(descriptors int) int {
	return max(descriptors-reservedDescriptors-Refusals, descriptors/2)
}

// files returns how many files all processes of the host may have open together, or
// 0. What others have open now says nothing about what they will.
func files(root string) int {
	return number(filepath.Join(root, "proc/sys/fs/file-max"))
}

// watches returns how many descriptors the user of this process may have in epoll,
// or 0: all its processes share them, and another one's are not known.
func watches(root string) int {
	return number(filepath.Join(root, "proc/sys/fs/epoll/max_user_watches"))
}

// memory returns the least that the host and the control groups of this process
// leave to it.
func memory(root string) (least Limit) {
	least.Connections = math.MaxInt
	consider := func(name string, bytes int) {
		if n := bytes / connectionBytes; bytes > 0 && n < least.Connections {
			least = Limit{name, n}
		}
	}
	total := hostMemory(root)
	consider("memory", total-total/hostShare)
	for group := controlGroup(root); ; group = path.Dir(group) {
		for _, file := range []string{"memory.high", "memory.max"} {
			consider(file+" of "+group, number(filepath.Join(root, "sys/fs/cgroup", group, file)))
		}
		if group == "/" {
			break
		}
	}
	if least.Name == "" {
		return Limit{}
	}
	return least
}

// hostMemory returns MemTotal in bytes, or 0.
func hostMemory(root string) int {
	text, err := os.ReadFile(filepath.Join(root, "proc/meminfo"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		var kilobytes int
		if n, _ := fmt.Sscanf(line, "MemTotal: %d kB", &kilobytes); n == 1 {
			return kilobytes << 10
		}
	}
	return 0
}

// controlGroup returns the path of this process's group in the unified hierarchy,
// or "/" when it is not known.
func controlGroup(root string) string {
	text, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return "/"
	}
	for line := range strings.Lines(string(text)) {
		if group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return path.Clean("/" + group)
		}
	}
	return "/"
}

// number reads a file with one number, or 0: there is none in a file that says "max".
func number(file string) int {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	return n
}
