// Package systemd_test holds the units to the programs that they start: every
// flag and variable exists, every behaviour that a unit counts on is there, and
// systemd itself has nothing to say against them.
package systemd_test

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// services are the units that start a program of ours, and its environment files.
var services = map[string]struct {
	program string
	files   string // of the examples
}{
	"switchboard-gateway@.service": {"gateway", "gateway*.env"},
	"switchboard-router@.service":  {"router", "router*.env"},
	"switchboard-worker@.service":  {"storage-worker", "worker*.env"},
}

// build makes the programs, under the names that the units know.
func build(t *testing.T) (dir string) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds the programs")
	}
	dir = t.TempDir()
	for _, s := range services {
		out, err := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "switchboard-"+s.program), "switchboard/"+s.program).CombinedOutput()
		if err != nil {
			t.Fatalf("build %s: %v\n%s", s.program, err, out)
		}
	}
	return dir
}

// unit is the assignments of a unit, each key with all of its values.
type unit map[string][]string

func read(t *testing.T, name string) unit {
	t.Helper()
	u := make(unit)
	for _, line := range lines(t, name) {
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			if !strings.HasPrefix(line, "[") {
				t.Errorf("%s: the line %q is no assignment", name, line)
			}
			continue
		}
		u[key] = append(u[key], value)
	}
	return u
}

// lines returns what is in a file, without comments and blank lines.
func lines(t *testing.T, name string) (all []string) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			all = append(all, line)
		}
	}
	return all
}

// seconds reads a time of a unit, or of a flag.
func seconds(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("%q is no time: %v", text, err)
	}
	return d
}

func list(t *testing.T, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %v, %v", pattern, names, err)
	}
	return names
}

func TestEveryServiceIsListed(t *testing.T) {
	for _, name := range list(t, "*.service") {
		if _, known := services[name]; !known && name != "switchboard-failure@.service" {
			t.Errorf("%s is not tested here", name)
		}
	}
}

// What the programs themselves have to do with it; they are built once.
func TestPrograms(t *testing.T) {
	bin := build(t)
	t.Run("flags and variables exist", func(t *testing.T) { flagsAndVariablesExist(t, bin) })
	t.Run("they talk to systemd", func(t *testing.T) { programsTalkToSystemd(t, bin) })
}

// Each flag of ExecStart and each variable of an example is one that the program
// has, and the program takes the value.
func flagsAndVariablesExist(t *testing.T, bin string) {
	t.Helper()
	for name, s := range services {
		program := filepath.Join(bin, "switchboard-"+s.program)
		help, err := exec.CommandContext(t.Context(), program, "-help").Output()
		if err != nil {
			t.Fatalf("%s -help: %v", s.program, err)
		}
		start := strings.Fields(strings.Join(read(t, name)["ExecStart"], " "))
		if len(start) == 0 || start[0] != "/usr/bin/switchboard-"+s.program {
			t.Errorf("%s starts %v", name, start)
		}
		for _, word := range start[1:] {
			if strings.HasPrefix(word, "-") && !regexp.MustCompile(`(?m)^  `+regexp.QuoteMeta(word)+`[ \n]`).Match(help) {
				t.Errorf("%s: %s has no flag %s", name, s.program, word)
			}
		}
		for _, file := range list(t, s.files) {
			variables := lines(t, file)
			for _, line := range variables {
				variable, _, _ := strings.Cut(line, "=")
				if !bytes.Contains(help, []byte("["+variable+"]")) {
					t.Errorf("%s: %s does not know %s", file, s.program, variable)
				}
			}
			cmd := exec.CommandContext(t.Context(), program, "-version")
			cmd.Env = append(os.Environ(), variables...)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %s does not take the values: %s", file, s.program, out)
			}
		}
	}
}

