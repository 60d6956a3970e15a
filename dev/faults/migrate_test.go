package faults

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"switchboard/dev/servers"
)

// TestMigrateUnderOneLock runs the program itself against real servers: two at
// the same time, one that is killed with the lock in its hands, and its heirs.
func TestMigrateUnderOneLock(t *testing.T) {
	set := start(t, servers.Config{Kafka: 1, Cassandra: 1, Postgres: true})
	program := filepath.Join(t.TempDir(), "storage-worker")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "switchboard/storage-worker").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	flags := []string{
		"migrate", "-kafka", addresses(t, set, "KAFKA")[0], "-cql", addresses(t, set, "CQL")[0], "-postgres", addresses(t, set, "POSTGRES")[0],
		"-partitions", "16", "-replication", "1", "-log-level", "error",
	}
	first := run(t, program, flags...)
	first.hear(t, "chat.inbound: created with 16 partitions, 1 replicas") // It has the lock.
	if err := first.command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var heirs []*process
	for range 2 {
		heirs = append(heirs, run(t, program, flags...))
	}
	worked, waited := 0, 0
	for _, heir := range heirs {
		said := heir.end(t)
		if !strings.Contains(said, "chat.inbound: was there\n") || !strings.Contains(said, "lock: waits for another migrate: process ") {
			t.Errorf("an heir says\n%s", said)
		}
		switch {
		case strings.Contains(said, "cql: the keyspace switchboard and its tables were there\npostgres: the tables of the roster were there\n"):
			waited++
		case strings.Contains(said, "cql: made table progress\n") && strings.Contains(said, "postgres: made table "):
			worked++
		default:
			t.Errorf("an heir says\n%s", said)
		}
	}
	if worked != 1 || waited != 1 {
		t.Errorf("%d did what the killed one left, %d found it done", worked, waited)
	}
	refused := run(t, program, append(flags, "-partitions", "32")...)
	var status *exec.ExitError
	if err := refused.wait(); !errors.As(err, &status) || status.ExitCode() != 2 || !strings.Contains(refused.text.String(), "has 16 partitions, want 32") {
		t.Errorf("another number of partitions: got %v and\n%s", err, &refused.text)
	}
}

// process is a program that runs and what it says, line by line.
type process struct {
	command *exec.Cmd
	lines   *bufio.Reader
	text    bytes.Buffer
}

func run(t *testing.T, program string, args ...string) *process {
	t.Helper()
	p := &process{command: exec.CommandContext(t.Context(), program, args...)}
	out, err := p.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.command.Stderr = p.command.Stdout
	p.lines = bufio.NewReader(out)
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// hear reads until the program says something.
func (p *process) hear(t *testing.T, want string) {
	t.Helper()
	for {
		line, err := p.lines.ReadString('\n')
		p.text.WriteString(line)
		if strings.Contains(line, want) {
			return
		}
		if err != nil {
			t.Fatalf("it does not say %q, but\n%s", want, &p.text)
		}
	}
}

// wait reads to the end and returns how the program ended.
func (p *process) wait() error {
	_, err := io.Copy(&p.text, p.lines)
	return errors.Join(err, p.command.Wait())
}

func (p *process) end(t *testing.T) string {
	t.Helper()
	begun := time.Now()
	if err := p.wait(); err != nil {
		t.Errorf("%v:\n%s", err, &p.text)
	}
	t.Logf("ended after %v:\n%s", time.Since(begun).Round(time.Millisecond), &p.text)
	return p.text.String()
}
