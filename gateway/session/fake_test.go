package session

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"switchboard/gateway/edge"
	"switchboard/internal/auth"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/internal/presence"
	"switchboard/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// event is one thing that a client saw.
type event struct {
	Type   string
	ID     string
	Data   map[string]any
	Code   chat.CloseCode // of a close
	Status int            // of a refused upgrade
	Body   string
	Retry  time.Duration // Retry-After of a refused upgrade
}

// socket is a client's end of a connection.
type socket struct {
	conn     edge.Conn
	protocol string
	opened   bool
	closed   bool
	pings    int
	room     int // bytes that Write takes until it refuses; < 0 is no limit
	refused  bool
	queued   int
	events   []event
}

// loops are the event loops without sockets. Each is a goroutine; time may be
// virtual.
type loops struct {
	t       *testing.T
	keeper  *Keeper
	tasks   []chan func()
	running sync.WaitGroup

	mu      sync.Mutex
	sockets map[edge.Conn]*socket
	slots   []uint32
	gen     uint32
}

func newLoops(t *testing.T, n int) *loops {
	f := &loops{t: t, sockets: make(map[edge.Conn]*socket), slots: make([]uint32, n)}
	for range n {
		tasks := make(chan func(), 1<<16)
		f.tasks = append(f.tasks, tasks)
		f.running.Go(func() {
			for task := range tasks {
				task()
			}
		})
	}
	return f
}

func (f *loops) stop() {
	for _, tasks := range f.tasks {
		close(tasks)
	}
	f.running.Wait()
}

func (f *loops) Loops() int                                 { return len(f.tasks) }
func (f *loops) Post(loop int, task func(arg any), arg any) { f.tasks[loop] <- func() { task(arg) } }
func (f *loops) on(loop uint16, task func())                { f.tasks[loop] <- task }
func (f *loops) socket(c edge.Conn) *socket                 { f.mu.Lock(); defer f.mu.Unlock(); return f.sockets[c] }

func (f *loops) with(c edge.Conn, do func(s *socket)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do(f.sockets[c])
}

func (f *loops) Queued(c edge.Conn) (n int) { f.with(c, func(s *socket) { n = s.queued }); return n }
func (f *loops) Ping(c edge.Conn)           { f.with(c, func(s *socket) { s.pings++ }) }
func (f *loops) drained(c edge.Conn) {
	f.with(c, func(s *socket) { s.room = -1 })
	f.on(c.Loop, func() { f.keeper.Drained(c) })
}

func (f *loops) visit(c edge.Conn, idle time.Duration) {
	f.on(c.Loop, func() { f.keeper.Visit(c, idle) })
}

func (f *loops) send(c edge.Conn, frame string) {
	f.on(c.Loop, func() { f.keeper.Message(c, true, []byte(frame)) })
}

func (f *loops) Accept(c edge.Conn, protocol string) {
	f.on(c.Loop, func() {
		f.with(c, func(s *socket) { s.opened, s.protocol = true, protocol })
		f.keeper.Opened(c)
	})
}

func (f *loops) Reject(c edge.Conn, status int, retry time.Duration, body string) {
	f.on(c.Loop, func() {
		f.with(c, func(s *socket) { s.events = append(s.events, event{Status: status, Body: body, Retry: retry}) })
		f.keeper.Closed(c, 0, true)
	})
}

func (f *loops) Write(c edge.Conn, frame []byte) (taken bool) {
	f.with(c, func(s *socket) {
		if s.room >= 0 {
			if s.room < len(frame) {
				s.refused = true
				return
			}
			s.room -= len(frame)
		}
		at := strings.IndexByte(string(frame), '{')
		var e event
		if err := json.Unmarshal(frame[at:], &e); err != nil {
			f.t.Errorf("a frame is not JSON: %v: %q", err, frame)
		}
		s.events = append(s.events, e)
		taken = true
	})
	return taken
}

func (f *loops) Close(c edge.Conn, code chat.CloseCode) {
	f.with(c, func(s *socket) { s.events = append(s.events, event{Code: code}); s.closed = true })
	f.on(c.Loop, func() { f.keeper.Closed(c, code, true) })
}

// leave is a client that goes away.
func (f *loops) leave(c edge.Conn) {
	f.on(c.Loop, func() { f.keeper.Closed(c, chat.CloseNormal, false) })
}

