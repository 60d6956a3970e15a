package switchboard_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// What a reader can hold in mind.
const (
	maxFunction     = 70
	maxFile         = 600
	maxPackage      = 3000 // without its tests
	maxMakefile     = 40
	maxArchitecture = 300
)

// A rule looks at the whole tree and returns what breaks it.
type rule func(t *testing.T, tree fs.FS) []string

func TestTree(t *testing.T) {
	for name, check := range map[string]rule{
		"functions fit on a screen":            longFunctions,
		"files and packages stay small":        longFiles,
		"documents stay short":                 longDocuments,
		"a package has one package comment":    packageComments,
		"no directory hides behind a name":     emptyNames,
		"no build tags":                        buildTags,
		"no file knows where it was written":   foreignNames,
		"links in documents lead somewhere":    brokenLinks,
		"a unit starts a program that is here": orphanUnits,
	} {
		t.Run(name, func(t *testing.T) {
			for _, b := range check(t, os.DirFS(".")) {
				t.Error(b)
			}
		})
	}
}

func longFunctions(t *testing.T, tree fs.FS) (bad []string) {
	for _, s := range sources(t, tree) {
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			first, last := s.files.Position(f.Pos()), s.files.Position(f.End())
			if n := last.Line - first.Line + 1; n > maxFunction {
				bad = append(bad, fmt.Sprintf("%s:%d: %s has %d lines, more than %d", s.path, first.Line, f.Name.Name, n, maxFunction))
			}
		}
	}
	return bad
}

func longFiles(t *testing.T, tree fs.FS) (bad []string) {
	packages := make(map[string]int)
	for _, s := range sources(t, tree) {
		if s.lines > maxFile {
			bad = append(bad, fmt.Sprintf("%s has %d lines, more than %d", s.path, s.lines, maxFile))
		}
		if !s.test {
			packages[s.dir] += s.lines
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		if packages[dir] > maxPackage {
			bad = append(bad, fmt.Sprintf("package %s has %d lines, more than %d", dir, packages[dir], maxPackage))
		}
	}
	return bad
}

func longDocuments(t *testing.T, tree fs.FS) (bad []string) {
	for name, limit := range map[string]int{"Makefile": maxMakefile, "ARCHITECTURE.md": maxArchitecture} {
		if n := bytes.Count(read(t, tree, name), []byte("\n")); n > limit {
			bad = append(bad, fmt.Sprintf("%s has %d lines, more than %d", name, n, limit))
		}
	}
	return bad
}

// packageComments counts comments in the files of the package; in those of its
// tests only where there is nothing else.
func packageComments(t *testing.T, tree fs.FS) (bad []string) {
	type count struct{ files, comments int }
	code, tests := make(map[string]count), make(map[string]count)
	for _, s := range sources(t, tree) {
		counts := code
		if s.test {
			counts = tests
		}
		c := counts[s.dir]
		c.files++
		if s.file.Doc != nil {
			c.comments++
		}
		counts[s.dir] = c
	}
	for dir, c := range tests {
		if code[dir].files == 0 {
			code[dir] = c
		} else if c.comments > 0 {
			bad = append(bad, dir+": the package comment is not in the tests")
		}
	}
	for dir, c := range code {
		if c.comments != 1 {
			bad = append(bad, fmt.Sprintf("%s: %d package comments, want 1", dir, c.comments))
		}
	}
	return bad
}

// emptyNames finds directories whose name says nothing about what is in them.
func emptyNames(t *testing.T, tree fs.FS) (bad []string) {
	empty := []string{"util", "utils", "common", "helper", "helpers", "manager", "base", "impl", "misc", "lib", "pkg", "cmd"}
	for _, name := range listing(t, tree) {
		for part := range strings.SplitSeq(path.Dir(name), "/") {
			if slices.Contains(empty, part) {
				bad = append(bad, name+": call the directory by what it is for")
			}
		}
	}
	return bad
}

func buildTags(t *testing.T, tree fs.FS) (bad []string) {
	for _, s := range sources(t, tree) {
		for _, group := range s.file.Comments {
			for _, c := range group.List {
				if strings.HasPrefix(c.Text, "//go:build") {
					bad = append(bad, s.path+": a build tag hides code from the checks")
				}
			}
		}
	}
	return bad
}

// foreignNames finds paths and notes of the place where somebody worked on the
// repository; they mean nothing to its readers. The words are put together here
// so that this file does not contain them.
func foreignNames(t *testing.T, tree fs.FS) (bad []string) {
	words := []string{"/wo" + "rk/", ".lib" + "rary", "../sha" + "red", "/tmp/bri" + "ef"}
	for _, name := range listing(t, tree) {
		text := read(t, tree, name)
		for _, w := range words {
			if before, _, found := bytes.Cut(text, []byte(w)); found {
				bad = append(bad, fmt.Sprintf("%s:%d: %q", name, 1+bytes.Count(before, []byte("\n")), w))
			}
		}
	}
	return bad
}

// brokenLinks follows every relative link of every document.
func brokenLinks(t *testing.T, tree fs.FS) (bad []string) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, name := range listing(t, tree) {
		if path.Ext(name) != ".md" {
			continue
		}
		for _, m := range link.FindAllSubmatch(read(t, tree, name), -1) {
			target, _, _ := strings.Cut(string(m[1]), "#")
			if target == "" || strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			if _, err := fs.Stat(tree, path.Join(path.Dir(name), target)); err != nil {
				bad = append(bad, name+": the link to "+target+" leads nowhere")
			}
		}
	}
	return bad
}

