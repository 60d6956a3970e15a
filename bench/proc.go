package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"switchboard/internal/daemon"
)

// process is a process whose CPU time or memory is looked at.
type process struct {
	name string
	pid  int
}

func parseProcesses(list []string) ([]process, error) {
	var out []process
	for _, item := range list {
		name, number, ok := strings.Cut(item, "=")
		pid, err := strconv.Atoi(number)
		if !ok || err != nil {
			return nil, daemon.Usagef("-pids: %q is not name=pid", item)
		}
		out = append(out, process{name, pid})
	}
	return out, nil
}

// cpuTimes returns user and system time of each process; 0 for one that is gone.
func cpuTimes(processes []process) map[string]time.Duration {
	times := make(map[string]time.Duration, len(processes))
	for _, p := range processes {
		times[p.name] = cpuTime(p.pid)
	}
	return times
}

// cpuTime reads fields 14 and 15 of /proc/PID/stat, in clock ticks of 10 ms.
func cpuTime(pid int) time.Duration {
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

func selfCPU() time.Duration { return cpuTime(os.Getpid()) }

// perMessage returns microseconds of CPU time per message.
func perMessage(before, after map[string]time.Duration, messages int) map[string]float64 {
	cost := make(map[string]float64, len(after))
	for name, t := range after {
		cost[name] = float64((t - before[name]).Microseconds()) / float64(messages)
	}
	return cost
}

// memoryPSS returns a process's proportional share of memory, in bytes.
func memoryPSS(pid int) (int64, error) {
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	lines := bufio.NewScanner(bytes.NewReader(rollup))
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) == 3 && fields[0] == "Pss:" {
			kilobytes, err := strconv.ParseInt(fields[1], 10, 64)
			return kilobytes << 10, err
		}
	}
	return 0, fmt.Errorf("memory of process %d: no Pss line", pid)
}

// host says where a figure was measured.
type host struct {
	Kernel string `json:"kernel"`
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Go     string `json:"go"`
	Load   string `json:"load_average"`
}

func describeHost() host {
	h := host{Cores: runtime.NumCPU(), Go: runtime.Version()}
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
func (h host) String() string {
	return fmt.Sprintf("Linux %s, %d × %s, %s, load %s", h.Kernel, h.Cores, h.CPU, h.Go, h.Load)
}