// What the units say fits together, and what they leave out stays out.
func TestUnitsFitThePrograms(t *testing.T) {
	for name, s := range services {
		u := read(t, name)
		for key, want := range map[string]string{
			"Type": "notify", "NotifyAccess": "main", "Restart": "always", "RestartPreventExitStatus": "2", "TimeoutStartSec": "infinity",
			"KillMode": "mixed", "PartOf": "switchboard.target", "WantedBy": "switchboard.target", "OnFailure": "switchboard-failure@%n.service",
			"User": "switchboard", "NoExecPaths": "/", "ProtectSystem": "strict",
		} {
			if got := strings.Join(u[key], " "); got != want {
				t.Errorf("%s: %s=%s, want %s", name, key, got, want)
			}
		}
		// Hides /proc/sys, where a listener asks how long its queue may be.
		if got := u["ProcSubset"]; got != nil {
			t.Errorf("%s: ProcSubset=%v", name, got)
		}
		// A bind mount of one file is that of the package before the last.
		for p := range strings.FieldsSeq(strings.Join(u["ExecPaths"], " ")) {
			if strings.Contains(p, "switchboard") {
				t.Errorf("%s: ExecPaths= names the program itself", name)
			}
		}
		short, _ := strings.CutSuffix(strings.TrimPrefix(name, "switchboard-"), "@.service")
		want := []string{"-/etc/switchboard/" + short + ".env", "-/etc/switchboard/" + short + "-%i.env"}
		if got := u["EnvironmentFile"]; !slices.Equal(got, want) {
			t.Errorf("%s: EnvironmentFile=%v, want %v", name, got, want)
		}
		if slice := strings.Join(u["Slice"], ""); slice != "switchboard-"+short+".slice" {
			t.Errorf("%s: Slice=%s", name, slice)
		} else if _, err := os.Stat(slice); err != nil {
			t.Error(err)
		}
		if s.program == "gateway" {
			for _, line := range lines(t, "gateway.env") {
				if drain, found := strings.CutPrefix(line, "SWITCHBOARD_DRAIN_TIMEOUT="); found {
					if stop := seconds(t, u["TimeoutStopSec"][0]); stop < seconds(t, drain)+30*time.Second {
						t.Errorf("TimeoutStopSec=%s is too short for a drain of %s", stop, drain)
					}
				}
			}
		}
	}
}

// Two instances on a host must not want the same port.
func TestExamplesDoNotCollide(t *testing.T) {
	used := make(map[string]string)
	for _, file := range list(t, "*.env") {
		for _, line := range lines(t, file) {
			name, value, _ := strings.Cut(line, "=")
			if name != "SWITCHBOARD_LISTEN" && name != "SWITCHBOARD_OPS_LISTEN" {
				continue
			}
			_, port, err := net.SplitHostPort(value)
			if err != nil {
				t.Errorf("%s: %s: %v", file, line, err)
			}
			if other := used[port]; other != "" {
				t.Errorf("%s and %s both want port %s", file, other, port)
			}
			used[port] = file
		}
	}
}

func TestTheReadmeNamesEveryFile(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range list(t, "*") {
		if name != "README.md" && filepath.Ext(name) != ".go" && !bytes.Contains(readme, []byte("`"+name+"`")) {
			t.Errorf("README.md does not say what %s is", name)
		}
	}
}

// manager is the socket on which systemd hears of a program.
type manager struct {
	*net.UnixConn
	path string
}

func listen(t *testing.T) manager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return manager{conn, path}
}

// await reads until messages have begun with everything that is wanted, in any
// order.
func (m manager) await(t *testing.T, wanted ...string) {
	t.Helper()
	if err := m.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	heard := make(map[string]bool)
	buf := make([]byte, 4096)
	for len(wanted) > 0 {
		n, err := m.Read(buf)
		if err != nil {
			t.Fatalf("systemd never hears %q: %v; it heard %v", wanted, err, slices.Sorted(maps.Keys(heard)))
		}
		heard[string(buf[:n])] = true
		wanted = slices.DeleteFunc(wanted, func(want string) bool { return strings.HasPrefix(string(buf[:n]), want) })
	}
}

// keys is a JWK set with the key "secret-secret-secret-secret-secret".
const keys = `{"keys":[{"kty":"oct","kid":"1","alg":"HS256","use":"sig","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"}]}`

// The units count on this of each program, with its servers away: it says what it
// waits for, lives through ExecReload=, feeds the watchdog, and drains at SIGTERM.
func programsTalkToSystemd(t *testing.T, bin string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, []byte(keys), 0o600); err != nil {
		t.Fatal(err)
	}
	const away = "127.0.0.1:1"
	for _, tt := range []struct {
		unit string
		env  []string
	}{
		{"switchboard-gateway@.service", []string{"SWITCHBOARD_SERVER=gw-1", "SWITCHBOARD_LISTEN=127.0.0.1:0", "SWITCHBOARD_AUTH_KEYS=" + file}},
		{"switchboard-router@.service", nil},
		{"switchboard-worker@.service", []string{"SWITCHBOARD_SERVE=fold,receipts", "SWITCHBOARD_CQL=" + away}},
		{"switchboard-worker@.service", []string{"SWITCHBOARD_SERVE=rest", "SWITCHBOARD_CQL=" + away, "SWITCHBOARD_LISTEN=127.0.0.1:0", "SWITCHBOARD_AUTH_KEYS=" + file}},
	} {
		program := services[tt.unit].program
		t.Run(strings.Join(append([]string{program}, tt.env[:min(1, len(tt.env))]...), " "), func(t *testing.T) {
			m := listen(t)
			cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "switchboard-"+program))
			var log bytes.Buffer
			cmd.Stderr = &log
			cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+m.path, "WATCHDOG_USEC=200000",
				"SWITCHBOARD_OPS_LISTEN=127.0.0.1:0", "SWITCHBOARD_KAFKA="+away, "SWITCHBOARD_REDIS="+away)
			cmd.Env = append(cmd.Env, tt.env...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			m.await(t, "WATCHDOG=1", "STATUS=")
			if reload := read(t, tt.unit)["ExecReload"]; reload != nil {
				if want := "/bin/kill -HUP $MAINPID"; reload[0] != want {
					t.Errorf("ExecReload=%s, want %s", reload[0], want)
				}
			}
			signal(t, cmd, syscall.SIGHUP) // Also sent to those that have nothing to read again.
			m.await(t, "RELOADING=1", "READY=1")
			signal(t, cmd, syscall.SIGTERM)
			m.await(t, "STOPPING=1")
			if err := cmd.Wait(); err != nil {
				t.Errorf("after SIGTERM: %v\n%s", err, log.String())
			}
		})
	}
}

