package single

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"testing"

	"switchboard/client"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// crowded makes a group of n members, of which alice is the admin; the named others
// are in it.
func (p *person) crowded(n int, others ...*person) chat.ConversationID {
	p.t.Helper()
	var members []chat.UserID
	for _, o := range others {
		members = append(members, o.id)
	}
	for i := range n - 1 - len(members) {
		members = append(members, chat.DemoUser(fmt.Sprint("crowd ", i)))
	}
	id, err := p.rest.Group(p.t.Context(), chat.NewRequestID(), "group", members)
	if err != nil {
		p.t.Fatal(err)
	}
	return id
}

// rename gives a group a name and returns what the server says of it, nil or a code.
func (p *person) rename(c chat.ConversationID, name string) error {
	return p.refusal("PATCH", c, "", wire.PatchConversation{Name: &name})
}

// refusal makes a call about a conversation; the error is the code of a refusal.
func (p *person) refusal(method string, c chat.ConversationID, path string, body any) error {
	p.t.Helper()
	err := p.rest.Do(p.t.Context(), method, "/api/v1/conversations/"+c.String()+path, body, nil)
	if status, ok := errors.AsType[*client.StatusError](err); ok {
		return errors.New(string(status.Problem.Code))
	}
	return err
}

// view is what REST shows of a conversation.
type view struct {
	history []chat.Seq // nil = refused
	synced  []chat.Seq // above what was asked, named
	head    chat.Seq   // of the same answer
	listed  bool
}

// sees asks every way to read a conversation at once. What is refused must be so by
// each of them.
func (p *person) sees(c chat.ConversationID, have chat.Seq) (v view) {
	p.t.Helper()
	page, _ := p.rest.History(p.t.Context(), c, url.Values{"limit": {"200"}}) // refused below as well
	for _, m := range page.Messages {
		v.history = append(v.history, m.Seq)
	}
	first := p.refusal("GET", c, "/messages", nil)
	for path, err := range map[string]error{
		"": p.refusal("GET", c, "", nil), "/members": p.refusal("GET", c, "/members", nil),
		"/read": p.refusal("POST", c, "/read", wire.MarkRead{Seq: 1}),
	} {
		if fmt.Sprint(err) != fmt.Sprint(first) || err != nil && err.Error() != string(chat.NotMember) {
			p.t.Errorf("%q: %v, of history %v; want the same, and not_member if any", path, err, first)
		}
	}
	v.synced, v.head = p.synced(c, map[chat.ConversationID]chat.Seq{c: have})
	if seqs, head := p.synced(c, nil); len(seqs) > 0 || (head > 0) != (first == nil) {
		p.t.Errorf("a new device is synced %v and the head %d; history says %v", seqs, head, first)
	}
	var list wire.ConversationList
	if err := p.rest.Do(p.t.Context(), "GET", "/api/v1/conversations", nil, &list); err != nil {
		p.t.Fatal(err)
	}
	v.listed = slices.ContainsFunc(list.Conversations, func(l wire.Conversation) bool { return l.ID == c })
	return v
}

// synced returns what sync says of one conversation.
func (p *person) synced(c chat.ConversationID, have map[chat.ConversationID]chat.Seq) (seqs []chat.Seq, head chat.Seq) {
	p.t.Helper()
	answer, err := p.rest.Sync(p.t.Context(), have)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, e := range answer.Events {
		var u wire.ConversationUpdated
		if err := json.Unmarshal(e.Data, &u); err != nil {
			p.t.Fatal(err)
		}
		if u.ConversationID == c {
			seqs = append(seqs, u.Seq)
		}
	}
	for _, h := range answer.Heads {
		if h.ConversationID == c {
			head = h.HeadSeq
		}
	}
	return seqs, head
}

func (v view) is(w view) bool {
	return slices.Equal(v.history, w.history) && slices.Equal(v.synced, w.synced) && v.head == w.head && v.listed == w.listed
}

