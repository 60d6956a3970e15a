package system

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"switchboard/client"
	"switchboard/dev/soak"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// readers are some people of one group who write to it and mark what the others
// write, each with two devices, while the system is killed under them.
type readers struct {
	t     *testing.T
	site  *soak.Site
	group chat.ConversationID

	mu       sync.Mutex
	marked   map[chat.UserID]map[chat.Status]chat.Seq // the highest of what was marked or sent
	statuses int
	lives    int // connections
	wrong    []string

	endWriting, closeBooks context.CancelFunc
	writers, living        sync.WaitGroup
}

func (r *readers) fail(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wrong = append(r.wrong, fmt.Sprintf(format, args...))
}

// reach notes how far a user has come.
func (r *readers) reach(u chat.UserID, status chat.Status, seq chat.Seq) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.marked[u] == nil {
		r.marked[u] = map[chat.Status]chat.Seq{chat.Read: 1, chat.Delivered: 1}
	}
	r.marked[u][chat.Delivered] = max(r.marked[u][chat.Delivered], seq)
	if status == chat.Read {
		r.marked[u][chat.Read] = max(r.marked[u][chat.Read], seq)
	}
}

// gadget is one device: one connection at a time, each with its own memory of
// what was said on it.
type gadget struct {
	*readers
	user chat.UserID
	name string
	rest *client.REST
	rng  *rand.Rand
	last map[chat.Status]chat.Seq // of its own marks
}

func (r *readers) gadget(user, device int) *gadget {
	g := &gadget{
		readers: r, user: chat.DemoUser(fmt.Sprint("reader-", user)), name: fmt.Sprint("device-", device),
		rng: rand.New(rand.NewPCG(uint64(user), uint64(device))), last: map[chat.Status]chat.Seq{},
	}
	g.rest = &client.REST{
		Base:  r.site.REST[device%len(r.site.REST)],
		Token: func(context.Context) (string, error) { return r.site.Keys.Mint(g.user, time.Hour) },
	}
	return g
}

// live keeps the device connected until ctx ends.
func (g *gadget) live(ctx context.Context) {
	for ctx.Err() == nil {
		g.connection(ctx)
		rest(ctx, 100*time.Millisecond)
	}
}

// connection lives one connection: it says its last marks again, then marks what
// comes, and holds what it is told to the order that a connection promises.
func (g *gadget) connection(ctx context.Context) {
	token, err := g.rest.Token(ctx)
	if err != nil {
		g.fail("token: %v", err)
		return
	}
	conn, err := client.Dial(ctx, g.site.WS[g.rng.IntN(len(g.site.WS))], token, g.name)
	if err != nil {
		return // The system is down; the next try comes soon.
	}
	defer conn.Drop()
	g.mu.Lock()
	g.lives++
	g.mu.Unlock()
	for status, seq := range g.last {
		g.mark(ctx, conn, status, seq)
	}
	told := map[string]chat.Seq{}
	for {
		e, err := conn.Next(ctx)
		if err != nil {
			return
		}
		switch e.Type {
		case "new_message":
			var m wire.Message
			if err := json.Unmarshal(e.Data, &m); err != nil {
				g.fail("new_message: %v", err)
			}
			g.reach(m.SenderID, chat.Read, m.Seq)
			g.mark(ctx, conn, chat.Status(1+g.rng.IntN(2)), m.Seq-chat.Seq(g.rng.Int64N(2)))
		case "message_status":
			g.hear(e, told)
		case "error":
			var refused wire.Error
			if err := json.Unmarshal(e.Data, &refused); err != nil || !refused.Temporary {
				g.fail("%s was refused: %s", g.name, e.Data)
			}
			return // The next connection marks again.
		}
	}
}

// mark marks, and remembers the highest.
func (g *gadget) mark(ctx context.Context, conn *client.Conn, status chat.Status, seq chat.Seq) {
	g.last[status] = max(g.last[status], seq)
	g.reach(g.user, status, seq)
	_ = conn.Write(ctx, "mark_"+status.String(), "", map[string]any{"conversation_id": g.group, "seq": seq}) // Next meets the same failure.
}

// hear checks one status.
func (g *gadget) hear(e client.Event, told map[string]chat.Seq) {
	var m wire.MessageStatus
	if err := json.Unmarshal(e.Data, &m); err != nil {
		g.fail("message_status: %v", err)
	}
	of := m.UserID.String() + m.Status
	if m.Seq < told[of] {
		g.fail("%s heard that %s was %s to %d after %d", g.name, m.UserID, m.Status, m.Seq, told[of])
	}
	told[of] = m.Seq
	g.mu.Lock()
	defer g.mu.Unlock()
	g.statuses++
	status := chat.Delivered
	if m.Status == chat.Read.String() {
		status = chat.Read
	}
	if reached := g.marked[m.UserID][status]; m.Seq > reached {
		g.wrong = append(g.wrong, fmt.Sprintf("%s heard that %s was %s to %d, who has come to %d", g.name, m.UserID, m.Status, m.Seq, reached))
	}
}

