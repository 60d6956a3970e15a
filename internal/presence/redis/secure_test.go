package redis_test

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"strings"
	"testing"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/daemon"
	"switchboard/internal/presence"
	"switchboard/internal/presence/presencetest"
	"switchboard/internal/presence/redis"
)

// These are environment variables with files, for the server that
// SWITCHBOARD_TEST_REDIS names: one line, user:password, and who vouches for its
// certificate.
const (
	credentials = "SWITCHBOARD_TEST_REDIS_CREDENTIALS"
	authority   = "SWITCHBOARD_TEST_REDIS_CA"
)

// secured returns how to come in, read by the flags that the programs have.
func secured(t *testing.T) redis.Config {
	t.Helper()
	if os.Getenv(credentials) == "" {
		t.Skipf("%s is not set: no secured Redis to test with", credentials)
	}
	flags := daemon.NewFlags("test", "")
	server := flags.Server("redis", "Redis")
	err := flags.Parse([]string{
		"-redis", os.Getenv("SWITCHBOARD_TEST_REDIS"), "-redis-credentials", os.Getenv(credentials), "-redis-ca", os.Getenv(authority),
	})
	if err != nil {
		t.Fatal(err)
	}
	at, err := server.Access()
	if err != nil {
		t.Fatal(err)
	}
	return redis.Config{Addrs: at.Addrs, Username: at.User, Password: at.Password, TLS: at.TLS}
}

func openAs(t *testing.T, c redis.Config) *redis.Directory {
	t.Helper()
	d, err := redis.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return d
}

func TestDirectoryOnSecuredRedis(t *testing.T) {
	c := secured(t)
	presencetest.Run(t, func(t *testing.T) presencetest.Backend {
		d := openAs(t, c)
		return presencetest.Backend{Directory: d, Sightings: d, Notices: d, Wrecks: d, Advance: time.Sleep}
	})
}

func TestChannelOnSecuredRedis(t *testing.T) {
	c := secured(t)
	presencetest.RunChannel(t, func(t *testing.T) presence.Channel { return openChannelAs(t, c) })
}

// Whoever is not let in learns why, in one line.
func TestSecuredRedisSaysWhyItRefuses(t *testing.T) {
	good := secured(t)
	for _, tt := range []struct {
		name  string
		spoil func(*redis.Config)
		want  string
	}{
		{"wrong password", func(c *redis.Config) { c.Password = "wrong" }, "WRONGPASS"},
		{"unknown user", func(c *redis.Config) { c.Username = "nobody" }, "WRONGPASS"},
		{"no password", func(c *redis.Config) { c.Username, c.Password = "", "" }, "NOAUTH"},
		{"unknown authority", func(c *redis.Config) { c.TLS = &tls.Config{RootCAs: x509.NewCertPool()} }, "unknown authority"},
		{"another name", func(c *redis.Config) { c.TLS = c.TLS.Clone(); c.TLS.ServerName = "redis.example" }, "not redis.example"},
		{"no TLS", func(c *redis.Config) { c.TLS = nil }, "does it expect TLS?"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := good
			tt.spoil(&c)
			_, err := openAs(t, c).Where(t.Context(), []chat.UserID{{}})
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one line with %q", err, tt.want)
			}
		})
	}
}
