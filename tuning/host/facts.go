package host

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// PageSize is that of the kernels this is for; tcp_mem counts in pages.
const PageSize = 4096

// Memory returns the host's memory in bytes.
func (t *Tree) Memory() (int64, error) {
	text, err := t.Read("proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == "MemTotal:" {
			kb, err := strconv.ParseInt(fields[1], 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("read /proc/meminfo: it has no line MemTotal")
}

// CPUs returns the processors that are on line, ascending.
func (t *Tree) CPUs() ([]int, error) {
	text, err := t.Read("sys/devices/system/cpu/online")
	if err != nil {
		return nil, err
	}
	return ParseList(text)
}

// Nodes returns how many NUMA nodes are on line; 1 where the kernel does not say.
func (t *Tree) Nodes() int {
	text, err := t.Read("sys/devices/system/node/online")
	if err != nil {
		return 1
	}
	nodes, err := ParseList(text)
	if err != nil {
		return 1
	}
	return len(nodes)
}

// ParseList reads the kernel's form of sets of numbers: "0-3,8,10-11".
func ParseList(text string) ([]int, error) {
	var all []int
	for part := range strings.SplitSeq(strings.TrimSpace(text), ",") {
		if part == "" {
			continue
		}
		low, high, isRange := strings.Cut(part, "-")
		if !isRange {
			high = low
		}
		from, err := strconv.Atoi(low)
		if err != nil {
			return nil, fmt.Errorf("%q is no list of numbers", text)
		}
		to, err := strconv.Atoi(high)
		if err != nil || to < from || to-from > 1<<17 {
			return nil, fmt.Errorf("%q is no list of numbers", text)
		}
		for n := from; n <= to; n++ {
			all = append(all, n)
		}
	}
	return all, nil
}

// FormatList is the reverse of ParseList for a sorted list without doubles.
func FormatList(all []int) string {
	var parts []string
	for i := 0; i < len(all); {
		j := i
		for j+1 < len(all) && all[j+1] == all[j]+1 {
			j++
		}
		part := strconv.Itoa(all[i])
		if j > i {
			part += "-" + strconv.Itoa(all[j])
		}
		parts = append(parts, part)
		i = j + 1
	}
	return strings.Join(parts, ",")
}

// Counters returns the counters of the TCP stack, such as ListenOverflows: of
// the network namespace, since boot.
func (t *Tree) Counters() (map[string]int64, error) {
	text, err := t.Read("proc/net/netstat")
	if err != nil {
		return nil, err
	}
	counters := make(map[string]int64)
	lines := strings.Split(text, "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		if len(names) == 0 || names[0] != "TcpExt:" {
			continue
		}
		for j := 1; j < min(len(names), len(values)); j++ {
			if counters[names[j]], err = strconv.ParseInt(values[j], 10, 64); err != nil {
				return nil, fmt.Errorf("read /proc/net/netstat: %s is %q", names[j], values[j])
			}
		}
	}
	return counters, nil
}

// Dropped returns how many packets no processor had room for, since boot.
func (t *Tree) Dropped() (int64, error) {
	text, err := t.Read("proc/net/softnet_stat")
	if err != nil {
		return 0, err
	}
	var all int64
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		n, err := strconv.ParseInt(fields[1], 16, 64)
		if err != nil {
			return 0, fmt.Errorf("read /proc/net/softnet_stat: %q is no number", fields[1])
		}
		all += n
	}
	return all, nil
}

// TCPPages returns how many pages all sockets use for data now.
func (t *Tree) TCPPages() (int64, error) {
	text, err := t.Read("proc/net/sockstat")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "TCP:" {
			continue
		}
		if i := slices.Index(fields, "mem"); i > 0 && i+1 < len(fields) {
			return strconv.ParseInt(fields[i+1], 10, 64)
		}
	}
	return 0, fmt.Errorf("read /proc/net/sockstat: it does not say mem of TCP")
}

// Process is a running program.
type Process struct {
	PID  string
	Name string
	// Descriptors is how many files it may have open.
	Descriptors int64
}

// Processes returns the running programs of these names, as /proc/PID/comm has
// them: cut at 15 characters. Of others nothing is remembered.
func (t *Tree) Processes(names ...string) ([]Process, error) {
	ids, err := t.list("proc")
	if err != nil {
		return nil, err
	}
	var all []Process
	for _, id := range ids {
		if _, err := strconv.Atoi(id); err != nil {
			continue
		}
		file := path.Join("proc", id, "comm")
		name, err := t.read(file)
		if name = strings.TrimSpace(name); err != nil || !slices.Contains(names, name) {
			continue // It ended meanwhile, or is none of them.
		}
		limit, err := t.Descriptors(id)
		if err != nil {
			continue // Likewise.
		}
		if _, err := t.Read(file); err != nil {
			continue
		}
		all = append(all, Process{PID: id, Name: name, Descriptors: limit})
	}
	return all, nil
}

// Descriptors returns how many files a process may have open: its soft limit,
// which Go programs raise to the hard one as they start. "self" is the program
// that reads.
func (t *Tree) Descriptors(pid string) (int64, error) {
	file := path.Join("proc", pid, "limits")
	text, err := t.Read(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		rest, found := strings.CutPrefix(line, "Max open files")
		if fields := strings.Fields(rest); found && len(fields) >= 2 {
			return ParseLimit(fields[0])
		}
	}
	return 0, fmt.Errorf("read /%s: it does not say how many files", file)
}

// Unlimited is what a limit is that is none.
const Unlimited = 1<<63 - 1

// ParseLimit reads the number of a limit, or "unlimited" and "infinity".
func ParseLimit(text string) (int64, error) {
	if text == "unlimited" || text == "infinity" {
		return Unlimited, nil
	}
	return strconv.ParseInt(text, 10, 64)
}

// Card is a network card with its own hardware or driver, unlike lo and bridges.
type Card struct {
	Name   string
	Queues []string // for received packets: rx-0, …
	Idle   []string // those of them whose packets stay on the CPU of the interrupt: no RPS
	Near   []int    // CPUs of the card's NUMA node; empty when nobody says
}

// Cards returns the network cards.
func (t *Tree) Cards() ([]Card, error) {
	names, err := t.List("sys/class/net")
	if err != nil {
		return nil, err
	}
	var cards []Card
	for _, name := range names {
		dir := path.Join("sys/class/net", name)
		if !t.Has(path.Join(dir, "device")) {
			continue
		}
		queues, err := t.List(path.Join(dir, "queues"))
		if err != nil {
			return nil, err
		}
		c := Card{Name: name}
		for _, q := range queues {
			if !strings.HasPrefix(q, "rx-") {
				continue
			}
			c.Queues = append(c.Queues, q)
			mask, err := t.Read(path.Join(dir, "queues", q, "rps_cpus"))
			if err == nil && strings.Trim(mask, "0,") == "" {
				c.Idle = append(c.Idle, q)
			}
		}
		if list, err := t.Read(path.Join(dir, "device/local_cpulist")); err == nil {
			c.Near, _ = ParseList(list) // As good as not said.
		}
		cards = append(cards, c)
	}
	return cards, nil
}
