package session

import (
	"cmp"
	"slices"

	"switchboard/gateway/edge"
	"switchboard/internal/chat"
)

// census looks for the older sessions of a newcomer's user, one loop after
// another: one with the same device is replaced, and of more than
// chat.ConnectionsPerUser the oldest go. Who is older is decided by serial, so
// two newcomers at once never close each other. Those on other gateways are the
// business of rivals.
type census struct {
	keeper   *Keeper
	user     chat.UserID
	conn     edge.Conn
	serial   uint32
	form     deviceForm
	device   [16]byte
	aside    string
	at, left int // the loop to ask, and how many are left

	others []other
}

type other struct {
	conn   edge.Conn
	serial uint32
}

// takeCensus begins on the newcomer's own loop. With one loop it ends there;
// with more it costs a task on each.
func (l *loop) takeCensus(c edge.Conn, s *state) {
	countOn(&census{
		keeper: l.keeper, user: s.user, conn: c, serial: s.serial,
		form: s.form, device: s.device, aside: l.devices[c.Slot],
		at: int(l.number), left: len(l.keeper.loops),
	})
}

// countOn asks one loop, and passes the census on.
func countOn(arg any) {
	n := arg.(*census)
	l := n.keeper.loops[n.at]
	for next := l.first(n.user); next != 0; {
		slot := next - 1
		s := l.at(slot)
		next = s.next
		if s.stage == closing || int32(s.serial-n.serial) >= 0 {
			continue
		}
		c := l.conn(slot, s)
		if l.sameDevice(slot, s, n.form, n.device, n.aside) {
			n.keeper.count.replaced["device"].Inc()
			l.close(c, s, chat.CloseSessionReplaced)
			continue
		}
		s.set(several)
		n.others = append(n.others, other{conn: c, serial: s.serial})
	}
	n.left--
	if n.left > 0 {
		n.at = (n.at + 1) % len(n.keeper.loops)
		n.keeper.sockets.Post(n.at, countOn, n)
		return
	}
	if len(n.others) > 0 {
		n.keeper.sockets.Post(int(n.conn.Loop), notAlone, n)
	}
	n.closeOldest()
}

// notAlone notes that a newcomer's user has other sessions here.
func notAlone(arg any) {
	n := arg.(*census)
	if s := n.keeper.loopOf(n.conn).find(n.conn); s != nil {
		s.set(several)
	}
}

// closeOldest makes room for the newcomer.
func (n *census) closeOldest() {
	extra := len(n.others) + 1 - chat.ConnectionsPerUser
	if extra <= 0 {
		return
	}
	slices.SortFunc(n.others, func(a, b other) int { return cmp.Compare(int32(a.serial-b.serial), 0) })
	for _, o := range n.others[:extra] {
		n.keeper.replace(n.user, numberOf(o.conn), "count")
	}
}
