package load

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// What a process keeps of its descriptors for everything but connections.
const (
	ReservedWorker  = 64
	ReservedGateway = 384 // as the gateway itself does
)

// What a connection takes of this host, both its ends on it, in bytes, and a fifth
// more: the kernel's as measured, kernel_bytes of docs/capacity.md; the gateway's
// budget, of which it takes less (user_bytes), so that no run ends for memory.
const (
	kernelBytes  = 2 * 4029
	gatewayBytes = 300
	workerBytes  = 200
	serverBytes  = 1200 // the directory's
	margin       = 1.2
)

// quickPorts is the share of an address's ports, in percent, that is used if nobody
// says how many addresses there shall be. connect takes the odd ones first: when
// those are taken it looks at each of them before it tries the even ones, every time.
const quickPorts = 40

// Limits is what this host allows.
type Limits struct {
	Descriptors int   // of a process
	Files       int64 // of the host, that are free
	Watches     int64 // of epoll, of a user
	Ports       int   // to one place from one address
	Available   int64 // bytes of memory
}

// Host reads the limits of this host; what cannot be read does not bind.
func Host() Limits {
	const unbound = 1 << 50
	l := Limits{Descriptors: unbound, Files: unbound, Watches: unbound, Ports: 28232, Available: unbound}
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) == nil {
		l.Descriptors = int(min(files.Cur, unbound))
	}
	if n := numbers("/proc/sys/fs/file-nr"); len(n) == 3 {
		l.Files = n[2] - n[0]
	}
	if n := numbers("/proc/sys/fs/epoll/max_user_watches"); len(n) == 1 {
		l.Watches = n[0]
	}
	if n := numbers("/proc/sys/net/ipv4/ip_local_port_range"); len(n) == 2 {
		l.Ports = int(n[1] - n[0] + 1)
	}
	info, _ := os.ReadFile("/proc/meminfo") // What cannot be read does not bind.
	if _, rest, ok := strings.Cut(string(info), "MemAvailable:"); ok {
		if fields := strings.Fields(rest); len(fields) > 0 {
			if kilobytes, err := strconv.ParseInt(fields[0], 10, 64); err == nil {
				l.Available = kilobytes << 10
			}
		}
	}
	return l
}

func numbers(file string) (all []int64) {
	text, _ := os.ReadFile(file) // See above.
	for field := range strings.FieldsSeq(string(text)) {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return nil
		}
		all = append(all, n)
	}
	return all
}

// Shape is what a plan wants of the host.
type Shape struct {
	Connections int
	Gateways    int // processes, 0: elsewhere
	Places      int // addresses that are connected to
	Workers     int // 0: as many as it takes
	Multiple    int // of which the workers are one; 0: any number
	Sources     int // 0: as many as it takes
}

// Fit fills in what the shape leaves open, or says which limit it does not fit.
func (s *Shape) Fit(l Limits) error {
	each := l.Descriptors - ReservedWorker
	if each < 1 {
		return fmt.Errorf("RLIMIT_NOFILE of %d leaves a worker no connection", l.Descriptors)
	}
	if s.Workers == 0 {
		s.Workers = max(ceil(s.Connections, each), min(2, s.Connections))
	}
	if s.Multiple > 0 {
		s.Workers = ceil(s.Workers, s.Multiple) * s.Multiple
	}
	perPort := l.Ports * 9 / 10 // The last ones take too long to find.
	if s.Sources == 0 {
		s.Sources = max(ceil(ceil(s.Connections, s.Places), l.Ports*quickPorts/100), 1)
	}
	switch n := int64(s.Connections); {
	case ceil(s.Connections, s.Workers) > each:
		return fmt.Errorf("%d connections of %d workers are %d descriptors in each: RLIMIT_NOFILE is %d, and %d are for other things",
			s.Connections, s.Workers, ceil(s.Connections, s.Workers), l.Descriptors, ReservedWorker)
	case s.Gateways > 0 && ceil(s.Connections, s.Gateways) > l.Descriptors-ReservedGateway:
		return fmt.Errorf("%d connections of %d gateways are %d descriptors in each: RLIMIT_NOFILE is %d, and %d are for other things",
			s.Connections, s.Gateways, ceil(s.Connections, s.Gateways), l.Descriptors, ReservedGateway)
	case s.Sources*perPort*s.Places < s.Connections:
		return fmt.Errorf("%d connections from %d source addresses to %d places: net.ipv4.ip_local_port_range gives %d ports for each pair",
			s.Connections, s.Sources, s.Places, l.Ports)
	case s.ends()*n > l.Files:
		return fmt.Errorf("%d connections are %d open files: fs.file-max leaves %d", n, s.ends()*n, l.Files)
	case s.ends()*n > l.Watches:
		return fmt.Errorf("%d connections are %d watches: fs.epoll.max_user_watches is %d", n, s.ends()*n, l.Watches)
	case s.Bytes() > l.Available:
		return fmt.Errorf("%d connections take some %d MB of memory, the kernel's included: MemAvailable is %d MB", n, s.Bytes()>>20, l.Available>>20)
	}
	return nil
}

// fit says whether a worker's part of a plan fits into its host, which is not the
// coordinator's for an agent. The gateways are elsewhere as far as a worker can tell.
func (p *Plan) fit(l Limits) error {
	s := Shape{Connections: p.Slots, Places: len(p.Gateways), Workers: 1, Sources: len(p.Sources)}
	return s.Fit(l)
}

// ends of a connection are on this host.
func (s *Shape) ends() int64 {
	if s.Gateways > 0 {
		return 2
	}
	return 1
}

// Bytes is the memory that the plan takes of this host.
func (s *Shape) Bytes() int64 {
	each := float64(kernelBytes/2 + workerBytes)
	if s.Gateways > 0 {
		each = kernelBytes + workerBytes + gatewayBytes + serverBytes
	}
	return int64(float64(s.Connections)*each*margin) + int64(s.Workers+s.Gateways)*30<<20
}

func ceil(a, b int) int { return (a + b - 1) / b }

// Loopback returns n addresses of this host to connect from.
func Loopback(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("127.0.%d.%d", i/250, i%250+1))
	}
	return all
}
