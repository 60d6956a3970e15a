// Command stages runs everything that must hold before a change goes in, one
// stage after another, and says how long each took. It goes on after a stage
// that fails, so that one run shows all that is wrong, and then ends with 1.
//
//	go run -C tools ./stages fast   what needs no race detector and no long tests
//	go run -C tools ./stages all    everything
//
// The race detector's run comes last: what is on the screen at the end are go
// test's own lines, and one line of ours.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// stageLimit is how long one stage may take before it counts as hung.
const stageLimit = 13 * time.Minute

// stage is one command, run at the root of the repository.
type stage struct {
	name   string
	fast   bool
	silent bool // any output is a failure: gofmt reports so
	args   []string
}

// stages are in the order in which they run: the quickest answer first.
func stages() []stage {
	return []stage{
		{name: "gofmt", fast: true, silent: true, args: words("gofmt -l .")},
		{name: "build", fast: true, args: words("go build -o bin/ ./...")},
		{name: "vet", fast: true, args: words("go vet ./...")},
		{name: "tools", fast: true, args: words("go test -C tools ./...")},
		{name: "lint", fast: true, args: words("go tool -modfile=tools/go.mod golangci-lint run")},
		{name: "test", fast: true, args: words("go test -short ./...")},
		{name: "model", args: words("go test -count=1 -v -run ^TestModel$ ./storage-worker/fold -model.schedules 20000")},
		// One run wavers by a third, so this fails well above the budget of 300.
		{name: "memory", args: words("bin/bench conn -connections 8000 -idle 1s -max-bytes 450")},
		{name: "race", args: words("go test -race -count=1 -timeout 12m ./...")},
	}
}

func words(command string) []string { return strings.Fields(command) }

func main() {
	if len(os.Args) != 2 || os.Args[1] != "fast" && os.Args[1] != "all" {
		fmt.Fprintln(os.Stderr, "usage: stages fast|all")
		os.Exit(2)
	}
	var chosen []stage
	for _, s := range stages() {
		if s.fast || os.Args[1] == "all" {
			chosen = append(chosen, s)
		}
	}
	os.Exit(run(chosen, os.Stdout))
}

// run runs all of the stages and returns the exit status.
func run(all []stage, out io.Writer) int {
	var took, failed []string
	begun := time.Now()
	for _, s := range all {
		fmt.Fprintf(out, "== %s: %s\n", s.name, strings.Join(s.args, " "))
		started := time.Now()
		err := s.run(out)
		seconds := time.Since(started).Seconds()
		took = append(took, fmt.Sprintf("%s %.1f s", s.name, seconds))
		if err != nil {
			failed = append(failed, s.name)
			fmt.Fprintf(out, "== %s: FAILED after %.1f s: %v\n", s.name, seconds, err)
			continue
		}
		fmt.Fprintf(out, "== %s: ok, %.1f s\n", s.name, seconds)
	}
	verdict, status := "all passed", 0
	if len(failed) > 0 {
		verdict, status = "FAILED: "+strings.Join(failed, ", "), 1
	}
	fmt.Fprintf(out, "== %s, in %.0f s: %s\n", verdict, time.Since(begun).Seconds(), strings.Join(took, ", "))
	return status
}

// run runs the command with our output, no input, and an end.
func (s stage) run(out io.Writer) error {
	ctx, cancel := context.WithTimeout(context.Background(), stageLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.args[0], s.args[1:]...)
	cmd.WaitDelay = time.Second // a child that holds our output must not hold us
	cmd.Dir = ".."              // go run -C tools starts us in tools
	cmd.Stderr = out
	if !s.silent {
		cmd.Stdout = out
		return cmd.Run()
	}
	said, err := cmd.Output()
	if err == nil && len(said) > 0 {
		err = fmt.Errorf("it should say nothing but said:\n%s", said)
	}
	return err
}
