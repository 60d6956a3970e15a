package servers

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"text/template"
	"time"
)

//go:embed config
var config embed.FS

// render fills in one of the files in config.
func render(name string, values any) ([]byte, error) {
	t, err := template.ParseFS(config, "config/"+name)
	if err != nil {
		return nil, fmt.Errorf("configure: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, values); err != nil {
		return nil, fmt.Errorf("configure: %w", err)
	}
	return b.Bytes(), nil
}

// cache is the folder of downloads; whoever uses it holds its lock.
type cache struct {
	dir string
	log *slog.Logger
}

// stamp is written last: the jars beside it are complete and of this pom.
const stamp = "stamp"

// stale reports whether Maven has to run for cfg.
func (c *cache) stale(cfg Config) bool {
	return cfg.Kafka > 0 && !c.fresh("kafka", kafkaJars) || cfg.Cassandra > 0 && !c.fresh("cassandra", cassandraJars) ||
		cfg.OpenSearch && !(c.fresh("opensearch", opensearchJars) && c.fresh("opensearch-http", opensearchHTTPJars))
}

func (c *cache) fresh(name string, jars []jar) bool {
	pom, err := render("pom.xml", jars)
	if err != nil {
		return false
	}
	text, err := os.ReadFile(filepath.Join(c.dir, name, stamp))
	return err == nil && bytes.Equal(text, pom)
}

// jars returns the folder with jars and all that they need. Maven takes three
// seconds to find out that nothing is to be done, so it is asked only if the
// stamp says something else than the pom.
func (c *cache) jars(ctx context.Context, name string, jars []jar) (string, error) {
	dir := filepath.Join(c.dir, name)
	libs := filepath.Join(dir, "libs")
	if c.fresh(name, jars) {
		return libs, nil
	}
	begun := time.Now()
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("fetch %s: %w", name, err)
	}
	pom, err := render("pom.xml", jars)
	if err == nil {
		err = errors.Join(os.MkdirAll(dir, 0o755), write(filepath.Join(dir, "pom.xml"), pom))
	}
	if err == nil {
		c.log.Info("fetch", "server", name)
		err = run(ctx, dir, "mvn", "-q", "-B", "-Dmaven.repo.local="+filepath.Join(c.dir, "repository"),
			copyPlugin+":copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory="+libs)
	}
	if err == nil {
		err = write(filepath.Join(dir, stamp), pom)
	}
	if err != nil {
		return "", fmt.Errorf("fetch %s: %w", name, err)
	}
	c.log.Info("fetched", "server", name, "took", time.Since(begun).Round(time.Millisecond))
	return libs, nil
}

// kafkaCheckpoint formats a data folder for its bootstrap checkpoint: the
// version of Kafka's metadata, the same for every broker. With it a folder is
// formatted by writing two small files, which saves a JVM for each broker.
func (c *cache) kafkaCheckpoint(ctx context.Context, found *software) (string, error) {
	dir := filepath.Join(c.dir, "kafka", "formatted")
	path := filepath.Join(dir, checkpointFile)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	// Formatting is not one step, so it happens elsewhere.
	fresh := dir + ".new"
	properties := dir + ".properties"
	if err := os.RemoveAll(fresh); err != nil {
		return "", fmt.Errorf("format Kafka's folder: %w", err)
	}
	text, err := render("kafka.properties", kafkaProperties{
		ID: 1, Voters: "1@127.0.0.1:2", Port: 1, ControllerPort: 2, Brokers: 1, InSync: 1, Data: fresh,
	})
	if err == nil {
		err = write(properties, text)
	}
	if err == nil {
		err = run(ctx, c.dir, found.java, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", filepath.Join(found.kafka, "*"),
			"kafka.tools.StorageTool", "format", "-t", kafkaID(), "-c", properties)
	}
	if err == nil {
		err = os.Rename(fresh, dir)
	}
	if err != nil {
		return "", fmt.Errorf("format Kafka's folder: %w", err)
	}
	return path, nil
}
