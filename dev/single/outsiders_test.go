package single

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"switchboard/client"
	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/roster"
	"switchboard/internal/wire"
)

// secret is in the names and the messages of the conversations that an outsider
// tries.
const secret = "xyzzy"

// removal is the seq at which mallory left those in which she was.
const removal = 2

// talk is a conversation that mallory tries.
type talk struct {
	name string
	id   chat.ConversationID
	left bool     // she was in it
	head chat.Seq // 0 = it does not exist
}

// outside is a system with conversations, of none of which mallory is a member.
// Alice and bob are in all that exist.
type outside struct {
	*System
	t                   *testing.T
	alice, bob, mallory *person
	talks               []*talk // the one that does not exist is the first
	foreign             *talk   // a group
	founding, request   chat.RequestID
	message             wire.MessageSent // alice's in the foreign group, sent with the request
}

func newOutside(t *testing.T) *outside {
	s := start(t)
	o := &outside{
		System: s, t: t, founding: chat.NewRequestID(), request: chat.NewRequestID(),
		alice: s.person(t, "alice", ""), bob: s.person(t, "bob", ""), mallory: s.person(t, "mallory", ""),
	}
	pair, err := o.alice.rest.Direct(t.Context(), o.bob.id)
	if err != nil {
		t.Fatal(err)
	}
	o.add("missing", chat.GroupConversation(o.alice.id, chat.NewRequestID()))
	o.add("foreign, direct", pair)
	o.foreign = o.add("foreign", o.gather(o.founding, 2, false))
	o.add("foreign, large", o.gather(chat.NewRequestID(), chat.LargeAbove+1, false))
	o.leave(o.alice, o.add("removed", o.gather(chat.NewRequestID(), 3, true)))
	o.leave(o.mallory, o.add("left", o.gather(chat.NewRequestID(), 3, true)))
	o.leave(o.alice, o.add("removed, large", o.gather(chat.NewRequestID(), chat.LargeAbove+2, true)))
	o.message = o.post(o.foreign, o.request)
	for _, c := range o.talks[1:] {
		c.head = o.post(c, chat.NewRequestID()).Seq
	}
	o.bob.comesTo(o.talks[1:], func(c *talk) chat.Seq { return c.head })
	o.mallory.comesTo(o.former(), func(*talk) chat.Seq { return removal })
	return o
}

func (o *outside) add(name string, id chat.ConversationID) *talk {
	c := &talk{name: name, id: id}
	o.talks = append(o.talks, c)
	return c
}

// former returns the conversations in which mallory was.
func (o *outside) former() []*talk {
	return slices.DeleteFunc(slices.Clone(o.talks), func(c *talk) bool { return !c.left })
}

// gather makes a group of n members.
func (o *outside) gather(request chat.RequestID, n int, withMallory bool) chat.ConversationID {
	o.t.Helper()
	members := []chat.UserID{o.bob.id}
	if withMallory {
		members = append(members, o.mallory.id)
	}
	for i := range n - 1 - len(members) {
		members = append(members, chat.DemoUser(fmt.Sprint("crowd ", i)))
	}
	id, err := o.alice.rest.Group(o.t.Context(), request, secret, members)
	if err != nil {
		o.t.Fatal(err)
	}
	return id
}

// leave has somebody take mallory out.
func (o *outside) leave(by *person, c *talk) {
	o.t.Helper()
	by.member("DELETE", c.id, o.mallory.id)
	c.left = true
}

// post has alice say something over REST.
func (o *outside) post(c *talk, request chat.RequestID) (sent wire.MessageSent) {
	o.t.Helper()
	if err := o.alice.rest.Do(o.t.Context(), "POST", "/api/v1/conversations/"+c.id.String()+"/messages", wire.SendMessage{
		Type: "text", Content: secret, ClientMessageID: &request,
	}, &sent); err != nil {
		o.t.Fatal(err)
	}
	return sent
}

// reached waits for the next frame of a durable event or head, and says what it
// tells of.
func (p *person) reached() (c chat.ConversationID, seq chat.Seq) {
	p.t.Helper()
	var told struct {
		ConversationID chat.ConversationID `json:"conversation_id"`
		Seq            chat.Seq            `json:"seq"`
		HeadSeq        chat.Seq            `json:"head_seq"`
	}
	if err := json.Unmarshal(p.next("new_message", "conversation_updated").Data, &told); err != nil {
		p.t.Fatal(err)
	}
	return told.ConversationID, max(told.Seq, told.HeadSeq)
}