// open sends an upgrade request on a loop.
func (f *loops) open(loop uint16, r edge.Request) edge.Conn {
	f.mu.Lock()
	f.gen++
	c := edge.Conn{Loop: loop, Slot: f.slots[loop], Gen: f.gen}
	f.slots[loop]++
	f.sockets[c] = &socket{conn: c, room: -1}
	f.mu.Unlock()
	if r.Path == "" {
		r.Path = Path
	}
	f.on(loop, func() { f.keeper.Handshake(c, &r) })
	synctest.Wait() // A client sends nothing before the upgrade is answered.
	return c
}

// seen returns what the client saw since it was last asked, when everything has
// settled.
func (f *loops) seen(c edge.Conn) (events []event) {
	synctest.Wait()
	f.with(c, func(s *socket) { events, s.events = s.events, nil })
	return events
}

// directory is a presence.Directory that a test can break. Gateways may share one.
type directory struct {
	mu      sync.Mutex
	entries map[presence.Route]entry // by slot, boot and session
	top     map[chat.UserID]uint64   // the highest order so far
	slots   map[place]int            // entries of a user on a slot
	batches [][]presence.Change
	looks   int // users who were looked up
	away    bool
	hangs   time.Duration // until it says that it is away
	lapsed  bool
	younger bool
	dead    map[string]bool         // slots whose lease has ended
	applied func([]presence.Change) // after the changes, before the answer
	unheard bool                    // the next answer is lost
}

type place struct {
	user chat.UserID
	slot string
}

type entry struct {
	user   chat.UserID
	device string
	order  uint64
}

func newDirectory() *directory {
	d := &directory{dead: make(map[string]bool)}
	d.forget()
	return d
}

// forget forgets everything, as a directory does that dies.
func (d *directory) forget() {
	d.entries, d.top, d.slots = make(map[presence.Route]entry), make(map[chat.UserID]uint64), make(map[place]int)
}

var errAway = errors.New("the directory is away")

func (d *directory) do(change func()) { d.mu.Lock(); defer d.mu.Unlock(); change() }

func (d *directory) Apply(_ context.Context, changes []presence.Change) ([]presence.Applied, error) {
	d.mu.Lock()
	if d.away {
		hangs := d.hangs
		d.mu.Unlock()
		time.Sleep(hangs)
		return nil, errAway
	}
	d.batches = append(d.batches, slices.Clone(changes)) // The registrar reuses them.
	answers := make([]presence.Applied, len(changes))
	for i, c := range changes {
		answers[i] = d.apply(c)
	}
	applied, unheard := d.applied, d.unheard
	d.unheard = false
	d.mu.Unlock()
	if unheard {
		return nil, errAway
	}
	if applied != nil {
		applied(changes)
	}
	return answers, nil
}

func (d *directory) apply(c presence.Change) (a presence.Applied) {
	name, device := c.Route, c.Route.Device
	name.Device = ""
	_, there := d.entries[name]
	here := place{c.User, name.Slot}
	if c.Remove {
		if there {
			delete(d.entries, name)
			if d.slots[here]--; d.slots[here] == 0 {
				delete(d.slots, here)
			}
		}
		return a
	}
	for p := range d.slots {
		a.Company = a.Company || c.Begins && p.user == c.User && p.slot != name.Slot
	}
	if there {
		return a
	}
	a.Fresh = true
	e := entry{user: c.User, device: device}
	if c.Begins {
		d.top[c.User]++
		e.order = d.top[c.User]
	}
	d.entries[name] = e
	d.slots[here]++
	return a
}

func (d *directory) Claim(context.Context, string, uint64) error { return nil }
func (d *directory) Renew(context.Context, string, uint64) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.younger:
		return false, presence.ErrReplaced
	case d.away:
		return false, errAway
	}
	lapsed := d.lapsed
	d.lapsed = false
	return lapsed, nil
}
func (d *directory) Release(context.Context, string, uint64) error { return nil }
func (d *directory) Where(_ context.Context, users []chat.UserID) ([]presence.Places, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.away {
		return nil, errAway
	}
	d.looks += len(users)
	places := make([]presence.Places, len(users))
	for i, u := range users {
		for route, e := range d.entries {
			if e.user == u {
				route.Device, route.Order, route.Leased = e.device, e.order, !d.dead[route.Slot]
				places[i].Routes = append(places[i].Routes, route)
			}
		}
	}
	return places, nil
}

func (d *directory) size() int { d.mu.Lock(); defer d.mu.Unlock(); return len(d.entries) }

// uplink notes what it gets.
type uplink struct {
	mu    sync.Mutex
	sent  []wire.ClientEvent
	from  []Sender
	notes int
	marks int
	hints []string
	err   error
	// stalled is what Stalled says.
	stalled bool
}