// A change of membership is in force when it is answered, on every way: what was
// said after a removal never reaches who was removed, what was said after an addition
// always does. The sizes lie on both sides of the one above which conversations are
// pulled, and so that the change itself crosses it.
func TestMembershipIsInForceWhenItIsAnswered(t *testing.T) {
	for _, members := range []int{8, chat.LargeAbove, chat.LargeAbove + 1, chat.LargeAbove + 50} {
		t.Run(fmt.Sprint(members), func(t *testing.T) {
			s := start(t)
			alice, bob, carol := s.person(t, "alice", ""), s.person(t, "bob", ""), s.person(t, "carol", "")
			group := alice.crowded(members, bob, carol) // 1
			phone, tablet := follow(t, bob), follow(t, carol)
			alice.say(group) // 2
			phone.wants(t, 1, 2)
			tablet.wants(t, 1, 2)

			alice.member("DELETE", group, carol.id) // 3
			alice.say(group)                        // 4
			if err := alice.rename(group, "without carol"); err != nil {
				t.Error(err) // 5
			}
			if v, want := carol.sees(group, 1), (view{synced: []chat.Seq{2, 3}}); !v.is(want) {
				t.Errorf("after the removal carol sees %+v, want %+v", v, want)
			}
			phone.wants(t, 3, 4, 5)
			tablet.wants(t, 3)

			alice.member("PUT", group, carol.id) // 6
			alice.say(group)                     // 7
			want := view{history: []chat.Seq{1, 2, 3, 6, 7}, synced: []chat.Seq{6, 7}, listed: true}
			if members > chat.LargeAbove {
				want.synced, want.head = nil, 7
			}
			if v := carol.sees(group, 3); !v.is(want) {
				t.Errorf("after the addition carol sees %+v, want %+v", v, want)
			}
			phone.wants(t, 6, 7)
			tablet.wants(t, 6, 7) // And 4 and 5 never.

			carol.member("DELETE", group, carol.id) // 8
			alice.say(group)                        // 9
			if v, want := carol.sees(group, 7), (view{synced: []chat.Seq{8}}); !v.is(want) {
				t.Errorf("after leaving carol sees %+v, want %+v", v, want)
			}
			phone.wants(t, 8, 9)
			tablet.wants(t, 8)
			carol.onlyHeard(group, 3, 8)
		})
	}
}

// onlyHeard reads everything that this person's connection was told of a conversation
// so far: the events of two stays, the removals included, and no head above them.
func (p *person) onlyHeard(c chat.ConversationID, removed, left chat.Seq) {
	p.t.Helper()
	p.write("heartbeat", nil)
	for {
		e := p.next("new_message", "conversation_updated", "heartbeat_ack")
		if e.Type == "heartbeat_ack" {
			return
		}
		var u wire.ConversationUpdated
		if err := json.Unmarshal(e.Data, &u); err != nil {
			p.t.Fatal(err)
		}
		if seq := max(u.Seq, u.HeadSeq); u.ConversationID == c && (seq > left || seq > removed && seq < removed+3) {
			p.t.Errorf("was told of %d by %s %s", seq, e.Type, e.Data)
		}
	}
}

// Who is who decides what a command may do from the moment that is answered.
func TestRolesAreInForceWhenTheyAreAnswered(t *testing.T) {
	for _, members := range []int{8, chat.LargeAbove + 1} {
		t.Run(fmt.Sprint(members), func(t *testing.T) {
			s := start(t)
			alice, bob, carol := s.person(t, "alice", ""), s.person(t, "bob", ""), s.person(t, "carol", "")
			group := alice.crowded(members, bob, carol) // 1
			phone := follow(t, carol)
			step := func(what string, got error, want chat.Code) {
				t.Helper()
				if got == nil && want != "" || got != nil && got.Error() != string(want) {
					t.Errorf("%s: %v, want %q", what, got, want)
				}
			}
			role := func(p *person, of *person, role string) error {
				return p.refusal("PUT", group, "/members/"+of.id.String(), wire.PutMember{Role: role})
			}
			step("a member renames", bob.rename(group, "bob's"), chat.Forbidden)
			step("a member makes himself an admin", role(bob, bob, "admin"), chat.Forbidden)
			step("bob becomes an admin", role(alice, bob, "admin"), "")    // 2
			step("bob renames", bob.rename(group, "bob's"), "")            // 3
			step("alice becomes a member", role(bob, alice, "member"), "") // 4
			step("alice renames", alice.rename(group, "alice's"), chat.Forbidden)
			step("the last admin steps down", role(bob, bob, "member"), chat.Forbidden)
			step("alice leaves", alice.refusal("DELETE", group, "/members/"+alice.id.String(), nil), "") // 5
			step("alice renames", alice.rename(group, "alice's"), chat.NotMember)
			step("alice comes back", bob.refusal("PUT", group, "/members/"+alice.id.String(), nil), "") // 6
			phone.wants(t, 1, 2, 3, 4, 5, 6)
			// The longest member is one of those who came with the group, and not alice.
			step("bob leaves", bob.refusal("DELETE", group, "/members/"+bob.id.String(), nil), "") // 7, 8
			phone.wants(t, 7, 8)
			list, err := carol.rest.Members(t.Context(), group)
			if err != nil {
				t.Fatal(err)
			}
			var admins []chat.UserID
			for _, m := range list.Members {
				if m.Role == chat.Admin.String() {
					admins = append(admins, m.UserID)
				}
			}
			if len(list.Members) != members-1 || list.MembersVersion != 8 || len(admins) != 1 || admins[0] == alice.id || admins[0] == bob.id {
				t.Fatalf("%d members of version %d, admins %v; want %d of version 8 with one admin from the beginning",
					len(list.Members), list.MembersVersion, admins, members-1)
			}
			heir := "carol"
			for i := 0; chat.DemoUser(heir) != admins[0]; i++ {
				heir = fmt.Sprint("crowd ", i)
			}
			step("the new admin renames", s.person(t, heir, "").rename(group, "the heir's"), "") // 9
			phone.wants(t, 9)
		})
	}
}
