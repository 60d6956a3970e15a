package room

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestBound(t *testing.T) {
	const left = 20000 - reservedDescriptors - Refusals
	for _, tt := range []struct {
		configured, descriptors, files, watches int
		want                                    Limit
	}{
		{0, 20000, 0, 0, Limit{"RLIMIT_NOFILE", left}},
		{5000, 20000, 0, 0, Limit{"max connections", 5000}},
		{left, 20000, 0, 0, Limit{"max connections", left}},
		{1 << 20, 20000, 0, 0, Limit{"RLIMIT_NOFILE", left}},
		{0, 256, 0, 0, Limit{"RLIMIT_NOFILE", 128}},
		{0, 20000, 0, 7000, Limit{"fs.epoll.max_user_watches", 7000}},
		{8000, 20000, 0, 7000, Limit{"fs.epoll.max_user_watches", 7000}},
		{6000, 20000, 0, 7000, Limit{"max connections", 6000}},
		{0, 20000, 0, 5 << 20, Limit{"RLIMIT_NOFILE", left}},
		{0, 20000, 10000, 0, Limit{"fs.file-max", 10000 - reservedDescriptors - Refusals}},
		{0, 20000, 256, 7000, Limit{"fs.file-max", 128}},
		{0, 20000, 10000, 7000, Limit{"fs.epoll.max_user_watches", 7000}},
		{6000, 20000, 10000, 0, Limit{"max connections", 6000}},
		{0, 20000, math.MaxInt, 0, Limit{"RLIMIT_NOFILE", left}},
	} {
		if got := bound(tt.configured, tt.descriptors, tt.files, tt.watches); got != tt.want {
			t.Errorf("%+v: got %+v", tt, got)
		}
	}
}

// host writes files below a root of its own.
func host(t *testing.T, files map[string]string) (root string) {
	t.Helper()
	root = t.TempDir()
	for name, text := range files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestMemory(t *testing.T) {
	const (
		meminfo = "proc/meminfo"
		cgroup  = "proc/self/cgroup"
		service = "sys/fs/cgroup/gateway.slice/gateway@gw-1.service/"
	)
	of := func(name string, bytes int) Limit { return Limit{name, bytes / connectionBytes} }
	for name, tt := range map[string]struct {
		files map[string]string
		want  Limit
	}{
		"nothing is known": {nil, Limit{}},
		"the host":         {map[string]string{meminfo: "MemTotal:       10240 kB\nMemFree:  1 kB\n"}, of("memory", 10<<20/10*9)},
		"the service, soft": {map[string]string{
			meminfo: "MemTotal: 24000000 kB\n", cgroup: "0::/gateway.slice/gateway@gw-1.service\n",
			service + "memory.high": "8589934592\n", service + "memory.max": "max\n",
		}, of("memory.high of /gateway.slice/gateway@gw-1.service", 8<<30)},
		"the slice above it": {map[string]string{
			meminfo: "MemTotal: 24000000 kB\n", cgroup: "1:name=systemd:/x\n0::/gateway.slice/gateway@gw-1.service\n",
			service + "memory.high": "8589934592\n", "sys/fs/cgroup/gateway.slice/memory.max": "4294967296\n",
		}, of("memory.max of /gateway.slice", 4<<30)},
		"a container": {map[string]string{
			meminfo: "MemTotal: 24000000 kB\n", cgroup: "0::/\n", "sys/fs/cgroup/memory.max": "1073741824\n",
		}, of("memory.max of /", 1<<30)},
	} {
		if got := memory(host(t, tt.files)); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", name, got, tt.want)
		}
	}
}

func TestThisHost(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	r, err := Look("/", 10)
	if err != nil {
		t.Fatal(err)
	}
	if r.Descriptors != int(min(limit.Cur, mostDescriptors)) || r.Bound != (Limit{"max connections", 10}) || r.Memory.Name == "" || r.Memory.Connections < 1000 {
		t.Errorf("got %+v", r)
	}
	few := host(t, map[string]string{"proc/sys/fs/epoll/max_user_watches": "9\n"})
	if r, err := Look(few, 10); err != nil || r.Bound != (Limit{"fs.epoll.max_user_watches", 9}) || r.Memory != (Limit{}) {
		t.Errorf("got %+v, %v", r, err)
	}
	few = host(t, map[string]string{"proc/sys/fs/file-max": "18\n"})
	if r, err := Look(few, 10); err != nil || r.Bound != (Limit{"fs.file-max", 9}) {
		t.Errorf("got %+v, %v", r, err)
	}
}

// What a connection is reckoned with is what docs/capacity.md says that it was
// measured with, and what operators are told.
func TestBytesAreTheMeasuredOnes(t *testing.T) {
	text, err := os.ReadFile("../../../docs/capacity.md")
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, name := range []string{"kernel_bytes", "user_bytes"} {
		m := regexp.MustCompile("(?m)^\\| `" + name + "` \\| ([0-9,]+) \\|").FindSubmatch(text)
		if m == nil {
			t.Fatalf("docs/capacity.md has no %s", name)
		}
		n, err := strconv.Atoi(strings.ReplaceAll(string(m[1]), ",", ""))
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	if connectionBytes < sum || connectionBytes > sum+sum/50 {
		t.Errorf("docs/capacity.md says %d, and it is reckoned with %d: want that or up to 2 %% more", sum, connectionBytes)
	}
	told, err := os.ReadFile("../../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("at %d,%03d B a connection", connectionBytes/1000, connectionBytes%1000); !strings.Contains(string(told), want) {
		t.Errorf("docs/operations.md does not say %q", want)
	}
}
