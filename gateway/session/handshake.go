package session

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"switchboard/gateway/edge"
	"switchboard/internal/auth"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// Path is where clients open their socket.
const Path = "/api/v1/ws"

// refusal is why an upgrade is not made.
type refusal struct {
	status int
	reason string // metric label
	body   string
	retry  time.Duration
}

// Handshake judges an upgrade request. One that names a user by header is
// accepted later, when the verifier has spoken.
func (k *Keeper) Handshake(c edge.Conn, r *edge.Request) {
	l := k.loopOf(c)
	s := l.begin(c)
	k.sessions.Add(1)
	if no := k.judge(r); no != nil {
		k.reject(c, r.Peer, no)
		return
	}
	if len(r.Protocols) > 0 {
		s.set(subprotocol)
	}
	if r.Authorization == "" {
		k.accept(c, s)
		return
	}
	token, _ := bearer(r.Authorization)
	// The request's strings may be views of a buffer: the verifier needs copies.
	j := job{conn: c, kind: upgrade, token: strings.Clone(token), device: strings.Clone(r.DeviceID), peer: r.Peer}
	if !k.verifier.add(j) {
		k.reject(c, r.Peer, overloaded("verifier_full", "too many sign in at once"))
	}
}

func (k *Keeper) accept(c edge.Conn, s *state) {
	protocol := ""
	if s.is(subprotocol) {
		protocol = wire.Subprotocol
	}
	k.sockets.Accept(c, protocol)
}

func (k *Keeper) reject(c edge.Conn, client netip.AddrPort, no *refusal) {
	k.count.refused[no.reason].Inc()
	if k.cfg.Logger.Enabled(context.Background(), slog.LevelDebug) {
		k.cfg.Logger.Debug("a client is refused", "client", client.String(), "reason", no.reason)
	}
	k.sockets.Reject(c, no.status, no.retry, no.body)
}

// judge checks what needs no token. Whoever gets nil has the right path, origin
// and protocol, a device id that fits, and a bearer token if any authorization.
func (k *Keeper) judge(r *edge.Request) *refusal {
	switch {
	case r.Path != Path:
		return &refusal{status: 404, reason: "path", body: "the WebSocket is at " + Path}
	case k.draining.Load():
		return leaving()
	case r.Origin != "" && !k.origins[r.Origin]:
		return &refusal{status: 403, reason: "origin", body: "pages of this origin may not connect"}
	case len(r.Protocols) > 0 && !slices.Contains(r.Protocols, wire.Subprotocol):
		return &refusal{status: 426, reason: "protocol", body: "this server speaks " + wire.Subprotocol}
	case !validDevice(r.DeviceID):
		return &refusal{status: 400, reason: "device", body: "X-Device-Id is longer than 64 bytes, or no text"}
	}
	if _, ok := bearer(r.Authorization); r.Authorization != "" && !ok {
		return &refusal{status: 401, reason: "token", body: "Authorization must be: Bearer <JWT>"}
	}
	return k.overload()
}

// overload says why nobody new is taken in, or nil: a newcomer would wait for what
// does not come, and be in the way of those who are here.
func (k *Keeper) overload() *refusal {
	full, silent := k.registrar.state()
	switch {
	case full:
		return overloaded("presence_full", "too many wait for the directory")
	case silent:
		return overloaded("presence_silent", "the directory does not answer")
	case k.verifier.full():
		return overloaded("verifier_full", "too many sign in at once")
	case k.cfg.Uplink.Stalled():
		return overloaded("log_stalled", "the log takes no messages")
	}
	return nil
}

func leaving() *refusal {
	return &refusal{status: 503, reason: "draining", body: "this server is going away", retry: drainingRetry}
}

func overloaded(reason, body string) *refusal {
	return &refusal{status: 503, reason: reason, body: body, retry: overloadedRetry}
}

// bearer returns the token of an Authorization header.
func bearer(header string) (token string, ok bool) {
	scheme, token, ok := strings.Cut(header, " ")
	return strings.TrimSpace(token), ok && strings.EqualFold(scheme, "Bearer")
}

// validDevice reports whether a device id may be kept: short text.
func validDevice(device string) bool {
	return len(device) <= chat.DeviceIDBytes && utf8.ValidString(device)
}

// upgraded is the verifier's answer for a token from the request's header.
func (l *loop) upgraded(j *job, who auth.Identity, err error) {
	s := l.find(j.conn)
	if s == nil || s.stage != handshaking {
		return
	}
	if err != nil {
		l.keeper.reject(j.conn, j.peer, &refusal{status: 401, reason: "token", body: chat.AsError(err).Message})
		return
	}
	if l.keeper.draining.Load() { // Since it was judged: nobody would ask it to leave again.
		l.keeper.reject(j.conn, j.peer, leaving())
		return
	}
	if wait := l.keeper.tooManyOpens(who.User); wait > 0 {
		l.keeper.reject(j.conn, j.peer, &refusal{status: 429, reason: "opens", body: saidOfOpens, retry: wait})
		return
	}
	l.identify(j, s, who)
	l.keeper.accept(j.conn, s)
}

