package system

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"switchboard/client"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// witness is a device that writes down what it is told.
type witness struct {
	*client.Client

	mu   sync.Mutex
	seen map[chat.ConversationID][]wire.Message
	more chan struct{} // holds a token after each event
}

// newWitness connects a person's device until the test ends.
func newWitness(t *testing.T, h *house, name string) *witness {
	w := &witness{seen: make(map[chat.ConversationID][]wire.Message), more: make(chan struct{}, 1)}
	w.Client = client.New(client.Config{REST: h.restOf(name), Device: name + "'s phone", Apply: w.note})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("%s's device ended: %v", name, err)
		}
	})
	return w
}

func (w *witness) note(m wire.Message) {
	w.mu.Lock()
	w.seen[m.ConversationID] = append(w.seen[m.ConversationID], m)
	w.mu.Unlock()
	select {
	case w.more <- struct{}{}:
	default:
	}
}

// saw returns what was noted of a conversation, "seq content" each.
func (w *witness) saw(id chat.ConversationID) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return lines(w.seen[id])
}

func lines(messages []wire.Message) []string {
	var out []string
	for _, m := range messages {
		out = append(out, fmt.Sprintf("%d %s", m.Seq, m.Content))
	}
	return out
}

// await waits until the witness has seen as much as want.
func (w *witness) await(t *testing.T, id chat.ConversationID, want []string) {
	t.Helper()
	deadline := time.After(patience)
	for {
		got := w.saw(id)
		if slices.Equal(got, want) {
			return
		}
		if len(got) >= len(want) {
			t.Fatalf("saw %d events, history has %d:\n%s", len(got), len(want), difference(got, want))
		}
		select {
		case <-w.more:
		case <-deadline:
			t.Fatalf("saw %d events of %d:\n%s", len(got), len(want), difference(got, want))
		}
	}
}

// difference shows where two lists part.
func difference(got, want []string) string {
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			return fmt.Sprintf("from place %d on got %q, want %q", i, got[i:min(i+3, len(got))], want[i:min(i+3, len(want))])
		}
	}
	return "none"
}

// Two people talk while the whole system is killed again and again. Every
// acknowledged message is in history exactly once, at the place that the answer
// named, and both devices saw exactly history, in its order.
func TestKilledSystemLosesAndRepeatsNothing(t *testing.T) {
	h := newHouse(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	talk, err := h.restOf("alice").Direct(ctx, chat.DemoUser("bob"))
	if err != nil {
		t.Fatal(err)
	}
	people := []*witness{newWitness(t, h, "alice"), newWitness(t, h, "bob")}

	const each, kills = 60, 3
	var (
		mu    sync.Mutex
		acked = make(map[string]chat.Seq)
		group sync.WaitGroup
	)
	for i, p := range people {
		group.Go(func() {
			for n := range each {
				content := fmt.Sprintf("%d-%d", i, n)
				sent, err := p.Send(ctx, client.Outgoing{Conversation: talk, Content: content})
				if err != nil {
					t.Errorf("send %s: %v", content, err)
					return
				}
				mu.Lock()
				acked[content] = sent.Seq
				mu.Unlock()
			}
		})
	}
	for range kills {
		waitFor(t, people[0].more) // there is traffic
		h.kill()
		h.start()
	}
	group.Wait()
	if t.Failed() {
		return
	}
	history, err := h.restOf("bob").All(ctx, talk, 0)
	if err != nil {
		t.Fatal(err)
	}
	audit(t, history, acked)
	for _, p := range people {
		p.await(t, talk, lines(history))
	}
}

func waitFor(t *testing.T, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatal("nothing happens")
	}
}

