package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	// starting is how long a server may take until it listens.
	starting = 10 * time.Second
	// counting is how long system calls are counted.
	counting = 2 * time.Second
	// saturated is the exit status of bench when it was late itself.
	saturated = 4
)

// figures are the metrics of one run of bench, by its names, in its units: seconds and
// bytes. Beside them are "invalid", 1 if bench was late, and "echoes", those that came
// back while system calls were counted, with "syscalls", the calls of each.
type figures map[string]float64

func (f figures) String() string {
	said := fmt.Sprintf("%.2f µs of CPU an echo, p50 %.2f ms, p99 %.2f ms", 1e6*f["echo_cpu"], 1e3*f["echo.p50"], 1e3*f["echo.p99"])
	if f["invalid"] > 0 {
		said += ", and the load was late"
	}
	return said
}

// echo is one run of `bench echo` against a server that is started for it.
func (c *config) echo(ctx context.Context, p peer, name string) (figures, error) {
	return c.against(ctx, p, name, nil, "echo", "-connections", strconv.Itoa(c.load.connections), "-open-rate", "4000",
		"-rate", strconv.Itoa(c.load.rate), "-duration", c.load.duration.String())
}

// open is one run of `bench conn` that opens many connections and echoes over them, and
// counts system calls.
func (c *config) open(ctx context.Context, p peer, name string) (figures, error) {
	calls := 0.0
	f, err := c.against(ctx, p, name, func(pid int) { calls = countCalls(ctx, pid) }, "conn", "-connections", strconv.Itoa(c.many),
		"-steps", "1", "-settle", "0s", "-open-rate", "4000", "-echo", strconv.Itoa(c.load.rate), "-duration", (counting + 2*time.Second).String())
	if err == nil && f["echoes"] > 0 {
		f["syscalls"] = calls / f["echoes"]
	}
	return f, err
}

// weigh is one run of `bench conn` that opens as many in steps.
func (c *config) weigh(ctx context.Context, p peer, name string) (figures, error) {
	return c.against(ctx, p, name, nil, "conn", "-connections", strconv.Itoa(c.many), "-steps", "3", "-settle", c.settle.String(), "-open-rate", "1000")
}

// against starts a server, or has bench start it, and runs bench. echoing is called
// with the server's process as soon as echoes are under way.
func (c *config) against(ctx context.Context, p peer, name string, echoing func(pid int), args ...string) (figures, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var pid func() int
	if p.start != nil {
		address, process, err := c.serve(ctx, p)
		if err != nil {
			return nil, err
		}
		defer func() {
			cancel()
			_ = process.Wait() // It was killed, and says so.
		}()
		pid = func() int { return process.Process.Pid }
		args = append(args, "-target", address, "-path", "/", "-pids", strconv.Itoa(pid()))
		args = append(args, p.speak...)
		if args[0] == "echo" && p.speak == nil {
			args = append(args, "-bytes", strconv.Itoa(c.load.bytes))
		}
	} else {
		program, file, err := c.wrapper()
		if err != nil {
			return nil, err
		}
		pid = func() int { return readNumber(file) }
		args = append(args, "-gateways", "1", "-gateway", program)
	}
	out := filepath.Join(c.out, name)
	if args[0] == "conn" {
		args = append(args, "-idle", "0s", "-max-bytes", "0")
	}
	args = append(args, "-workers", "1", "-out", out)
	words := append([]string{"-c", c.cores.load, filepath.Join(c.building, "bench")}, args...)
	bench := exec.CommandContext(ctx, "taskset", words...)
	bench.Cancel = func() error { return bench.Process.Signal(os.Interrupt) } // It has processes of its own to end.
	bench.WaitDelay = starting
	echoes, err := listen(bench, func() {
		if echoing != nil {
			echoing(pid())
		}
	})
	if err != nil {
		return nil, err
	}
	f, err := readResult(filepath.Join(out, "result.json"))
	if err == nil {
		f["echoes"] = echoes
	}
	return f, err
}

