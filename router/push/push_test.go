package push

import (
	"bufio"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/devices"
)

var bob = chat.DemoUser("bob")

// talk is a conversation of that number.
func talk(n int) chat.ConversationID { return chat.ConversationID{15: byte(n + 1)} }

func plain(*Config) {}

// Of a thousand messages to people who are away each device gets the last state of
// each conversation, once.
func TestEachDeviceHearsTheLastOfAThousandMessagesOnce(t *testing.T) {
	w := newWorld(t)
	var all []bus.Message
	want := make(map[string]int)
	for person := range 20 {
		u := chat.DemoUser(fmt.Sprint("person ", person))
		w.browser(u, "browser", fmt.Sprint(person))
		w.phone(u, "phone", fmt.Sprint("token-", person))
		for c := range 5 {
			for seq := range 10 {
				all = append(all, note(u, talk(c), seq+1))
			}
			for _, device := range []string{fmt.Sprint(person), fmt.Sprint("token-", person)} {
				want[fmt.Sprint(device, " ", talk(c), " ", 10)] = 1
			}
		}
	}
	w.put(all...)
	stop := w.start(func(c *Config) { c.Gather = 500 * time.Millisecond })
	w.said(len(want))
	w.settled(stop)
	got := make(map[string]int)
	for _, h := range w.said(len(want)) {
		got[fmt.Sprint(h.device, " ", h.notice.ConversationID, " ", h.notice.Seq)]++
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

// A notice says where and of whom, never what; and a service may replace what it
// still keeps of the conversation.
func TestANoticeHasNoContent(t *testing.T) {
	w := newWorld(t)
	w.browser(bob, "browser", "b")
	w.start(plain)
	w.put(note(bob, talk(1), 7))
	h := w.said(1)[0]
	fields := slices.Sorted(maps.Keys(h.fields))
	if want := []string{"conversation_id", "kind", "message_id", "sender_id", "seq", "timestamp", "type"}; !slices.Equal(fields, want) {
		t.Errorf("got %v, want %v", fields, want)
	}
	want := Notice{
		Type: "message", ConversationID: talk(1), MessageID: h.notice.MessageID, Seq: 7,
		SenderID: chat.DemoUser("sender"), Kind: "text", Timestamp: 1_790_000_000,
	}
	if h.notice != want || len(h.topic) != 32 {
		t.Errorf("got %+v with the topic %q, want %+v", h.notice, h.topic, want)
	}
}

func TestDevicesThatAreGoneAreRemoved(t *testing.T) {
	w := newWorld(t)
	w.browser(bob, "one", "gone-404")
	w.browser(bob, "two", "gone-410")
	w.phone(bob, "three", "gone-410 token")
	w.browser(bob, "four", "here")
	w.answer = func(h heard) int {
		switch {
		case strings.HasPrefix(h.device, "gone-404"):
			return http.StatusNotFound
		case strings.HasPrefix(h.device, "gone-410"):
			return http.StatusGone
		}
		return 0
	}
	stop := w.start(plain)
	w.put(note(bob, talk(1), 1))
	w.said(4)
	w.until(func() bool { return len(w.devices(bob)) == 1 })
	w.put(note(bob, talk(1), 2))
	said := w.said(5)
	w.settled(stop)
	if last := said[4]; last.device != "here" || last.notice.Seq != 2 || w.count() != 5 || len(w.dead()) != 0 {
		t.Errorf("heard %d, at last %+v", w.count(), last)
	}
}

// A device that registers anew while the old address is called hears at the new one
// what the old one does not take any more.
func TestADeviceThatRegistersAnewMeanwhileMissesNothing(t *testing.T) {
	w := newWorld(t)
	w.browser(bob, "browser", "old")
	w.phone(bob, "phone", "old token")
	w.answer = func(h heard) int {
		switch h.device {
		case "old":
			w.browser(bob, "browser", "new")
			return http.StatusGone
		case "old token":
			w.phone(bob, "phone", "new token")
			return http.StatusGone
		}
		return 0
	}
	stop := w.start(plain)
	w.put(note(bob, talk(1), 1))
	said := w.said(4)
	w.settled(stop)
	got := make(map[string]chat.Seq)
	for _, h := range said {
		got[h.device] = h.notice.Seq
	}
	if want := map[string]chat.Seq{"old": 1, "new": 1, "old token": 1, "new token": 1}; !maps.Equal(got, want) || w.count() != 4 {
		t.Errorf("heard %v in %d calls, want %v", got, w.count(), want)
	}
	if names := w.devices(bob); len(names) != 2 || len(w.dead()) != 0 {
		t.Errorf("%v are registered, %v is undelivered; want both devices, and nothing", names, w.dead())
	}
}

func (w *world) devices(u chat.UserID) (names []string) {
	w.t.Helper()
	all, err := w.store.Of(w.t.Context(), []chat.UserID{u})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range all {
		names = append(names, r.Device)
	}
	return names
}

// A webhook that fails is called again with the same id, until it has it.
func TestTheWebhookIsCalledUntilItHasIt(t *testing.T) {
	w := newWorld(t)
	w.phone(bob, "phone", "token")
	calls := 0
	w.answer = func(heard) int {
		calls++
		return []int{http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusInternalServerError, 0}[min(calls-1, 3)]
	}
	stop := w.start(plain)
	w.put(note(bob, talk(1), 1))
	said := w.said(4)
	w.settled(stop)
	for _, h := range said {
		if h.id != said[0].id || h.notice != said[0].notice {
			t.Errorf("said %+v and %+v", said[0], h)
		}
	}
	if len(w.dead()) != 0 || w.count() != 4 {
		t.Errorf("heard %d, of which undelivered %v", w.count(), w.dead())
	}
}

// What cannot be delivered is on chat.undelivered, and only then is it done with;
// other devices and other people do not wait for it.
func TestWhatCannotBeDeliveredIsKept(t *testing.T) {
	w := newWorld(t)
	w.phone(bob, "down", "down")
	w.browser(bob, "wrong", "wrong")
	w.browser(bob, "fine", "fine")
	w.answer = func(h heard) int {
		return map[string]int{"down": http.StatusBadGateway, "wrong": http.StatusBadRequest}[h.device]
	}
	stop := w.start(plain)
	w.put(note(bob, talk(1), 1), note(bob, talk(2), 1))
	w.until(func() bool { return len(w.dead()) == 4 })
	w.settled(stop)
	tries := make(map[string]int)
	for _, h := range w.said(0) {
		tries[h.device]++
	}
	if want := map[string]int{"down": 2 * 5, "wrong": 2, "fine": 2}; !maps.Equal(tries, want) {
		t.Errorf("tried %v, want %v", tries, want)
	}
	for _, p := range w.dead() {
		if p.User != bob || p.Seq != 1 || p.Sender != chat.DemoUser("sender") {
			t.Errorf("undelivered is %+v", p)
		}
	}
}

// What was read or is muted at the time of sending is not said.
func TestWhatWasReadOrIsMutedIsNotSaid(t *testing.T) {
	w := newWorld(t)
	w.browser(bob, "browser", "b", talk(2))
	w.status(bob, talk(1), 5)
	stop := w.start(plain)
	w.until(func() bool {
		seqs, err := w.store.ReadSeqs(t.Context(), []devices.Key{{User: bob, Conversation: talk(1)}})
		return err == nil && seqs[0] == 5
	})
	w.put(note(bob, talk(1), 5), note(bob, talk(2), 9), note(bob, talk(3), 1))
	w.said(1)
	w.put(note(bob, talk(1), 6))
	said := w.said(2)
	w.settled(stop)
	if said[0].notice.ConversationID != talk(3) || said[1].notice.Seq != 6 || w.count() != 2 {
		t.Errorf("said %+v", said)
	}
}

// status writes how far somebody has read, and what is none of that.
func (w *world) status(u chat.UserID, c chat.ConversationID, seq chat.Seq) {
	w.t.Helper()
	for _, s := range []bus.Status{
		{Conversation: c, User: u, Status: chat.Read, Seq: seq, Recipients: []chat.UserID{u}},
		{Conversation: c, User: u, Status: chat.Delivered, Seq: seq + 10, Recipients: []chat.UserID{u}},
		{Conversation: c, User: u, Status: chat.Read, Seq: seq + 10, Outcome: bus.Refused, Code: chat.BadRequest},
	} {
		w.put(bus.Message{Topic: bus.TopicStatus, Partition: bus.PartitionOf(c, partitions), Key: c[:], Value: s.Append(nil)})
	}
}

// What is read between two tries is not tried again, and what is new replaces what
// could not be said.
func TestBetweenTwoTries(t *testing.T) {
	w := newWorld(t)
	w.phone(bob, "phone", "token")
	w.answer = func(h heard) int {
		if h.notice.Seq < 9 {
			return http.StatusServiceUnavailable
		}
		return 0
	}
	stop := w.start(func(c *Config) { c.Tries, c.Last = 1_000_000, time.Millisecond })
	w.put(note(bob, talk(1), 1), note(bob, talk(2), 1))
	w.said(4)
	w.status(bob, talk(1), 1)
	w.put(note(bob, talk(2), 9))
	w.until(func() bool {
		said := w.said(1)
		last := said[len(said)-1]
		return last.notice.Seq == 9
	})
	w.settled(stop)
	for _, h := range w.said(1) {
		if h.notice.Seq == 9 && h.notice.ConversationID != talk(2) {
			t.Errorf("said %+v", h)
		}
	}
}

// A sender that is killed loses nothing: what it had not told is told by the next.
// The webhook is away until then, so that everything is still to be told.
func TestKilledSenderLosesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a process and kills it")
	}
	w := newWorld(t)
	want := make(map[string]bool)
	var all []bus.Message
	for person := range 50 {
		u := chat.DemoUser(fmt.Sprint("person ", person))
		token := fmt.Sprint("token-", person)
		w.phone(u, "phone", token)
		all = append(all, note(u, talk(1), 1), note(u, talk(1), 2))
		want[token+" 2"] = true
	}
	w.put(all...)
	delivered, killed := make(map[string]bool), false
	w.answer = func(h heard) int {
		// Under w.mu: some are taken before the kill, most are not.
		if !killed && len(delivered) >= 10 {
			return http.StatusServiceUnavailable
		}
		delivered[fmt.Sprint(h.device, " ", h.notice.Seq)] = true
		return 0
	}
	w.kill()
	w.mu.Lock()
	killed = true
	before := len(delivered)
	w.mu.Unlock()
	if before < 10 || before == len(want) {
		t.Fatalf("%d of %d were told before the kill", before, len(want))
	}
	stop := w.start(plain)
	w.until(func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		for key := range want {
			if !delivered[key] {
				return false
			}
		}
		return true
	})
	w.settled(stop)
	if len(w.dead()) != 0 {
		t.Errorf("undelivered: %v", w.dead())
	}
}

