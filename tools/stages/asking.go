package main

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// serverVariable begins the name of every variable that names a server to tests.
const serverVariable = "SWITCHBOARD_TEST_"

// variable is a name alone in quotes: whoever compares NAME=VALUE asks for nothing.
var variable = regexp.MustCompile(`"` + serverVariable + `([A-Z0-9_]*[A-Z0-9])"`)

// asking returns the packages whose tests name one of these variables. A new one
// is found without being added to a list, which could be forgotten.
func asking(root fs.FS, variables []string) ([]string, error) {
	files, err := mentions(root)
	if err != nil {
		return nil, err
	}
	var packages []string
	for file, names := range files {
		for _, name := range names {
			if slices.Contains(variables, name) {
				packages = append(packages, "./"+path.Dir(file))
			}
		}
	}
	slices.Sort(packages)
	if packages = slices.Compact(packages); len(packages) == 0 {
		return nil, fmt.Errorf("no test asks for any of %s", strings.Join(variables, ", "))
	}
	return packages, nil
}

// packages returns those that the stage tests.
func (s stage) packages(root fs.FS) ([]string, error) {
	all, err := asking(root, s.asks)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{s.only, s.first} {
		if name != "" && !slices.Contains(all, name) {
			return nil, fmt.Errorf("%s is not among the packages that ask: %s", name, strings.Join(all, " "))
		}
	}
	switch {
	case s.only != "":
		return []string{s.only}, nil
	case s.first != "":
		others := slices.DeleteFunc(all, func(name string) bool { return name == s.first })
		return append([]string{s.first}, others...), nil
	}
	return all, nil
}

// mentions returns for each file of tests of the main module the variables that
// it names, without their common beginning.
func mentions(root fs.FS) (map[string][]string, error) {
	found := make(map[string][]string)
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || name == "tools" || name == "bin") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		for _, match := range variable.FindAllSubmatch(text, -1) {
			found[name] = append(found[name], string(match[1]))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for tests that ask for servers: %w", err)
	}
	return found, nil
}