// serve starts a server on its core, and returns when it listens.
func (c *config) serve(ctx context.Context, p peer) (string, *exec.Cmd, error) {
	address, err := free(ctx)
	if err != nil {
		return "", nil, err
	}
	words := append(append([]string{"-c", c.cores.server}, p.start(c)...), address)
	process := exec.CommandContext(ctx, "taskset", words...)
	process.Stderr = os.Stderr
	if err := process.Start(); err != nil {
		return "", nil, err
	}
	for end := time.Now().Add(starting); ; {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			return address, process, conn.Close()
		}
		if time.Now().After(end) || ctx.Err() != nil {
			_ = process.Process.Kill() // It may have ended.
			return "", nil, errors.Join(fmt.Errorf("%s does not listen: %w", process, err), process.Wait())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// free is an address that nobody listens on.
func free(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// wrapper is a program for bench to start instead of the gateway: it leaves its number
// in a file and becomes the gateway, on the server's core, not on those of bench.
func (c *config) wrapper() (program, file string, err error) {
	program, file = filepath.Join(c.building, "session-on-its-core"), filepath.Join(c.building, "session.pid")
	script := fmt.Sprintf("#!/bin/sh\necho $$ >'%s'\nexec taskset -c %s '%s' \"$@\"\n", file, c.cores.server, filepath.Join(c.building, "session"))
	return program, file, os.WriteFile(program, []byte(script), 0o755) //nolint:gosec // It is a program.
}

func readNumber(file string) int {
	text, _ := os.ReadFile(file)                          // Without it nothing is counted.
	n, _ := strconv.Atoi(strings.TrimSpace(string(text))) // Likewise.
	return n
}

// underWay is in bench's line of a second in which echoes came back.
var underWay = regexp.MustCompile(`\bback ([1-9]\d*)`)

// listen runs bench, whose report goes into its files; what it said is told if it
// fails. That it was late itself is in its result. echoing is called when echoes are
// under way, and those are counted that come back in the time of counting from then on.
func listen(bench *exec.Cmd, echoing func()) (echoes float64, err error) {
	var said bytes.Buffer
	bench.Stderr = &said
	lines, err := bench.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := bench.Start(); err != nil {
		return 0, err
	}
	var back []float64 // second by second
	for scanner := bufio.NewScanner(lines); scanner.Scan(); {
		said.WriteString(scanner.Text() + "\n")
		if match := underWay.FindStringSubmatch(scanner.Text()); match != nil {
			n, _ := strconv.ParseFloat(match[1], 64) // They are digits.
			if back = append(back, n); len(back) == 1 {
				echoing()
			}
		}
	}
	if later := int(counting / time.Second); later < len(back) {
		echoes = back[later] - back[0]
	}
	err = bench.Wait()
	var exit *exec.ExitError
	if err == nil || errors.As(err, &exit) && exit.ExitCode() == saturated {
		return echoes, nil
	}
	return 0, fmt.Errorf("%s: %w\n%s", bench, err, said.String())
}

// countCalls is how many system calls a process makes while they are counted; 0 if perf
// is not here or may not count.
func countCalls(ctx context.Context, pid int) float64 {
	perf := exec.CommandContext(ctx, "perf", "stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-p", strconv.Itoa(pid),
		"--", "sleep", strconv.FormatFloat(counting.Seconds(), 'f', -1, 64))
	said, err := perf.CombinedOutput()
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(said)) {
		if count, _, ok := strings.Cut(line, ",,raw_syscalls"); ok {
			n, _ := strconv.ParseFloat(count, 64) // "<not counted>" is none.
			return n
		}
	}
	return 0
}

// readResult reads what a run of bench left.
func readResult(file string) (figures, error) {
	var result struct {
		Invalid []string
		Metrics []struct {
			Name  string
			Value float64
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &result); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	f := make(figures)
	for _, m := range result.Metrics {
		f[m.Name] = m.Value
	}
	if len(result.Invalid) > 0 {
		f["invalid"] = 1
	}
	return f, nil
}
