// Package switchboard_test holds the repository to its own rules: which package
// may import which, where each third-party library lives, how large things may
// grow, what the documents point at. It reads the files themselves and no list
// that a tool made, so that a change to any file is seen.
package switchboard_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// imports is the architecture: what a package may import of this module. A
// package that is not listed fails, and so does a line without a package.
//
//	chat < wire, auth, bus, presence, metrics < components < main
//
// Relaxing a line takes an ADR.
const imports = `
internal/chat                       :
internal/complaint                  :
internal/certtest                   :
internal/loopback                   :
internal/socket                     :
internal/metrics                    :
internal/wire                       : internal/chat
internal/auth                       : internal/chat
internal/mediaurl                   : internal/chat
internal/bus                        : internal/chat
internal/bus/bustest                : internal/bus
internal/bus/embedded               :
internal/bus/kafka                  : internal/bus internal/bus/kafka/conns internal/complaint internal/metrics
internal/bus/kafka/conns            :
internal/presence                   : internal/chat
internal/presence/embedded          :
internal/presence/presencetest      : internal/chat internal/presence
internal/presence/redis             : internal/chat internal/metrics internal/presence
internal/roster                     : internal/chat
internal/roster/postgres            : internal/chat internal/devices internal/roster
internal/roster/rostertest          : internal/chat internal/roster
internal/roster/sqlite              : internal/chat internal/roster
internal/devices                    : internal/chat
internal/devices/devicestest        : internal/chat internal/devices
internal/devices/sqlite             : internal/chat internal/devices
internal/daemon                     : internal/bus internal/complaint internal/metrics

gateway                             : gateway/edge gateway/edge/proxyproto gateway/node internal/auth internal/bus internal/bus/kafka internal/chat internal/daemon internal/metrics internal/presence/redis internal/mediaurl
gateway/node                        : gateway/downlink gateway/edge gateway/edge/proxyproto gateway/session gateway/uplink internal/auth internal/bus internal/chat internal/daemon internal/metrics internal/presence internal/mediaurl
gateway/uplink                      : gateway/session internal/bus internal/chat internal/metrics internal/wire internal/mediaurl
gateway/downlink                    : gateway/session internal/bus internal/chat internal/metrics internal/presence
gateway/session                     : gateway/edge gateway/gather internal/auth internal/bus internal/chat internal/metrics internal/presence internal/wire
gateway/edge                        : gateway/edge/proxyproto gateway/edge/room gateway/edge/thrift gateway/gather internal/chat internal/metrics internal/socket
gateway/edge/proxyproto             :
gateway/edge/room                   :
gateway/edge/thrift                 :
gateway/gather                      :

router/signals                      : internal/bus internal/chat internal/metrics internal/presence internal/roster internal/wire
router                              : router/fanout router/push router/signals internal/devices internal/bus internal/bus/kafka internal/chat internal/daemon internal/metrics internal/presence/redis internal/roster internal/roster/postgres internal/mediaurl
router/push                         : internal/bus internal/chat internal/devices internal/metrics
router/fanout                       : internal/bus internal/chat internal/metrics internal/presence internal/roster internal/wire internal/mediaurl

storage-worker                      : storage-worker/archive storage-worker/archive/scylla storage-worker/archive/sqlite storage-worker/fold storage-worker/receipts storage-worker/rest storage-worker/rest/pace storage-worker/search storage-worker/search/opensearch storage-worker/search/sqlite internal/auth internal/bus internal/bus/kafka internal/chat internal/daemon internal/metrics internal/presence internal/presence/redis internal/devices internal/roster/postgres storage-worker/projection internal/mediaurl storage-worker/media storage-worker/media/folder storage-worker/media/s3
storage-worker/archive              : internal/chat
storage-worker/archive/archivetest  : storage-worker/archive internal/chat
storage-worker/archive/memory       : storage-worker/archive internal/chat
storage-worker/archive/scylla       : storage-worker/archive internal/chat internal/metrics
storage-worker/archive/sqlite       : storage-worker/archive internal/chat internal/metrics
storage-worker/fold                 : storage-worker/archive internal/bus internal/chat internal/metrics
storage-worker/receipts             : storage-worker/archive internal/bus internal/chat internal/metrics
storage-worker/media                : internal/chat internal/mediaurl internal/metrics storage-worker/media/picture
storage-worker/media/folder         : storage-worker/media
storage-worker/media/mediatest      : storage-worker/media
storage-worker/media/picture        :
storage-worker/media/s3             : storage-worker/media
storage-worker/follower             : internal/bus internal/metrics
storage-worker/projection           : internal/bus internal/chat internal/metrics internal/roster storage-worker/archive storage-worker/follower
storage-worker/search               : storage-worker/archive storage-worker/follower internal/bus internal/chat internal/metrics
storage-worker/search/opensearch    : storage-worker/search internal/chat
storage-worker/search/searchtest    : storage-worker/search internal/chat internal/metrics
storage-worker/search/sqlite        : storage-worker/search internal/chat
storage-worker/rest                 : internal/devices storage-worker/archive storage-worker/search internal/auth internal/bus internal/chat internal/metrics internal/presence internal/wire internal/mediaurl storage-worker/media storage-worker/rest/listen storage-worker/rest/pace storage-worker/rest/transfer
storage-worker/rest/listen          :
storage-worker/rest/pace            :
storage-worker/rest/transfer        : internal/chat internal/mediaurl internal/metrics internal/wire storage-worker/media

docs                                :

client                              : internal/chat internal/wire

web                                 :

dev                                 : dev/cluster dev/servers dev/single dev/soak dev/terminal internal/auth internal/chat internal/daemon
dev/cluster                         : router/push dev/servers internal/auth internal/daemon internal/mediaurl
dev/audit                           : internal/chat internal/wire
dev/contract                        :
dev/faults                          :
dev/servers                         :
dev/single                          : internal/devices/sqlite router/push client dev/reference gateway/edge gateway/node router/fanout router/signals storage-worker/archive/sqlite storage-worker/fold storage-worker/receipts storage-worker/rest storage-worker/rest/listen storage-worker/search storage-worker/search/sqlite web internal/auth internal/bus internal/bus/embedded internal/bus/kafka internal/chat internal/daemon internal/metrics internal/presence/embedded internal/presence/redis internal/roster/sqlite storage-worker/projection internal/mediaurl storage-worker/media storage-worker/media/folder
dev/soak                            : client dev/audit internal/auth internal/chat internal/wire
dev/system                          :
dev/terminal                        : client internal/chat internal/wire
dev/judge                           : docs
dev/judge/calls                     : dev/judge
dev/reference                       : docs
dev/handset                         : client internal/chat internal/wire

bench                               : bench/crowd bench/host bench/live bench/load bench/pulse bench/result bench/scrape client internal/auth internal/chat internal/daemon internal/wire

tuning                              : internal/daemon tuning/advice tuning/change tuning/host tuning/limits tuning/load tuning/report
tuning/load                         :
tuning/host                         :
tuning/host/hosttest                :
tuning/limits                       : tuning/host tuning/load
tuning/advice                       : tuning/host tuning/limits tuning/load
tuning/change                       : tuning/advice tuning/host tuning/limits tuning/load
tuning/report                       : tuning/advice tuning/limits tuning/load
bench/crowd                         : bench/host bench/live bench/load bench/result bench/rig internal/chat internal/daemon internal/metrics internal/wire
bench/host                          :
bench/live                          :
bench/load                          : bench/result internal/auth internal/chat internal/socket
bench/pulse                         : bench/host bench/live bench/result
bench/result                        : bench/host internal/daemon
bench/rig                           : bench/host bench/scrape internal/auth internal/bus internal/bus/embedded internal/bus/kafka internal/chat internal/loopback internal/metrics internal/presence/embedded
bench/scrape                        :
`

