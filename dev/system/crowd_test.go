package system

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
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

// talk is a crowd in which people talk until they are judged.
type talk struct {
	*crowd
	hush, end        context.CancelFunc
	talkers, devices sync.WaitGroup
	listeners        map[int][]*listener // by whose device it is
}

// beginTalk lets people talk in a crowd.
func beginTalk(t *testing.T, site *soak.Site) *talk {
	c := &talk{crowd: &crowd{t: t, site: site}, listeners: make(map[int][]*listener)}
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
	c.end, c.hush = end, hush
	t.Cleanup(c.stop) // Also if the test gives up.
	for _, n := range []int{1, 2, 3, present, guest} {
		for device := range 2 {
			l := new(listener)
			c.listeners[n] = append(c.listeners[n], l)
			c.devices.Go(func() { c.listen(living, n, device, l) })
		}
	}
	for n := 1; n <= writers; n++ {
		c.talkers.Go(func() { c.write(talking, n) })
	}
	c.talkers.Go(func() { c.move(talking, living) })
	return c
}

func (c *talk) stop() {
	c.end()
	c.talkers.Wait()
	c.devices.Wait()
}

// judge has everybody fall silent, and checks what each device was told.
func (c *talk) judge() {
	c.hush()
	c.talkers.Wait()
	history := c.history()
	whole := make([]chat.Seq, len(history))
	for i := range whole {
		whole[i] = chat.Seq(i + 1)
	}
	for n, listeners := range c.listeners {
		want := whole
		if n == guest {
			want = c.visible(history)
		}
		for _, l := range listeners {
			c.check(l, want)
		}
	}
	c.stop()
	heads := 0
	for _, listeners := range c.listeners {
		for _, l := range listeners {
			heads += l.heads
		}
	}
	c.t.Logf("%d events, %d heads", len(history), heads)
	if heads < len(c.listeners)*2 {
		c.t.Error("hardly a head was told")
	}
}

// watched is the house as a site whose metrics can be read.
func (h *house) watched() *soak.Site {
	site := h.site()
	site.Ops = map[string]string{"dev": "http://" + h.args[7]}
	return site
}

// counted adds a metric up over the programs of a site; one that nobody has yet
// is 0. Labels belong to the name.
func counted(t *testing.T, site *soak.Site, name string) (total float64) {
	t.Helper()
	for program, url := range site.Ops {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatalf("metrics of %s: %v", program, err)
		}
		text, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close() // It was read to the end, or err says so.
		if err != nil {
			t.Fatalf("metrics of %s: %v", program, err)
		}
		for line := range strings.Lines(string(text)) {
			value, ok := strings.CutPrefix(line, name+" ")
			if n, err := strconv.ParseFloat(strings.TrimSpace(value), 64); ok && err == nil {
				total += n
			}
		}
	}
	return total
}

// talkInThousands has a few of 2,000 members connected, five of whom say 20 things
// a second between them. What that costs is counted by the head and not by the
// message, and whoever is connected has all of it at the end.
func talkInThousands(t *testing.T, site *soak.Site) {
	const members, connected, speakers, messages, pause = 2000, 50, 5, 200, 250 * time.Millisecond
	c := &crowd{t: t, site: site}
	c.gather(members)
	living, end := context.WithCancel(t.Context())
	var devices, talkers sync.WaitGroup
	defer devices.Wait()
	defer end()
	listeners := make([]*listener, connected)
	for i := range listeners {
		listeners[i] = new(listener)
		devices.Go(func() { c.listen(living, i+1, 0, listeners[i]) })
	}
	for _, l := range listeners {
		c.check(l, []chat.Seq{1})
	}
	const heads, perHead, perMessage, pushes = "switchboard_router_heads_total", "switchboard_router_head_lookup_users_total",
		"switchboard_router_lookup_users_total", "switchboard_router_pushes_total"
	before := make(map[string]float64)
	for _, name := range []string{heads, perHead, perMessage, pushes} {
		before[name] = counted(t, site, name)
	}
	began := time.Now()
	for n := 1; n <= speakers; n++ {
		talkers.Go(func() {
			for range messages / speakers {
				id := chat.NewRequestID()
				c.insist(living, n, http.MethodPost, "/messages", wire.SendMessage{Content: "hello", Type: "text", ClientMessageID: &id})
				rest(living, pause)
			}
		})
	}
	talkers.Wait()
	whole := make([]chat.Seq, len(c.history()))
	for i := range whole {
		whole[i] = chat.Seq(i + 1)
	}
	if len(whole) != messages+1 {
		t.Errorf("history has %d events, want the group's making and %d messages", len(whole), messages)
	}
	for _, l := range listeners {
		c.check(l, whole)
	}
	rest(living, 2*time.Second) // who is away is notified of the last messages
	took := time.Since(began).Seconds()
	added := func(name string) float64 { return counted(t, site, name) - before[name] }
	t.Logf("%d messages in %.1f s: %v heads, %v users looked up for them and %v for messages, %v push records",
		messages, took, added(heads), added(perHead), added(perMessage), added(pushes))
	// A second apart, but for the first.
	if got := added(heads); got < 2 || got > took+1 {
		t.Errorf("%v heads in %.1f s, want one a second at most", got, took)
	}
	// Who is away is notified every two seconds, which may be between two heads.
	if got, most := added(perHead), (added(heads)+took/2+1)*members; got < 2*members || got > most {
		t.Errorf("%v users looked up for heads, want %v at most: all members for each head", got, most)
	}
	if got := added(perMessage); got < messages/2 || got > 2*messages {
		t.Errorf("%v users looked up for messages, want their authors", got)
	}
	if got, most := added(pushes), (took/2+1)*(members-connected); got < members-connected-1 || got > most {
		t.Errorf("%v push records for %d members who are away, want %v at most", got, members-connected, most)
	}
}

// gather makes a group of so many, as often as a server says that it is busy.
func (c *crowd) gather(members int) {
	c.t.Helper()
	var others []chat.UserID
	for n := 1; n < members; n++ {
		others = append(others, c.user(n))
	}
	request := chat.NewRequestID()
	for late := time.Now().Add(patience); ; rest(c.t.Context(), time.Second) {
		var err error
		c.group, err = c.rest(admin).Group(c.t.Context(), request, "crowd", others)
		var status *client.StatusError
		switch {
		case err == nil:
			return
		case !errors.As(err, &status) || !status.Temporary() || time.Now().After(late):
			c.t.Fatal(err)
		}
	}
}

func TestTwoThousandMembersAreToldByTheHead(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "-members", "2000")
	talkInThousands(t, h.watched())
}

func TestTwoThousandMembersOfAClusterAreToldByTheHead(t *testing.T) {
	t.Setenv("SWITCHBOARD_MEMBERS", "2000")
	c := newCluster(t, "-gateways=2", "-routers=1", "-workers=2")
	talkInThousands(t, c.Site)
}

func TestLargeConversationOnAKilledSystem(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	c := beginTalk(t, h.site())
	suffer(t, 6*time.Second, h.restarted, h.restarted)
	c.judge()
}