// kill starts a sender as a process and kills it when the webhook refuses.
func (w *world) kill() {
	w.t.Helper()
	child := exec.CommandContext(w.t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childOf+"="+strings.Join([]string{w.broker, w.file, w.service.URL}, " "))
	out, err := child.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	child.Stderr = os.Stderr
	if err := child.Start(); err != nil {
		w.t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "runs\n" {
		w.t.Errorf("the process said %q, %v", line, err)
	}
	w.said(5000) // At 40 calls in 20 ms it has had the time to commit, if it did so too early.
	if err := child.Process.Kill(); err != nil {
		w.t.Fatal(err)
	}
	_ = child.Wait() // it was killed
}

func TestPublicAddresses(t *testing.T) {
	for text, want := range map[string]bool{
		"93.184.216.34": true, "2606:2800:220:1:248:1893:25c8:1946": true, "::ffff:93.184.216.34": true,
		"127.0.0.1": false, "::1": false, "10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false,
		"0.0.0.0": false, "0.1.2.3": false, "::": false, "100.64.0.1": false, "fd00::1": false, "fe80::1": false, "fec0::1": false, "::ffff:10.0.0.1": false,
		"224.0.0.1": false, "ff02::1": false, "255.255.255.255": false, "240.0.0.1": false, "198.18.0.1": false, "64:ff9b::a00:1": false,
		"2002:a00:1::": false, "192.0.2.1": false, "2001:db8::1": false, "2001::1": false,
	} {
		if got := public(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s is public: got %v", text, got)
		}
	}
}

// Without the flag for tests no request leaves to a private address, by whatever
// name it is called, and not without TLS.
func TestPrivateAddressesAreNotCalled(t *testing.T) {
	w := newWorld(t)
	guarded, err := NewWebPush(w.key, "mailto:ops@example.com", false)
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(strings.TrimPrefix(w.service.URL, "http://"), ":")
	for _, address := range []string{w.service.URL, "https://127.0.0.1:" + port, "https://localhost:" + port, "https://[::ffff:127.0.0.1]:" + port} {
		to := devices.Registration{User: bob, Device: "d", Kind: devices.WebPush, Address: address + "/push/x", Settings: w.settings()}
		verdict, _, err := guarded.Carry(t.Context(), &to, &Notice{})
		if verdict != Refused || err == nil {
			t.Errorf("%s: got %v, %v", address, verdict, err)
		}
	}
	if w.count() != 0 {
		t.Errorf("%d requests arrived", w.count())
	}
}

func TestRedirectionsAreNotFollowed(t *testing.T) {
	w := newWorld(t)
	w.answer = func(heard) int { return http.StatusTemporaryRedirect }
	web, err := NewWebPush(w.key, "https://example.com/contact", true)
	if err != nil {
		t.Fatal(err)
	}
	w.subject = "https://example.com/contact"
	to := devices.Registration{User: bob, Device: "d", Kind: devices.WebPush, Address: w.service.URL + "/push/x", Settings: w.settings()}
	if verdict, _, err := web.Carry(t.Context(), &to, &Notice{}); verdict != Refused || err == nil {
		t.Errorf("got %v, %v", verdict, err)
	}
}

func TestSettingsThatAreNone(t *testing.T) {
	w := newWorld(t)
	for name, try := range map[string]func() error{
		"no key":         func() error { _, err := NewWebPush([]byte("x"), "mailto:a@b.example", false); return err },
		"no subject":     func() error { _, err := NewWebPush(w.key, "ops", false); return err },
		"no URL":         func() error { _, err := NewHook("ftp://x", []byte(hookSecret)); return err },
		"a short secret": func() error { _, err := NewHook("https://x.example", []byte("short")); return err },
	} {
		if try() == nil {
			t.Errorf("%s: was taken", name)
		}
	}
	for text, want := range map[string]time.Duration{"": 0, "x": 0, "7": 7 * time.Second, "-1": 0, "99999999": RetryAfterMax} {
		if got := retryAfter(text); got != want {
			t.Errorf("Retry-After %q: got %v, want %v", text, got, want)
		}
	}
}