// homes names the one package that imports a library and turns it into our
// words. Tests, bench and dev may import any of them.
const homes = `
github.com/MicahParks/jwkset           internal/auth
github.com/SherClockHolmes/webpush-go  router/push
github.com/VictoriaMetrics/metrics     internal/metrics
github.com/alicebob/miniredis          internal/presence/embedded
github.com/coder/websocket             client
github.com/coreos/go-systemd           internal/daemon
github.com/gobwas/ws                   gateway/edge
github.com/gocql/gocql                 storage-worker/archive/scylla
github.com/golang-jwt/jwt              internal/auth
github.com/jackc/pgx                   internal/roster/postgres
github.com/minio/minio-go              storage-worker/media/s3
github.com/panjf2000/gnet              gateway/edge
github.com/redis/go-redis              internal/presence/redis
github.com/scylladb/gocqlx             storage-worker/archive/scylla
github.com/segmentio/kafka-go          internal/bus/kafka
github.com/twmb/franz-go               internal/bus/embedded
golang.org/x/text                      storage-worker/search
golang.org/x/image                     storage-worker/media/picture
google.golang.org/protobuf             internal/bus
modernc.org/sqlite                     storage-worker/archive/sqlite
pgregory.net/rapid                     storage-worker/archive/archivetest
`

// everywhere may be imported by any package: extensions of the standard library
// that bring no words of their own.
const everywhere = "golang.org/x/sys golang.org/x/sync"

const module = "switchboard"

// source is one Go file.
type source struct {
	path    string // slash-separated, from the root
	dir     string // of the package, "." for the root
	test    bool
	file    *ast.File
	files   *token.FileSet
	lines   int
	imports []string
}

// sources parses every Go file of the main module.
func sources(t *testing.T, tree fs.FS) []source {
	t.Helper()
	var all []source
	for _, name := range listing(t, tree) {
		if path.Ext(name) != ".go" || strings.HasPrefix(name, "tools/") || strings.HasPrefix(name, "bench/peers/") {
			continue
		}
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			t.Fatal(err)
		}
		s := source{path: name, dir: path.Dir(name), test: strings.HasSuffix(name, "_test.go"), files: token.NewFileSet()}
		s.lines = strings.Count(string(text), "\n")
		if s.file, err = parser.ParseFile(s.files, name, text, parser.ParseComments); err != nil {
			t.Fatal(err)
		}
		for _, spec := range s.file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			s.imports = append(s.imports, imported)
		}
		all = append(all, s)
	}
	return all
}

