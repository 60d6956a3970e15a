package daemon

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"switchboard/internal/certtest"
)

// file returns the name of a new file with that text.
func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// wantUsage fails unless err ends a program with status 2, in one line that says
// what is wanted and not what is secret.
func wantUsage(t *testing.T, err error, want, secret string) {
	t.Helper()
	if err == nil || !hopeless(err) {
		t.Fatalf("got %v, want a usage error", err)
	}
	text := err.Error()
	if !strings.Contains(text, want) || strings.Contains(text, "\n") {
		t.Errorf("got %q, want one line with %q", text, want)
	}
	if secret != "" && strings.Contains(text, secret) {
		t.Errorf("%q gives the secret away", text)
	}
}

func TestServerOfTheEnvironment(t *testing.T) {
	f := testFlags(map[string]string{
		"SWITCHBOARD_KAFKA":             "a:9092,b:9092",
		"SWITCHBOARD_KAFKA_CREDENTIALS": file(t, "app:pa:ss word\n"),
		"SWITCHBOARD_KAFKA_CA":          file(t, string(certtest.SelfSigned(t))),
	})
	kafka, redis := f.Server("kafka", "brokers"), f.Server("redis", "Redis")
	if err := f.Parse(nil); err != nil {
		t.Fatal(err)
	}
	if want := []string{"a:9092", "b:9092"}; !kafka.Given() || !slices.Equal(kafka.Addrs(), want) {
		t.Errorf("addresses: got %q, want %q", kafka.Addrs(), want)
	}
	// The first colon divides: a password may hold others.
	if user, password, err := kafka.Login(); user != "app" || password != "pa:ss word" || err != nil {
		t.Errorf("login: got %q, %q, %v", user, password, err)
	}
	c, err := kafka.TLS()
	if err != nil || c == nil || c.RootCAs == nil || c.InsecureSkipVerify || c.MinVersion < tls.VersionTLS12 {
		t.Errorf("TLS: got %+v, %v; want verification by the file's certificate", c, err)
	}
	access, err := kafka.Access()
	if err != nil || len(access.Addrs) != 2 || access.User != "app" || access.Password != "pa:ss word" || access.TLS == nil {
		t.Errorf("access: got %+v, %v; want what each flag says", access, err)
	}
	user, password, err := redis.Login()
	plain, tlsErr := redis.TLS()
	if redis.Given() || user != "" || password != "" || err != nil || plain != nil || tlsErr != nil {
		t.Errorf("without flags: got %q %q %v %v %v, want nothing", user, password, err, plain, tlsErr)
	}
}

func TestSystemMeansTheHostsRoots(t *testing.T) {
	f := testFlags(nil)
	cql := f.Server("cql", "Cassandra")
	if err := f.Parse([]string{"-cql", "a:9042", "-cql-ca", "system"}); err != nil {
		t.Fatal(err)
	}
	if c, err := cql.TLS(); err != nil || c == nil || c.RootCAs != nil || c.InsecureSkipVerify {
		t.Errorf("got %+v, %v; want verification by the host's roots", c, err)
	}
}

func TestUnusableFilesOfAServer(t *testing.T) {
	absent := filepath.Join(t.TempDir(), "absent")
	for _, tt := range []struct{ name, flag, file, want string }{
		{"no file", "-kafka-credentials", absent, "no such file"},
		{"a folder", "-kafka-credentials", t.TempDir(), "is a directory"},
		{"empty", "-kafka-credentials", file(t, ""), "empty"},
		{"only an end of line", "-kafka-credentials", file(t, "\n"), "empty"},
		{"no colon", "-kafka-credentials", file(t, "s3cret\n"), "user:password"},
		{"no user", "-kafka-credentials", file(t, ":s3cret"), "user:password"},
		{"no password", "-kafka-credentials", file(t, "s3cret:\n"), "user:password"},
		{"two lines", "-kafka-credentials", file(t, "app:s3cret\nb:c\n"), "one line"},
		{"a disk", "-kafka-credentials", file(t, strings.Repeat("s3cret:", secretLimit)), "bytes"},
		{"no CA file", "-kafka-ca", absent, "no such file"},
		{"no certificate in it", "-kafka-ca", file(t, "s3cret"), "no PEM certificate"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := testFlags(nil)
			kafka := f.Server("kafka", "brokers")
			if err := f.Parse([]string{tt.flag, tt.file}); err != nil {
				t.Fatal(err)
			}
			_, err := kafka.Access()
			wantUsage(t, err, tt.want, "s3cret")
			if !strings.HasPrefix(err.Error(), tt.flag+": ") {
				t.Errorf("%q does not begin with the flag", err)
			}
		})
	}
}

