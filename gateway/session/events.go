package session

import (
	"slices"
	"time"

	"switchboard/gateway/edge"
	"switchboard/internal/auth"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// The limits of what is held for a session that waits for `connected`.
const (
	earlyFrames = 16
	earlyBytes  = chat.FrameBytes
)

// held are the frames that a client sent before it was connected.
type held struct {
	frames [][]byte
	bytes  int
}

// Message takes one frame of a client.
func (k *Keeper) Message(c edge.Conn, text bool, payload []byte) {
	l := k.loopOf(c)
	s := l.find(c)
	if s == nil || s.stage == closing {
		return
	}
	if !text {
		l.close(c, s, chat.CloseBadFrame)
		return
	}
	switch s.stage {
	case waiting:
		l.introduce(c, s, payload)
	case verifying, registering:
		l.hold(c, s, payload)
	case connected:
		l.serve(c, s, payload)
	case vacant, handshaking, closing:
	}
}

// introduce takes the first frame of a socket that is nobody's yet. Anything
// but a `connect` ends it.
func (l *loop) introduce(c edge.Conn, s *state, payload []byte) {
	var ev wire.ClientEvent
	err := wire.DecodeClient(payload, &ev)
	switch {
	case err == nil && ev.Type != wire.TypeConnect:
		err = &chat.Error{Code: chat.Unauthorized, Message: "say connect first"}
	case err != nil && ev.Type != wire.TypeConnect:
		err = &chat.Error{Code: chat.Unauthorized, Message: "the first frame must be a connect"}
	case err == nil && !validDevice(ev.Device):
		err = &chat.Error{Code: chat.BadRequest, Message: "device_id is longer than 64 bytes"}
	}
	if err != nil {
		l.sendAway(c, s, ev.ID, err, chat.CloseAuthFailed)
		return
	}
	l.keeper.count.events[wire.TypeConnect].Inc()
	if no := l.keeper.overload(); no != nil {
		l.keeper.count.refused[no.reason].Inc()
		l.sendAway(c, s, ev.ID, &chat.Error{Code: chat.Unavailable, Message: no.body, RetryAfter: no.retry}, chat.CloseOverloaded)
		return
	}
	j := job{conn: c, kind: connect, token: ev.Token, device: ev.Device, id: ev.ID}
	s.stage = verifying
	if !l.keeper.verifier.add(j) {
		l.sendAway(c, s, ev.ID, errBusy(), chat.CloseOverloaded)
	}
}

// hold keeps a frame until `connected` is written.
func (l *loop) hold(c edge.Conn, s *state, payload []byte) {
	h := l.early[c.Slot]
	if h == nil {
		h = new(held)
		l.early[c.Slot] = h
	}
	if len(h.frames) == earlyFrames || h.bytes+len(payload) > earlyBytes {
		l.close(c, s, chat.CloseOverloaded)
		return
	}
	h.frames = append(h.frames, slices.Clone(payload))
	h.bytes += len(payload)
}

// replay works on the frames that were held.
func (l *loop) replay(c edge.Conn) {
	h := l.early[c.Slot]
	if h == nil {
		return
	}
	delete(l.early, c.Slot)
	for _, payload := range h.frames {
		s := l.find(c)
		if s == nil || s.stage != connected {
			return
		}
		l.serve(c, s, payload)
	}
}

// serve takes one frame of a connected session.
func (l *loop) serve(c edge.Conn, s *state, payload []byte) {
	ev := &l.event // On the stack it would escape: the uplink is an interface.
	if err := wire.DecodeClient(payload, ev); err != nil {
		l.keeper.count.events[ev.Type].Inc()
		l.mistake(c, s, ev.ID, ev.Request, err)
		return
	}
	l.keeper.count.events[ev.Type].Inc()
	from := Sender{User: s.user, Number: numberOf(c)}
	switch ev.Type {
	case wire.TypeSendMessage:
		l.send(c, s, from, ev)
		return
	case wire.TypeMarkDelivered, wire.TypeMarkRead:
		l.mark(c, s, from, ev)
		return
	case wire.TypeTyping:
		l.typing(c, s, from, ev)
	case wire.TypeHeartbeat:
		if l.tooFast(c, s, ev, marking) {
			return
		}
		l.json = wire.AppendHeartbeatAck(l.json[:0], ev.ID, time.Now().Unix())
		l.write(c) // Without room it is dropped: a reader so slow knows that it lives.
	case wire.TypeRefreshToken:
		l.refresh(c, s, ev)
		return
	case wire.TypeConnect:
		l.mistake(c, s, ev.ID, ev.Request, chat.Errorf(chat.BadRequest, "this connection is connected already"))
		return
	case wire.TypeUnknown: // The decoder refuses it.
	}
	s.mistakes = 0
}

// mistake answers what the client got wrong; too many in a row end it.
func (l *loop) mistake(c edge.Conn, s *state, id string, r chat.RequestID, err error) {
	l.keeper.count.errors.Inc()
	s.mistakes++
	l.refuse(c, s, id, r, err)
	if s.mistakes >= chat.ErrorsInARow {
		l.close(c, s, chat.CloseTooManyErrors)
	}
}

// mark passes a mark on. Its bucket is not that of messages: reading fast must not
// keep anybody from writing.
func (l *loop) mark(c edge.Conn, s *state, from Sender, ev *wire.ClientEvent) {
	s.mistakes = 0
	if l.tooFast(c, s, ev, marking) {
		return
	}
	if err := l.keeper.cfg.Uplink.Mark(from, ev); err != nil {
		l.refuse(c, s, ev.ID, ev.Request, err)
	}
}

// send passes a message on, if its sender is not too fast.
func (l *loop) send(c edge.Conn, s *state, from Sender, ev *wire.ClientEvent) {
	s.mistakes = 0
	if l.tooFast(c, s, ev, sending) {
		return
	}
	if err := l.keeper.cfg.Uplink.Send(from, ev); err != nil {
		l.refuse(c, s, ev.ID, ev.Request, err)
	}
}

// refresh has a new token verified, one at a time. A signature costs as much as
// 30 frames, so it is taken from the same bucket as messages, and a token that is
// no good is a mistake: one client must not keep the verifier busy.
func (l *loop) refresh(c edge.Conn, s *state, ev *wire.ClientEvent) {
	if l.tooFast(c, s, ev, sending) {
		return
	}
	j := job{conn: c, kind: refresh, token: ev.Token, id: ev.ID}
	switch {
	case s.is(refreshing):
		l.refuse(c, s, ev.ID, chat.RequestID{}, &chat.Error{
			Code: chat.RateLimited, Message: "a token is being verified already", RetryAfter: time.Second,
		})
	case !l.keeper.verifier.add(j):
		l.refuse(c, s, ev.ID, chat.RequestID{}, errBusy())
	default:
		s.set(refreshing)
	}
}

// refreshed is the verifier's answer for a refresh_token.
func (l *loop) refreshed(j *job, who auth.Identity, err error) {
	s := l.find(j.conn)
	if s == nil || s.stage != connected {
		return
	}
	s.unset(refreshing)
	if err == nil && who.User != s.user {
		err = chat.Errorf(chat.Unauthorized, "the token is for another user")
	}
	if err != nil {
		l.mistake(j.conn, s, j.id, chat.RequestID{}, err)
		return
	}
	s.mistakes = 0
	s.expires = who.Expires
	s.unset(warned)
	l.json = wire.AppendTokenRefreshed(l.json[:0], j.id, s.expires)
	l.mustWrite(j.conn, s)
}
