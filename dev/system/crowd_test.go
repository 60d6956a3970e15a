package system

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"switchboard/client"
	"switchboard/dev/soak"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// crowd is a conversation of a hundred, and of a hundred and one whenever the
// guest is in it: it becomes large and small again all the time.
type crowd struct {
	t     *testing.T
	site  *soak.Site
	group chat.ConversationID
}

func (c *crowd) user(n int) chat.UserID { return chat.DemoUser(fmt.Sprint("crowd-", n)) }

// The roles in it. Everybody else is never there.
const (
	admin   = 0
	writers = 2 // 1 and 2
	present = 4 // 1 to 4 have devices
	guest   = chat.LargeAbove
)

func (c *crowd) rest(n int) *client.REST {
	return &client.REST{
		Base:  c.site.REST[n%len(c.site.REST)],
		Token: func(context.Context) (string, error) { return c.site.Keys.Mint(c.user(n), time.Hour) },
	}
}

// listener is one device, which remembers what its library applied and what was
// pushed to it.
type listener struct {
	name string

	mu      sync.Mutex
	applied []chat.Seq
	pushed  []chat.Seq // the content of which it got to see
	heads   int
}

// listen keeps a device connected until ctx ends.
func (c *crowd) listen(ctx context.Context, n, device int, l *listener) {
	l.name = fmt.Sprintf("device %d of %d", device, n)
	err := client.New(client.Config{
		REST: c.rest(n), URL: c.site.WS[(n+device)%len(c.site.WS)], Device: fmt.Sprint("device-", device),
		Apply: func(m wire.Message) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.applied = append(l.applied, m.Seq)
		},
		Signal: l.hear,
	}).Run(ctx)
	if err != nil {
		c.t.Errorf("%s: %v", l.name, err)
	}
}

// hear notes a frame.
func (l *listener) hear(e client.Event) {
	var u wire.ConversationUpdated // What a message has of it is its seq.
	if e.Type != "new_message" && e.Type != "conversation_updated" || json.Unmarshal(e.Data, &u) != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if u.HeadSeq > 0 {
		l.heads++
	}
	switch {
	case u.Message != nil:
		l.pushed = append(l.pushed, u.Message.Seq)
	case u.HeadSeq > 0:
		l.pushed = append(l.pushed, u.HeadSeq)
	default:
		l.pushed = append(l.pushed, u.Seq)
	}
}

// insist repeats a call until it is answered.
func (c *crowd) insist(ctx context.Context, n int, method, path string, body any) {
	for ctx.Err() == nil {
		err := c.rest(n).Do(ctx, method, "/api/v1/conversations/"+c.group.String()+path, body, nil)
		var status *client.StatusError
		if err == nil || errors.As(err, &status) && status.Status == http.StatusNotFound {
			return // Whoever is removed again is not found.
		}
		rest(ctx, 50*time.Millisecond)
	}
}

// write sends messages, each until it is answered.
func (c *crowd) write(ctx context.Context, n int) {
	for ctx.Err() == nil {
		id := chat.NewRequestID()
		c.insist(ctx, n, http.MethodPost, "/messages", wire.SendMessage{Content: "hello", Type: "text", ClientMessageID: &id})
		rest(ctx, time.Duration(100*n)*time.Millisecond)
	}
}

// move lets the guest come and go; at the end it is in.
func (c *crowd) move(ctx, all context.Context) {
	path := "/members/" + c.user(guest).String()
	for ctx.Err() == nil {
		c.insist(all, admin, http.MethodPut, path, struct{}{})
		rest(ctx, 1500*time.Millisecond)
		c.insist(all, admin, http.MethodDelete, path, nil)
		rest(ctx, 700*time.Millisecond)
	}
	c.insist(all, admin, http.MethodPut, path, struct{}{})
}

// history waits for the end and returns the whole conversation.
func (c *crowd) history() []wire.Message {
	all, err := c.rest(admin).All(c.t.Context(), c.group, 0)
	if err != nil {
		c.t.Fatal(err)
	}
	for i, m := range all {
		if m.Seq != chat.Seq(i+1) {
			c.t.Fatalf("history has %d in the place of %d", m.Seq, i+1)
		}
	}
	return all
}

