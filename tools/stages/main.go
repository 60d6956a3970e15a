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
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

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
		{name: "vet tools", fast: true, args: words("go vet -C tools ./...")},
		{name: "lint", fast: true, args: words("go tool -modfile=tools/go.mod golangci-lint run")},
		{name: "test", fast: true, args: words("go test -short ./...")},
		{name: "model", args: words("go test -count=1 -v -run ^TestModel$ ./storage-worker/fold -model.schedules 20000")},
		{name: "race", args: words("go test -race -count=1 -timeout 12m ./...")},
	}
}

func words(command string) []string { return strings.Fields(command) }

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	if len(args) != 1 || args[0] != "fast" && args[0] != "all" {
		fmt.Fprintln(os.Stderr, "usage: stages fast|all")
		return 2
	}
	var took, failed []string
	begun := time.Now()
	for _, s := range stages() {
		if args[0] == "fast" && !s.fast {
			continue
		}
		fmt.Printf("== %s: %s\n", s.name, strings.Join(s.args, " "))
		started := time.Now()
		err := s.run()
		seconds := time.Since(started).Seconds()
		took = append(took, fmt.Sprintf("%s %.1f s", s.name, seconds))
		if err != nil {
			failed = append(failed, s.name)
			fmt.Printf("== %s: FAILED after %.1f s: %v\n", s.name, seconds, err)
			continue
		}
		fmt.Printf("== %s: ok, %.1f s\n", s.name, seconds)
	}
	verdict := "all passed"
	if len(failed) > 0 {
		verdict = "FAILED: " + strings.Join(failed, ", ")
	}
	fmt.Printf("== %s, in %.0f s: %s\n", verdict, time.Since(begun).Seconds(), strings.Join(took, ", "))
	if len(failed) > 0 {
		return 1
	}
	return 0
}

// run runs the command with our output and no input.
func (s stage) run() error {
	cmd := exec.Command(s.args[0], s.args[1:]...)
	cmd.Dir = ".." // go run -C tools starts us in tools
	cmd.Stderr = os.Stderr
	if !s.silent {
		cmd.Stdout = os.Stdout
		return cmd.Run()
	}
	out, err := cmd.Output()
	if err == nil && len(out) > 0 {
		err = fmt.Errorf("not formatted:\n%s", out)
	}
	return err
}
