package contract

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"switchboard/internal/chat"
)

// person is a user whom nobody has heard of before.
type person struct {
	t     *testing.T
	site  *site
	id    string
	token string
}

// newcomer is somebody on the shared system.
func newcomer(t *testing.T) *person {
	t.Helper()
	return here(t).person(t)
}

// newcomers are n of them.
func newcomers(t *testing.T, n int) (all []*person) {
	t.Helper()
	for range n {
		all = append(all, newcomer(t))
	}
	return all
}

func (s *site) person(t *testing.T) *person {
	t.Helper()
	p := &person{t: t, site: s, id: fresh()}
	p.token = p.mint(time.Hour)
	return p
}

// fresh returns an id that nobody has used.
func fresh() string { return chat.NewRequestID().String() }

// mint returns a token that is good for so long.
func (p *person) mint(ttl time.Duration) string {
	p.t.Helper()
	user, err := chat.ParseUserID(p.id)
	if err != nil {
		p.t.Fatal(err)
	}
	token, err := p.site.keys.Mint(user, ttl)
	if err != nil {
		p.t.Fatal(err)
	}
	return token
}

// connect opens a socket in the name of a person and waits until it is connected.
func (p *person) connect(device string) *socket {
	p.t.Helper()
	return p.connectBy(p.token, device)
}

func (p *person) connectBy(token, device string) *socket {
	p.t.Helper()
	header := http.Header{"Authorization": {"Bearer " + token}}
	if device != "" {
		header.Set("X-Device-Id", device)
	}
	s := p.site.dial(p.t, header)
	first := s.next()
	compare(p.t, "the first frame", first.Type, "connected")
	s.connected = first.Data
	return s
}

// answer is what a call over HTTP brought.
type answer struct {
	t      *testing.T
	what   string
	status int
	header http.Header
	body   []byte
	stored bool // it is that of the store, to which REST had sent the caller
}

// call calls; body is JSON if it is text, turned into it otherwise, and none when
// nil. More is pairs of header fields.
func (p *person) call(method, path string, body any, more ...string) answer {
	p.t.Helper()
	return p.site.call(p.t, method, path, body, append([]string{"Authorization", "Bearer " + p.token}, more...)...)
}

func (s *site) call(t *testing.T, method, path string, body any, header ...string) answer {
	t.Helper()
	a := request(t, method, s.REST[0]+path, body, header...)
	a.described(method, path, body)
	return a
}

// caller follows no redirection: what is described is the first answer.
var caller = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func request(t *testing.T, method, url string, body any, header ...string) answer {
	t.Helper()
	var content io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		content = strings.NewReader(b)
	default:
		encoded, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		content = bytes.NewReader(encoded)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, url, content)
	if err != nil {
		t.Fatal(err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := caller.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	a := answer{t: t, what: method + " " + r.URL.Path, status: response.StatusCode, header: response.Header}
	if a.body, err = io.ReadAll(response.Body); err != nil {
		t.Fatal(err)
	}
	return a
}

// is compares an answer with what it must be and returns it.
func (a answer) is(status int, want any) any {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: got status %d, want %d: %s", a.what, a.status, status, a.body)
	}
	if want == nil {
		compare(a.t, "the body of "+a.what, string(a.body), "")
		return nil
	}
	compare(a.t, "Content-Type", a.header.Get("Content-Type"), "application/json")
	got := parse(a.t, a.body)
	compare(a.t, a.what, got, want)
	return got
}

// good returns the answer of a call that must have worked.
func (a answer) good() object {
	a.t.Helper()
	if a.status/100 != 2 {
		a.t.Fatalf("%s: got status %d: %s", a.what, a.status, a.body)
	}
	if len(a.body) == 0 {
		return nil
	}
	body, _ := parse(a.t, a.body).(object)
	return body
}

// refused compares a refusal with the code that it must have.
func (a answer) refused(code string) {
	a.t.Helper()
	compare(a.t, "Content-Type of "+a.what, a.header.Get("Content-Type"), "application/problem+json")
	status := chat.Code(code).Status()
	compare(a.t, a.what, parse(a.t, a.body), shape{
		"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": text,
		"code": code, "temporary": chat.Code(code).Temporary(), "retry_after_ms?": whole, "request_id": text,
	})
	compare(a.t, "status of "+a.what, a.status, status)
}

const conversations = "/api/v1/conversations"

// direct returns the conversation of two.
func (p *person) direct(other *person) string {
	p.t.Helper()
	made := p.call("POST", conversations, object{"type": "direct", "member_ids": []string{other.id}}).good()
	return made["id"].(string)
}

// group makes a group of p and others.
func (p *person) group(name string, others ...string) string {
	p.t.Helper()
	made := p.call("POST", conversations, object{"type": "group", "name": name, "member_ids": others}).good()
	return made["id"].(string)
}

// ids are those of some people.
func ids(people ...*person) (all []string) {
	for _, p := range people {
		all = append(all, p.id)
	}
	return all
}

// strangers are n ids of nobody in particular.
func strangers(n int) (all []string) {
	for range n {
		all = append(all, fresh())
	}
	return all
}

// message is the data of a send_message.
func message(conversation, content string) object {
	return object{"conversation_id": conversation, "content": content, "type": "text", "client_message_id": fresh()}
}

// post sends a message over HTTP and returns what message_sent would say.
func (p *person) post(conversation, content string) object {
	p.t.Helper()
	return p.call("POST", conversations+"/"+conversation+"/messages", message(conversation, content)).good()
}

// view returns a conversation as p sees it.
func (p *person) view(conversation string) object {
	p.t.Helper()
	return p.call("GET", conversations+"/"+conversation, nil).good()
}

// history asks for a page.
func (p *person) history(conversation, query string) answer {
	p.t.Helper()
	return p.call("GET", conversations+"/"+conversation+"/messages?"+query, nil)
}

// seqs returns those of a page or of the events of a sync.
func seqs(t *testing.T, events any) (all []int) {
	t.Helper()
	for _, e := range events.([]any) {
		entry := e.(object)
		if data, ok := entry["data"].(object); ok {
			entry = data
		}
		all = append(all, number(t, entry["seq"]))
	}
	return all
}

// say sends a message on a socket and waits until it is stored.
func (s *socket) say(conversation, content string) frame {
	s.t.Helper()
	s.write("send_message", "say", message(conversation, content))
	sent := s.reply("say")
	if sent.Type != "message_sent" {
		s.t.Fatalf("not sent: %s %v", sent.Type, sent.Data)
	}
	return sent
}

// until tries until it works.
func until(t *testing.T, try func() bool) {
	t.Helper()
	for late := time.After(patience); !try(); {
		select {
		case <-late:
			t.Fatal("it does not come to be")
		case <-time.After(20 * time.Millisecond):
		}
	}
}
