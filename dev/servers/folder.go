package servers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// maxRuns is how many sets can share a cache without naming their run folders.
const maxRuns = 9

// folder is a run folder that this process holds.
type folder struct {
	path string
	lock *os.File
	data *kept       // nil when there is none, or none that the next set wants
	keep atomic.Bool // set when its contents shall outlive the set
}

// errHeld says that another process holds a lock.
var errHeld = errors.New("another process holds it")

// lockFile takes the lock of a file without waiting. The kernel gives it back
// when this process dies; servers do not inherit it. The file is never deleted:
// two processes could then hold the locks of two files of that name.
func lockFile(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, errHeld), f.Close())
	case err != nil:
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f, nil
}

// claim takes the run folder of cfg, or a free one of the cache, ends what a
// killed process left running there and empties it.
func claim(ctx context.Context, cfg Config) (*folder, error) {
	if cfg.Run != "" {
		return open(ctx, cfg.Run, cfg)
	}
	for i := range maxRuns {
		f, err := open(ctx, filepath.Join(cfg.Cache, "run-"+strconv.Itoa(i+1)), cfg)
		if !errors.Is(err, errHeld) {
			return f, err
		}
	}
	return nil, fmt.Errorf("choose a run folder: all %d of %s are held", maxRuns, cfg.Cache)
}

func open(ctx context.Context, path string, cfg Config) (*folder, error) {
	lock, err := lockFile(filepath.Join(path, "lock"))
	if err != nil {
		return nil, err
	}
	f := &folder{path: path, lock: lock}
	for _, name := range everyName() {
		ended, err := endLeftover(ctx, filepath.Join(path, name), farewell(name))
		if err != nil {
			return nil, errors.Join(err, f.release())
		}
		if ended != 0 {
			cfg.Log.Warn("ended a server that a killed process had left", "server", name, "pid", ended)
		}
	}
	if cfg.Keep {
		if err := f.recall(cfg.names(), cfg.Secure); err != nil {
			return nil, errors.Join(err, f.release())
		}
	}
	if f.data != nil {
		return f, nil
	}
	if err := f.clear(); err != nil {
		return nil, errors.Join(err, f.release())
	}
	return f, nil
}

// keptFile says what is in a run folder whose data is kept.
const keptFile = "kept.json"

// kept is what keptFile holds. It is written when a new set is ready for the
// first time: data from before that nobody has been told of.
type kept struct {
	Servers []string `json:"servers"`
	Secure  bool     `json:"secure,omitempty"`
	Block   int      `json:"block"` // see holdBlock
}

// has reports whether a server's data is in a folder, which may have none of any.
func (k *kept) has(name string) bool { return k != nil && slices.Contains(k.Servers, name) }

// recall finds data that was kept. It must be that of servers called names, all of
// it, and secured or not as they are. Those that have none yet begin anew, as in an
// empty folder: a newer release wants more servers than the one that left the data.
func (f *folder) recall(names []string, secure bool) error {
	text, err := os.ReadFile(filepath.Join(f.path, keptFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for kept data: %w", err)
	}
	var k kept
	if err := json.Unmarshal(text, &k); err != nil {
		return fmt.Errorf("read %s of %s: %w", keptFile, f.path, err)
	}
	if slices.ContainsFunc(k.Servers, func(name string) bool { return !slices.Contains(names, name) }) {
		return fmt.Errorf("the data in %s is that of %s: it cannot be used by %s",
			f.path, strings.Join(k.Servers, ", "), strings.Join(names, ", "))
	}
	if k.Secure != secure {
		return fmt.Errorf("the data in %s was made by servers that were secured: %v; now they would be: %v", f.path, k.Secure, secure)
	}
	for _, name := range names {
		if k.has(name) {
			continue
		}
		// What is there is from a start that was never ready.
		if err := os.RemoveAll(filepath.Join(f.path, name)); err != nil {
			return fmt.Errorf("make room for %s: %w", name, err)
		}
	}
	f.data = &k
	return nil
}

// remember writes keptFile.
func (f *folder) remember(k kept) error {
	text, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("remember what is kept: %w", err)
	}
	path := filepath.Join(f.path, keptFile)
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return fmt.Errorf("remember what is kept: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("remember what is kept: %w", err)
	}
	return nil
}

// ports returns n ports, the same as before if data was kept and they are free.
// Only a cluster of Cassandra insists on them: its nodes remember one another
// by address.
func (f *folder) ports(ctx context.Context, cfg Config, n int) (net.Listener, []int, error) {
	if f.data == nil {
		return freePorts(ctx, n)
	}
	holder, ports, err := holdAgain(ctx, f.data.Block, n)
	if err == nil {
		return holder, ports, nil
	}
	if cfg.Cassandra > 1 {
		return nil, nil, fmt.Errorf("the ports from %d on belong to the data in %s: %w", f.data.Block, f.path, err)
	}
	cfg.Log.Warn("the ports of before are in use by others; the servers get new ones", "run", f.path, "error", err)
	return freePorts(ctx, n)
}

// clear deletes what servers wrote, and nothing else: whoever named their home
// as the run folder keeps it.
func (f *folder) clear() error {
	// First, or a kill in between would leave word of data that is gone.
	if err := os.Remove(filepath.Join(f.path, keptFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("clear the run folder: %w", err)
	}
	for _, name := range append(everyName(), secretsDir) {
		if err := os.RemoveAll(filepath.Join(f.path, name)); err != nil {
			return fmt.Errorf("clear the run folder: %w", err)
		}
	}
	return nil
}

func (f *folder) release() error {
	if err := f.lock.Close(); err != nil {
		return fmt.Errorf("release the run folder: %w", err)
	}
	return nil
}

// endLeftover ends the server whose pid file is in dir, if it still runs, and
// returns its pid. The number may belong to somebody else by now, so the
// process must work in dir: every server does.
func endLeftover(ctx context.Context, dir string, gently syscall.Signal) (int, error) {
	text, err := os.ReadFile(filepath.Join(dir, pidFile))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look for a server that was left: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, nil // killed between creating the file and writing it: the server did not start yet
	}
	// A handle first, then the question: it stays with this one process.
	process, err := os.FindProcess(pid)
	if err != nil || !worksIn(pid, dir) {
		return 0, nil // gone
	}
	defer func() { _ = process.Release() }() // only the handle
	for _, signal := range []syscall.Signal{gently, syscall.SIGKILL} {
		if err := process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return 0, fmt.Errorf("end process %d, which was left in %s: %w", pid, dir, err)
		}
		if poll(ctx, grace, func() bool { return !worksIn(pid, dir) }) {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("end process %d, which was left in %s: it does not end", pid, dir)
}

// worksIn reports whether a process has its working directory in dir or below.
// A dead one that nobody has waited for has none.
func worksIn(pid int, dir string) bool {
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil {
		return false
	}
	if resolved, err := filepath.EvalSymlinks(dir); err == nil {
		dir = resolved
	}
	return cwd == dir || strings.HasPrefix(cwd, dir+string(filepath.Separator))
}

// inhabited reports whether any process works in dir or below.
func inhabited(dir string) bool {
	all, err := os.ReadDir("/proc")
	if err != nil {
		return false
	}
	return slices.ContainsFunc(all, func(process os.DirEntry) bool {
		pid, err := strconv.Atoi(process.Name())
		return err == nil && worksIn(pid, dir)
	})
}

// poll asks again and again until the answer is yes or the time is over. It is
// for what cannot be waited for: processes of others, files, servers.
func poll(ctx context.Context, limit time.Duration, ask func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ask() {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}
