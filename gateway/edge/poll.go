package edge

import (
	"github.com/panjf2000/gnet/v2/pkg/netpoll"
)

// listen makes the poller report what want says, of reads and writes, for the
// connection. The poller's package has no call for "writes only" of a registered
// descriptor, so that takes two.
func (l *loop) listen(s *slot, want uint8) {
	have := s.flags & (reads | writes)
	want &= reads | writes
	if have == want || s.flags&broken != 0 {
		return
	}
	s.flags = s.flags&^(reads|writes) | want
	l.attachment.FD = int(s.fd)
	var err error
	if have != 0 && (want == 0 || want == writes) {
		err = l.poller.Delete(int(s.fd))
		have = 0
	}
	switch {
	case err != nil || want == 0:
	case have == 0:
		err = add(l.poller, &l.attachment, want)
	case want == reads:
		err = l.poller.ModRead(&l.attachment, false)
	default:
		err = l.poller.ModReadWrite(&l.attachment, false)
	}
	if err != nil {
		// Out of memory or of max_user_watches: the connection would hang.
		l.server.log.Warn("the poller refused a connection", "error", err)
		l.doom(l.server.fds.get(int(s.fd))-1, s, closeAbnormal, false)
	}
}

func add(p *netpoll.Poller, a *netpoll.PollAttachment, want uint8) error {
	switch want {
	case reads:
		return p.AddRead(a, false)
	case writes:
		return p.AddWrite(a, false)
	}
	return p.AddReadWrite(a, false)
}