// comesTo reads frames until each conversation has come to the wanted seq.
func (p *person) comesTo(talks []*talk, want func(*talk) chat.Seq) {
	p.t.Helper()
	missing := make(map[chat.ConversationID]chat.Seq)
	for _, c := range talks {
		missing[c.id] = want(c)
	}
	for len(missing) > 0 {
		if c, seq := p.reached(); seq >= missing[c] {
			delete(missing, c)
		}
	}
}

// attempt is one way of calling a route. In query and body MESSAGE stands for the
// id of a message in the foreign group, REQUEST for that with which it was sent.
type attempt struct{ user, query, body string }

// attempts are what mallory tries with each route that names a conversation.
var attempts = map[string][]attempt{
	"GET /api/v1/conversations/{conversation}":         {{}, {query: "limit=1"}},
	"PATCH /api/v1/conversations/{conversation}":       {{body: `{"name":"mine"}`}, {body: `{}`}, {body: `{"name":`}},
	"GET /api/v1/conversations/{conversation}/members": {{}},
	"PUT /api/v1/conversations/{conversation}/members/{user}": {
		{user: "mallory", body: `{"role":"admin"}`}, {user: "mallory"}, {user: "alice", body: `{"role":"member"}`}, {user: "nobody"},
	},
	"DELETE /api/v1/conversations/{conversation}/members/{user}": {{user: "mallory"}, {user: "alice"}, {user: "nobody"}},
	"GET /api/v1/conversations/{conversation}/messages": {
		{},
		{query: "limit=1"},
		{query: "after_seq=0"},
		{query: "before_seq=99"},
		{query: "around_seq=1"},
		{query: "before=4000000000"},
		{query: "before_id=MESSAGE"},
		{query: "after_id=MESSAGE"},
		{query: "after_seq=0&before_seq=9"},
		{query: "limit=0"},
	},
	"POST /api/v1/conversations/{conversation}/messages": {
		{body: `{"type":"text","content":"x","client_message_id":"019ab3c4-d5e6-7000-8abc-def012345602"}`},
		{body: `{"type":"text","content":"x","client_message_id":"REQUEST"}`},
		{body: `{"type":"text","content":"x","reply_to":"MESSAGE"}`},
		{body: `{}`},
	},
	"POST /api/v1/conversations/{conversation}/read": {{body: `{"seq":1}`}, {body: `{"seq":2}`}, {body: `{"seq":99}`}, {body: `{}`}},
}

// elsewhere are the routes that name no conversation, or name it in the body: each
// has a test of its own below.
var elsewhere = []string{
	"GET /api/v1/devices", "PUT /api/v1/devices/{device}/push", "DELETE /api/v1/devices/{device}/push",
	"GET /api/v1/conversations", "GET /api/v1/gateway", "GET /api/v1/media/{media}", "GET /api/v1/media/{media}/info",
	"GET /api/v1/media/{media}/thumbnail", "GET /api/v1/presence", "GET /api/v1/search", "POST /api/v1/conversations",
	"POST /api/v1/media", "POST /api/v1/media/upload", "POST /api/v1/media/{media}/complete", "POST /api/v1/sync",
}

