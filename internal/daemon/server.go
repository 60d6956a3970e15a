package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"strings"
)

const (
	// secretLimit bounds what a file of credentials holds: whoever names a disk
	// image by mistake shall hear of it.
	secretLimit = 64 << 10
	// systemRoots, in place of a file, are the certificates that the host trusts.
	systemRoots = "system"
)

// Server is a kind of server that the program talks to, as its flags describe it:
//
//	-NAME HOST:PORT,…        where it is
//	-NAME-credentials FILE   who we are: one line, user:password; without it, nobody
//	-NAME-ca FILE            TLS, and who vouches for its certificate; without it, no TLS
//
// Ask it after Parse. Login and TLS read the files each time that they are called.
type Server struct {
	name        string
	addrs       *[]string
	credentials string
	ca          authority
}

// Server adds the three flags of a kind of server. manual is that of -NAME.
func (f *Flags) Server(name, manual string) *Server {
	s := &Server{name: name, addrs: f.List(name, manual)}
	f.StringVar(&s.credentials, name+"-credentials", "", "`FILE` with one line, user:password, for -"+name+"; empty: no authentication")
	s.ca.define(f, name)
	return s
}

// Addrs returns where the server is.
func (s *Server) Addrs() []string { return *s.addrs }

// Given reports whether there is any address.
func (s *Server) Given() bool { return len(*s.addrs) > 0 }

// Login returns what the file of credentials holds, and nothing when the flag is
// not given. A file that cannot be used is a usage error; its text is never in it.
func (s *Server) Login() (user, password string, err error) {
	if s.credentials == "" {
		return "", "", nil
	}
	flagName := s.name + "-credentials"
	line, err := secret(flagName, s.credentials)
	if err != nil {
		return "", "", err
	}
	user, password, ok := strings.Cut(line, ":")
	if !ok || user == "" || password == "" {
		return "", "", Usagef("-%s: %s: want one line, user:password", flagName, s.credentials)
	}
	return user, password, nil
}

// TLS returns how to encrypt connections, or nil when that is not asked for. The
// server's name is verified; whoever connects sets which name that is.
func (s *Server) TLS() (*tls.Config, error) { return s.ca.config() }

// Access is all that it takes to talk to a kind of server.
type Access struct {
	Addrs          []string
	User, Password string      // empty: no authentication
	TLS            *tls.Config // nil: no TLS
}

// Access returns what the three flags say together.
func (s *Server) Access() (Access, error) {
	user, password, err := s.Login()
	if err != nil {
		return Access{}, err
	}
	encryption, err := s.TLS()
	if err != nil {
		return Access{}, err
	}
	return Access{Addrs: s.Addrs(), User: user, Password: password, TLS: encryption}, nil
}

// Postgres is PostgreSQL as the program's flags describe it:
//
//	-postgres URL             where it is, and as whom we come
//	-postgres-password FILE   one line, the password
//	-postgres-ca FILE         TLS, and who vouches for the server's certificate
//
// A URL is seen by everybody who lists processes, so it may hold no password.
type Postgres struct {
	url      string
	password string
	ca       authority
}

// Postgres adds the three flags of PostgreSQL. manual is that of -postgres.
func (f *Flags) Postgres(manual string) *Postgres {
	p := new(Postgres)
	f.StringVar(&p.url, "postgres", "", manual)
	f.StringVar(&p.password, "postgres-password", "", "`FILE` with one line, the password for -postgres; empty: none")
	p.ca.define(f, "postgres")
	return p
}

// Given reports whether there is a URL.
func (p *Postgres) Given() bool { return p.url != "" }

// URL returns the URL. One that cannot be read, or that holds a password, is a
// usage error that does not repeat it.
func (p *Postgres) URL() (string, error) {
	if p.url == "" {
		return "", nil
	}
	u, err := url.Parse(p.url)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return "", Usagef("-postgres: want a URL, postgres://user@host:port/database")
	}
	if _, given := u.User.Password(); given || u.Query().Has("password") {
		return "", Usagef("-postgres: the URL holds a password, which every user of this host can see; use -postgres-password FILE")
	}
	if u.Query().Has("sslpassword") {
		return "", Usagef("-postgres: the URL holds an sslpassword, which every user of this host can see; use a key without one, in a file that only the service may read")
	}
	return p.url, nil
}

// Password returns what the file holds, and nothing when the flag is not given.
// A file that cannot be used is a usage error.
func (p *Postgres) Password() (string, error) {
	if p.password == "" {
		return "", nil
	}
	return secret("postgres-password", p.password)
}

// TLS returns how to encrypt connections, or nil when that is left to the URL's
// sslmode. It means what sslmode=verify-full does, whatever the URL says.
func (p *Postgres) TLS() (*tls.Config, error) { return p.ca.config() }

// PostgresAccess is all that it takes to talk to PostgreSQL.
type PostgresAccess struct {
	URL      string      // empty: not given
	Password string      // empty: none is given
	TLS      *tls.Config // nil: what the URL says
}

// Access returns what the three flags say together.
func (p *Postgres) Access() (PostgresAccess, error) {
	at, err := p.URL()
	if err != nil {
		return PostgresAccess{}, err
	}
	password, err := p.Password()
	if err != nil {
		return PostgresAccess{}, err
	}
	encryption, err := p.TLS()
	if err != nil {
		return PostgresAccess{}, err
	}
	return PostgresAccess{URL: at, Password: password, TLS: encryption}, nil
}

// authority is a -NAME-ca flag.
type authority struct{ flagName, file string }

func (a *authority) define(f *Flags, name string) {
	a.flagName = name + "-ca"
	f.StringVar(&a.file, a.flagName, "", "`FILE` with the PEM certificates that vouch for -"+name+", or system for those of this host;\nempty: no TLS")
}

// config returns a configuration with the certificates of the file. Whatever is
// wrong with that is a usage error.
func (a *authority) config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	switch a.file {
	case "":
		return nil, nil
	case systemRoots:
		return config, nil // That is what no roots mean.
	}
	text, err := os.ReadFile(a.file)
	if err != nil {
		return nil, Usagef("-%s: %v", a.flagName, err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(text) {
		return nil, Usagef("-%s: %s: no PEM certificate in it", a.flagName, a.file)
	}
	return config, nil
}

// secret reads a file of one line that nobody but the server shall see.
func secret(flagName, file string) (string, error) {
	text, err := readLine(file)
	if err != nil {
		return "", Usagef("-%s: %v", flagName, err)
	}
	return text, nil
}

func readLine(file string) (string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	if info.Size() > secretLimit {
		return "", fmt.Errorf("%s: %d bytes are no line", file, info.Size())
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	line := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	switch {
	case line == "":
		return "", fmt.Errorf("%s: it is empty", file)
	case strings.ContainsAny(line, "\r\n"):
		return "", fmt.Errorf("%s: want one line", file)
	}
	return line, nil
}
