package host

import (
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// Line is an assignment in a file.
type Line struct {
	File   string // from the root: "/etc/sysctl.d/99-x.conf"
	Number int    // counted from 1
	Key    string
	Value  string
}

// bootDirs are where sysctl.d(5) looks; of two files of one name the first wins.
var bootDirs = []string{"etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d"}

// Boot returns what is assigned when the host boots, in the order in which it
// is, so that the last line for a key wins. Comments and blank lines are left out.
func (t *Tree) Boot() ([]Line, error) {
	from := make(map[string]string)
	for _, dir := range bootDirs {
		names, err := t.List(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if _, hidden := from[name]; !hidden && path.Ext(name) == ".conf" {
				from[name] = path.Join(dir, name)
			}
		}
	}
	var files []string
	for _, name := range slices.Sorted(maps.Keys(from)) {
		files = append(files, from[name])
	}
	files = append(files, "etc/sysctl.conf") // Last, as `sysctl --system` does.
	var all []Line
	seen := make(map[string]bool)
	for _, file := range files {
		text, err := t.Read(file)
		if errors.Is(err, fs.ErrNotExist) || seen[text] {
			continue // On Debian, 99-sysctl.conf is sysctl.conf.
		}
		if err != nil {
			return nil, err
		}
		seen[text] = true
		for n, line := range strings.Split(t.texts[file], "\n") {
			if key, value, ok := assignment(line); ok {
				all = append(all, Line{File: "/" + file, Number: n + 1, Key: key, Value: value})
			}
		}
	}
	return all, nil
}

// Keys returns the settings that a file of sysctl.d assigns.
func Keys(text string) []string {
	var keys []string
	for line := range strings.Lines(text) {
		if key, _, ok := assignment(line); ok {
			keys = append(keys, key)
		}
	}
	return keys
}

// assignment reads a line of sysctl.d. A minus before the key means that it may
// fail; slashes may stand for dots.
func assignment(line string) (key, value string, ok bool) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' || line[0] == ';' {
		return "", "", false
	}
	key, value, ok = strings.Cut(line, "=")
	key = strings.TrimPrefix(strings.TrimSpace(key), "-")
	if dot, slash := strings.IndexByte(key, '.'), strings.IndexByte(key, '/'); slash >= 0 && (dot < 0 || slash < dot) {
		key = strings.ReplaceAll(key, "/", ".")
	}
	return key, strings.Join(strings.Fields(value), " "), ok
}

// unitDirs are where systemd looks for units; the first wins.
var unitDirs = []string{"etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"}

// Unit returns the assignments of a unit and of its drop-ins, in the order in
// which systemd takes them: the last line for a key wins, mostly. No unit is
// fs.ErrNotExist.
func (t *Tree) Unit(name string) ([]Line, error) {
	var all []Line
	found := false
	for _, dir := range unitDirs {
		lines, err := t.unitLines(path.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all, found = lines, true
		break
	}
	if !found {
		return nil, &fs.PathError{Op: "find unit", Path: name, Err: fs.ErrNotExist}
	}
	from := make(map[string]string)
	for _, dir := range unitDirs {
		names, err := t.List(path.Join(dir, name+".d"))
		if err != nil {
			continue // Most have none.
		}
		for _, drop := range names {
			if _, hidden := from[drop]; !hidden && path.Ext(drop) == ".conf" {
				from[drop] = path.Join(dir, name+".d", drop)
			}
		}
	}
	for _, drop := range slices.Sorted(maps.Keys(from)) {
		lines, err := t.unitLines(from[drop])
		if err != nil {
			return nil, err
		}
		all = append(all, lines...)
	}
	return all, nil
}

func (t *Tree) unitLines(file string) ([]Line, error) {
	if _, err := t.Read(file); err != nil {
		return nil, err
	}
	var all []Line
	for n, line := range strings.Split(t.texts[file], "\n") {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && !strings.HasPrefix(key, "#") && !strings.HasPrefix(key, ";") {
			all = append(all, Line{File: "/" + file, Number: n + 1, Key: strings.TrimSpace(key), Value: strings.TrimSpace(value)})
		}
	}
	return all, nil
}

// UserLimits returns the lines of limits.conf(5) that set how many files may be
// open: key is whom they concern, value the rest.
func (t *Tree) UserLimits() []Line {
	files := []string{"etc/security/limits.conf"}
	if names, err := t.List("etc/security/limits.d"); err == nil {
		for _, name := range names {
			files = append(files, path.Join("etc/security/limits.d", name))
		}
	}
	var all []Line
	for _, file := range files {
		if _, err := t.Read(file); err != nil {
			continue // Most hosts have neither.
		}
		for n, line := range strings.Split(t.texts[file], "\n") {
			fields := strings.Fields(line)
			if len(fields) >= 4 && fields[0][0] != '#' && fields[2] == "nofile" {
				all = append(all, Line{File: "/" + file, Number: n + 1, Key: fields[0], Value: strings.Join(fields[1:4], " ")})
			}
		}
	}
	return all
}
