package host

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
)

// Setting is something about this host on which a figure may depend.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// sysctls are the keys of the kernel that matter for many connections, below
// /proc/sys.
const sysctls = `fs/nr_open fs/file-max fs/epoll/max_user_watches net/core/somaxconn net/core/netdev_max_backlog
	net/core/busy_poll net/core/busy_read net/ipv4/tcp_max_syn_backlog net/ipv4/tcp_syncookies net/ipv4/tcp_migrate_req
	net/ipv4/tcp_abort_on_overflow net/ipv4/tcp_mem net/ipv4/tcp_rmem net/ipv4/tcp_wmem net/ipv4/tcp_notsent_lowat
	net/ipv4/tcp_keepalive_time net/ipv4/tcp_slow_start_after_idle net/ipv4/tcp_fin_timeout net/ipv4/tcp_max_tw_buckets
	net/ipv4/tcp_max_orphans net/ipv4/tcp_tw_reuse net/ipv4/ip_local_port_range net/ipv4/tcp_congestion_control
	net/ipv4/tcp_ehash_entries vm/swappiness kernel/numa_balancing`

// Settings looks at this host: memory, limits, what slows its CPU down, and the
// kernel's settings. What is not there is left out.
func Settings() []Setting {
	var all []Setting
	add := func(name, value string) {
		if value = strings.Join(strings.Fields(value), " "); value != "" {
			all = append(all, Setting{name, value})
		}
	}
	for line := range strings.Lines(read("/proc/meminfo")) {
		if name, value, _ := strings.Cut(line, ":"); name == "MemTotal" || name == "MemAvailable" {
			add(name, value)
		}
	}
	var files syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files) == nil {
		add("RLIMIT_NOFILE", fmt.Sprintf("%d, at most %d", files.Cur, files.Max))
	}
	add("governor", read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"))
	add("transparent_hugepage", read("/sys/kernel/mm/transparent_hugepage/enabled"))
	add("clocksource", read("/sys/devices/system/clocksource/clocksource0/current_clocksource"))
	mitigations, _ := filepath.Glob("/sys/devices/system/cpu/vulnerabilities/*") // The pattern is good.
	for _, file := range mitigations {
		if value := read(file); !strings.HasPrefix(value, "Not affected") {
			add("mitigation "+filepath.Base(file), value)
		}
	}
	cards, _ := filepath.Glob("/sys/class/net/*/device/driver") // Likewise.
	for _, file := range cards {
		name := filepath.Base(filepath.Dir(filepath.Dir(file)))
		driver, _ := os.Readlink(file) // What cannot be read has no name.
		queues, _ := filepath.Glob("/sys/class/net/" + name + "/queues/rx-*")
		add("network "+name, fmt.Sprintf("driver %s, %d receive queues", filepath.Base(driver), len(queues)))
	}
	for key := range strings.FieldsSeq(sysctls) {
		add(strings.ReplaceAll(key, "/", "."), read("/proc/sys/"+key))
	}
	for _, name := range []string{"GOGC", "GOMEMLIMIT", "GOMAXPROCS", "GODEBUG"} {
		add(name, os.Getenv(name))
	}
	return all
}

func read(file string) string {
	text, _ := os.ReadFile(file) // What is not there is left out.
	return string(text)
}

// Build says which code this program is made of.
func Build() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return runtime.Version()
	}
	version, commit, modified := info.Main.Version, "unknown", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = ", modified"
		}
	}
	return fmt.Sprintf("%s, commit %s%s, %s", version, commit, modified, runtime.Version())
}
