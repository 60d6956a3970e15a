package single

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"switchboard/client"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// patience bounds every wait for something that must happen.
const patience = 20 * time.Second

// start runs a system until the test ends.
func start(t *testing.T, change ...func(*Config)) *System {
	t.Helper()
	cfg := config(t.TempDir())
	for _, c := range change {
		c(&cfg)
	}
	s, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.Run(ctx, func() { close(ready) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
		s.Close()
	})
	select {
	case <-ready:
	case <-time.After(patience):
		t.Fatal("the system is not ready")
	}
	return s
}

// person is a user with one open connection.
type person struct {
	t    *testing.T
	id   chat.UserID
	rest *client.REST
	conn *client.Conn
}

func (s *System) person(t *testing.T, name, device string) *person {
	t.Helper()
	id := chat.DemoUser(name)
	token, err := s.keys.Mint(id, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	p := &person{t: t, id: id, rest: &client.REST{
		Base: s.URLs().REST, Token: func(context.Context) (string, error) { return token, nil },
	}}
	if p.conn, err = client.Dial(t.Context(), s.URLs().WebSocket, token, device); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.conn.Drop)
	return p
}

// say sends a message and returns its data.
func (p *person) say(c chat.ConversationID) wire.MessageSent {
	p.t.Helper()
	p.write("send_message", wire.SendMessage{ConversationID: &c, Type: "text", Content: "hello"})
	var sent wire.MessageSent
	if err := json.Unmarshal(p.next("message_sent").Data, &sent); err != nil {
		p.t.Fatal(err)
	}
	return sent
}

func (p *person) write(kind string, data any) {
	p.t.Helper()
	if err := p.conn.Write(p.t.Context(), kind, "c1", data); err != nil {
		p.t.Fatal(err)
	}
}

func (p *person) mark(kind string, c chat.ConversationID, seq chat.Seq) {
	p.t.Helper()
	p.write(kind, map[string]any{"conversation_id": c, "seq": seq})
}

// next waits for the next frame of one of the kinds; others are passed over.
func (p *person) next(kinds ...string) client.Event {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	for {
		e, err := p.conn.Next(ctx)
		if err != nil {
			p.t.Fatalf("waiting for %v: %v", kinds, err)
		}
		if slices.Contains(kinds, e.Type) {
			return e
		}
	}
}

// hears waits for a status or an error.
func (p *person) hears(want string) {
	p.t.Helper()
	e := p.next("message_status", "error")
	var got string
	if e.Type == "error" {
		var refused wire.Error
		if err := json.Unmarshal(e.Data, &refused); err != nil {
			p.t.Fatal(err)
		}
		got = fmt.Sprintf("%s %s", refused.Code, refused.ID)
	} else {
		var m wire.MessageStatus
		if err := json.Unmarshal(e.Data, &m); err != nil {
			p.t.Fatal(err)
		}
		who := map[chat.UserID]string{}
		for _, name := range []string{"alice", "bob", "carol"} {
			who[chat.DemoUser(name)] = name
		}
		got = fmt.Sprintf("%s %s %d", who[m.UserID], m.Status, m.Seq)
		if m.MessageID.IsZero() || time.Since(time.Unix(m.Timestamp, 0)) > time.Hour {
			p.t.Errorf("the status is %+v", m)
		}
	}
	if got != want {
		p.t.Errorf("heard %q, want %q", got, want)
	}
}

func TestMarksReachThoseWhomTheyConcern(t *testing.T) {
	s := start(t)
	alice, phone, bob := s.person(t, "alice", "desk"), s.person(t, "alice", "phone"), s.person(t, "bob", "")
	pair, err := alice.rest.Direct(t.Context(), bob.id)
	if err != nil {
		t.Fatal(err)
	}
	first := alice.say(pair) // 2
	phone.hears("alice read 2")
	bob.mark("mark_delivered", pair, 2)
	alice.hears("bob delivered 2")
	phone.hears("bob delivered 2")
	bob.write("mark_read", map[string]any{"conversation_id": pair, "message_id": first.MessageID})
	alice.hears("bob read 2")
	phone.hears("bob read 2")

	bob.say(pair) // 3
	bob.mark("mark_read", pair, 2)
	bob.mark("mark_read", pair, 4)
	bob.hears("bad_request c1")
	bob.mark("mark_read", chat.DirectConversation(bob.id, chat.DemoUser("carol")), 1)
	bob.hears("not_member c1")
	alice.mark("mark_read", pair, 3)
	phone.hears("alice read 3") // Nothing was said of what was refused, or was so already.
	bob.hears("alice read 3")

	// The one that marked hears nothing of it, but of the next thing.
	bob.say(pair) // 4
	bob.mark("mark_read", pair, 4)
	if err := alice.rest.MarkRead(t.Context(), pair, 4); err != nil {
		t.Fatal(err)
	}
	alice.hears("alice read 4")
	phone.hears("alice read 4")
	bob.hears("alice read 4")
}

func TestMarksInAGroupReachTheAuthors(t *testing.T) {
	s := start(t)
	alice, bob, carol := s.person(t, "alice", ""), s.person(t, "bob", ""), s.person(t, "carol", "")
	group, err := alice.rest.Group(t.Context(), chat.NewRequestID(), "g", []chat.UserID{bob.id, carol.id})
	if err != nil {
		t.Fatal(err)
	}
	alice.say(group) // 2
	alice.say(group) // 3
	bob.say(group)   // 4
	carol.mark("mark_read", group, 3)
	alice.hears("carol read 3")
	carol.mark("mark_read", group, 4)
	bob.hears("carol read 4") // And alice does not.
	alice.mark("mark_delivered", group, 4)
	bob.hears("alice delivered 4")
	if err := bob.rest.MarkRead(t.Context(), group, 4); err != nil {
		t.Fatal(err)
	}
	bob.mark("mark_read", group, 99)
	bob.hears("bad_request c1")
	alice.mark("mark_read", group, 99)
	alice.hears("bad_request c1")

	for name, want := range map[string][2]chat.Seq{"alice": {3, 4}, "bob": {4, 4}, "carol": {4, 4}} {
		list, err := carol.rest.Members(t.Context(), group)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list.Members {
			if m.UserID == chat.DemoUser(name) && (m.ReadSeq != want[0] || m.DeliveredSeq != want[1]) {
				t.Errorf("%s stands at %+v, want %v", name, m, want)
			}
		}
	}
	var list wire.ConversationList
	if err := alice.rest.Do(t.Context(), "GET", "/api/v1/conversations", nil, &list); err != nil {
		t.Fatal(err)
	}
	if c := list.Conversations[0]; c.ReadSeq != 3 || c.Unread != 1 {
		t.Errorf("alice has read %d and %d are unread, want 3 and 1", c.ReadSeq, c.Unread)
	}
	if err := alice.rest.MarkRead(t.Context(), group, 5); err == nil || !strings.Contains(err.Error(), "bad_request") {
		t.Errorf("a mark beyond the head over REST: %v", err)
	}
}
