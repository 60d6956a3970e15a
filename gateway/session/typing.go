package session

import (
	"time"

	"switchboard/gateway/edge"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// typingTick is the unit of state.typedAt, which has a byte: it tells 64 seconds
// apart, and a connection is visited every few.
const typingTick = time.Second / 4

// typing passes a typing on, one in chat.TypingInterval. More are dropped without
// a word: who types says so again. Who never stops is closed like others who do not.
func (l *loop) typing(c edge.Conn, s *state, from Sender, ev *wire.ClientEvent) {
	l.restType(s)
	if s.is(typed) {
		l.keeper.count.hasty.Inc()
		if l.spend(s, marking) > 0 {
			l.over(c, s)
		}
		return
	}
	s.set(typed)
	s.typedAt = l.keeper.typingTicks()
	l.keeper.cfg.Uplink.Note(from, ev)
}

// restType forgets a typing that was long enough ago.
func (l *loop) restType(s *state) {
	if s.is(typed) && l.keeper.typingTicks()-s.typedAt >= uint8(chat.TypingInterval/typingTick) {
		s.unset(typed)
	}
}

func (k *Keeper) typingTicks() uint8 { return uint8(time.Since(k.started) / typingTick) }