// orphanUnits finds units that start something which is neither a program of
// ours nor systemd's own.
func orphanUnits(t *testing.T, tree fs.FS) (bad []string) {
	exec := regexp.MustCompile(`(?m)^ExecStart=[-@:+!]*(\S+)`)
	for _, name := range listing(t, tree) {
		if path.Dir(name) != "systemd" || path.Ext(name) != ".service" {
			continue
		}
		for _, m := range exec.FindAllSubmatch(read(t, tree, name), -1) {
			binary := strings.TrimPrefix(path.Base(string(m[1])), "switchboard-")
			if binary == "systemctl" {
				continue
			}
			if _, err := fs.Stat(tree, path.Join(binary, "main.go")); err != nil {
				bad = append(bad, name+": starts "+string(m[1])+", but there is no program "+binary)
			}
		}
	}
	return bad
}

func read(t *testing.T, tree fs.FS, name string) []byte {
	t.Helper()
	text, err := fs.ReadFile(tree, name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A rule that finds nothing in a tree made to break it proves nothing.
func TestRulesFindWhatBreaksThem(t *testing.T) {
	long := "package a\n\nfunc f() {\n" + strings.Repeat("\tf()\n", maxFile) + "}\n"
	tree := fstest.MapFS{}
	for name, text := range map[string]string{
		"Makefile":              strings.Repeat("\n", maxMakefile+1),
		"ARCHITECTURE.md":       "see [there](docs/there.md#top) and [here](Makefile) and [web](https://example.org)",
		"gateway/main.go":       "// Package main.\npackage main\n",
		"gateway/a/long.go":     long,
		"gateway/util/u.go":     "//go:build linux\n\n// Package util is.\npackage util\n",
		"router/b/b.go":         "// Package b is.\npackage b\n\n// In /wo" + "rk/main.\n",
		"router/b/c.go":         "// Package b is too.\npackage b\n",
		"systemd/g.service":     "ExecStart=/usr/bin/switchboard-gateway -server gw-1\n",
		"systemd/other.service": "ExecStart=/usr/bin/nothing\n",
		"systemd/f.service":     "ExecStart=/usr/bin/systemctl status %i\n",
	} {
		tree[name] = &fstest.MapFile{Data: []byte(text)}
	}
	for name, want := range map[string]struct {
		check rule
		in    []string
	}{
		"functions":  {longFunctions, []string{"gateway/a/long.go:3"}},
		"files":      {longFiles, []string{"gateway/a/long.go"}},
		"documents":  {longDocuments, []string{"Makefile"}},
		"comments":   {packageComments, []string{"gateway/a: 0", "router/b: 2"}},
		"names":      {emptyNames, []string{"gateway/util/u.go"}},
		"build tags": {buildTags, []string{"gateway/util/u.go"}},
		"foreign":    {foreignNames, []string{"router/b/b.go:4"}},
		"links":      {brokenLinks, []string{"ARCHITECTURE.md: the link to docs/there.md"}},
		"units":      {orphanUnits, []string{"systemd/other.service"}},
	} {
		got := want.check(t, tree)
		slices.Sort(got)
		if len(got) != len(want.in) {
			t.Errorf("%s: got %q, want %d findings", name, got, len(want.in))
			continue
		}
		for i := range got {
			if !strings.HasPrefix(got[i], want.in[i]) {
				t.Errorf("%s: got %q, want it to begin with %q", name, got[i], want.in[i])
			}
		}
	}
}

// The same for the table of imports.
func TestLawFindsBreaches(t *testing.T) {
	tree := fstest.MapFS{}
	for name, text := range map[string]string{
		"gateway/edge/edge.go":      "package edge\nimport (\n\"net\"\n\"switchboard/internal/chat\"\n\"switchboard/router/fanout\"\n\"example.org/ws/frame\"\n)\n",
		"gateway/edge/edge_test.go": "package edge\nimport (\n\"switchboard/internal/bus\"\n\"switchboard/router/fanout\"\n\"example.org/any\"\n)\n",
		"router/fanout/fanout.go":   "package fanout\nimport (\n\"example.org/ws\"\n\"example.org/wsx\"\n\"golang.org/x/sys/unix\"\n)\n",
		"internal/chat/chat.go":     "package chat\n",
		"internal/new/new.go":       "package new\n",
		"dev/dev.go":                "package main\nimport (\n\"switchboard/router/fanout\"\n\"example.org/ws\"\n)\n",
	} {
		tree[name] = &fstest.MapFile{Data: []byte(text)}
	}
	l := readLaw(t, `
		gateway/edge  : internal/chat
		router/fanout :
		internal/chat :
		internal/gone : internal/lost
		dev           : router/fanout
	`, `
		example.org/ws   gateway/edge
		example.org/idle internal/chat
	`)
	want := []string{
		"gateway/edge/edge.go: imports switchboard/router/fanout, which is not on its line",
		"gateway/edge/edge_test.go: imports switchboard/router/fanout, which is another program, which tests do not reach into either",
		"internal/new/new.go: package internal/new has no line in the table",
		"router/fanout/fanout.go: imports example.org/ws, which lives in gateway/edge",
		"router/fanout/fanout.go: imports example.org/wsx, which has no home",
		"the home of example.org/idle does not import it",
		"the line of internal/gone allows internal/lost, which has no line",
		"the table lists internal/gone, which does not exist",
	}
	got := l.breaches(sources(t, tree))
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