func (u *uplink) Send(from Sender, ev *wire.ClientEvent) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.err != nil {
		return u.err
	}
	u.sent, u.from = append(u.sent, *ev), append(u.from, from)
	return nil
}

func (u *uplink) Mark(Sender, *wire.ClientEvent) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.err == nil {
		u.marks++
	}
	return u.err
}

func (u *uplink) Note(Sender, *wire.ClientEvent) { u.mu.Lock(); defer u.mu.Unlock(); u.notes++ }
func (u *uplink) Presence(user chat.UserID, what chat.Presence) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.hints = append(u.hints, what.String()+" "+user.String())
}
func (u *uplink) Stalled() bool { u.mu.Lock(); defer u.mu.Unlock(); return u.stalled }
func (u *uplink) count() int    { u.mu.Lock(); defer u.mu.Unlock(); return len(u.sent) }

// world is a keeper with everything around it.
type world struct {
	*loops
	keeper    *Keeper
	directory *directory
	uplink    *uplink
	stopRun   func()
}

// alice and bob are users. A token is a name; its end is ten minutes from the
// start unless the name says otherwise.
var alice, bob = chat.DemoUser("alice"), chat.DemoUser("bob")

// verify understands tokens such as "alice", "alice 90s" and "alice -30s"
// (valid for that long), "expired" and "bad".
func verify(token string) (auth.Identity, error) {
	name, life, _ := strings.Cut(token, " ")
	switch name {
	case "expired":
		return auth.Identity{}, chat.Errorf(chat.TokenExpired, "the token has expired")
	case "bad":
		return auth.Identity{}, chat.Errorf(chat.Unauthorized, "no such token")
	}
	valid := 24 * time.Hour
	if life != "" {
		valid, _ = time.ParseDuration(life)
	}
	return auth.Identity{User: chat.DemoUser(name), Expires: time.Now().Add(valid).Unix()}, nil
}

// inWorld runs a test with virtual time on some loops.
func inWorld(t *testing.T, n int, change func(*Config), test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, n, change)
		defer w.end()
		test(w)
	})
}

func newWorld(t *testing.T, n int, change func(*Config)) *world {
	w := &world{
		loops:     newLoops(t, n),
		directory: newDirectory(),
		uplink:    &uplink{},
	}
	cfg := Config{
		Server: "gw-1", Boot: 7, Verify: verify, Uplink: w.uplink, Directory: w.directory,
		Origins: []string{"https://chat.example"}, Heartbeat: 30 * time.Second, Recheck: 100 * time.Hour,
		Logger: slog.New(slog.DiscardHandler), Metrics: metrics.New(),
	}
	if change != nil {
		change(&cfg)
	}
	if shared, ok := cfg.Directory.(*directory); ok {
		w.directory = shared
	}
	w.keeper = New(cfg)
	w.keeper.verifier.gather.Every, w.keeper.registrar.gather.Every = 0, 0 // No time passes between two calls.
	w.loops.keeper = w.keeper
	if err := w.keeper.Attach(w.loops); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := w.keeper.Run(ctx); err != nil {
			t.Errorf("Run = %v", err)
		}
	}()
	w.stopRun = sync.OnceFunc(func() { cancel(); <-done })
	return w
}

// gathers has openings wait for each other, as in the program.
func (w *world) gathers() {
	w.keeper.verifier.gather.Every, w.keeper.registrar.gather.Every = verifyEvery, registerEvery
}

func (w *world) end() {
	w.stopRun()
	w.loops.stop()
}

// connect opens a connection of a user by header and reads `connected`.
func (w *world) connect(loop uint16, token, device string) edge.Conn {
	w.t.Helper()
	c := w.open(loop, edge.Request{Authorization: "Bearer " + token, DeviceID: device})
	w.want(c, "connected")
	return c
}

// want checks the types of what a client saw since it was last asked; a close is
// its number, a refused upgrade its status.
func (w *world) want(c edge.Conn, types ...string) []event {
	w.t.Helper()
	events := w.seen(c)
	got := make([]string, 0, len(events))
	for _, e := range events {
		switch {
		case e.Code != 0:
			got = append(got, e.Code.Reason())
		case e.Status != 0:
			got = append(got, e.Body)
		case e.Type == "error":
			got = append(got, "error "+e.Data["code"].(string))
		default:
			got = append(got, e.Type)
		}
	}
	if strings.Join(got, ", ") != strings.Join(types, ", ") {
		w.t.Fatalf("the client saw %q, want %q", got, types)
	}
	return events
}