// listing names every file that belongs to the repository.
func listing(t *testing.T, tree fs.FS) []string {
	t.Helper()
	ignored := []string{".git", "bin", ".switchboard", ".switchboard-cluster", ".cache", "__pycache__", "node_modules"}
	var names []string
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains(ignored, d.Name()):
			return fs.SkipDir
		case d.Type().IsRegular():
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// law is the tables above, read.
type law struct {
	allowed map[string][]string
	homes   map[string]string
}

func readLaw(t *testing.T, importLines, homeLines string) law {
	t.Helper()
	l := law{allowed: make(map[string][]string), homes: make(map[string]string)}
	for line := range strings.Lines(importLines) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		dir, list, ok := strings.Cut(line, ":")
		dir = strings.TrimSpace(dir)
		if _, twice := l.allowed[dir]; !ok || twice {
			t.Fatalf("the line %q has no colon or repeats a package", line)
		}
		l.allowed[dir] = strings.Fields(list)
	}
	for line := range strings.Lines(homeLines) {
		if fields := strings.Fields(line); len(fields) == 2 {
			l.homes[fields[0]] = fields[1]
		}
	}
	return l
}

// program returns the top-level directory when it is one of those that meet
// only on the bus, or are built on top of them; else "".
func program(dir string) string {
	top, _, _ := strings.Cut(dir, "/")
	switch top {
	case "gateway", "router", "storage-worker", "bench", "tuning", "dev":
		return top
	}
	return ""
}

// mayImport returns why s must not import a package of ours, or "".
func (l law) mayImport(s source, target string) string {
	switch {
	case !s.test:
		if !slices.Contains(l.allowed[s.dir], target) {
			return "is not on its line"
		}
	case s.dir == "." || program(s.dir) == "dev" || program(s.dir) == "bench":
		// Whole systems are tested there.
	case program(target) != "" && program(target) != program(s.dir):
		return "is another program, which tests do not reach into either"
	}
	return ""
}

// mayUse returns why s must not import a third-party package, or "".
func (l law) mayUse(s source, imported string) string {
	for free := range strings.FieldsSeq(everywhere) {
		if within(imported, free) {
			return ""
		}
	}
	if s.test || program(s.dir) == "bench" || program(s.dir) == "dev" {
		return ""
	}
	for library, home := range l.homes {
		if within(imported, library) {
			if home != s.dir {
				return "lives in " + home
			}
			return ""
		}
	}
	return "has no home"
}

// within reports whether a package belongs to a path.
func within(imported, root string) bool {
	return imported == root || strings.HasPrefix(imported, root+"/")
}

// breaches returns what the sources do against the law.
func (l law) breaches(all []source) []string {
	var bad []string
	seen := make(map[string]bool)
	used := make(map[string]bool)
	for _, s := range all {
		if !s.test {
			seen[s.dir] = true
			if _, listed := l.allowed[s.dir]; !listed {
				bad = append(bad, s.path+": package "+s.dir+" has no line in the table")
			}
		}
		for _, imported := range s.imports {
			why := ""
			top, _, _ := strings.Cut(imported, "/")
			switch {
			case top == module:
				why = l.mayImport(s, strings.TrimPrefix(imported, module+"/"))
			case strings.Contains(top, "."):
				why = l.mayUse(s, imported)
				for library, home := range l.homes {
					used[library] = used[library] || home == s.dir && within(imported, library)
				}
			}
			if why != "" {
				bad = append(bad, fmt.Sprintf("%s: imports %s, which %s", s.path, imported, why))
			}
		}
	}
	return append(bad, l.idle(seen, used)...)
}

// idle returns lines of the tables that nothing in the tree answers to.
func (l law) idle(seen, used map[string]bool) []string {
	var bad []string
	for _, dir := range slices.Sorted(maps.Keys(l.allowed)) {
		if !seen[dir] {
			bad = append(bad, "the table lists "+dir+", which does not exist")
		}
		for _, target := range l.allowed[dir] {
			if _, listed := l.allowed[target]; !listed {
				bad = append(bad, "the line of "+dir+" allows "+target+", which has no line")
			}
		}
	}
	for _, library := range slices.Sorted(maps.Keys(l.homes)) {
		if !used[library] {
			bad = append(bad, "the home of "+library+" does not import it")
		}
	}
	return bad
}

func TestImports(t *testing.T) {
	for _, b := range readLaw(t, imports, homes).breaches(sources(t, os.DirFS("."))) {
		t.Error(b)
	}
}

// programs must not meet but on the bus, whatever the table says.
func TestNoLineLetsProgramsMeet(t *testing.T) {
	for dir, targets := range readLaw(t, imports, homes).allowed {
		own := program(dir)
		for _, target := range targets {
			other := program(target)
			if other != "" && other != own && own != "dev" {
				t.Errorf("the line of %s allows %s", dir, target)
			}
		}
	}
}