// connecting is the verifier's answer for a token from `connect`.
func (l *loop) connecting(j *job, who auth.Identity, err error) {
	s := l.find(j.conn)
	if s == nil || s.stage != verifying {
		return
	}
	if err != nil {
		l.sendAway(j.conn, s, j.id, err, chat.CloseAuthFailed)
		return
	}
	if l.keeper.draining.Load() { // Likewise.
		l.keeper.count.refused["draining"].Inc()
		l.close(j.conn, s, chat.CloseDraining)
		return
	}
	if wait := l.keeper.tooManyOpens(who.User); wait > 0 {
		l.keeper.count.refused["opens"].Inc()
		no := &chat.Error{Code: chat.RateLimited, Message: saidOfOpens, RetryAfter: wait}
		l.sendAway(j.conn, s, j.id, no, chat.CloseRateLimited)
		return
	}
	l.identify(j, s, who)
	l.enlist(j.conn, s, j.id)
}

// identify notes who a session is.
func (l *loop) identify(j *job, s *state, who auth.Identity) {
	s.user, s.expires = who.User, who.Expires
	device := j.device
	if device == "" {
		device = chat.NewRequestID().String() // Any random UUID will do.
	}
	l.keepDevice(j.conn.Slot, s, device)
}

// saidOfOpens is what is said to a user who comes too often.
const saidOfOpens = "too many connections were opened lately"

// sendAway ends a session that is nobody's: the reason, then the close.
func (l *loop) sendAway(c edge.Conn, s *state, id string, err error, code chat.CloseCode) {
	l.json = wire.AppendError(l.json[:0], id, chat.RequestID{}, chat.AsError(err))
	l.write(c)
	l.close(c, s, code)
}

// enlist takes a known session into the loop's index and asks the registrar to
// make it known to routers. `connected` waits for the acknowledgement.
func (l *loop) enlist(c edge.Conn, s *state, id string) {
	k := l.keeper
	s.stage = registering
	serial, ok := k.registrar.enlist(change{conn: c, kind: register, user: s.user, device: l.deviceOf(c.Slot, s), id: id})
	if !ok {
		l.close(c, s, chat.CloseOverloaded)
		return
	}
	s.serial = serial
	s.set(listed)
	l.link(c.Slot, s)
	l.takeCensus(c, s)
}

// welcome writes `connected`, once presence has acknowledged the registration,
// and then works on what the client sent in the meantime.
func (l *loop) welcome(c edge.Conn, s *state, id string) {
	k := l.keeper
	s.stage = connected
	now := k.seconds()
	// The first sweep comes anywhere within the period, so that sessions which
	// came together are not swept together.
	s.sweepAt = now + 1 + uint32(s.spread(uint64(inSeconds(k.cfg.Sweep))))
	s.checkAt = now + jittered(k.cfg.Recheck, s)
	l.json = wire.AppendConnected(l.json[:0], id, &wire.Connected{
		SessionID:      sessionText(k.cfg.Boot, numberOf(c)),
		UserID:         s.user,
		DeviceID:       l.deviceOf(c.Slot, s),
		HeartbeatMS:    k.cfg.Heartbeat.Milliseconds(),
		TokenExpiresAt: s.expires,
		Time:           time.Now().Unix(),
		Server:         k.cfg.Server,
		Limits: wire.Limits{
			FrameBytes:       chat.FrameBytes,
			ContentBytes:     chat.ContentBytes,
			DeviceIDBytes:    chat.DeviceIDBytes,
			Connections:      chat.ConnectionsPerUser,
			Members:          k.cfg.Members,
			SendsPerSecond:   chat.SendsPerSecond,
			SendBurst:        chat.SendBurst,
			TypingIntervalMS: chat.TypingInterval.Milliseconds(),
		},
	})
	if l.mustWrite(c, s) {
		l.replay(c)
	}
}

// jittered is a period in seconds, ±20 %, the same for a session each time.
func jittered(d time.Duration, s *state) uint32 {
	return max(1, uint32(periodOf(d, s)/time.Second))
}

// periodOf is a period ±20 %, the same for a session each time.
func periodOf(d time.Duration, s *state) time.Duration {
	return d*4/5 + time.Duration(s.spread(uint64(min(d*2/5, 1<<32-1))))
}

// sessionText is a session's name for people: unique over all lives of all
// gateways, as far as their clocks are.
func sessionText(boot, number uint64) string {
	const digits = "0123456789abcdef"
	var b [32]byte
	for i := range 16 {
		b[15-i] = digits[boot>>(4*i)&15]
		b[31-i] = digits[number>>(4*i)&15]
	}
	return string(b[:])
}
