package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// The versions of everything that comes from Maven. Debian decides about the
// rest: what sites of that release run.
const (
	kafkaVersion     = "4.3.1"
	cassandraVersion = "5.0.9"
	slf4jVersion     = "1.7.36"
	// The newest that Java 17 runs and whose modules are there as well.
	opensearchVersion = "2.19.6"
	log4jVersion      = "2.25.4"
	copyPlugin        = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
)

// javaVersion is what Cassandra 5 insists on; Kafka 4 is content with it.
const javaVersion = "17"

// fetchLimit bounds a download of some 180 MB, or of Debian packages.
const fetchLimit = 15 * time.Minute

type jar struct{ Group, Artifact, Version string }

// Each server has a pom of its own: in a common one Maven would settle on one
// version of Netty, Jackson and SLF4J, and one of the servers would not like it.
var (
	// Kafka comes without a binding for SLF4J, and without one it dies in silence.
	kafkaJars = []jar{
		{"org.apache.kafka", "kafka_2.13", kafkaVersion},
		{"org.slf4j", "slf4j-simple", slf4jVersion},
	}
	cassandraJars = []jar{{"org.apache.cassandra", "cassandra-all", cassandraVersion}}
	// Its modules have class loaders of their own, and jars that must not be among
	// the others.
	opensearchJars = []jar{
		{"org.opensearch", "opensearch", opensearchVersion},
		{"org.opensearch", "opensearch-plugin-classloader", opensearchVersion},
		{"org.apache.logging.log4j", "log4j-core", log4jVersion},
	}
	opensearchHTTPJars = []jar{{"org.opensearch.plugin", "transport-netty4-client", opensearchVersion}}
)

// software is where everything was found.
type software struct {
	java, redis, initdb, postgres string
	s3                            string
	kafka, cassandra              string // folders of jars
	opensearch, opensearchHTTP    string // likewise
	kafkaCheckpoint               string // what formatting a data folder makes
}

// fetch finds or installs what cfg needs. The first of several processes does
// it for all.
func fetch(ctx context.Context, cfg Config) (*software, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchLimit)
	defer cancel()
	lock, err := waitForLock(ctx, filepath.Join(cfg.Cache, "lock"))
	if err != nil {
		return nil, err
	}
	defer lock.Close() // the lock goes with the descriptor, whatever it says
	c := &cache{dir: cfg.Cache, log: cfg.Log}
	if err := provide(ctx, needs(cfg, c.stale(cfg)), cfg.Log); err != nil {
		return nil, err
	}
	builds, building := errgroup.WithContext(ctx)
	defer func() {
		cancel() // Nobody builds any more when others may.
		_ = builds.Wait()
	}()
	found := &software{
		java: findJava(), redis: findProgram("redis-server"),
		initdb: findPostgres("initdb"), postgres: findPostgres("postgres"),
	}
	if cfg.S3 { // Beside what Maven does, which mostly waits.
		builds.Go(func() (err error) {
			found.s3, err = c.gateway(building)
			return err
		})
	}
	if cfg.Kafka > 0 {
		if found.kafka, err = c.jars(ctx, "kafka", kafkaJars); err != nil {
			return nil, err
		}
		if found.kafkaCheckpoint, err = c.kafkaCheckpoint(ctx, found); err != nil {
			return nil, err
		}
	}
	if cfg.Cassandra > 0 {
		if found.cassandra, err = c.jars(ctx, "cassandra", cassandraJars); err != nil {
			return nil, err
		}
	}
	if cfg.OpenSearch {
		if found.opensearch, err = c.jars(ctx, "opensearch", opensearchJars); err != nil {
			return nil, err
		}
		if found.opensearchHTTP, err = c.jars(ctx, "opensearch-http", opensearchHTTPJars); err != nil {
			return nil, err
		}
	}
	return found, builds.Wait()
}

// waitForLock takes a lock as soon as others have given it back.
func waitForLock(ctx context.Context, path string) (*os.File, error) {
	var lock *os.File
	var err error
	poll(ctx, fetchLimit, func() bool {
		lock, err = lockFile(path)
		return !errors.Is(err, errHeld)
	})
	return lock, err
}

// need is a program, and the Debian package that brings it.
type need struct {
	program, pkg string
	find         func() string // "" if it is missing
}

// needs lists the programs for cfg. Maven is one only if jars are missing.
func needs(cfg Config, stale bool) []need {
	var all []need
	if cfg.Kafka > 0 || cfg.Cassandra > 0 || cfg.OpenSearch {
		all = append(all, need{"java " + javaVersion, "openjdk-" + javaVersion + "-jre-headless", findJava})
	}
	if stale {
		all = append(all, need{"mvn", "maven", func() string { return findProgram("mvn") }})
	}
	if cfg.Redis {
		all = append(all, need{"redis-server", "redis-server", func() string { return findProgram("redis-server") }})
	}
	if cfg.Postgres {
		all = append(all, need{"postgres", "postgresql", func() string { return findPostgres("postgres") }})
	}
	if (cfg.Postgres || cfg.OpenSearch) && os.Geteuid() == 0 {
		all = append(all, need{"unshare", "util-linux", func() string { return findProgram("unshare") }})
	}
	return all
}

// provide installs the packages of programs that are missing, or says which.
func provide(ctx context.Context, all []need, log *slog.Logger) error {
	programs, packages := missing(all)
	if len(packages) == 0 {
		return nil
	}
	if os.Geteuid() != 0 || findProgram("apt-get") == "" {
		return fmt.Errorf("%s not found: install the Debian packages %s", strings.Join(programs, ", "), strings.Join(packages, " "))
	}
	log.Info("install", "packages", packages)
	if err := run(ctx, "/", "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", "update"); err != nil {
		return fmt.Errorf("install %s: %w", strings.Join(packages, " "), err)
	}
	install := []string{
		"env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-y", "-o", "DPkg::Lock::Timeout=300",
		"install", "--no-install-recommends",
	}
	if err := run(ctx, "/", append(install, packages...)...); err != nil {
		return fmt.Errorf("install %s: %w", strings.Join(packages, " "), err)
	}
	if programs, packages = missing(all); len(programs) > 0 {
		return fmt.Errorf("%s not found, although %s was installed", strings.Join(programs, ", "), strings.Join(packages, " "))
	}
	return nil
}

func missing(all []need) (programs, packages []string) {
	for _, n := range all {
		if n.find() == "" {
			programs, packages = append(programs, n.program), append(packages, n.pkg)
		}
	}
	return programs, packages
}

func findProgram(name string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		return ""
	}
	return path
}

// findPostgres looks where Debian keeps the newest of several versions.
func findPostgres(name string) string {
	paths, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if err != nil || len(paths) == 0 {
		return findProgram(name)
	}
	return slices.Max(paths)
}

// findJava looks for the right version, which need not be the one on the PATH.
// Every Java says its version in a file; asking itself takes a fifth of a second.
func findJava() string {
	homes, err := filepath.Glob("/usr/lib/jvm/*")
	if err != nil {
		homes = nil
	}
	if path, err := filepath.EvalSymlinks(findProgram("java")); err == nil {
		homes = append([]string{filepath.Dir(filepath.Dir(path))}, homes...)
	}
	for _, home := range homes {
		text, err := os.ReadFile(filepath.Join(home, "release"))
		java := filepath.Join(home, "bin", "java")
		if err == nil && bytes.Contains(text, []byte(`JAVA_VERSION="`+javaVersion)) && findProgram(java) != "" {
			return java
		}
	}
	return ""
}
