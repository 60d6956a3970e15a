package session

import (
	"time"

	"switchboard/gateway/edge"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// Visit is the hand of the clock: it does for one connection what is due.
func (k *Keeper) Visit(c edge.Conn, idle time.Duration) {
	l := k.loopOf(c)
	s := l.find(c)
	if s == nil {
		return
	}
	switch s.stage {
	case waiting:
		if k.seconds() >= s.due {
			l.close(c, s, chat.CloseAuthTimeout)
		}
	case registering:
		l.checkLife(c, s, idle)
	case connected:
		l.restType(s)
		if l.checkLife(c, s, idle) && l.checkToken(c, s) {
			l.checkDuties(c, s)
		}
	case vacant, handshaking, verifying, closing:
	}
}

// checkLife pings a silent client and gives up one that stays silent; false says
// so. The n-th ping is due after n periods of silence.
func (l *loop) checkLife(c edge.Conn, s *state, idle time.Duration) bool {
	period := periodOf(l.keeper.cfg.Heartbeat, s)
	if idle < period {
		s.pings = 0
		return true
	}
	if idle < period*time.Duration(s.pings+1) {
		return true
	}
	if s.pings == PingsMissed {
		l.close(c, s, chat.CloseHeartbeatTimeout)
		return false
	}
	s.pings++
	l.keeper.sockets.Ping(c)
	return true
}

// checkToken announces a token's end and ends the session with it; false says
// so. Both never happen at once, so that a token which was good only by leeway
// leaves a moment to refresh it.
func (l *loop) checkToken(c edge.Conn, s *state) bool {
	left := s.expires - time.Now().Unix()
	switch {
	case left > int64(ExpiryWarning/time.Second):
	case !s.is(warned):
		s.set(warned)
		l.json = wire.AppendTokenExpiring(l.json[:0], s.expires)
		l.write(c) // Without room it is dropped: closing will say it again.
	case left <= 0:
		l.close(c, s, chat.CloseTokenExpired)
		return false
	}
	return true
}

// checkDuties does what is due now and then.
func (l *loop) checkDuties(c edge.Conn, s *state) {
	now := l.keeper.seconds()
	if s.is(slow) {
		if now >= s.due {
			l.close(c, s, chat.CloseSlowConsumer)
		}
		return
	}
	if now >= s.sweepAt && !s.is(repeating) {
		// If the registrar has no room the next visit tries again.
		again := change{conn: c, kind: repeat, calm: !s.is(announce), user: s.user, device: l.deviceOf(c.Slot, s)}
		if l.keeper.registrar.add(again) {
			s.set(repeating)
			s.sweepAt = now + inSeconds(l.keeper.cfg.Sweep)
		}
	}
	if now >= s.checkAt {
		s.checkAt = now + jittered(l.keeper.cfg.Recheck, s)
		l.behind(c, s, "check", 0)
	}
}