// write sends messages, each until it is answered.
func (g *gadget) write(ctx context.Context) {
	for ctx.Err() == nil {
		id := chat.NewRequestID()
		for ctx.Err() == nil {
			var sent wire.MessageSent
			// What is stored moves the mark before it is answered.
			err := g.rest.Do(ctx, "POST", "/api/v1/conversations/"+g.group.String()+"/messages",
				wire.SendMessage{Content: "hello", Type: "text", ClientMessageID: &id}, &sent)
			if err == nil {
				g.reach(g.user, chat.Read, sent.Seq)
				break
			}
			rest(ctx, 50*time.Millisecond)
		}
		rest(ctx, time.Duration(50+g.rng.IntN(100))*time.Millisecond)
	}
}

// watch asks for the truth all the time: it never moves back.
func (g *gadget) watch(ctx context.Context) {
	seen := map[chat.UserID]wire.Member{}
	for ctx.Err() == nil {
		if list, err := g.rest.Members(ctx, g.group); err == nil {
			for _, m := range list.Members {
				if before := seen[m.UserID]; m.ReadSeq < before.ReadSeq || m.DeliveredSeq < before.DeliveredSeq || m.ReadSeq > m.DeliveredSeq {
					g.fail("the truth went from %+v to %+v", before, m)
				}
				seen[m.UserID] = m
			}
		}
		rest(ctx, 200*time.Millisecond)
	}
}

// rest lets some time pass.
func rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// settled waits until the truth is what was marked.
func (r *readers) settled(g *gadget) {
	deadline := time.Now().Add(patience)
	for {
		var off []string
		list, err := g.rest.Members(r.t.Context(), r.group)
		if err != nil {
			off = append(off, err.Error())
		}
		r.mu.Lock()
		for _, m := range list.Members {
			if want := r.marked[m.UserID]; m.ReadSeq != want[chat.Read] || m.DeliveredSeq != want[chat.Delivered] {
				off = append(off, fmt.Sprintf("%s stands at %d and %d, want %v", m.UserID, m.ReadSeq, m.DeliveredSeq, want))
			}
		}
		r.mu.Unlock()
		if len(off) == 0 {
			return
		}
		if time.Now().After(deadline) {
			r.t.Errorf("the truth is not what was marked: %v", off)
			return
		}
		rest(r.t.Context(), 200*time.Millisecond)
	}
}

// How many readers there are, and how many devices each has.
const readerCount, deviceCount = 5, 2

// beginReading lets people read and write.
func beginReading(t *testing.T, site *soak.Site) *readers {
	r := &readers{t: t, site: site, marked: map[chat.UserID]map[chat.Status]chat.Seq{}}
	var members []chat.UserID
	for u := range readerCount {
		members = append(members, r.gadget(u, 0).user)
		r.reach(members[u], chat.Read, 1)
	}
	var err error
	if r.group, err = r.gadget(0, 0).rest.Group(t.Context(), chat.NewRequestID(), "readers", members[1:]); err != nil {
		t.Fatal(err)
	}
	reading, closeBooks := context.WithCancel(t.Context())
	writing, endWriting := context.WithCancel(reading)
	r.closeBooks, r.endWriting = closeBooks, endWriting
	t.Cleanup(r.stop) // Also if the test gives up.
	for u := range readerCount {
		for d := range deviceCount {
			r.living.Go(func() { r.gadget(u, d).live(reading) })
		}
		r.writers.Go(func() { r.gadget(u, deviceCount).write(writing) })
	}
	r.living.Go(func() { r.gadget(0, deviceCount+1).watch(reading) })
	return r
}

func (r *readers) stop() {
	r.closeBooks()
	r.writers.Wait()
	r.living.Wait()
}

// judge ends the writing, waits until the truth is what was marked, and says what
// was wrong on the way.
func (r *readers) judge() {
	r.endWriting()
	r.writers.Wait()
	r.settled(r.gadget(0, 0))
	r.stop()
	r.t.Logf("%d statuses on %d connections", r.statuses, r.lives)
	if r.statuses < readerCount*deviceCount {
		r.t.Error("hardly anything was told")
	}
	for _, w := range r.wrong {
		r.t.Error(w)
	}
}

func TestMarksOnAKilledSystem(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := beginReading(t, h.site())
	suffer(t, 4*time.Second, h.restarted, h.restarted)
	r.judge()
}
