package servers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The users of a secured set.
const (
	secureUser = "app"   // may do everything that programs do
	guestUser  = "guest" // of Kafka: may log in, and nothing else
)

const (
	// secretsDir is where a secured set keeps its files, in the run folder.
	secretsDir = "secrets"
	// certificateLife is how long the set's certificates are good, which is as
	// long as its data may be kept.
	certificateLife = 10 * 365 * 24 * time.Hour
)

// Secrets are the files with which clients come into a secured set. Only the
// owner can read them. Credentials are one line, user:password.
type Secrets struct {
	CA    string // PEM, vouches for all servers
	Kafka string // credentials of SCRAM-SHA-512
	// KafkaGuest is credentials of somebody who may log in and nothing else,
	// for tests of what a refusal looks like.
	KafkaGuest string
	CQL, Redis string // credentials
	Postgres   string // one line, the password of app
}

// env returns the variables that name the files to tests.
func (s *Secrets) env(cfg Config) (lines []string) {
	for _, v := range []struct {
		wanted      bool
		name, value string
	}{
		{cfg.Kafka > 0, "KAFKA_CREDENTIALS", s.Kafka},
		{cfg.Kafka > 0, "KAFKA_GUEST_CREDENTIALS", s.KafkaGuest},
		{cfg.Kafka > 0, "KAFKA_CA", s.CA},
		{cfg.Cassandra > 0, "CQL_CREDENTIALS", s.CQL},
		{cfg.Cassandra > 0, "CQL_CA", s.CA},
		{cfg.Postgres, "POSTGRES_PASSWORD", s.Postgres},
		{cfg.Postgres, "POSTGRES_CA", s.CA},
		{cfg.Redis, "REDIS_CREDENTIALS", s.Redis},
		{cfg.Redis, "REDIS_CA", s.CA},
	} {
		if v.wanted {
			lines = append(lines, "SWITCHBOARD_TEST_"+v.name+"="+v.value)
		}
	}
	return lines
}

// seal is what makes a set a secured one.
type seal struct {
	files     Secrets
	server    string // file: key, certificate and the CA's, in PEM
	passwords map[string]string
	tls       *tls.Config // of clients
}

// password returns what a file of credentials holds behind the user's name.
func (s *seal) password(file string) string { return s.passwords[file] }

// sealed makes the secrets of a run folder, or finds those of data that was kept.
func sealed(run string) (*seal, error) {
	dir := filepath.Join(run, secretsDir)
	in := func(name string) string { return filepath.Join(dir, name) }
	s := &seal{
		files: Secrets{
			CA: in("ca.pem"), Kafka: in("kafka-credentials"), KafkaGuest: in("kafka-guest-credentials"),
			CQL: in("cql-credentials"), Redis: in("redis-credentials"), Postgres: in("postgres-password"),
		},
		server: in("server.pem"), passwords: make(map[string]string),
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make secrets: %w", err)
	}
	if err := s.findPasswords(); err != nil {
		return nil, err
	}
	roots, err := os.ReadFile(s.files.CA) // It is written last.
	if errors.Is(err, os.ErrNotExist) {
		roots, err = certify(s.files.CA, s.server)
	}
	if err != nil {
		return nil, fmt.Errorf("make secrets: %w", err)
	}
	s.tls = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	if !s.tls.RootCAs.AppendCertsFromPEM(roots) {
		return nil, fmt.Errorf("make secrets: %s holds no certificate", s.files.CA)
	}
	return s, nil
}

// findPasswords reads the passwords, and makes those that are not there.
func (s *seal) findPasswords() error {
	for file, prefix := range map[string]string{
		s.files.Kafka: secureUser + ":", s.files.KafkaGuest: guestUser + ":",
		s.files.CQL: secureUser + ":", s.files.Redis: secureUser + ":", s.files.Postgres: "",
	} {
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			text = []byte(prefix + rand.Text() + "\n")
			err = write(file, text)
		}
		if err != nil {
			return fmt.Errorf("make secrets: %w", err)
		}
		s.passwords[file] = strings.TrimPrefix(strings.TrimSpace(string(text)), prefix)
	}
	return nil
}

// certify makes a certificate for all servers of the set, and one that vouches
// for it, which it returns.
func certify(caFile, serverFile string) ([]byte, error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "switchboard dev servers CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(certificateLife),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "switchboard dev server"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"localhost"},
	}
	for _, host := range hosts {
		server.IPAddresses = append(server.IPAddresses, net.ParseIP(host))
	}
	der, err := x509.CreateCertificate(rand.Reader, server, ca, key.Public(), caKey)
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	// Java reads no other form of a key than PKCS#8.
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	caPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	if err := write(serverFile, append(text, caPEM...)); err != nil {
		return nil, err
	}
	return caPEM, write(caFile, caPEM)
}

// Secrets returns the files with which clients come in, or nil when the set is
// not secured.
func (s *Set) Secrets() *Secrets {
	if s.seal == nil {
		return nil
	}
	files := s.seal.files
	return &files
}