func TestPostgres(t *testing.T) {
	f := testFlags(map[string]string{"SWITCHBOARD_POSTGRES_PASSWORD": file(t, "a:b\n")})
	postgres := f.Postgres("`URL` of PostgreSQL")
	const at = "postgres://app@db:5432/chat?sslmode=disable"
	if err := f.Parse([]string{"-postgres", at, "-postgres-ca", file(t, string(certtest.SelfSigned(t)))}); err != nil {
		t.Fatal(err)
	}
	if got, err := postgres.URL(); got != at || err != nil || !postgres.Given() {
		t.Errorf("URL: got %q, %v", got, err)
	}
	if got, err := postgres.Password(); got != "a:b" || err != nil {
		t.Errorf("password: got %q, %v", got, err)
	}
	if c, err := postgres.TLS(); err != nil || c == nil || c.RootCAs == nil {
		t.Errorf("TLS: got %+v, %v", c, err)
	}
	if got, err := postgres.Access(); err != nil || got.URL != at || got.Password != "a:b" || got.TLS == nil {
		t.Errorf("access: got %+v, %v", got, err)
	}
}

func TestPostgresNotGiven(t *testing.T) {
	f := testFlags(nil)
	postgres := f.Postgres("`URL` of PostgreSQL")
	if err := f.Parse(nil); err != nil {
		t.Fatal(err)
	}
	at, err := postgres.URL()
	password, passwordErr := postgres.Password()
	c, tlsErr := postgres.TLS()
	if postgres.Given() || at != "" || err != nil || password != "" || passwordErr != nil || c != nil || tlsErr != nil {
		t.Errorf("got %q %v %q %v %v %v, want nothing", at, err, password, passwordErr, c, tlsErr)
	}
}

func TestUnusablePostgres(t *testing.T) {
	for _, tt := range []struct{ name, flag, value, want string }{
		{"a password in the URL", "-postgres", "postgres://app:s3cret@db/chat", "-postgres-password"},
		{"a password as a parameter", "-postgres", "postgres://app@db/chat?password=s3cret", "-postgres-password"},
		{"the password of a key", "-postgres", "postgres://app@db/chat?sslkey=key.pem&sslpassword=s3cret", "sslpassword"},
		{"no URL", "-postgres", "host=db password=s3cret", "postgres://"},
		{"a broken URL", "-postgres", "postgres://app:s3cret@db:port%zz", "postgres://"},
		{"empty password file", "-postgres-password", file(t, ""), "empty"},
		{"no certificate", "-postgres-ca", file(t, "s3cret"), "no PEM certificate"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := testFlags(nil)
			postgres := f.Postgres("`URL` of PostgreSQL")
			if err := f.Parse([]string{tt.flag, tt.value}); err != nil {
				t.Fatal(err)
			}
			_, err := postgres.URL()
			if err == nil {
				_, err = postgres.Password()
			}
			if err == nil {
				_, err = postgres.TLS()
			}
			wantUsage(t, err, tt.want, "s3cret")
			_, err = postgres.Access()
			wantUsage(t, err, tt.want, "s3cret")
		})
	}
}
