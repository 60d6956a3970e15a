package servers

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl/scram"
)

func TestSecretsAreForTheirOwnerAndStay(t *testing.T) {
	run := t.TempDir()
	s, err := sealed(run)
	if err != nil {
		t.Fatal(err)
	}
	again, err := sealed(run)
	if err != nil {
		t.Fatal(err)
	}
	if s.files != again.files || !slices.Equal(values(s), values(again)) || !s.tls.RootCAs.Equal(again.tls.RootCAs) {
		t.Error("the secrets of kept data are others at the next start")
	}
	passwords := values(s)
	slices.Sort(passwords)
	if len(slices.Compact(passwords)) != 5 {
		t.Errorf("two servers share one of the passwords %q", passwords)
	}
	for file, user := range map[string]string{
		s.files.Kafka: "app:", s.files.KafkaGuest: "guest:", s.files.CQL: "app:", s.files.Redis: "app:", s.files.Postgres: "",
		s.files.CA: "-----BEGIN CERTIFICATE-----", s.server: "-----BEGIN PRIVATE KEY-----",
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(text), user) {
			t.Errorf("%s does not begin with %q", filepath.Base(file), user)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v; want 0600", filepath.Base(file), info.Mode(), err)
		}
	}
}

func values(s *seal) (all []string) {
	for _, file := range []string{s.files.Kafka, s.files.KafkaGuest, s.files.CQL, s.files.Redis, s.files.Postgres} {
		all = append(all, s.password(file))
	}
	return all
}

// Java and OpenSSL read the same file; clients reach all addresses by it.
func TestTheCertificateIsGoodForEveryAddress(t *testing.T) {
	s, err := sealed(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(s.server, s.server)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range append(hosts[:], "localhost") {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: s.tls.RootCAs}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: "kafka.example", Roots: s.tls.RootCAs}); err == nil {
		t.Error("the certificate is good for any name")
	}
	text, err := os.ReadFile(s.server)
	if err != nil {
		t.Fatal(err)
	}
	if block, _ := pem.Decode(text); block == nil || block.Type != "PRIVATE KEY" {
		t.Error("the key is not in PKCS#8, the one form that Java reads")
	}
}

func TestOnlyTheSecretsOfServersThatRunAreExported(t *testing.T) {
	got := (&Secrets{CA: "ca", Redis: "r"}).env(Config{Redis: true})
	want := []string{"SWITCHBOARD_TEST_REDIS_CREDENTIALS=r", "SWITCHBOARD_TEST_REDIS_CA=ca"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Three of each: what holds the users is held by all, so that the loss of one
// locks nobody out.
func TestSecuredClustersLetInWithoutOneNode(t *testing.T) {
	needServers(t)
	s, _ := begin(t, Config{Kafka: 3, Cassandra: 3, Secure: true})
	addrs := strings.Split(variable(t, s, "CQL"), ",")
	if err := s.Kill("cassandra-1"); err != nil {
		t.Fatal(err)
	}
	if err := s.Kill("kafka-1"); err != nil {
		t.Fatal(err)
	}
	ours := cqlLogin{tls: s.seal.tls, user: secureUser, password: s.seal.password(s.seal.files.CQL)}
	for _, addr := range addrs[1:] {
		if err := askCassandra(t.Context(), addr, 3, false, ours); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
		for name, login := range map[string]cqlLogin{
			"the password that everybody knows": {tls: s.seal.tls, user: firstCassandraUser, password: firstCassandraUser},
			"a wrong password":                  {tls: s.seal.tls, user: secureUser, password: "wrong"},
			"no password":                       {tls: s.seal.tls},
			"no TLS":                            {user: ours.user, password: ours.password},
		} {
			if err := askCassandra(t.Context(), addr, 3, false, login); err == nil {
				t.Errorf("%s lets in %s", addr, name)
			}
		}
	}
	for name, login := range map[string]struct {
		password string
		config   *tls.Config
		in       bool
	}{
		"app":              {s.seal.password(s.seal.files.Kafka), s.seal.tls, true},
		"a wrong password": {"wrong", s.seal.tls, false},
		"no TLS":           {s.seal.password(s.seal.files.Kafka), nil, false},
	} {
		if err := askSecuredKafka(t, variable(t, s, "KAFKA"), login.password, login.config); (err == nil) != login.in {
			t.Errorf("%s: let in is %v, want %v: %v", name, err == nil, login.in, err)
		}
	}
	for _, name := range []string{"cassandra-1", "kafka-1"} {
		if err := s.Restart(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
}

// askSecuredKafka makes a topic as somebody who works there.
func askSecuredKafka(t *testing.T, addrs, password string, config *tls.Config) error {
	t.Helper()
	mechanism, err := scram.Mechanism(scram.SHA512, secureUser, password)
	if err != nil {
		t.Fatal(err)
	}
	others := kafka.TCP(strings.Split(addrs, ",")[1:]...)
	var last error
	if poll(t.Context(), attempt, func() bool {
		transport := &kafka.Transport{SASL: mechanism, TLS: config}
		defer transport.CloseIdleConnections()
		client := &kafka.Client{Addr: others, Transport: transport, Timeout: attempt}
		made, err := client.CreateTopics(t.Context(), &kafka.CreateTopicsRequest{
			Topics: []kafka.TopicConfig{{Topic: "t", NumPartitions: 1, ReplicationFactor: 2}},
		})
		if err == nil {
			err = made.Errors["t"]
		}
		last = err
		return err == nil
	}) {
		return nil
	}
	return last
}

// Kept data is opened by the same passwords, and by none that is not secured.
func TestSecuredSetFindsDataAgain(t *testing.T) {
	needServers(t)
	cfg := Config{Run: t.TempDir(), Kafka: 1, Cassandra: 1, Redis: true, Postgres: true, Secure: true}
	var env []string
	for life := range 2 {
		s := startKept(t, cfg)
		if life == 0 {
			env = s.Env()
		}
		if got := s.Env(); !slices.Equal(got, env) {
			t.Errorf("life %d has %v, the first had %v", life, got, env)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	open := cfg
	open.Cache, open.Keep, open.Secure = cacheDir(t), true, false
	if _, err := Start(t.Context(), open); err == nil || !strings.Contains(err.Error(), "secured") {
		t.Errorf("secured data is opened by servers that are not: %v", err)
	}
}
