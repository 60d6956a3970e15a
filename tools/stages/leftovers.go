package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// adopt makes us the parent of whatever our children leave behind when they
// end, so that it can be found: a killed test does not end its servers. And we
// are told when our own parent ends: go run does not pass on a SIGTERM.
func adopt() error {
	const setChildSubreaper = 36 // PR_SET_CHILD_SUBREAPER, which package syscall does not name
	for option, value := range map[uintptr]uintptr{
		setChildSubreaper:        1,
		syscall.PR_SET_PDEATHSIG: uintptr(syscall.SIGTERM),
	} {
		if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, option, value, 0); errno != 0 {
			return fmt.Errorf("adopt what stages leave: %w", errno)
		}
	}
	return nil
}

// lingering is how long a process may take that ends by itself.
const lingering = 5 * time.Second

// sweep ends all our children but one, and theirs. It is an error if they do
// not end by themselves; once told to, they have twice that time.
func sweep(except int, lingering time.Duration) error {
	var left []string
	told := make(map[int]bool)
	begun := time.Now()
	for tick := time.Tick(20 * time.Millisecond); ; <-tick {
		children := orphans(except)
		if len(children) == 0 && len(left) > 0 {
			return fmt.Errorf("processes were left: %s", strings.Join(left, "; "))
		}
		if len(children) == 0 {
			return nil
		}
		patience := time.Since(begun)
		for _, pid := range children {
			switch {
			case patience > 3*lingering:
				_ = syscall.Kill(pid, syscall.SIGKILL) // it may just have ended
			case patience > lingering && !told[pid]:
				told[pid] = true
				left = append(left, commandLine(pid))
				_ = syscall.Kill(pid, syscall.SIGINT)
			}
		}
	}
}

// orphans returns our children but one, after taking note of the dead.
func orphans(except int) []int {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil // only a bad pattern is an error
	}
	var alive []int
	for _, stat := range stats {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
		if err != nil || pid == except || parent(stat) != os.Getpid() {
			continue
		}
		if dead, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil); err == nil && dead == 0 {
			alive = append(alive, pid)
		}
	}
	return alive
}

// parent reads the parent of a process from its stat file, or returns 0.
func parent(stat string) int {
	text, err := os.ReadFile(stat)
	if err != nil {
		return 0 // it has ended
	}
	// pid (name) state parent …, and the name may contain anything.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 2 {
		return 0
	}
	pid, _ := strconv.Atoi(fields[1])
	return pid
}

// commandLine returns the beginning of what a process was started with.
func commandLine(pid int) string {
	const shown = 120
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return strconv.Itoa(pid) // it has ended
	}
	line := strings.TrimSpace(strings.ReplaceAll(string(text), "\x00", " "))
	return fmt.Sprintf("%d %s", pid, line[:min(len(line), shown)])
}
