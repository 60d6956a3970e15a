// Package terminal is a small text client for terminals: what `go run ./dev chat`
// starts. Two of them talk to each other within a minute of cloning; they are
// also the shortest program that uses the client library in full.
//
//	line    ──▶ client.Send ──▶ … ──▶ every member's screen
//	/with N ──▶ direct conversation with N
//
// People go by name here; their ids follow from the names.
package terminal

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"switchboard/client"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// sendTimeout is how long one line may stay unanswered before the user is told
// that its fate is unknown.
const sendTimeout = 30 * time.Second

// Config is what a Terminal needs.
type Config struct {
	REST   string // such as http://127.0.0.1:8080
	User   string // who this is
	With   string // whom to talk to at first; empty = wait for /with
	Device string // empty = "terminal"
	// Mint makes a token for a user; nil = ask the demonstration server.
	Mint func(u chat.UserID) (string, error)
	In   io.Reader
	Out  io.Writer
	Log  *slog.Logger
}

// Terminal is one person at one terminal.
type Terminal struct {
	cfg    Config
	client *client.Client
	rest   *client.REST

	mu      sync.Mutex // guards Out and what follows
	current chat.ConversationID
	titles  map[chat.ConversationID]string
	names   map[chat.UserID]string
}

// New returns a terminal; nothing happens before Run.
func New(cfg Config) *Terminal {
	if cfg.Device == "" {
		cfg.Device = "terminal"
	}
	c := &Terminal{
		cfg:    cfg,
		titles: make(map[chat.ConversationID]string),
		names:  make(map[chat.UserID]string),
	}
	c.learn(cfg.User)
	c.rest = &client.REST{Base: cfg.REST, Token: c.token}
	c.client = client.New(client.Config{
		REST: c.rest, Device: cfg.Device, Apply: c.show, Log: cfg.Log,
	})
	return c
}

// Run talks until the input ends, the user says /quit, ctx ends, or the server
// refuses this user for good.
func (c *Terminal) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		defer cancel()
		ended <- c.client.Run(ctx)
	}()
	if c.cfg.With != "" {
		if err := c.with(ctx, c.cfg.With); err != nil {
			return err
		}
	} else {
		c.say("type /with NAME to talk to somebody, /help for more")
	}
	c.input(ctx)
	cancel()
	return <-ended
}

// input handles lines until there are no more. Reading cannot be interrupted, so
// it has a goroutine that outlives ctx until the next line or the end of input.
func (c *Terminal) input(ctx context.Context) {
	lines := make(chan string)
	go func() {
		defer close(lines)
		scanner := bufio.NewScanner(c.cfg.In)
		scanner.Buffer(nil, chat.ContentBytes+1)
		for scanner.Scan() {
			select {
			case lines <- scanner.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case line, ok := <-lines:
			if !ok || line == "/quit" {
				return
			}
			if err := c.line(ctx, line); err != nil {
				c.say("! " + err.Error())
			}
		}
	}
}

// line does what one line of input asks for.
func (c *Terminal) line(ctx context.Context, line string) error {
	word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	switch {
	case word == "":
		return nil
	case word == "/with":
		return c.with(ctx, strings.TrimSpace(rest))
	case word == "/group":
		return c.group(ctx, strings.Fields(rest))
	case word == "/help":
		c.say("/with NAME · /group TITLE NAME NAME… · /quit · anything else is sent")
		return nil
	case strings.HasPrefix(word, "/"):
		return fmt.Errorf("no such command: %s", word)
	}
	return c.send(ctx, line)
}

func (c *Terminal) send(ctx context.Context, line string) error {
	c.mu.Lock()
	to := c.current
	c.mu.Unlock()
	if to.IsZero() {
		return errors.New("say whom you talk to first: /with NAME")
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	_, err := c.client.Send(ctx, client.Outgoing{Conversation: to, Content: line})
	return err
}

// with makes the direct conversation with a person the current one.
func (c *Terminal) with(ctx context.Context, name string) error {
	if name == "" {
		return errors.New("whom? /with NAME")
	}
	id, err := c.rest.Direct(ctx, c.learn(name))
	if err != nil {
		return fmt.Errorf("talk to %s: %w", name, err)
	}
	c.turn(id, name)
	return nil
}

// group begins a group of the named people and makes it the current
// conversation.
func (c *Terminal) group(ctx context.Context, words []string) error {
	if len(words) < 2 {
		return errors.New("/group TITLE NAME NAME…")
	}
	var members []chat.UserID
	for _, name := range words[1:] {
		members = append(members, c.learn(name))
	}
	id, err := c.rest.Group(ctx, chat.NewRequestID(), words[0], members)
	if err != nil {
		return fmt.Errorf("begin group %s: %w", words[0], err)
	}
	c.turn(id, words[0])
	return nil
}

// turn makes a conversation the one that lines go to.
func (c *Terminal) turn(id chat.ConversationID, title string) {
	c.mu.Lock()
	c.current, c.titles[id] = id, title
	c.mu.Unlock()
	c.say("— you talk to " + title)
}

// learn remembers a person's name by the id that follows from it.
func (c *Terminal) learn(name string) chat.UserID {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := chat.DemoUser(name)
	c.names[id] = name
	return id
}

// show prints one durable event.
func (c *Terminal) show(m wire.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current.IsZero() {
		c.current = m.ConversationID // whoever writes first is talked to
	}
	who := c.name(m.SenderID)
	if m.Event != nil {
		fmt.Fprintf(c.cfg.Out, "· %s%s\n", m.Event.Change, optional(" ", m.Event.Name))
		return
	}
	title := ""
	if m.ConversationID != c.current {
		title = " in " + c.title(m.ConversationID)
	}
	at := time.Unix(m.Timestamp, 0).Format("15:04")
	fmt.Fprintf(c.cfg.Out, "%s %s%s: %s\n", at, who, title, m.Content)
}

func optional(before, s string) string {
	if s == "" {
		return ""
	}
	return before + s
}

// name returns what a user is called here; c.mu is held.
func (c *Terminal) name(u chat.UserID) string {
	if name, ok := c.names[u]; ok {
		return name
	}
	return u.String()[:8]
}

// title returns what a conversation is called here; c.mu is held.
func (c *Terminal) title(id chat.ConversationID) string {
	if title, ok := c.titles[id]; ok {
		return title
	}
	return id.String()[:8]
}

func (c *Terminal) say(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintln(c.cfg.Out, line)
}

// token asks `dev` for a token: it alone gives one to whoever asks.
func (c *Terminal) token(ctx context.Context) (string, error) {
	user := chat.DemoUser(c.cfg.User)
	if c.cfg.Mint != nil {
		return c.cfg.Mint(user)
	}
	return Token(ctx, c.cfg.REST, user)
}

// Token asks the demonstration server at base for a token of a user.
func Token(ctx context.Context, base string, u chat.UserID) (string, error) {
	body, err := json.Marshal(map[string]any{"user_id": u})
	if err != nil {
		return "", err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/dev/token", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", fmt.Errorf("ask for a token: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("ask for a token: %s (only `dev` without -auth-keys gives tokens)", response.Status)
	}
	var answer struct {
		Token string `json:"token"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return "", fmt.Errorf("ask for a token: %w", err)
	}
	return answer.Token, nil
}
