// Package limits says how many connections each limit of a host allows, and so
// which one binds first. It judges nothing: that is package advice.
//
//	memory, CPU                         what the host is
//	files, watches, buffers, entries    what is set on it, and can be raised
package limits

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"switchboard/tuning/host"
	"switchboard/tuning/load"
)

// Limit is one thing that there is only so much of.
type Limit struct {
	Name string
	Now  string // what the host has of it
	// Connections that it allows; meaningless when Err is set, and Unlimited when
	// it binds nothing.
	Connections int64
	How         string // the arithmetic, in words
	Raisable    bool   // a setting, not what the host is
	Err         error  // why nobody knows
}

// Unlimited is the number of connections of a limit that does not bind.
const Unlimited = math.MaxInt64

// Endless is from where on a setting of the kernel limits nothing: systemd sets
// fs.file-max to the largest number that there is.
const Endless = 1 << 62

// idleLoad is the share of the CPUs that connections at rest may take.
const idleLoad = 0.7

// programs returns the names that the program of a role runs under, as the kernel
// cuts them.
func programs(role load.Role) []string {
	switch role {
	case load.Gateway:
		return []string{"gateway", "switchboard-gat"}
	case load.Balancer:
		return []string{"haproxy"}
	default:
		return []string{"bench", "switchboard-ben"}
	}
}

// Unit is the unit of the gateway.
const Unit = "switchboard-gateway@.service"

// Of returns every limit that there is for a role.
func Of(t *host.Tree, w load.Wish) []Limit {
	all := []Limit{memory(t, w), cpu(t), buffers(t, w), openFiles(t, w), perProcess(t, w), watches(t, w)}
	if l, loaded := tracked(t, w); loaded {
		all = append(all, l)
	}
	if w.Role.Dials() {
		all = append(all, Ports(t, w))
	}
	return all
}

// First returns the limit that binds before all others, of those that pass; nil
// when none of them is known.
func First(all []Limit, pass func(Limit) bool) *Limit {
	var first *Limit
	for i := range all {
		if l := &all[i]; l.Err == nil && pass(*l) && (first == nil || l.Connections < first.Connections) {
			first = l
		}
	}
	return first
}

func memory(t *host.Tree, w load.Wish) Limit {
	l := Limit{Name: "memory"}
	total, err := t.Memory()
	if err != nil {
		l.Err = err
		return l
	}
	l.Now = Bytes(total)
	l.Connections = max(0, total-load.Reserve(total)) / w.BytesEach()
	l.How = fmt.Sprintf("less %s for the system, / %s B: %s user, %s kernel, %s for slow readers (%v %% of %s)", Bytes(load.Reserve(total)),
		Number(w.BytesEach()), Number(w.Role.UserBytes()), Number(w.Role.Sockets()*load.KernelBytes), Number(w.SlowBytesEach()),
		math.Round(w.Slow*1e4)/1e2, Bytes(load.SlowBytes))
	return l
}

func cpu(t *host.Tree) Limit {
	l := Limit{Name: "CPU at rest"}
	cpus, err := t.CPUs()
	if err != nil {
		l.Err = err
		return l
	}
	l.Now = Count(len(cpus), "CPU")
	l.Connections = int64(float64(len(cpus)) * idleLoad * 1e6 / load.IdleMicroseconds)
	l.How = fmt.Sprintf("%.0f %% of them / %v µs a second for each connection", idleLoad*100, load.IdleMicroseconds)
	return l
}

// buffers is the memory of the kernel for what is written and not yet read.
// Connections at rest use none of it.
func buffers(t *host.Tree, w load.Wish) Limit {
	l := Limit{Name: "net.ipv4.tcp_mem", Raisable: true}
	pages, err := fields(t, l.Name, 3)
	if err != nil {
		l.Err = err
		return l
	}
	l.Now = Number(pages[1]) + " pages"
	if w.SlowBuffersEach() == 0 {
		l.Connections, l.How = Unlimited, "no slow readers, no buffers"
		return l
	}
	l.Connections = pages[1] * host.PageSize / w.SlowBuffersEach()
	l.How = fmt.Sprintf("%s before every socket is throttled, / %s B for slow readers", Bytes(pages[1]*host.PageSize), Number(w.SlowBuffersEach()))
	return l
}

func openFiles(t *host.Tree, w load.Wish) Limit {
	l := Limit{Name: "fs.file-max", Raisable: true}
	most, err := fields(t, l.Name, 1)
	if err != nil {
		l.Err = err
		return l
	}
	used, err := fields(t, "fs.file-nr", 3)
	if err != nil {
		l.Err = err
		return l
	}
	l.Now = Number(most[0])
	l.Connections = max(0, most[0]-used[0]) / w.Role.Sockets()
	l.How = fmt.Sprintf("less %s in use", Number(used[0]))
	if most[0] >= Endless {
		l.Now, l.Connections, l.How = "as many as can be counted", Unlimited, "systemd sets it so"
		return l
	}
	if w.Role.Sockets() > 1 {
		l.How += fmt.Sprintf(", / %d sockets", w.Role.Sockets())
	}
	return l
}

// What a gateway keeps of its descriptors for itself: see gateway/edge/room.
const keptDescriptors = 384