func signal(t *testing.T, cmd *exec.Cmd, s os.Signal) {
	t.Helper()
	if err := cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// tree is a host with the units and their programs, for systemd-analyze.
func tree(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, program := range []string{"usr/bin/switchboard-gateway", "usr/bin/switchboard-router", "usr/bin/switchboard-storage-worker", "usr/bin/systemctl", "bin/kill"} {
		write(program, "#!/bin/sh\n", 0o755)
	}
	for _, target := range []string{"sysinit", "basic", "shutdown", "network-online", "multi-user"} {
		write("etc/systemd/system/"+target+".target", "[Unit]\nDescription="+target+"\n", 0o644)
	}
	for _, pattern := range []string{"*.service", "*.slice", "*.target"} {
		for _, name := range list(t, pattern) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			write("etc/systemd/system/"+name, string(text), 0o644)
		}
	}
	return root
}

// analyze runs systemd-analyze, which exits with 0 on keys that it does not know:
// whatever it says of a unit is a failure.
func analyze(t *testing.T, args ...string) (said string, err error) {
	t.Helper()
	tool, missing := exec.LookPath("systemd-analyze")
	if missing != nil {
		t.Skip("needs systemd-analyze (Debian package systemd)")
	}
	out, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput()
	return string(out), err
}

func TestSystemdTakesTheUnits(t *testing.T) {
	root := tree(t)
	for _, name := range []string{
		"switchboard-gateway@gw-1.service", "switchboard-router@1.service", "switchboard-worker@rest-1.service",
		"switchboard-failure@switchboard-gateway@gw-1.service.service", "switchboard.target", "switchboard.slice", "switchboard-gateway.slice",
	} {
		if said, err := analyze(t, "verify", "--root="+root, "--man=no", name); err != nil || said != "" {
			t.Errorf("%s: %v\n%s", name, err, said)
		}
	}
}

// The rest of a mistake is found, so that silence means something.
func TestSystemdFindsMistakes(t *testing.T) {
	root := tree(t)
	file := filepath.Join(root, "etc/systemd/system/switchboard-router@.service")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for wrong, right := range map[string]string{"WatchdogSecs=10s": "WatchdogSec=10s", "Type=notifies": "Type=notify", "/usr/bin/switchboard-absent": "/usr/bin/switchboard-router"} {
		if err := os.WriteFile(file, bytes.Replace(text, []byte(right), []byte(wrong), 1), 0o644); err != nil {
			t.Fatal(err)
		}
		if said, err := analyze(t, "verify", "--root="+root, "--man=no", "switchboard-router@1.service"); err == nil && said == "" {
			t.Errorf("%s goes unnoticed", wrong)
		}
	}
}

// Exposure is that of systemd-analyze security, from 0 to 10; 2 and more is too
// much for a program that faces the Internet.
func TestUnitsExposeLittle(t *testing.T) {
	const most = 20 // tenths
	for _, name := range list(t, "*.service") {
		said, err := analyze(t, "security", "--offline=true", fmt.Sprintf("--threshold=%d", most), "--no-pager", name)
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, said)
		}
	}
	open := filepath.Join(t.TempDir(), "open@.service")
	if err := os.WriteFile(open, []byte("[Service]\nExecStart=/usr/bin/switchboard-gateway\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if said, err := analyze(t, "security", "--offline=true", fmt.Sprintf("--threshold=%d", most), "--no-pager", open); err == nil {
		t.Errorf("a unit without a sandbox passes:\n%s", said)
	}
}
