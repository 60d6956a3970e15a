package main

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

// What go test -json says of a package with tests of each kind.
const verbose = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestGood"}
{"Action":"output","Package":"p","Test":"TestGood","Output":"=== RUN   TestGood\n"}
{"Action":"output","Package":"p","Test":"TestGood","Output":"a good word\n"}
{"Action":"pass","Package":"p","Test":"TestGood","Elapsed":0}
{"Action":"output","Package":"p","Test":"TestShort","Output":"    p_test.go:3: needs a tape drive\n"}
{"Action":"skip","Package":"p","Test":"TestShort","Elapsed":0}
{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p","Elapsed":0.1}
`

func TestVerdicts(t *testing.T) {
	for name, tt := range map[string]struct {
		said    string
		shown   string
		verdict string
	}{
		"passing": {verbose, "ok  \tp\t0.1s\n", ""},
		"skipped for want of a server": {
			verbose + `{"Action":"output","Package":"p","Test":"TestRedis/flush","Output":"SWITCHBOARD_TEST_REDIS is not set\n"}
{"Action":"skip","Package":"p","Test":"TestRedis/flush"}
`, "ok  \tp\t0.1s\nSWITCHBOARD_TEST_REDIS is not set\n", "skipped for want of a server: p TestRedis/flush",
		},
		"a failing test": {
			`{"Action":"output","Package":"p","Test":"TestBad","Output":"no good\n"}
{"Action":"fail","Package":"p","Test":"TestBad"}
{"Action":"output","Package":"p","Output":"FAIL\n"}
{"Action":"fail","Package":"p"}
`, "no good\nFAIL\n", "no test ran",
		},
		"a package that dies under a test": {
			verbose + `{"Action":"output","Package":"q","Test":"TestHang","Output":"panic: it took too long\n"}
{"Action":"output","Package":"r","Test":"TestOther","Output":"of no interest\n"}
{"Action":"fail","Package":"q"}
`, "ok  \tp\t0.1s\npanic: it took too long\n", "",
		},
		"a pattern that means nothing": {
			verbose + `{"Action":"output","Package":"q","Output":"ok  \tq\t0.1s [no tests to run]\n"}
{"Action":"pass","Package":"q"}
{"Action":"output","Package":"r","Output":"?   \tr\t[no test files]\n"}
{"Action":"skip","Package":"r"}
`, "ok  \tp\t0.1s\nok  \tq\t0.1s [no tests to run]\n?   \tr\t[no test files]\n", "no test ran in q, r",
		},
		"a build that fails": {
			`{"Action":"build-output","ImportPath":"p","Output":"p.go:1: syntax error\n"}
{"Action":"build-fail","ImportPath":"p"}
{"Action":"fail","Package":"p"}
`, "p.go:1: syntax error\n", "no test ran",
		},
		"something else": {"go: downloading everything\n", "go: downloading everything\n", "no test ran"},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			v := newVerdicts(&out)
			for _, piece := range strings.SplitAfter(tt.said, `"`) { // not the lines' bounds
				if n, err := v.Write([]byte(piece)); n != len(piece) || err != nil {
					t.Fatalf("write: %d, %v", n, err)
				}
			}
			if out.String() != tt.shown {
				t.Errorf("shown is %q, want %q", out.String(), tt.shown)
			}
			got := ""
			if err := v.verdict(); err != nil {
				got = err.Error()
			}
			if got != tt.verdict {
				t.Errorf("the verdict is %q, want %q", got, tt.verdict)
			}
		})
	}
}

// A test that has parts has their time, and what took no time is not named.
func TestTheSlowestTestsAreNamed(t *testing.T) {
	said := `{"Action":"pass","Package":"p","Test":"TestQuick","Elapsed":0.3}
{"Action":"pass","Package":"p","Test":"TestLong/part","Elapsed":99}
{"Action":"fail","Package":"q","Test":"TestLong","Elapsed":100.25}
{"Action":"skip","Package":"q","Test":"TestSkipped","Elapsed":0}
`
	for i := range 12 {
		said += fmt.Sprintf(`{"Action":"pass","Package":"p","Test":"Test%d","Elapsed":%d}`+"\n", i, i)
	}
	v := newVerdicts(io.Discard)
	if _, err := io.WriteString(v, said); err != nil {
		t.Fatal(err)
	}
	got := v.slowest()
	if len(got) != 10 || got[0] != " 100.2 s  q TestLong" || got[1] != "  11.0 s  p Test11" || got[9] != "   3.0 s  p Test3" {
		t.Errorf("the slowest are %q", got)
	}
	v = newVerdicts(io.Discard)
	if _, err := io.WriteString(v, verbose); err != nil {
		t.Fatal(err)
	}
	if got := v.slowest(); len(got) != 0 {
		t.Errorf("of quick tests the slowest are %q", got)
	}
}