// visible returns the seqs that the guest may know of.
func (c *crowd) visible(all []wire.Message) (seqs []chat.Seq) {
	inside := false
	for _, m := range all {
		concerned := m.Event != nil && m.Event.UserID != nil && *m.Event.UserID == c.user(guest)
		if concerned && m.Event.Change == chat.MemberAdded.String() {
			inside = true
		}
		if inside {
			seqs = append(seqs, m.Seq)
		}
		if concerned && m.Event.Change == chat.MemberRemoved.String() {
			inside = false
		}
	}
	return seqs
}

// check waits until a device has applied what it may see, and looks that nothing
// else was pushed to it.
func (c *crowd) check(l *listener, want []chat.Seq) {
	deadline := time.Now().Add(patience)
	for {
		l.mu.Lock()
		applied, pushed := slices.Clone(l.applied), slices.Clone(l.pushed)
		l.mu.Unlock()
		if slices.Equal(applied, want) {
			for _, seq := range pushed {
				if _, ok := slices.BinarySearch(want, seq); !ok {
					c.t.Errorf("%s was told of %d, which is not for it", l.name, seq)
				}
			}
			return
		}
		if time.Now().After(deadline) {
			c.t.Errorf("%s applied %v, want %v", l.name, applied, want)
			return
		}
		rest(c.t.Context(), 100*time.Millisecond)
	}
}

// talkUnder lets people talk in a crowd while faults happen, and for some time
// after each.
func talkUnder(t *testing.T, site *soak.Site, calm time.Duration, faults ...func(context.Context) error) {
	c := &crowd{t: t, site: site}
	var members []chat.UserID
	for n := 1; n < guest; n++ {
		members = append(members, c.user(n))
	}
	var err error
	if c.group, err = c.rest(admin).Group(t.Context(), chat.NewRequestID(), "crowd", members); err != nil {
		t.Fatal(err)
	}
	living, end := context.WithCancel(t.Context())
	talking, hush := context.WithCancel(living)
	var devices, talkers sync.WaitGroup
	all := make(map[int][]*listener)
	for _, n := range []int{1, 2, 3, present, guest} {
		for device := range 2 {
			l := new(listener)
			all[n] = append(all[n], l)
			devices.Go(func() { c.listen(living, n, device, l) })
		}
	}
	for n := 1; n <= writers; n++ {
		talkers.Go(func() { c.write(talking, n) })
	}
	talkers.Go(func() { c.move(talking, living) })
	for _, fault := range append(faults, func(context.Context) error { return nil }) {
		if err := fault(t.Context()); err != nil {
			t.Error(err)
		}
		rest(t.Context(), calm)
	}
	hush()
	talkers.Wait()
	history := c.history()
	whole := make([]chat.Seq, len(history))
	for i := range whole {
		whole[i] = chat.Seq(i + 1)
	}
	heads := 0
	for n, listeners := range all {
		want := whole
		if n == guest {
			want = c.visible(history)
		}
		for _, l := range listeners {
			c.check(l, want)
			heads += l.heads
		}
	}
	end()
	devices.Wait()
	t.Logf("%d events, %d heads", len(history), heads)
	if heads < len(all)*2 {
		t.Error("hardly a head was told")
	}
}

func TestLargeConversationOnAKilledSystem(t *testing.T) {
	h := newHouse(t)
	talkUnder(t, h.site(), 6*time.Second, h.restarted, h.restarted)
}

// Each program that has a hand in it dies, and PostgreSQL, which says who is in
// the crowd.
func TestLargeConversationOnAKilledCluster(t *testing.T) {
	c := newCluster(t, "-gateways=2", "-routers=2", "-workers=2")
	talkUnder(t, c.Site, 12*time.Second, c.kills("router-1", "postgres", "worker-1", "router-2", "gateway-1")...)
}
