package main

import (
	"regexp"
	"strings"
	"testing"
)

func TestOneFailureFailsTheWhole(t *testing.T) {
	good := stage{name: "good", args: words("echo fine")}
	bad := stage{name: "bad", args: words("false")}
	loud := stage{name: "loud", silent: true, args: words("echo main.go")}
	quiet := stage{name: "quiet", silent: true, args: words("true")}
	missing := stage{name: "missing", args: words("no-such-command-here")}
	for _, tt := range []struct {
		name   string
		stages []stage
		status int
		last   string
	}{
		{"all pass", []stage{good, quiet}, 0, `== all passed, in \d+ s: good [\d.]+ s, quiet [\d.]+ s`},
		{"the last fails", []stage{good, bad}, 1, `== FAILED: bad, in .*`},
		{"those after a failure still run", []stage{bad, good, loud, missing}, 1, `== FAILED: bad, loud, missing, in .*good.*`},
	} {
		var out strings.Builder
		if got := run(tt.stages, &out); got != tt.status {
			t.Errorf("%s: got status %d, want %d", tt.name, got, tt.status)
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if last := lines[len(lines)-1]; !regexp.MustCompile("^" + tt.last + "$").MatchString(last) {
			t.Errorf("%s: the last line is %q, want %s", tt.name, last, tt.last)
		}
	}
}

func TestEveryFastStageIsPartOfAll(t *testing.T) {
	fast := 0
	for _, s := range stages() {
		if s.fast {
			fast++
		}
		if s.name == "" || len(s.args) == 0 {
			t.Errorf("stage %+v has no name or no command", s)
		}
	}
	if all := stages(); fast == 0 || fast == len(all) || all[len(all)-1].name != "race" {
		t.Error("want some fast stages, some that are not, and the race detector last")
	}
}
