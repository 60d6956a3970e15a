package cluster

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// addressesFile tells outsiders where everything is.
const addressesFile = "addresses.json"

// addresses is what addressesFile holds. Several servers of a kind are separated
// by commas, as in the flags of the programs.
type addresses struct {
	REST       []string          `json:"rest"`
	WebSocket  []string          `json:"ws"`
	Ops        map[string]string `json:"ops"` // by the name of the program
	Kafka      string            `json:"kafka"`
	CQL        string            `json:"cql"`
	Redis      string            `json:"redis"`
	Postgres   string            `json:"postgres"`
	S3         string            `json:"s3,omitempty"` // a URL
	OpenSearch string            `json:"opensearch,omitempty"`
	AuthKeys   string            `json:"auth_keys"` // file with the JWK set
	Secure     *secrets          `json:"secure,omitempty"`
}

// secrets are the files with which one comes into servers that are secured.
type secrets struct {
	CA       string `json:"ca"`
	Kafka    string `json:"kafka_credentials"`
	CQL      string `json:"cql_credentials"`
	Redis    string `json:"redis_credentials"`
	Postgres string `json:"postgres_password"`
}

// reach returns the flags with which a program reaches servers.
func (a addresses) reach(names ...string) (flags []string) {
	secret := a.Secure
	if secret == nil {
		secret = new(secrets)
	}
	for _, server := range []struct{ name, at, login, file string }{
		{"kafka", a.Kafka, "credentials", secret.Kafka},
		{"cql", a.CQL, "credentials", secret.CQL},
		{"redis", a.Redis, "credentials", secret.Redis},
		{"postgres", a.Postgres, "password", secret.Postgres},
	} {
		if !slices.Contains(names, server.name) {
			continue
		}
		flag := "-" + server.name
		flags = append(flags, flag, server.at)
		if a.Secure != nil {
			flags = append(flags, flag+"-"+server.login, server.file, flag+"-ca", secret.CA)
		}
	}
	return flags
}

// servers returns the addresses of the servers alone.
func (c *cluster) servers() addresses {
	at := func(name string) string {
		for _, line := range c.set.Env() {
			if value, ok := strings.CutPrefix(line, "SWITCHBOARD_TEST_"+name+"="); ok {
				return value
			}
		}
		return ""
	}
	all := addresses{Kafka: at("KAFKA"), CQL: at("CQL"), Redis: at("REDIS"), Postgres: at("POSTGRES"), S3: bare(at("S3")), OpenSearch: at("OPENSEARCH")}
	if s := c.set.Secrets(); s != nil {
		all.Secure = &secrets{CA: s.CA, Kafka: s.Kafka, CQL: s.CQL, Redis: s.Redis, Postgres: s.Postgres}
	}
	return all
}

func (c *cluster) addresses() addresses {
	all := c.servers()
	all.AuthKeys, all.Ops = c.keys, make(map[string]string)
	for _, p := range c.programs {
		all.Ops[p.name] = p.ops
		switch p.kind {
		case "worker":
			all.REST = append(all.REST, p.url)
		case "gateway":
			all.WebSocket = append(all.WebSocket, p.url)
		}
	}
	return all
}

// writeJSON puts a file into place, whole or not at all.
func writeJSON(path string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return replace(path, append(text, '\n'))
}

// leaveWord tells outsiders and the log of a process that was started. The pid
// file of one that died stays until then, so that outsiders who wait for another
// number can just read.
func leaveWord(run, logs, name string, pid int, log *slog.Logger) {
	if err := replace(filepath.Join(run, name+".pid"), []byte(strconv.Itoa(pid)+"\n")); err != nil {
		log.Error("a pid file is not true", "name", name, "pid", pid, "error", err)
	}
	if err := note(filepath.Join(logs, name+".log"), fmt.Sprintf("%s started, pid %d", name, pid)); err != nil {
		log.Error("a log is not complete", "name", name, "error", err)
	}
}

// replace puts a file into place, whole or not at all. What it replaces is about
// processes that run, so nobody needs it after a power cut.
func replace(path string, text []byte) error {
	fresh := path + ".new"
	err := os.WriteFile(fresh, text, 0o644) //nolint:gosec // Outsiders shall read it.
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}

// note adds a line of ours to a log that others write.
func note(path, line string) error {
	return appendTo(path, fmt.Appendf(nil, "--- %s %s\n", time.Now().UTC().Format(time.RFC3339Nano), line))
}

func appendTo(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("write a log: %w", err)
	}
	_, err = f.Write(text)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("write a log: %w", err)
	}
	return nil
}
