package main

import (
	"context"
	"errors"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// await waits for what another process does.
func await(t *testing.T, file string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for tick := time.Tick(10 * time.Millisecond); ; {
		if _, err := os.Stat(file); err == nil {
			return
		}
		select {
		case <-tick:
		case <-ctx.Done():
			t.Errorf("nobody wrote %s", file)
			return
		}
	}
}

// server is a stage that holds up a server, which is a sleeping process, and
// ends it when it is told to. It notes both in dir.
func server(dir string) stage {
	return stage{name: "server", holds: true, args: []string{"sh", "-c", `
		echo star''ting >&2; sleep 0.2 # until it is read: what follows comes by another pipe
		sleep 600 >/dev/null 2>&1 & pid=$!
		trap 'kill -9 $pid; touch ` + dir + `/ended; exit 0' INT
		echo $pid >` + dir + `/pid
		echo export SWITCHBOARD_TEST_ORACLE=127.0.0.1:1
		echo ready
		while :; do wait $pid; kill -0 $pid || exit 3; done`}}
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// alive reports whether the process whose number is in the file runs.
func alive(t *testing.T, file string) bool {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

// passing is a stage on servers whose test passes where the server is named.
func passing(then string) stage {
	s := shell("suite", `if [ "$SWITCHBOARD_TEST_ORACLE" = 127.0.0.1:1 ]; then
		echo '{"Action":"pass","Package":"p","Test":"T"}'; fi; `+then)
	s.on, s.asks = true, words("ORACLE")
	return s
}

func TestServersEndBeforeTheFirstStageThatIsNotOnThem(t *testing.T) {
	dir := t.TempDir()
	status, out := play(t.Context(), t, server(dir), passing(""),
		shell("after", `test -e `+dir+`/ended && test -z "$SWITCHBOARD_TEST_ORACLE"`))
	if status != 0 || alive(t, path.Join(dir, "pid")) {
		t.Errorf("status %d, server alive %v:\n%s", status, alive(t, path.Join(dir, "pid")), out)
	}
	if strings.Contains(out, "starting") {
		t.Errorf("the servers' log is shown without need:\n%s", out)
	}
}

func TestServersEndWhateverHappens(t *testing.T) {
	for name, tt := range map[string]struct {
		then string
		want string
	}{
		"a stage fails":         {"exit 1", "FAILED: suite, in"},
		"a stage is killed":     {"kill -9 $$", "FAILED: suite, in"},
		"the run is given up":   {"touch $TMPDIR/../begun; sleep 600", "FAILED: suite, in"},
		"a package has no test": {"echo '{\"Action\":\"skip\",\"Package\":\"q\"}'", "FAILED: suite, in"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			dir := t.TempDir()
			suite := passing(strings.ReplaceAll(tt.then, "$TMPDIR/..", dir))
			var watching sync.WaitGroup
			if strings.Contains(tt.then, "begun") {
				watching.Go(func() {
					await(t, path.Join(dir, "begun"))
					cancel()
				})
			}
			status, out := play(ctx, t, server(dir), suite)
			watching.Wait()
			if status != 1 || !strings.Contains(out, tt.want) {
				t.Errorf("status %d, want %q:\n%s", status, tt.want, out)
			}
			if !exists(path.Join(dir, "ended")) || alive(t, path.Join(dir, "pid")) {
				t.Error("the servers were not ended")
			}
			if !strings.Contains(out, "starting") {
				t.Errorf("the servers' log is not shown:\n%s", out)
			}
		})
	}
}

func TestServersThatDoNotStart(t *testing.T) {
	broken := stage{name: "server", holds: true, args: words("ls /nowhere")}
	status, out := play(t.Context(), t, broken, passing(""), shell("after", "true"))
	if status != 1 || !strings.Contains(out, "FAILED: server, suite, in") {
		t.Errorf("status %d:\n%s", status, out)
	}
	if !strings.Contains(out, "ls: ") || !strings.Contains(out, "none are up") {
		t.Errorf("it is not said why:\n%s", out)
	}
}

// A server that dies although all tests pass is a failure too.
func TestServersThatDie(t *testing.T) {
	dir := t.TempDir()
	dying := passing(`kill -9 $(cat ` + dir + `/pid); while kill -0 ` + `$(cat ` + dir + `/pid) 2>/dev/null; do sleep 0.01; done`)
	status, out := play(t.Context(), t, server(dir), dying)
	if status != 1 || !strings.Contains(out, "FAILED: end of server, in") {
		t.Errorf("status %d:\n%s", status, out)
	}
}

// The children of a killed child are found, ended and reported.
func TestProcessesThatAreLeft(t *testing.T) {
	dir := t.TempDir()
	status, out := play(t.Context(), t,
		shell("litter", `setsid sh -c 'sleep 601 & echo $! >`+dir+`/pid; wait' >/dev/null 2>&1 & while ! test -s `+dir+`/pid; do sleep 0.01; done`),
		shell("brief", `setsid sleep 0.2 >/dev/null 2>&1 &`))
	if status != 1 || !strings.Contains(out, "FAILED: litter, in") || !strings.Contains(out, "processes were left: ") {
		t.Errorf("status %d:\n%s", status, out)
	}
	if alive(t, path.Join(dir, "pid")) {
		t.Error("the process still runs")
	}
}
