package edge

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"switchboard/gateway/edge/proxyproto"
)

// proxyComplaints is how often a balancer that speaks no PROXY protocol is
// complained of: it would be once for each of its connections.
const proxyComplaints = time.Minute

// unproxied takes the PROXY header off what a trusted balancer has sent so far, and
// returns what follows it. Nothing follows while more of the header has to come, and
// when the connection ends here because of it.
func (l *loop) unproxied(i uint32, s *slot, e *extra, data []byte) (rest []byte) {
	client, size, err := proxyproto.Parse(data)
	switch {
	case err != nil:
		l.server.meter.failed("proxy")
		l.server.complain(peerOf(s.fd), err)
		l.doom(i, s, closeAbnormal, true)
		return nil
	case size == 0:
		if e.stash == nil && !l.stash(i, s, data) {
			l.refuse(i, s, full, retryFull)
		}
		return nil
	}
	s.flags &^= proxied
	e.client = client
	rest = data[size:]
	if e.stash != nil {
		e.stash.b = append(e.stash.b[:0], rest...)
		rest = e.stash.b
	}
	return rest
}

// complain says what is wrong with a balancer, now and then. Any loop.
func (s *Server) complain(balancer netip.AddrPort, err error) {
	now := int64(time.Since(s.start))
	last := s.complained.Load()
	if last > 0 && now-last < int64(proxyComplaints) || !s.complained.CompareAndSwap(last, now) {
		return
	}
	s.log.Warn("a balancer does not speak the PROXY protocol as it should", "balancer", balancer.Addr().String(), "error", err)
}

// peerOf asks the kernel who is at the other end, which it knows anyway.
func peerOf(fd int32) netip.AddrPort {
	name, err := unix.Getpeername(int(fd))
	if err != nil {
		return netip.AddrPort{} // gone already; a read will say so
	}
	return addrPortOf(name)
}

func addrPortOf(name unix.Sockaddr) netip.AddrPort {
	switch a := name.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}