// answer makes a call of mallory's and returns everything that came back but the
// time. A call that came too soon is made again when the answer said.
func (o *outside) answer(method, path, body string) string {
	o.t.Helper()
	r, err := http.NewRequestWithContext(o.t.Context(), method, o.URLs().REST+path, strings.NewReader(body))
	if err != nil {
		o.t.Fatal(err)
	}
	token, err := o.mallory.rest.Token(o.t.Context())
	if err != nil {
		o.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("X-Request-Id", "mallory")
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		o.t.Fatal(err)
	}
	defer w.Body.Close()
	text, err := io.ReadAll(w.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	if w.StatusCode == http.StatusTooManyRequests {
		time.Sleep(time.Second) // Retry-After, which HEAD has too.
		return o.answer(method, path, body)
	}
	w.Header.Del("Date")
	return fmt.Sprintln(w.Status, w.Header, string(text))
}

// fill puts what is real into an attempt.
func (o *outside) fill(text string) string {
	return strings.NewReplacer("MESSAGE", o.message.MessageID.String(), "REQUEST", o.request.String()).Replace(text)
}

func TestOutsidersHaveNoAnswerFromAnyRoute(t *testing.T) {
	o := newOutside(t)
	if rows := slices.Sorted(slices.Values(slices.AppendSeq(slices.Clone(elsewhere), maps.Keys(attempts)))); !slices.Equal(rows, o.rest.Routes()) {
		t.Errorf("the rows are %q, want all routes: %q", rows, o.rest.Routes())
	}
	before := o.views()
	for route, ways := range attempts {
		method, pattern, _ := strings.Cut(route, " ")
		for _, a := range ways {
			path := strings.Replace(pattern, "{user}", chat.DemoUser(a.user).String(), 1) + "?" + o.fill(a.query)
			o.same(method, path, o.fill(a.body))
			if method == "GET" {
				o.same("HEAD", path, "")
			}
		}
	}
	o.unmoved(before)
}

// same tries a call on each conversation; all answers must be that of the one that
// does not exist.
func (o *outside) same(method, path, body string) {
	o.t.Helper()
	var missing string
	for _, c := range o.talks {
		got := o.answer(method, strings.Replace(path, "{conversation}", c.id.String(), 1), body)
		if missing == "" {
			missing = got
		}
		if got != missing || !strings.HasPrefix(got, "404 ") || method != "HEAD" && !strings.Contains(got, `"code":"not_member"`) {
			o.t.Errorf("%s %s %s of the conversation that is %s:\n%sof the one that is missing:\n%s", method, path, body, c.name, got, missing)
		}
	}
}

// views returns how alice sees every conversation, and how much was sent to those
// who are away.
func (o *outside) views() map[string]string {
	o.t.Helper()
	all := make(map[string]string)
	for _, c := range o.talks[1:] {
		for _, path := range []string{"", "/members", "/messages"} {
			var body json.RawMessage
			path = "/api/v1/conversations/" + c.id.String() + path
			if err := o.alice.rest.Do(o.t.Context(), "GET", path, nil, &body); err != nil {
				o.t.Fatal(err)
			}
			all[c.name+": "+path] = string(body)
		}
	}
	for p := range int32(Partitions) {
		_, end, err := o.client.Log().Bounds(o.t.Context(), bus.TopicPush, p)
		if err != nil {
			o.t.Fatal(err)
		}
		all[fmt.Sprint(bus.TopicPush, p)] = fmt.Sprint(end)
	}
	return all
}

// seenAs checks that alice sees what she saw.
func (o *outside) seenAs(before map[string]string) {
	o.t.Helper()
	after := o.views()
	for what, was := range before {
		if is := after[what]; is != was {
			o.t.Errorf("%s is\n%s, was\n%s", what, is, was)
		}
	}
}

// unmoved checks that nothing has changed for the members: what they see is what it
// was, the next message of each conversation has the next seq, and it is the next
// thing that bob is told of.
func (o *outside) unmoved(before map[string]string) {
	o.t.Helper()
	o.seenAs(before)
	for _, c := range o.talks[1:] {
		c.head++
		if sent := o.post(c, chat.NewRequestID()); sent.Seq != c.head {
			o.t.Errorf("%s: the next message has seq %d, want %d", c.name, sent.Seq, c.head)
		}
		e := o.bob.next("new_message", "conversation_updated", "message_status", "typing", "error", "behind")
		var told wire.ConversationUpdated
		if err := json.Unmarshal(e.Data, &told); err != nil {
			o.t.Fatal(err)
		}
		if told.ConversationID != c.id || max(told.Seq, told.HeadSeq) != c.head {
			o.t.Errorf("%s: bob was told %s %s, want %d of %s", c.name, e.Type, e.Data, c.head, c.id)
		}
	}
	o.mallory.hearsNothing()
}

// hearsNothing says something and must hear the answer to that first.
func (p *person) hearsNothing() {
	p.t.Helper()
	p.write("heartbeat", nil)
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	if e, err := p.conn.Next(ctx); err != nil || e.Type != "heartbeat_ack" {
		p.t.Errorf("heard %s %s, %v; want nothing", e.Type, e.Data, err)
	}
}

func TestOutsidersAreToldNothingByListsAndSync(t *testing.T) {
	o := newOutside(t)
	before := o.views()
	if got := o.answer("GET", "/api/v1/conversations", ""); !strings.HasPrefix(got, "200 ") || !strings.Contains(got, `{"conversations":[]}`) {
		t.Errorf("the list of who is in nothing: %s", got)
	}
	for _, c := range o.talks {
		cursor := base64.RawURLEncoding.EncodeToString(append(o.message.MessageID[:], c.id[:]...))
		if got := o.answer("GET", "/api/v1/conversations?cursor="+cursor, ""); !strings.Contains(got, `{"conversations":[]}`) {
			t.Errorf("the list from %s: %s", c.name, got)
		}
	}
	if got := o.answer("POST", "/api/v1/sync", `{"have":{}}`); !strings.Contains(got, `{"events":[],"heads":[],"has_more":false}`) {
		t.Errorf("sync of nothing: %s", got)
	}
	for _, c := range o.talks {
		for _, have := range []chat.Seq{0, 1, removal, 99} {
			answer, err := o.mallory.rest.Sync(t.Context(), map[chat.ConversationID]chat.Seq{c.id: have})
			if err != nil {
				t.Fatal(err)
			}
			var want []chat.Seq
			for seq := have + 1; c.left && seq <= removal; seq++ {
				want = append(want, seq)
			}
			var got []chat.Seq
			for _, e := range answer.Events {
				var u wire.ConversationUpdated
				if err := json.Unmarshal(e.Data, &u); err != nil {
					t.Fatal(err)
				}
				got = append(got, u.Seq)
			}
			if !slices.Equal(got, want) || len(answer.Heads) > 0 || answer.HasMore {
				t.Errorf("%s, above %d: synced %v, heads %+v; want %v and no head", c.name, have, got, answer.Heads, want)
			}
		}
	}
	o.unmoved(before)
}

// Nobody's presence is told to who shares no conversation with them now, and who
// does not exist looks the same.
func TestOutsidersDoNotSeeWhoIsOnline(t *testing.T) {
	o := newOutside(t)
	ask := func(name string) string {
		return o.answer("GET", "/api/v1/presence?user_ids="+chat.DemoUser(name).String(), "")
	}
	nobody := ask("nobody")
	if !strings.HasPrefix(nobody, "200 ") || !strings.Contains(nobody, "[]") {
		t.Errorf("of nobody: %s", nobody)
	}
	for _, name := range []string{"alice", "bob", "crowd 0"} {
		if got := ask(name); got != nobody {
			t.Errorf("of %s: %sof nobody: %s", name, got, nobody)
		}
	}
}

// The id of a group follows from who founded it and with which request: who repeats
// the request of somebody else founds another.
func TestOutsidersDoNotGetAGroupByItsRequest(t *testing.T) {
	o := newOutside(t)
	before := o.views()
	id, err := o.mallory.rest.Group(t.Context(), o.founding, "mine", nil)
	if err != nil || id == o.foreign.id {
		t.Fatalf("got %s, %v; want another group than %s", id, err, o.foreign.id)
	}
	if list, err := o.mallory.rest.Members(t.Context(), id); err != nil || len(list.Members) != 1 {
		t.Errorf("it has the members %+v, %v; want mallory alone", list.Members, err)
	}
	// Who founded a group and left it is out of it like everybody else.
	o.mallory.hearsOf("created 1")
	own := o.founding
	if _, err := o.mallory.rest.Group(t.Context(), own, "mine", nil); err != nil {
		t.Errorf("asked for again: %v", err)
	}
	o.mallory.member("PUT", id, o.bob.id)
	o.mallory.member("DELETE", id, o.mallory.id)
	_, err = o.mallory.rest.Group(t.Context(), own, "mine", nil)
	if err == nil || !strings.Contains(err.Error(), "not_member") {
		t.Errorf("after leaving: %v, want not_member", err)
	}
	o.mallory.hearsOf("member_added 2", "member_removed 3")
	o.bob.hearsOf("member_added 2", "member_removed 3", "role_changed 4")
	o.unmoved(before)
}

// tries are what mallory tries with each event that names a conversation; none for
// those that name none. The data has the conversation besides.
var tries = map[string][]string{
	"connect":       nil,
	"heartbeat":     nil,
	"refresh_token": nil,
	"send_message": {
		`"type":"text","content":"x","client_message_id":"019ab3c4-d5e6-7000-8abc-def012345602"`,
		`"type":"text","content":"x","client_message_id":"REQUEST"`,
		`"type":"text","content":"x","client_message_id":"019ab3c4-d5e6-7000-8abc-def012345603","reply_to":"MESSAGE"`,
	},
	"mark_delivered": {`"seq":1`, `"seq":2`, `"seq":99`, `"message_id":"MESSAGE"`},
	"mark_read":      {`"seq":1`, `"seq":2`, `"seq":99`, `"message_id":"MESSAGE"`},
	"typing":         {`"is_typing":true`},
}

func TestOutsidersHaveNoEffectByAnyEvent(t *testing.T) {
	o := newOutside(t)
	if rows, all := slices.Sorted(maps.Keys(tries)), slices.Sorted(slices.Values(wire.ClientEvents())); !slices.Equal(rows, all) {
		t.Errorf("the rows are %q, want all events: %q", rows, all)
	}
	before := o.views()
	for event, ways := range tries {
		if event == "typing" {
			continue // It is never answered, and has a test of its own.
		}
		for _, data := range ways {
			answers := o.refusals(event, o.fill(data))
			for name, got := range answers {
				if got != answers["missing"] || !strings.Contains(got, `"code":"not_member"`) {
					t.Errorf("%s %s to the conversation that is %s:\n%s\nto the one that is missing:\n%s", event, data, name, got, answers["missing"])
				}
			}
		}
	}
	o.mallory.hearsNothing()
	o.unmoved(before)
}

// refusals sends an event to each conversation and returns the answers. Marks are
// answered late, so it sends all of them before it waits.
func (o *outside) refusals(event, data string) map[string]string {
	o.t.Helper()
	for _, c := range o.talks {
		frame := json.RawMessage(fmt.Sprintf(`{"conversation_id":%q,%s}`, c.id, data))
		if err := o.mallory.conn.Write(o.t.Context(), event, c.name, frame); err != nil {
			o.t.Fatal(err)
		}
	}
	answers := make(map[string]string)
	for range o.talks {
		e := o.mallory.next("error", "message_sent", "message_status", "new_message", "conversation_updated", "typing")
		answers[e.ID] = e.Type + " " + strings.ReplaceAll(string(e.Data), e.ID, "ID")
	}
	if len(answers) != len(o.talks) {
		o.t.Errorf("%s %s: %d answers, want one from each of %d", event, data, len(answers), len(o.talks))
	}
	return answers
}

// Typing is answered to nobody. The members hear only of alice, who types after
// mallory.
func TestOutsidersAreNotSeenTyping(t *testing.T) {
	o := newOutside(t)
	before := o.views()
	judged := o.set.Counter(`switchboard_router_hints_dropped_total{reason="no_member"}`)
	for _, c := range o.talks {
		if strings.HasSuffix(c.name, "large") {
			continue // Nobody is told there, whoever types.
		}
		o.awaitRoster(c)
		mallory, alice := o.person(t, "mallory", c.name), o.person(t, "alice", c.name)
		data := json.RawMessage(fmt.Sprintf(`{"conversation_id":%q,%s}`, c.id, tries["typing"][0]))
		so := judged.Get()
		again(t, func() bool { // The router begins at the end of the log, whenever that is.
			mallory.write("typing", data)
			return judged.Get() > so
		})
		mallory.hearsNothing()
		mallory.conn.Drop()
		if c.head == 0 {
			continue
		}
		heard := o.bob.listen("typing")
		var e client.Event
		again(t, func() bool {
			alice.write("typing", data)
			select {
			case e = <-heard:
				return true
			default:
				return false
			}
		})
		var typing wire.Typing
		if err := json.Unmarshal(e.Data, &typing); err != nil || typing.UserID != alice.id || typing.ConversationID != c.id {
			t.Errorf("%s: bob heard %+v, %v; want alice", c.name, typing, err)
		}
		alice.conn.Drop()
	}
	o.seenAs(before)
}

// awaitRoster waits until the projection knows that mallory is gone: by its roster it
// is judged who may type.
func (o *outside) awaitRoster(c *talk) {
	o.t.Helper()
	again(o.t, func() bool {
		members, err := o.roster.Members(o.t.Context(), c.id, chat.UserID{}, chat.TypingMembers)
		if err != nil {
			o.t.Fatal(err)
		}
		return !slices.ContainsFunc(members, func(m roster.Member) bool { return m.User == o.mallory.id })
	})
}

// Whoever is a member, but no admin, changes nobody but themselves.
func TestMembersWhoAreNoAdminsChangeNobody(t *testing.T) {
	o := newOutside(t)
	before := o.views()
	path := "/api/v1/conversations/" + o.foreign.id.String()
	for _, c := range []struct {
		method, path string
		body         any
	}{
		{"PATCH", path, wire.PatchConversation{Name: new(string)}},
		{"PUT", path + "/members/" + o.mallory.id.String(), nil},
		{"PUT", path + "/members/" + o.bob.id.String(), wire.PutMember{Role: "admin"}},
		{"PUT", path + "/members/" + o.alice.id.String(), wire.PutMember{Role: "member"}},
		{"DELETE", path + "/members/" + o.alice.id.String(), nil},
		{"DELETE", path + "/members/" + chat.DemoUser("nobody").String(), nil},
	} {
		err := o.bob.rest.Do(t.Context(), c.method, c.path, c.body, nil)
		if err == nil || !strings.Contains(err.Error(), "forbidden") {
			t.Errorf("%s %s: %v, want forbidden", c.method, c.path, err)
		}
	}
	o.unmoved(before)
}
