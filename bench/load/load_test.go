package load

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"switchboard/bench/result"
	"switchboard/internal/auth"
	"switchboard/internal/chat"
)

// The test program is its own worker.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "worker" {
		if err := Work(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// gateway is a server that does what the test says.
type gateway struct {
	t       *testing.T
	address string
	answer  func(n int, text string) []string // to the n-th text of a connection; nil: an honest ack

	mu    sync.Mutex
	conns map[net.Conn]string // and the tokens that they came with
	pongs int
}

func newGateway(t *testing.T) *gateway {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{t: t, address: listener.Addr().String(), conns: make(map[net.Conn]string)}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { g.serve(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		g.kill()
		serving.Wait()
	})
	return g
}

// kill resets all connections.
func (g *gateway) kill() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for conn := range g.conns {
		_ = conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
}

// say writes to everybody.
func (g *gateway) say(op byte, text string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for conn := range g.conns {
		_, _ = conn.Write(serverFrame(op, text)) // The test looks what came.
	}
}

func (g *gateway) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.conns)
}

func serverFrame(op byte, text string) []byte {
	if len(text) < 126 {
		return append([]byte{0x80 | op, byte(len(text))}, text...)
	}
	return append(binary.BigEndian.AppendUint16([]byte{0x80 | op, 126}, uint16(len(text))), text...)
}

// serve speaks to one client; the reply to the upgrade and `connected` come in
// three parts.
func (g *gateway) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	request, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	g.mu.Lock()
	g.conns[conn] = request.Header.Get("Authorization")
	g.mu.Unlock()
	connected := serverFrame(1, `{"type":"connected","data":{"padding":"`+strings.Repeat("x", 300)+`"}}`)
	for _, part := range [][]byte{[]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: web"), append([]byte("socket\r\n\r\n"), connected[:9]...), connected[9:]} {
		_, _ = conn.Write(part)
		time.Sleep(time.Millisecond) // Parts, not one segment.
	}
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.conns, conn)
	}()
	for n := 0; ; {
		op, payload, err := clientFrame(in)
		if err != nil {
			return
		}
		switch op {
		case opPing:
			_, _ = conn.Write(serverFrame(opPong, string(payload)))
		case opPong:
			g.mu.Lock()
			g.pongs++
			g.mu.Unlock()
		case opText:
			replies := []string{ack(string(payload))}
			if g.answer != nil {
				replies = g.answer(n, string(payload))
			}
			n++
			for _, reply := range replies {
				_, _ = conn.Write(serverFrame(1, reply))
			}
		}
	}
}

// ack is the reply to a heartbeat.
func ack(text string) string {
	_, id, _ := strings.Cut(text, `"id":"`)
	id, _, _ = strings.Cut(id, `"`)
	return `{"type":"heartbeat_ack","id":"` + id + `","data":{"time":1}}`
}

func clientFrame(in *bufio.Reader) (op byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return 0, nil, err
	}
	size := int(head[1] & 0x7f)
	if size == 126 {
		var more [2]byte
		if _, err := io.ReadFull(in, more[:]); err != nil {
			return 0, nil, err
		}
		size = int(binary.BigEndian.Uint16(more[:]))
	}
	payload = make([]byte, 4+size)
	_, err = io.ReadFull(in, payload)
	if err == nil && (head[1]&0x80 == 0 || !bytes.Equal(payload[:4], make([]byte, 4))) {
		err = errors.New("not masked as expected")
	}
	return head[0] & 0x0f, payload[4:], err
}

