package system

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"switchboard/dev/soak"
)

// Servers with passwords and TLS: people talk, each of the programs and servers
// dies once, and whoever comes with a wrong password is told so and stays outside.
func TestSecuredCluster(t *testing.T) {
	c := newCluster(t, "-gateways=1", "-routers=1", "-workers=1", "-secure")
	t.Run("wrong passwords", c.wrongPasswords)
	const seed = 1
	judge(t, soak.Config{
		Site: c.Site, Seed: seed, People: 16, Rate: 20, Moves: time.Second,
		Warm: 5 * time.Second, Faults: hurried(c.Faults(seed)),
	})
}

// secured is what addresses.json says of servers that are secured.
type secured struct {
	Kafka, CQL, Redis, Postgres, S3 string

	AuthKeys string `json:"auth_keys"`
	Secure   struct {
		CA       string `json:"ca"`
		Kafka    string `json:"kafka_credentials"`
		CQL      string `json:"cql_credentials"`
		Redis    string `json:"redis_credentials"`
		Postgres string `json:"postgres_password"`
	}
}

// flags returns how a program reaches its servers.
func (s *secured) flags(servers ...string) (flags []string) {
	for _, name := range servers {
		switch name {
		case "kafka":
			flags = append(flags, "-kafka", s.Kafka, "-kafka-credentials", s.Secure.Kafka, "-kafka-ca", s.Secure.CA)
		case "cql":
			flags = append(flags, "-cql", s.CQL, "-cql-credentials", s.Secure.CQL, "-cql-ca", s.Secure.CA)
		case "redis":
			flags = append(flags, "-redis", s.Redis, "-redis-credentials", s.Secure.Redis, "-redis-ca", s.Secure.CA)
		case "postgres":
			flags = append(flags, "-postgres", s.Postgres, "-postgres-password", s.Secure.Postgres, "-postgres-ca", s.Secure.CA)
		}
	}
	return append(flags, "-replication", "1")
}

// wrongPasswords starts each program beside the cluster's with one password that
// is wrong.
func (c *cluster) wrongPasswords(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(c.data, "run", "addresses.json"))
	if err != nil {
		t.Fatal(err)
	}
	var right secured
	if err := json.Unmarshal(text, &right); err != nil {
		t.Fatal(err)
	}
	wrong := filepath.Join(t.TempDir(), "credentials")
	for _, s := range []struct {
		name, program string
		flag          string // that is wrong
		part          string // of /readyz
		needs         []string
		file          string
		args          []string
	}{
		{"gateway and Kafka", "gateway", "-kafka-credentials", "kafka", []string{"kafka", "redis"}, right.Secure.Kafka, []string{"-server", "gw-9", "-auth-keys", right.AuthKeys, "-listen", "127.0.0.1:0"}},
		{"router and Redis", "router", "-redis-credentials", "redis", []string{"kafka", "redis"}, right.Secure.Redis, nil},
		{"worker and Cassandra", "storage-worker", "-cql-credentials", "archive", []string{"kafka", "cql"}, right.Secure.CQL, []string{"-archive", "", "-server", "rest-9", "-auth-keys", right.AuthKeys, "-listen", "127.0.0.1:0"}},
		{"projection and PostgreSQL", "storage-worker", "-postgres-password", "projection", []string{"kafka", "cql", "postgres"}, right.Secure.Postgres, []string{"-archive", "", "-serve", "projection"}},
	} {
		t.Run(s.name, func(t *testing.T) {
			login, err := os.ReadFile(s.file)
			if err != nil {
				t.Fatal(err)
			}
			text := "never-the-password\n"
			if user, _, named := strings.Cut(string(login), ":"); named { // PostgreSQL has the user in its URL.
				text = user + ":" + text
			}
			if err := os.WriteFile(wrong, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			args := append(right.flags(s.needs...), s.flag, wrong)
			c.outsider(t, s.program, s.part, append(args, s.args...))
		})
	}
}

// outsider runs a program whose password for a server is wrong, until it has said
// so: that it will try again, and it is not ready meanwhile.
func (c *cluster) outsider(t *testing.T, program, part string, args []string) {
	t.Helper()
	ops := freePorts(t, 1)[0]
	said := blankScreen()
	p := exec.Command(filepath.Join(c.data, "bin", program), append(args, "-ops-listen", ops)...)
	p.Stderr = said
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	defer func() { _ = p.Process.Kill() }() // it has ended by now, unless the test failed
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !complains(said.String()) {
		select {
		case <-said.more:
		case err := <-ended:
			t.Fatalf("it ended with %v:\n%s", err, said)
		case <-ctx.Done():
			t.Fatalf("it does not say what is wrong:\n%s", said)
		}
	}
	status, body := readiness(ctx, ops)
	if status != http.StatusServiceUnavailable || !strings.Contains(body, part+": ") {
		t.Errorf("/readyz: %d %q, want 503 and a line about %s", status, body, part)
	}
	if strings.Contains(said.String(), "never-the-password") {
		t.Errorf("it told the password:\n%s", said)
	}
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v, want a drain:\n%s", err, said)
	}
	t.Logf("%s said:\n%s", program, said)
}

// complains reports whether a line says that a login failed and that it will be
// tried again.
func complains(text string) bool {
	for line := range strings.Lines(text) {
		if !strings.Contains(line, "will try again") {
			continue
		}
		for _, word := range []string{"password", "credentials", "authentication"} {
			if strings.Contains(strings.ToLower(line), word) {
				return true
			}
		}
	}
	return false
}

// readiness asks /readyz; the status is 0 when nobody answers.
func readiness(ctx context.Context, ops string) (status int, body string) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+ops+"/readyz", nil)
	if err != nil {
		return 0, err.Error()
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(text)
}
