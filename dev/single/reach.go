package single

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"

	"switchboard/web"
)

// everywhere reports whether a listener is on all addresses of this machine. Clients
// then have to be told the one by which they came.
func everywhere(addr net.Addr) bool {
	at, ok := addr.(*net.TCPAddr)
	return ok && at.IP.IsUnspecified()
}

// near returns where a listener can be reached from this machine.
func near(addr net.Addr) string {
	if everywhere(addr) {
		return net.JoinHostPort("127.0.0.1", port(addr))
	}
	return addr.String()
}

func port(addr net.Addr) string {
	at, _ := addr.(*net.TCPAddr) // what is listened on is TCP
	return strconv.Itoa(at.Port)
}

// plainHost is what a host in a policy may look like, beside an address of IPv6: a
// Host header may hold what ends a directive.
var plainHost = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// askedHost returns by what name or address a request came here.
func askedHost(r *http.Request) string {
	name := (&url.URL{Host: r.Host}).Hostname()
	if net.ParseIP(name) != nil || plainHost.MatchString(name) {
		return name
	}
	return "127.0.0.1"
}

// gatewayURL is where REST sends clients; empty where that depends on by which host
// they came.
func (s *System) gatewayURL() string {
	if everywhere(s.sockets.Addr()) {
		return ""
	}
	return s.URLs().WebSocket
}

// socketsFor returns host and port of the gateway for who sent a request.
func (s *System) socketsFor(r *http.Request) string {
	if everywhere(s.sockets.Addr()) {
		return net.JoinHostPort(askedHost(r), port(s.sockets.Addr()))
	}
	return s.sockets.Addr().String()
}

// urlsFor are URLs as who sent a request reaches them.
func (s *System) urlsFor(r *http.Request) URLs {
	urls := s.URLs()
	urls.WebSocket = "ws://" + s.socketsFor(r) + "/api/v1/ws"
	if everywhere(s.public.Addr()) {
		urls.REST = "http://" + net.JoinHostPort(askedHost(r), port(s.public.Addr()))
	}
	return urls
}

// pageFor returns the page with the policy for who sent a request.
func (s *System) pageFor(page *web.Page, r *http.Request) *web.Page {
	return page.Allowing([]string{"ws://" + s.socketsFor(r)}, s.ownOrigins())
}

// atSockets turns a question for the gateway into one that came to its own port:
// without a URL of its own REST answers with the host that was asked.
func (s *System) atSockets(r *http.Request) *http.Request {
	if r.URL.Path != "/api/v1/gateway" || s.gatewayURL() != "" {
		return r
	}
	at := *r
	at.Host = s.socketsFor(r)
	return &at
}

// ownOrigins are those of the page at `/`, by each address and as localhost: its
// sockets go to another port, which must expect it. A name of this machine is one
// of Config.Origins.
func (s *System) ownOrigins() []string {
	hosts := []string{}
	at, ok := s.public.Addr().(*net.TCPAddr)
	if !ok {
		return nil
	}
	hosts = append(hosts, at.IP.String())
	if at.IP.IsUnspecified() {
		hosts = addresses()
	}
	if at.IP.IsUnspecified() || at.IP.IsLoopback() {
		hosts = append(hosts, "localhost")
	}
	own := make([]string, 0, len(hosts))
	for _, host := range hosts {
		own = append(own, "http://"+net.JoinHostPort(host, port(at)))
	}
	return own
}

// addresses are those of this machine. One that it gets later is not among them.
func addresses() []string {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return []string{"127.0.0.1"}
	}
	var found []string
	for _, a := range all {
		if ip, ok := a.(*net.IPNet); ok && !ip.IP.IsLinkLocalUnicast() {
			found = append(found, ip.IP.String())
		}
	}
	return found
}

// Warning says what does not work from other machines as the system listens; empty =
// nothing that was asked for.
func (s *System) Warning() string {
	loopback := func(a net.Addr) bool {
		at, ok := a.(*net.TCPAddr)
		return ok && at.IP.IsLoopback()
	}
	if !loopback(s.public.Addr()) && loopback(s.sockets.Addr()) {
		return fmt.Sprintf("other machines reach REST and the page at %s, but not the WebSocket at %s: see -gateway-listen", s.public.Addr(), s.sockets.Addr())
	}
	return ""
}