// audit checks that history is dense, ascends by message id, and holds each
// acknowledged message once and where the answer said.
func audit(t *testing.T, history []wire.Message, acked map[string]chat.Seq) {
	t.Helper()
	times := make(map[string]int)
	for i, m := range history {
		if want := chat.Seq(i + 1); m.Seq != want {
			t.Errorf("place %d of history has seq %d", want, m.Seq)
		}
		if i > 0 && chat.CompareMessageIDs(history[i-1].MessageID, m.MessageID) >= 0 {
			t.Errorf("message_id does not ascend at seq %d", m.Seq)
		}
		times[m.Content]++
		if seq, ok := acked[m.Content]; ok && seq != m.Seq {
			t.Errorf("%s: acknowledged at %d, in history at %d", m.Content, seq, m.Seq)
		}
	}
	for content := range acked {
		if times[content] != 1 {
			t.Errorf("%s: acknowledged, and %d times in history", content, times[content])
		}
	}
}

func TestRestartForgetsNothing(t *testing.T) {
	h := newHouse(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	rest := h.restOf("carol")
	group, err := rest.Group(ctx, chat.NewRequestID(), "trip", []chat.UserID{chat.DemoUser("dave")})
	if err != nil {
		t.Fatal(err)
	}
	request := chat.NewRequestID()
	first := post(ctx, t, rest, group, request, "packed?")
	before := picture(ctx, t, rest, group)

	h.kill()
	h.start()

	if after := picture(ctx, t, rest, group); after != before {
		t.Errorf("after the restart:\n%s\nbefore:\n%s", after, before)
	}
	again := post(ctx, t, rest, group, request, "packed?")
	if !again.Duplicate || again.MessageID != first.MessageID || again.Seq != first.Seq {
		t.Errorf("retry after the restart: got %+v, want a duplicate of %+v", again, first)
	}
	var refused *client.StatusError
	err = rest.Do(ctx, "POST", "/api/v1/conversations/"+group.String()+"/messages", message(request, "other words"), nil)
	if !errors.As(err, &refused) || refused.Problem.Code != chat.IdempotencyConflict {
		t.Errorf("other content under the same id: got %v, want %s", err, chat.IdempotencyConflict)
	}
}

func message(request chat.RequestID, content string) map[string]any {
	return map[string]any{"content": content, "type": "text", "client_message_id": request}
}

func post(ctx context.Context, t *testing.T, rest *client.REST, id chat.ConversationID, request chat.RequestID, content string) wire.MessageSent {
	t.Helper()
	var sent wire.MessageSent
	if err := rest.Do(ctx, "POST", "/api/v1/conversations/"+id.String()+"/messages", message(request, content), &sent); err != nil {
		t.Fatal(err)
	}
	return sent
}

// picture is everything that a user can read of a conversation and of the list.
func picture(ctx context.Context, t *testing.T, rest *client.REST, id chat.ConversationID) string {
	t.Helper()
	var b strings.Builder
	for _, path := range []string{
		"/api/v1/conversations", "/api/v1/conversations/" + id.String(),
		"/api/v1/conversations/" + id.String() + "/members",
		"/api/v1/conversations/" + id.String() + "/messages",
	} {
		var answer any
		if err := rest.Do(ctx, "GET", path, nil, &answer); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s: %v\n", path, answer)
	}
	return b.String()
}

// Two terminals talk, by the commands that the README shows.
func TestTwoTerminalsTalk(t *testing.T) {
	h := newHouse(t)
	name, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	terminal := func(user, with string) (in func(string), until func(string)) {
		c := exec.Command(name, "chat", "-rest", h.rest, "-user", user, "-with", with)
		stdin, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = stdin.Close()
			if err := c.Wait(); err != nil {
				t.Errorf("%s's terminal: %v", user, err)
			}
		})
		screen := newScreen(out)
		return func(line string) { fmt.Fprintln(stdin, line) }, func(text string) { screen.await(t, text) }
	}
	aliceTypes, aliceSees := terminal("alice", "bob")
	aliceSees("you talk to bob")
	bobTypes, bobSees := terminal("bob", "alice")
	bobSees("you talk to alice")
	aliceTypes("hello, bob")
	bobSees("alice: hello, bob")
	bobTypes("привет 👋")
	aliceSees("bob: привет 👋")
}
