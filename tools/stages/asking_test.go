package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func TestPackagesThatAskAreFound(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	tree := fstest.MapFS{
		"a/a_test.go":          file(`os.Getenv("SWITCHBOARD_TEST_REDIS") + "SWITCHBOARD_TEST_REDIS"`),
		"a/b_test.go":          file(`"SWITCHBOARD_TEST_KAFKA" and "SWITCHBOARD_TEST_CQL=x" and SWITCHBOARD_TEST_CQL`),
		"a/a.go":               file(`"SWITCHBOARD_TEST_CQL"`),
		"b/deep/c_test.go":     file(`"SWITCHBOARD_TEST_REDIS_CREDENTIALS"`),
		"c_test.go":            file(`"SWITCHBOARD_TEST_CQL"`),
		"tools/d_test.go":      file(`"SWITCHBOARD_TEST_REDIS"`),
		".cache/tmp/e_test.go": file(`"SWITCHBOARD_TEST_REDIS"`),
	}
	for _, tt := range []struct{ asked, want string }{
		{"REDIS", "./a"},
		{"REDIS KAFKA", "./a"},
		{"REDIS_CREDENTIALS KAFKA", "./a ./b/deep"},
		{"CQL", "./."},
	} {
		got, err := asking(tree, words(tt.asked))
		if err != nil || strings.Join(got, " ") != tt.want {
			t.Errorf("%s: got %v, %v, want %s", tt.asked, got, err, tt.want)
		}
	}
	if got, err := asking(tree, words("ORACLE")); err == nil {
		t.Errorf("ORACLE is asked for by %v", got)
	}
}

func TestAStageIsAboutOnePackageOrBeginsWithIt(t *testing.T) {
	file := &fstest.MapFile{Data: []byte(`"SWITCHBOARD_TEST_REDIS"`)}
	tree := fstest.MapFS{"a/a_test.go": file, "b/b_test.go": file, "c/c_test.go": file}
	for _, tt := range []struct {
		only, first string
		want        string
	}{
		{"", "", "./a ./b ./c"},
		{"./b", "", "./b"},
		{"", "./b", "./b ./a ./c"},
		{"./d", "", ""},
		{"", "./d", ""},
	} {
		got, err := stage{asks: words("REDIS"), only: tt.only, first: tt.first}.packages(tree)
		if strings.Join(got, " ") != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("only %q, first %q: got %v, %v, want %q", tt.only, tt.first, got, err, tt.want)
		}
	}
}

// What the stage `cluster` leaves out is run by another one: alone, or, since it
// needs no servers, by the race detector's.
func TestNoTestOfTheSystemIsLeftOut(t *testing.T) {
	files, err := filepath.Glob("../../dev/system/*_test.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests of the system: %v", err)
	}
	function := regexp.MustCompile(`(?ms)^func (Test\w+)\(t \*testing\.T\) \{$.*?^\}$`)
	found := make(map[string]bool) // the parts of the two patterns that mean something
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range function.FindAllStringSubmatch(string(text), -1) {
			needsServers := strings.Contains(match[0], "newCluster(") || strings.Contains(match[0], "commonCluster(") || strings.Contains(match[0], "newWard(")
			for part := range strings.SplitSeq(serverless+"|"+alone, "|") {
				if !regexp.MustCompile(part).MatchString(match[1]) {
					continue
				}
				found[part] = true
				if isAlone := strings.Contains(alone, part); isAlone != needsServers {
					t.Errorf("%s needs servers: %v, runs alone: %v", match[1], needsServers, isAlone)
				}
			}
		}
	}
	if got, want := len(found), strings.Count(serverless+"|"+alone, "|")+1; got != want {
		t.Errorf("%d parts of the patterns mean a test, want %d: %v", got, want, found)
	}
}

// ownVariables name no server: a program, or what a test tells its second process.
var ownVariables = words("PYTHON VICTIM FOLLOWER SERVERS_ORPHANS")

// A test for servers that no stage brings would be skipped for ever.
func TestEveryVariableIsAskedForAndExplained(t *testing.T) {
	manual, err := os.ReadFile("../../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	var asked []string
	for _, s := range stages() {
		asked = append(asked, s.asks...)
	}
	files, err := mentions(os.DirFS("../.."))
	if err != nil || len(files) == 0 {
		t.Fatalf("no test asks for a server: %v", err)
	}
	for file, names := range files {
		for _, name := range names {
			authority := strings.HasSuffix(name, "_CA") // comes with credentials
			if slices.Contains(ownVariables, name) {
				continue
			}
			if !slices.Contains(asked, name) && !authority {
				t.Errorf("%s asks for %s, and no stage does", file, serverVariable+name)
			}
			if !strings.Contains(string(manual), "`"+serverVariable+name+"`") {
				t.Errorf("%s asks for %s, and CONTRIBUTING.md does not say what it is", file, serverVariable+name)
			}
		}
	}
}
