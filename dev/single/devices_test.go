package single

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"switchboard/client"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// ends reads until the server closes the connection, which it must with the code, and
// returns what came before.
func (p *person) ends(code chat.CloseCode) (before []client.Event) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	for {
		e, err := p.conn.Next(ctx)
		if err == nil {
			before = append(before, e)
			continue
		}
		var closed *client.CloseError
		if !errors.As(err, &closed) || closed.Code != code || closed.Reason != code.Reason() {
			p.t.Fatalf("after %d frames: %v, want a close with %d %s", len(before), err, code, code.Reason())
		}
		return before
	}
}

// alive checks that a connection is served.
func (p *person) alive() {
	p.t.Helper()
	p.write("heartbeat", nil)
	p.next("heartbeat_ack")
}

// refusal returns what an error says.
func refusal(t *testing.T, e client.Event) (got wire.Error) {
	t.Helper()
	if err := json.Unmarshal(e.Data, &got); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestASecondSocketOfADeviceReplacesTheFirst(t *testing.T) {
	s := start(t)
	first, tablet, other := s.person(t, "alice", "phone"), s.person(t, "alice", "tablet"), s.person(t, "bob", "phone")
	second := s.person(t, "alice", "phone")
	first.ends(chat.CloseSessionReplaced)
	for _, p := range []*person{second, tablet, other} {
		p.alive()
	}
}

func TestAnEleventhConnectionClosesTheOldest(t *testing.T) {
	s := start(t)
	var all []*person
	for i := range chat.ConnectionsPerUser {
		all = append(all, s.person(t, "alice", strconv.Itoa(i)))
	}
	for _, p := range all {
		p.alive()
	}
	for i := range 3 {
		all = append(all, s.person(t, "alice", fmt.Sprint("more ", i)))
		all[i].ends(chat.CloseSessionReplaced)
	}
	for _, p := range all[3:] {
		p.alive()
	}
}

func TestTenWrongFramesInARowAreTooManyErrors(t *testing.T) {
	s := start(t)
	p := s.person(t, "alice", "")
	for range chat.ErrorsInARow - 1 {
		p.write("no_such_event", nil)
	}
	p.alive() // A right one between them.
	for range chat.ErrorsInARow {
		p.write("no_such_event", nil)
	}
	before := p.ends(chat.CloseTooManyErrors)
	if len(before) != chat.ErrorsInARow {
		t.Errorf("%d answers, want %d", len(before), chat.ErrorsInARow)
	}
	for _, e := range before {
		if got := refusal(t, e); got.Code != chat.UnknownType || got.Temporary {
			t.Errorf("answered with %+v, want unknown_type", got)
		}
	}
}

// brief is a person whose token ends soon.
func (s *System) brief(t *testing.T, name string, life time.Duration) *person {
	t.Helper()
	p := &person{t: t, id: chat.DemoUser(name)}
	token, err := s.keys.Mint(p.id, life)
	if err != nil {
		t.Fatal(err)
	}
	if p.conn, err = client.Dial(t.Context(), s.URLs().WebSocket, token, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.conn.Drop)
	return p
}

func TestATokenThatEndsIsAnnouncedAndThenEndsTheConnection(t *testing.T) {
	s := start(t)
	p := s.brief(t, "alice", 3*time.Second)
	before := p.ends(chat.CloseTokenExpired)
	if len(before) != 1 || before[0].Type != "token_expiring" {
		t.Fatalf("before the end came %+v, want token_expiring", before)
	}
	var told wire.Expiry
	if err := json.Unmarshal(before[0].Data, &told); err != nil || told.ExpiresAt != p.conn.Connected.TokenExpiresAt {
		t.Errorf("told %+v, %v; want the end %d that `connected` named", told, err, p.conn.Connected.TokenExpiresAt)
	}
	if now := time.Now().Unix(); now < told.ExpiresAt {
		t.Errorf("closed at %d, before the end at %d", now, told.ExpiresAt)
	}
}

func TestANewTokenKeepsTheConnection(t *testing.T) {
	s := start(t)
	p := s.brief(t, "alice", 3*time.Second)
	p.next("token_expiring")
	refresh := func(of chat.UserID) {
		token, err := s.keys.Mint(of, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		p.write("refresh_token", map[string]string{"token": token})
	}
	refresh(chat.DemoUser("bob"))
	if got := refusal(t, p.next("error")); got.Code != chat.Unauthorized {
		t.Errorf("another's token is answered with %+v", got)
	}
	refresh(p.id)
	p.next("token_refreshed")
	for end := p.conn.Connected.TokenExpiresAt + 4; time.Now().Unix() < end; time.Sleep(200 * time.Millisecond) {
		p.alive()
	}
}

// flood writes frames with the ids from 0 until one cannot be written.
func (p *person) flood(n int, kind string, data any) {
	p.t.Helper()
	for i := range n {
		if p.conn.Write(p.t.Context(), kind, strconv.Itoa(i), data) != nil {
			return
		}
	}
}

// Who is too fast is told when it may go on, and that is true.
func TestRetryAfterIsHonest(t *testing.T) {
	s := start(t)
	alice, bob := s.person(t, "alice", ""), chat.DemoUser("bob")
	pair, err := alice.rest.Direct(t.Context(), bob)
	if err != nil {
		t.Fatal(err)
	}
	message := wire.SendMessage{ConversationID: &pair, Type: "text", Content: "hello"}
	const many = 2 * chat.SendBurst
	last := strconv.Itoa(many - 1)
	for range 3 {
		alice.flood(many, "send_message", message)
		e := alice.next("error")
		for e.ID != last { // Refusals come at once and in order.
			e = alice.next("error")
		}
		told := refusal(t, e)
		if told.Code != chat.RateLimited || !told.Temporary || told.RetryAfterMS < 1 {
			t.Fatalf("refused with %+v", told)
		}
		time.Sleep(time.Duration(told.RetryAfterMS) * time.Millisecond)
		if err := alice.conn.Write(t.Context(), "send_message", "punctual", message); err != nil {
			t.Fatal(err)
		}
		for e.ID != "punctual" {
			e = alice.next("message_sent", "error")
		}
		if e.Type != "message_sent" {
			t.Errorf("after the time that was told: %s", e.Data)
		}
	}
}

func TestAFloodOfHeartbeatsIsClosed(t *testing.T) {
	s := start(t)
	p, other := s.person(t, "alice", ""), s.person(t, "bob", "")
	p.flood(4*chat.MarkBurst, "heartbeat", nil)
	var acks, refusals int
	for _, e := range p.ends(chat.CloseRateLimited) {
		switch e.Type {
		case "heartbeat_ack":
			acks++
		case "error":
			refusals++
			if got := refusal(t, e); got.Code != chat.RateLimited || got.RetryAfterMS < 1 {
				t.Fatalf("refused with %+v", got)
			}
		}
	}
	if acks < chat.MarkBurst || refusals < 100 {
		t.Errorf("%d answers and %d refusals before the end", acks, refusals)
	}
	other.alive()
}

// All sockets of a user share what the user may send.
func TestTheConnectionsOfAUserShareALimit(t *testing.T) {
	s := start(t)
	alice, bob := s.person(t, "alice", ""), chat.DemoUser("bob")
	pair, err := alice.rest.Direct(t.Context(), bob)
	if err != nil {
		t.Fatal(err)
	}
	message := wire.SendMessage{ConversationID: &pair, Type: "text", Content: "hello"}
	devices := []*person{alice, s.person(t, "alice", "2"), s.person(t, "alice", "3"), s.person(t, "alice", "4")}
	// A gateway tells its loops of each other's connections in two turns, and what they
	// do before that they do alone.
	for range 2 {
		for _, d := range devices {
			if err := d.conn.Write(t.Context(), "heartbeat", "", nil); err != nil {
				t.Fatal(err)
			}
			d.next("heartbeat_ack")
		}
	}
	began := time.Now()
	for i := range chat.SendBurst { // Each within the limit of its own.
		for _, d := range devices {
			if err := d.conn.Write(t.Context(), "send_message", strconv.Itoa(i), message); err != nil {
				t.Fatal(err)
			}
		}
	}
	taken := 0
	for _, d := range devices {
		for range chat.SendBurst {
			switch e := d.next("message_sent", "error"); {
			case e.Type == "message_sent":
				taken++
			case refusal(t, e).Code != chat.RateLimited:
				t.Fatalf("refused with %s", e.Data)
			}
		}
	}
	most := chat.UserSendBurst + 1 + int(time.Since(began)*chat.UserSendsPerSecond/time.Second)
	if taken < chat.UserSendBurst || taken > most {
		t.Errorf("%d were taken, want %d and what came in meanwhile, %d in all", taken, chat.UserSendBurst, most)
	}
}