// crew starts workers for some gateways, the first of them by the commands of agents.
func crew(t *testing.T, workers, total int, agents []string, gateways ...*gateway) *Crew {
	t.Helper()
	keys := filepath.Join(t.TempDir(), "keys.json")
	if err := auth.Generate(keys); err != nil {
		t.Fatal(err)
	}
	var addresses []string
	for _, g := range gateways {
		addresses = append(addresses, g.address)
	}
	c, err := Start(Config{
		Command: []string{os.Args[0], "worker"}, Workers: workers, Total: total, Gateways: addresses, Path: "/api/v1/ws", Keys: keys,
		Run: "test", Sources: Loopback(3), Every: 20 * time.Millisecond, Log: t.Output(), Agents: agents,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// opened opens all of a crew's connections.
func opened(t *testing.T, workers, total int, gateways ...*gateway) *Crew {
	t.Helper()
	c := crew(t, workers, total, nil, gateways...)
	if err := c.Open(t.Context(), total, 5000); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWorkersShareConnectionsUsersGatewaysAndSources(t *testing.T) {
	t.Parallel()
	one, two := newGateway(t), newGateway(t)
	c := opened(t, 3, 50, one, two)
	if one.count() != 25 || two.count() != 25 || c.All().Open() != 50 {
		t.Errorf("got %d and %d connections, %d told", one.count(), two.count(), c.All().Open())
	}
	tokens, sources := make(map[string]bool), make(map[string]int)
	for _, g := range []*gateway{one, two} {
		g.mu.Lock()
		for conn, token := range g.conns {
			tokens[token] = true
			host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
			sources[host]++
		}
		g.mu.Unlock()
	}
	if len(tokens) != 50 || tokens[""] || len(sources) != 3 {
		t.Errorf("got %d users from %v", len(tokens), sources)
	}
	if open := c.All().Timing(TimeOpen, ""); open.Count() != 50 || c.All().Count(CountOpened) != 50 ||
		c.All().Timing(TimeTCP, "").Count() != 50 || c.All().Timing(TimeUpgrade, "").Count() != 50 {
		t.Errorf("timed %d of %d openings", open.Count(), c.All().Count(CountOpened))
	}
}

// Keys make tokens of anybody: they stay on this host. An agent gets the tokens of its
// own connections.
func TestAgentsGetTokensAndNoKeys(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	heard := filepath.Join(t.TempDir(), "orders")
	c := crew(t, 2, 9, []string{"tee '" + heard + "' | '" + os.Args[0] + "' worker"}, g)
	if err := c.Open(t.Context(), 9, 5000); err != nil {
		t.Fatal(err)
	}
	keys, err := openKeys(c.config.Keys)
	if err != nil {
		t.Fatal(err)
	}
	users := make(map[chat.UserID]bool)
	g.mu.Lock()
	for _, header := range g.conns {
		who, err := keys.Verify(strings.TrimPrefix(header, "Bearer "))
		if err != nil {
			t.Error(err)
		}
		users[who.User] = true
	}
	g.mu.Unlock()
	for n := range 9 {
		if !users[UserOf("test", n)] {
			t.Errorf("user %d is not connected", n)
		}
	}
	orders, err := os.ReadFile(heard)
	if err != nil {
		t.Fatal(err)
	}
	var plan Plan
	first, _, _ := bytes.Cut(orders, []byte("\n"))
	if err := json.Unmarshal(first, &plan); err != nil {
		t.Fatal(err)
	}
	if plan.Keys != "" || len(plan.Tokens) != 5 || bytes.Contains(orders, []byte(`"kty`)) {
		t.Errorf("the agent got %d tokens, want 5 and no keys", len(plan.Tokens))
	}
	if local, err := c.plan(1); err != nil || local.Keys == "" || local.Tokens != nil {
		t.Errorf("a worker here got %d tokens, want the keys: %v", len(local.Tokens), err)
	}
}

func TestEchoesAreChecked(t *testing.T) {
	t.Parallel()
	// Each connection gets 20 of the 200 messages; what is done to the third shows once
	// for each of the 10 connections.
	const connections, rate, seconds = 10, 400, 0.5
	honest := func(text string) []string { return []string{ack(text)} }
	var before sync.Map
	for name, tt := range map[string]struct {
		answer func(n int, text string) []string
		want   map[string]int
	}{
		"all come back": {nil, map[string]int{CountEchoed: 200}},
		"one is lost": {func(n int, text string) []string {
			if n == 2 {
				return nil
			}
			return honest(text)
		}, map[string]int{CountEchoed: 190, CountMissing: 10}},
		"one comes twice": {func(n int, text string) []string {
			if n == 2 {
				return append(honest(text), honest(text)...)
			}
			return honest(text)
		}, map[string]int{CountEchoed: 200, CountRepeated: 10}},
		"one is late, behind the next": {func(n int, text string) []string {
			id, _ := strconv.Atoi(strings.Trim(text[strings.Index(text, `"id":"`)+6:], `"}`))
			switch n {
			case 2:
				before.Store(id%connections, text)
				return nil
			case 3:
				held, _ := before.Load(id % connections)
				return append(honest(text), ack(held.(string)))
			}
			return honest(text)
		}, map[string]int{CountEchoed: 190, CountMissing: 10, CountRepeated: 10}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t)
			g.answer = tt.answer
			c := opened(t, 1, connections, g)
			if err := c.Echo(t.Context(), Echo{Frame: Heartbeat, Rate: rate, Seconds: seconds, Settle: 30}); err != nil {
				t.Fatal(err)
			}
			all := c.All()
			for _, name := range []string{CountEchoed, CountMissing, CountRepeated, CountMisrouted, CountCut, CountUnsent} {
				if got := all.Count(name); got != tt.want[name] {
					t.Errorf("%s: got %d, want %d", name, got, tt.want[name])
				}
			}
			if n := all.Timing(TimeEcho, "").Count(); all.Count(CountSent) != 200 || n != int64(tt.want[CountEchoed]) {
				t.Errorf("sent %d, timed %d", all.Count(CountSent), n)
			}
			if want := tt.want[CountMissing] + tt.want[CountRepeated]; all.Wrong() != want {
				t.Errorf("got %d wrong, want %d", all.Wrong(), want)
			}
		})
	}
}

func TestPingsComeBackToo(t *testing.T) {
	t.Parallel()
	c := opened(t, 2, 8, newGateway(t))
	if err := c.Echo(t.Context(), Echo{Frame: Ping, Rate: 400, Seconds: 0.25}); err != nil {
		t.Fatal(err)
	}
	if got := c.All(); got.Count(CountEchoed) != 100 || got.Wrong() != 0 {
		t.Errorf("got %v", got.Told())
	}
}

func TestLostConnectionsComeBackElsewhere(t *testing.T) {
	t.Parallel()
	one, two := newGateway(t), newGateway(t)
	c := opened(t, 2, 20, one, two)
	if err := c.Stay(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.NewPhase()
	one.kill()
	back := func() bool { return c.Phase().Count(CountOpened) == 10 && c.Phase().Open() == 20 }
	if err := c.Hold(t.Context(), back, time.Minute); err != nil {
		t.Fatal(err)
	}
	if two.count() != 20 || c.Phase().Count(CountLost) != 10 || c.Phase().Causes(CountClosed)["reset"] != 10 {
		t.Errorf("got %d there, %v", two.count(), c.Phase().Told())
	}
	if got := c.Phase().Timing(TimeBack, ""); got.Count() != 10 || got.Max() > 30*time.Second {
		t.Errorf("timed %d, the longest %v", got.Count(), got.Max())
	}
}

func TestDroppedConnectionsComeBack(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	c := opened(t, 2, 20, g)
	if err := c.Stay(t.Context()); err != nil {
		t.Fatal(err)
	}
	// A fifth of the ten of each worker, and then a quarter of one, four times.
	for _, share := range []float64{0.2, 0.025, 0.025, 0.025, 0.025} {
		if err := c.Drop(t.Context(), share); err != nil {
			t.Fatal(err)
		}
		if err := c.Hold(t.Context(), func() bool { return c.All().Open() == 20 }, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	back := func() bool { return c.All().Count(CountOpened) == 26 && c.All().Open() == 20 }
	if err := c.Hold(t.Context(), back, time.Minute); err != nil {
		t.Fatal(err)
	}
	if got := c.All(); got.Count(CountDropped) != 6 || got.Count(CountLost) != 0 || got.Timing(TimeBack, "").Count() != 6 {
		t.Errorf("got %v", got.Told())
	}
}

func TestWhoIsAskedGoesElsewhere(t *testing.T) {
	t.Parallel()
	one, two := newGateway(t), newGateway(t)
	c := opened(t, 1, 10, one, two)
	if err := c.Stay(t.Context()); err != nil {
		t.Fatal(err)
	}
	one.say(opText, `{"type":"reconnect","data":{"after_ms":5,"jitter_ms":200,"reason":"drain"}}`)
	if err := c.Hold(t.Context(), func() bool {
		return c.All().Count(CountMoved) == 5 && c.All().Open() == 10 && one.count() == 0
	}, time.Minute); err != nil {
		t.Fatal(err)
	}
	if one.count() != 0 || two.count() != 10 || c.All().Count(CountLost) != 0 || c.All().Count(CountAsked) != 5 {
		t.Errorf("got %d and %d, %v", one.count(), two.count(), c.All().Told())
	}
}

func TestDeliveriesAreChecked(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	c := opened(t, 1, 3, g)
	for _, n := range []int64{1, 2, 4, 4, 5} {
		g.say(opText, `{"type":"new_message","data":{"content":"`+Content(n, time.Now())+` and padding"}}`)
	}
	g.say(opText, `{"type":"new_message","data":{"content":"something else"}}`)
	g.say(opPing, "hello")
	done := func() bool { return c.All().Count(CountReceived) == 12 && c.All().Count(CountSaid+"new_message") == 3 }
	if err := c.Hold(t.Context(), done, time.Minute); err != nil {
		t.Fatal(err)
	}
	if c.All().Count(CountGaps) != 3 || c.All().Count(CountAgain) != 3 || c.All().Timing(TimeDelivery, "").Count() != 12 {
		t.Errorf("got %v", c.All().Told())
	}
	reads := c.All().Reads()
	if r := reads[2]; len(reads) != 4 || r.Count != 3 || r.Last < r.Due {
		t.Errorf("got %+v", reads)
	}
	pongs := func() int {
		g.mu.Lock()
		defer g.mu.Unlock()
		return g.pongs
	}
	if err := c.Hold(t.Context(), func() bool { return pongs() == 3 }, time.Minute); err != nil || pongs() != 3 {
		t.Errorf("%d of 3 pings were answered, %v", pongs(), err)
	}
}

func TestACodeIsTheCauseOfAClose(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	c := opened(t, 1, 4, g)
	g.say(opClose, "\x0f\xa3")
	if err := c.Hold(t.Context(), func() bool { return c.All().Count(CountLost) == 4 }, time.Minute); err != nil {
		t.Fatal(err)
	}
	if got := c.All().Causes(CountClosed)["with 4003"]; got != 4 || c.All().Open() != 0 {
		t.Errorf("got %v", c.All().Told())
	}
}

func TestAWorkerThatEndsEndsTheLoad(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	c := opened(t, 2, 4, g)
	if err := unix.Kill(c.PIDs()[1], unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := c.Hold(t.Context(), func() bool { return false }, time.Minute); err == nil || !strings.Contains(err.Error(), "worker 1 ended") {
		t.Errorf("got %v", err)
	}
}

// A glance is of now: of the last second with reports, unless that is long ago.
func TestAGlanceIsOfTheLastSecondWithReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tally := newTally(time.Now())
		for _, d := range []time.Duration{10 * time.Millisecond, 20 * time.Millisecond} {
			h := result.NewInterval()
			if err := h.RecordValue(result.Micros(d)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(500 * time.Millisecond) // The first is of second 0, the other of second 1.
			if err := tally.add(&Report{Times: map[string][]Bucket{TimeEcho: bucketsOf(h)}}); err != nil {
				t.Fatal(err)
			}
		}
		near := func(d, want time.Duration) bool { return (d - want).Abs() < want/500 }
		last, all := tally.Glances(TimeEcho)
		if last.Count != 1 || !near(last.P50, 10*time.Millisecond) || all.Count != 2 || !near(all.P99, 20*time.Millisecond) {
			t.Errorf("got %v and %v of all", last, all)
		}
		time.Sleep(2 * time.Second)
		if last, _ = tally.Glances(TimeEcho); last.Count != 1 || !near(last.P99, 20*time.Millisecond) {
			t.Errorf("got %v after two seconds", last)
		}
		time.Sleep(5 * time.Second)
		if last, all = tally.Glances(TimeEcho); last.Count != 0 || all.Count != 2 {
			t.Errorf("got %v after long, and %v of all", last, all)
		}
		if last, all = tally.Glances(TimeBack); last.Count+all.Count != 0 {
			t.Errorf("got %v and %v of nothing", last, all)
		}
	})
}
