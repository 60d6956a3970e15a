// Package host looks at the machine that a measurement runs on: CPU time and memory
// of processes, memory of sockets in the kernel, and what kind of machine it is. It
// reads /proc and asks the kernel, so it knows Linux alone.
package host

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is a process whose CPU time or memory is looked at.
type Process struct {
	Name string
	PID  int
}

// CPUTimes returns user and system time of each process; 0 for one that is gone.
func CPUTimes(processes []Process) map[string]time.Duration {
	times := make(map[string]time.Duration, len(processes))
	for _, p := range processes {
		times[p.Name] = CPUTime(p.PID)
	}
	return times
}

// CPUTime reads fields 14 and 15 of /proc/PID/stat, in clock ticks of 10 ms.
func CPUTime(pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(string(fields[11]))
	system, _ := strconv.Atoi(string(fields[12]))
	return time.Duration(user+system) * 10 * time.Millisecond
}

// SelfCPU is the CPU time of this process.
func SelfCPU() time.Duration { return CPUTime(os.Getpid()) }

// PSS returns a process's proportional share of memory, in bytes: of a page that n
// processes have, an n-th.
func PSS(pid int) (int64, error) {
	m, err := MemoryOf(pid)
	return m.PSS, err
}

// Resident returns the memory of a process that is in RAM, in bytes, with what it shares
// with others; 0 for one that is gone. The kernel keeps the number, so asking costs the
// process nothing, however large it is.
func Resident(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	var size, resident int64
	_, _ = fmt.Sscan(string(text), &size, &resident) // The kernel writes digits.
	return resident * int64(os.Getpagesize())
}

// Memory is a process's proportional share of memory, in bytes.
type Memory struct {
	PSS       int64
	Anonymous int64 // what of it is no file's: heap, stacks, and what the runtime keeps; not the pages of the program
}

// MemoryOf reads the memory of a process.
func MemoryOf(pid int) (m Memory, err error) {
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return m, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(rollup)) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			continue
		}
		kilobytes, _ := strconv.ParseInt(fields[1], 10, 64) // The kernel writes digits.
		switch fields[0] {
		case "Pss:":
			m.PSS = kilobytes << 10
		case "Pss_Anon:":
			m.Anonymous = kilobytes << 10
		}
	}
	if m.PSS == 0 || m.Anonymous == 0 {
		return m, fmt.Errorf("memory of process %d: no Pss or Pss_Anon line", pid)
	}
	return m, nil
}

// Host says where a figure was measured.
type Host struct {
	Kernel string `json:"kernel"`
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Go     string `json:"go"`
	Load   string `json:"load_average"`
}

// Describe looks at this host.
func Describe() Host {
	h := Host{Cores: runtime.NumCPU(), Go: runtime.Version()}
	var name syscall.Utsname
	if syscall.Uname(&name) == nil {
		for _, c := range name.Release {
			if c == 0 {
				break
			}
			h.Kernel += string(rune(c))
		}
	}
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, model, ok := strings.Cut(string(info), "model name\t: "); ok {
			h.CPU, _, _ = strings.Cut(model, "\n")
		}
	}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		h.Load = strings.Join(strings.Fields(string(load))[:3], " ")
	}
	return h
}

// String is the first line of a report.
func (h Host) String() string {
	return fmt.Sprintf("Linux %s, %d × %s, %s, load %s", h.Kernel, h.Cores, h.CPU, h.Go, h.Load)
}

// Slabs returns the bytes of the kernel objects that sockets are made
// of. /proc/slabinfo needs root; without it the answer is 0.
func Slabs() int64 {
	info, err := os.ReadFile("/proc/slabinfo")
	if err != nil {
		return 0
	}
	var total int64
	for line := range strings.Lines(string(info)) {
		var name string
		var active, objects, size int64
		if n, _ := fmt.Sscan(line, &name, &active, &objects, &size); n < 4 {
			continue
		}
		switch name {
		case "TCP", "sock_inode_cache", "dentry", "filp", "eventpoll_epi", "eventpoll_pwq", "tcp_bind_bucket", "request_sock_TCP":
			total += active * size
		}
	}
	return total
}
