package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// verdicts reads go test -json and prints what go test prints without it. It
// also remembers what must not happen where servers are meant to be: a test
// that was skipped for want of one, a package in which nothing ran. And it
// remembers how long each test took.
type verdicts struct {
	out io.Writer

	rest    []byte
	said    map[string]map[string]*strings.Builder // package, test: the output until its verdict
	ran     int
	skipped []string
	idle    []string
	took    []lasting
}

// lasting is a test and how long it took, without the time in which it waited for
// its turn.
type lasting struct {
	test    string
	seconds float64
}

const (
	// slowestShown is how many of the slowest tests are named.
	slowestShown = 10
	// slowAbove is how many seconds a test takes at least that is worth a line.
	slowAbove = 1
)

func newVerdicts(out io.Writer) *verdicts {
	return &verdicts{out: out, said: make(map[string]map[string]*strings.Builder)}
}

// event is a line of go test -json; see go doc test2json.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
	Elapsed float64 // seconds
}

func (v *verdicts) Write(b []byte) (int, error) {
	v.rest = append(v.rest, b...)
	for {
		line, rest, whole := bytes.Cut(v.rest, []byte("\n"))
		if !whole {
			return len(b), nil
		}
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			fmt.Fprintf(v.out, "%s\n", line) // go itself has something to say
		} else {
			v.take(e)
		}
		v.rest = rest
	}
}

// take handles one event. The output of a test is shown if it fails, or if its
// package fails before there is a verdict about the test.
func (v *verdicts) take(e event) {
	switch {
	case e.Action == "output" && e.Test != "":
		tests := v.said[e.Package]
		if tests == nil {
			tests = make(map[string]*strings.Builder)
			v.said[e.Package] = tests
		}
		if tests[e.Test] == nil {
			tests[e.Test] = &strings.Builder{}
		}
		tests[e.Test].WriteString(e.Output)
	case e.Action == "output":
		v.idleIf(strings.Contains(e.Output, "[no tests to run]"), e)
		if e.Output != "PASS\n" {
			fmt.Fprint(v.out, e.Output)
		}
	case e.Action == "build-output":
		fmt.Fprint(v.out, e.Output)
	case e.Test != "":
		v.judge(e)
	case e.Action == "skip":
		v.idleIf(true, e)
	case e.Action == "fail":
		for _, text := range v.said[e.Package] {
			fmt.Fprint(v.out, text)
		}
	}
}

func (v *verdicts) idleIf(idle bool, e event) {
	if idle {
		v.idle = append(v.idle, e.Package)
	}
}

// judge handles the verdict about a test.
func (v *verdicts) judge(e event) {
	if e.Action != "pass" && e.Action != "fail" && e.Action != "skip" {
		return
	}
	if !strings.Contains(e.Test, "/") { // It has the time of its parts.
		v.took = append(v.took, lasting{e.Package + " " + e.Test, e.Elapsed})
	}
	text := ""
	if b := v.said[e.Package][e.Test]; b != nil {
		text = b.String()
		delete(v.said[e.Package], e.Test)
	}
	switch e.Action {
	case "fail":
		fmt.Fprint(v.out, text)
	case "skip":
		if strings.Contains(text, serverVariable) {
			fmt.Fprint(v.out, text)
			v.skipped = append(v.skipped, e.Package+" "+e.Test)
		}
	case "pass":
		v.ran++
	}
}

// slowest returns the tests that took longest, with their seconds, the slowest
// first.
func (v *verdicts) slowest() (lines []string) {
	slices.SortStableFunc(v.took, func(a, b lasting) int { return cmp.Compare(b.seconds, a.seconds) })
	for _, l := range v.took[:min(len(v.took), slowestShown)] {
		if l.seconds >= slowAbove {
			lines = append(lines, fmt.Sprintf("%6.1f s  %s", l.seconds, l.test))
		}
	}
	return lines
}

// verdict is the error that go test knows nothing of.
func (v *verdicts) verdict() error {
	var err error
	if len(v.skipped) > 0 {
		err = fmt.Errorf("skipped for want of a server: %s", strings.Join(v.skipped, ", "))
	}
	if len(v.idle) > 0 {
		err = errors.Join(err, fmt.Errorf("no test ran in %s", strings.Join(v.idle, ", ")))
	}
	if err == nil && v.ran == 0 {
		err = errors.New("no test ran")
	}
	return err
}
