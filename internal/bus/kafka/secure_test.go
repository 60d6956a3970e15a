package kafka_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/bus/bustest"
	"switchboard/internal/bus/embedded"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/daemon"
)

// These are environment variables with files, for the brokers that
// SWITCHBOARD_TEST_KAFKA names: who may work on them, who may only log in, and
// who vouches for their certificates.
const (
	credentials = "SWITCHBOARD_TEST_KAFKA_CREDENTIALS"
	guest       = "SWITCHBOARD_TEST_KAFKA_GUEST_CREDENTIALS"
	authority   = "SWITCHBOARD_TEST_KAFKA_CA"
)

// secured returns how to come in as one of them, read by the flags that the
// programs have.
func secured(t *testing.T, login string) kafka.Config {
	t.Helper()
	if os.Getenv(login) == "" {
		t.Skipf("%s is not set: no secured Kafka to test with", login)
	}
	flags := daemon.NewFlags("test", "")
	server := flags.Server("kafka", "brokers")
	err := flags.Parse([]string{
		"-kafka", os.Getenv("SWITCHBOARD_TEST_KAFKA"), "-kafka-credentials", os.Getenv(login), "-kafka-ca", os.Getenv(authority),
	})
	if err != nil {
		t.Fatal(err)
	}
	at, err := server.Access()
	if err != nil {
		t.Fatal(err)
	}
	return kafka.Config{
		Brokers: at.Addrs, Username: at.User, Password: at.Password, TLS: at.TLS,
		ClientID: t.Name(), Log: slog.New(slog.DiscardHandler),
	}
}

func openAs(t *testing.T, c kafka.Config) *kafka.Client {
	t.Helper()
	client := kafka.Open(c)
	t.Cleanup(client.Close)
	return client
}

// TestSecuredKafka holds the client to the suite on brokers that want TLS, a
// password, and permission for everything.
func TestSecuredKafka(t *testing.T) {
	client := openAs(t, secured(t, credentials))
	bustest.Run(t, func(t *testing.T) *bustest.Bus { return suite(client, 1) })
}

// Whoever is not let in learns why, in one line.
func TestSecuredKafkaSaysWhyItRefuses(t *testing.T) {
	good := secured(t, credentials)
	for _, tt := range []struct {
		name  string
		spoil func(*kafka.Config)
		want  string
	}{
		{"wrong password", func(c *kafka.Config) { c.Password = "wrong" }, "refuse the user or the password"},
		{"unknown user", func(c *kafka.Config) { c.Username = "nobody" }, "refuse the user or the password"},
		{"forbidden letters", func(c *kafka.Config) { c.Password = "bell\a" }, "prepare the user's name and password"},
		{"no password", func(c *kafka.Config) { c.Username = "" }, "does it expect a user and a password?"},
		{"unknown authority", func(c *kafka.Config) { c.TLS = &tls.Config{RootCAs: x509.NewCertPool()} }, "unknown authority"},
		{"another name", func(c *kafka.Config) { c.TLS = c.TLS.Clone(); c.TLS.ServerName = "kafka.example" }, "not kafka.example"},
		{"no TLS", func(c *kafka.Config) { c.TLS = nil }, "expecting TLS"},
		{"nothing", func(c *kafka.Config) { c.TLS, c.Username = nil, "" }, "expecting TLS"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := good
			tt.spoil(&c)
			_, err := openAs(t, c).Admin().Partitions(t.Context(), "t")
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one line with %q", err, tt.want)
			}
		})
	}
}

// Who may log in and nothing else is told of which topic and which group.
func TestSecuredKafkaNamesWhatIsForbidden(t *testing.T) {
	client := openAs(t, secured(t, credentials))
	topic := "secured-" + strings.ToLower(strings.ReplaceAll(time.Now().Format("150405.000000"), ".", "-"))
	ensure(t, client, topic, 1)
	stranger := openAs(t, secured(t, guest))
	for _, name := range []string{topic, topic + "-that-is-not-there"} {
		_, err := stranger.Admin().Partitions(t.Context(), name)
		if err == nil || !strings.Contains(err.Error(), "see topic "+name+": ") || !strings.Contains(err.Error(), "Authorization") {
			t.Errorf("partitions of %s: got %v, want a refusal that names it", name, err)
		}
	}
	_, err := stranger.Admin().Ensure(t.Context(), []bus.Topic{{Name: topic + "-new", Partitions: 1}}, 1)
	if err == nil || !strings.Contains(err.Error(), topic+"-new") || !strings.Contains(err.Error(), "Authorization") {
		t.Errorf("create: got %v, want a refusal that names the topic", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, _, err := stranger.Lock(ctx, topic+"-lock", "test", func(string) {}); err == nil || !strings.Contains(err.Error(), topic+"-lock") {
		t.Errorf("lock: got %v, want a refusal that names the group", err)
	}
}

// A client that expects TLS says so of a broker that has none.
func TestABrokerWithoutTLS(t *testing.T) {
	cluster, err := embedded.Start(embedded.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	client := kafka.Open(kafka.Config{
		Brokers: []string{cluster.Addr()}, TLS: &tls.Config{MinVersion: tls.VersionTLS12}, Log: slog.New(slog.DiscardHandler),
	})
	defer client.Close()
	_, err = client.Admin().Partitions(t.Context(), "t")
	if err == nil || !strings.Contains(err.Error(), "make TLS with broker "+cluster.Addr()) {
		t.Errorf("got %v, want the broker that makes no TLS", err)
	}
}