// perProcess is the limit of descriptors of each process.
func perProcess(t *host.Tree, w load.Wish) Limit {
	l := Limit{Name: "RLIMIT_NOFILE", Raisable: true}
	holder, err := Descriptors(t, w.Role)
	if err != nil {
		l.Err = err
		return l
	}
	limit := holder.Limit
	ceiling, err := fields(t, "fs.nr_open", 1)
	if err != nil {
		l.Err = err
		return l
	}
	l.Now = fmt.Sprintf("%s, %s", Number(limit), holder.Where)
	if limit > ceiling[0] {
		limit = ceiling[0]
		l.Now = fmt.Sprintf("fs.nr_open %s", Number(limit))
	}
	kept := int64(0)
	if w.Role == load.Gateway {
		kept = keptDescriptors
		l.How = fmt.Sprintf("less %d that a gateway keeps, ", kept)
	}
	l.Connections = max(limit-kept, limit/2) / w.Role.Sockets() * w.Processes
	if w.Role.Sockets() > 1 {
		l.How += fmt.Sprintf("/ %d sockets, ", w.Role.Sockets())
	}
	l.How += "× " + Count(int(w.Processes), "process")
	return l
}

// Holder is who says how many descriptors a program may have.
type Holder struct {
	Limit   int64
	Where   string
	Program bool // a running one, or its unit; else the shell
}

// Descriptors returns how many descriptors the program of a role may have here:
// the one with the least of those that run, else what the gateway's unit says.
func Descriptors(t *host.Tree, role load.Role) (Holder, error) {
	running, err := t.Processes(programs(role)...)
	if err != nil {
		return Holder{}, err
	}
	if len(running) > 0 {
		least := slices.MinFunc(running, func(a, b host.Process) int { return cmp.Compare(a.Descriptors, b.Descriptors) })
		return Holder{least.Descriptors, fmt.Sprintf("process %s (%s)", least.PID, least.Name), true}, nil
	}
	if line, found := unitLine(t, "LimitNOFILE"); found && role == load.Gateway {
		_, hard, both := strings.Cut(line.Value, ":")
		if !both {
			hard = line.Value
		}
		limit, err := host.ParseLimit(hard)
		if err != nil {
			return Holder{}, fmt.Errorf("%s:%d: LimitNOFILE=%s is no number", line.File, line.Number, line.Value)
		}
		return Holder{limit, line.File, true}, nil
	}
	limit, err := t.Descriptors("self")
	return Holder{limit, fmt.Sprintf("of the shell that asked, since no %s runs here", role), false}, err
}

// unitLine returns the line of the gateway's unit, or of its drop-ins, that says
// what a key is.
func unitLine(t *host.Tree, key string) (line host.Line, found bool) {
	lines, err := t.Unit(Unit)
	if err != nil {
		return host.Line{}, false
	}
	for _, one := range lines {
		if one.Key == key {
			line, found = one, true
		}
	}
	return line, found
}

func watches(t *host.Tree, w load.Wish) Limit {
	l := Limit{Name: "fs.epoll.max_user_watches", Raisable: true}
	most, err := fields(t, l.Name, 1)
	if err != nil {
		l.Err = err
		return l
	}
	l.Now = Number(most[0])
	l.Connections = most[0] / w.Role.Sockets()
	l.How = "all processes of one user together"
	return l
}

// tracked is the table of netfilter, where it is loaded and asked.
func tracked(t *host.Tree, w load.Wish) (l Limit, loaded bool) {
	l = Limit{Name: "net.netfilter.nf_conntrack_max", Raisable: true}
	if w.Untracked || !t.Has(host.SysctlFile(l.Name)) {
		return l, false
	}
	most, err := fields(t, l.Name, 1)
	if err != nil {
		l.Err = err
		return l, true
	}
	l.Now = Number(most[0])
	l.Connections = most[0] / w.Role.Sockets()
	l.How = "if rules track them; -untracked says that none does"
	return l, true
}

// Ports is how many connections a host that dials has ports for.
func Ports(t *host.Tree, w load.Wish) Limit {
	l := Limit{Name: "net.ipv4.ip_local_port_range", Raisable: true}
	ends, err := fields(t, l.Name, 2)
	if err != nil {
		l.Err = err
		return l
	}
	kept := 0
	reserved, err := t.Sysctl("net.ipv4.ip_local_reserved_ports")
	if err == nil {
		ports, err := host.ParseList(reserved)
		if err != nil {
			l.Err = err
			return l
		}
		for _, p := range ports {
			if int64(p) >= ends[0] && int64(p) <= ends[1] {
				kept++
			}
		}
	}
	each := max(0, ends[1]-ends[0]+1-int64(kept))
	l.Now = fmt.Sprintf("%d to %d", ends[0], ends[1])
	l.Connections = each * w.Sources * w.Destinations
	l.How = fmt.Sprintf("%s ports × %s × %s", Number(each), Count(int(w.Sources), "source"), Count(int(w.Destinations), "destination"))
	return l
}

// fields reads a setting of n numbers.
func fields(t *host.Tree, key string, n int) ([]int64, error) {
	text, err := t.Sysctl(key)
	if err != nil {
		return nil, err
	}
	var all []int64
	for field := range strings.FieldsSeq(text) {
		value, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s is %q, which is not %s", key, text, Count(n, "number"))
		}
		all = append(all, value)
	}
	if len(all) != n {
		return nil, fmt.Errorf("%s is %q, which is not %s", key, text, Count(n, "number"))
	}
	return all, nil
}
