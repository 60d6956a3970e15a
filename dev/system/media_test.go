package system

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"image"
	"image/png"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"switchboard/client"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// album is a conversation of two people with pictures, on a cluster whose store clients
// reach, and somebody who is not in it.
type album struct {
	t     *testing.T
	ctx   context.Context
	c     *cluster
	store string // its URL

	alice, elsewhere, bob, carol *client.REST // elsewhere is alice on another REST server
	id                           chat.ConversationID
}

func newAlbum(t *testing.T) *album {
	t.Helper()
	c := commonCluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	alice, bob, carol := chat.DemoUser("alice of the album"), chat.DemoUser("bob of the album"), chat.DemoUser("carol of the album")
	a := &album{t: t, ctx: ctx, c: c, store: c.servers(t).S3, alice: c.rest(alice), elsewhere: c.rest(alice), bob: c.rest(bob), carol: c.rest(carol)}
	a.elsewhere.Base = c.REST[1]
	var err error
	if a.id, err = a.alice.Direct(ctx, bob); err != nil {
		t.Fatal(err)
	}
	return a
}

// with returns the album for a part of its test.
func (a *album) with(t *testing.T) *album {
	part := *a
	part.t = t
	return &part
}

// taken is an answer to a request that carries nothing but its URL, and perhaps a token.
type taken struct {
	status int
	header http.Header
	body   string
}

// stranger follows no redirection.
var stranger = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// ask sends a request, with a token if there is somebody who asks. What it brings it calls HTML.
func (a *album) ask(who *client.REST, method, target, body string) taken {
	a.t.Helper()
	r, err := http.NewRequestWithContext(a.ctx, method, target, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "text/html")
	}
	if who != nil {
		token, err := who.Token(a.ctx)
		if err != nil {
			a.t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := stranger.Do(r)
	if err != nil {
		a.t.Fatal(err)
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(answer.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return taken{answer.StatusCode, answer.Header, string(said)}
}

// begin begins a direct upload of alice's.
func (a *album) begin(name, file string) (begun wire.DirectUpload) {
	a.t.Helper()
	if err := a.alice.Do(a.ctx, "POST", "/api/v1/media", wire.BeginUpload{Size: int64(len(file)), Name: name}, &begun); err != nil {
		a.t.Fatal(err)
	}
	if !strings.HasPrefix(begun.URL, a.store+"/") {
		a.t.Fatalf("the bytes go to %s, want the store at %s", begun.URL, a.store)
	}
	return begun
}

// complete makes an upload of what was sent, by another server than the one that it
// was begun with.
func (a *album) complete(begun wire.DirectUpload) (up wire.Upload, err error) {
	err = a.elsewhere.Do(a.ctx, "POST", "/api/v1/media/"+begun.UploadID.String()+"/complete", nil, &up)
	return up, err
}

// upload sends a file past REST.
func (a *album) upload(name, file string) wire.Upload {
	a.t.Helper()
	begun := a.begin(name, file)
	if got := a.ask(nil, begun.Method, begun.URL, file); got.status != http.StatusOK {
		a.t.Fatalf("%s: the store answers %d, %s", name, got.status, got.body)
	}
	up, err := a.complete(begun)
	if err != nil {
		a.t.Fatalf("%s: %v", name, err)
	}
	return up
}

// sends sends an upload to bob and returns its URL as he is pushed it.
func (a *album) sends(kind string, up wire.Upload) string {
	a.t.Helper()
	token, err := a.bob.Token(a.ctx)
	if err != nil {
		a.t.Fatal(err)
	}
	phone, err := client.Dial(a.ctx, a.c.WS[1], token, "bob's phone")
	if err != nil {
		a.t.Fatal(err)
	}
	defer phone.Drop()
	var sent wire.MessageSent
	if err := a.alice.Do(a.ctx, "POST", "/api/v1/conversations/"+a.id.String()+"/messages", wire.SendMessage{Type: kind, MediaURL: up.MediaURL}, &sent); err != nil {
		a.t.Fatal(err)
	}
	for {
		e, err := phone.Next(a.ctx)
		if err != nil {
			a.t.Fatal(err)
		}
		if e.Type != "new_message" {
			continue
		}
		var m wire.Message
		if err := json.Unmarshal(e.Data, &m); err != nil {
			a.t.Fatal(err)
		}
		if m.MessageID == sent.MessageID {
			return m.MediaURL
		}
	}
}

// opens asks REST for an upload and the store for what REST says, as a browser does.
func (a *album) opens(who *client.REST, method, target string) (got taken, where string) {
	a.t.Helper()
	sent := a.ask(who, method, target, "")
	where = sent.header.Get("Location")
	if sent.status != http.StatusFound || !strings.HasPrefix(where, a.store+"/") || sent.body != "" {
		a.t.Fatalf("%s %s: got %d to %q, %s; want a redirection to the store at %s", method, target, sent.status, where, sent.body, a.store)
	}
	return a.ask(nil, method, where, ""), where
}

// shown is a picture of 400 by 300 pixels.
func shown(t *testing.T) string {
	t.Helper()
	var out bytes.Buffer
	if err := png.Encode(&out, image.NewGray(image.Rect(0, 0, 400, 300))); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// On real servers the bytes of what is uploaded go past REST, in and out, and the store
// keeps to what REST has signed.
func TestDirectUploadsOnRealServers(t *testing.T) {
	a := newAlbum(t)
	t.Run("a picture goes from one to the other", func(t *testing.T) { a.with(t).pictureGoes() })
	t.Run("what a browser might run is saved", func(t *testing.T) { a.with(t).savedOnly() })
	t.Run("who is not in the conversation gets nothing", func(t *testing.T) { a.with(t).membersOnly() })
	t.Run("a URL to write by does nothing else", func(t *testing.T) { a.with(t).changedInlet() })
	t.Run("a URL to read by does nothing else", func(t *testing.T) { a.with(t).changedOutlet() })
}

func (a *album) pictureGoes() {
	file := shown(a.t)
	up := a.upload("cat.png", file)
	if up.Type != "image/png" || up.Width != 400 || up.Height != 300 || up.Size != int64(len(file)) {
		a.t.Errorf("it is taken for %+v", up)
	}
	target := a.sends("image", up)
	for _, who := range []*client.REST{nil, a.bob} { // By the URL alone, and by token.
		from := target
		if who != nil {
			from = who.Base + chat.MediaPath(up.MediaID)
		}
		for method, body := range map[string]string{"GET": file, "HEAD": ""} {
			got, _ := a.opens(who, method, from)
			if got.status != http.StatusOK || got.body != body || got.header.Get("Content-Type") != "image/png" || got.header.Get("Content-Disposition") != "inline; filename=cat.png" {
				a.t.Errorf("%s: got %d, %d bytes, %v; want the %d of the file", method, got.status, len(got.body), got.header, len(file))
			}
		}
	}
	small, _ := a.opens(nil, "GET", strings.Replace(target, "?", "/thumbnail?", 1))
	if small.status != http.StatusOK || small.header.Get("Content-Type") != "image/jpeg" || small.header.Get("Content-Disposition") != "inline" || small.body == "" {
		a.t.Errorf("the thumbnail: got %d, %d bytes, %v", small.status, len(small.body), small.header)
	}
}

// A store says neither nosniff nor a policy, so that type and disposition alone must
// keep a browser from running anything.
func (a *album) savedOnly() {
	for name, file := range map[string]string{
		"cat.png":     "<!DOCTYPE html><script>alert(1)</script>",
		"logo.svg":    `<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`,
		"кот; \".xml": `<?xml version="1.0"?><x:script xmlns:x="http://www.w3.org/1999/xhtml">alert(1)</x:script>`,
		"app.js":      "alert(1)",
		"paper.pdf":   "%PDF-1.7\n",
		"notes.txt":   "<b>hello",
	} {
		up := a.upload(name, file)
		for _, kind := range []string{"image", "file"} {
			target := a.sends(kind, up)
			for method, body := range map[string]string{"GET": file, "HEAD": ""} {
				got, _ := a.opens(nil, method, target)
				how, parameters, err := mime.ParseMediaType(got.header.Get("Content-Disposition"))
				if got.status != http.StatusOK || got.body != body || err != nil || how != "attachment" || parameters["filename"] != name ||
					got.header.Get("Content-Type") != "application/octet-stream" {
					a.t.Errorf("%s %s: got %d, %q, %v; want it as bytes to be saved", method, name, got.status, got.body, got.header)
				}
			}
		}
	}
}

func (a *album) membersOnly() {
	up := a.upload("cat.png", shown(a.t))
	target := a.sends("image", up)
	path := chat.MediaPath(up.MediaID)
	for name, c := range map[string]struct {
		who  *client.REST
		url  string
		want int
	}{
		"a stranger":       {a.carol, a.carol.Base + path, http.StatusNotFound},
		"a stranger's old": {a.carol, strings.Replace(target, "sig=", "sig=x", 1), http.StatusNotFound},
		"nobody":           {nil, a.carol.Base + path, http.StatusUnauthorized},
		"a changed URL":    {nil, strings.Replace(target, "sig=", "sig=x", 1), http.StatusForbidden},
		"another upload's": {nil, strings.Replace(target, up.MediaID.String(), a.upload("x.txt", "x").MediaID.String(), 1), http.StatusForbidden},
		"the store itself": {nil, a.store + "/switchboard-media/", http.StatusForbidden},
	} {
		if c.url == target {
			a.t.Fatalf("%s: nothing was changed in %s", name, target)
		}
		if got := a.ask(c.who, "GET", c.url, ""); got.status != c.want || got.header.Get("Location") != "" {
			a.t.Errorf("%s: got %d, %s, %v; want %d", name, got.status, got.body, got.header, c.want)
		}
	}
	begun := a.begin("x.txt", "hers")
	if got := a.ask(nil, begun.Method, begun.URL, "hers"); got.status != http.StatusOK {
		a.t.Fatalf("the store answers %d, %s", got.status, got.body)
	}
	var refused *client.StatusError
	err := a.carol.Do(a.ctx, "POST", "/api/v1/media/"+begun.UploadID.String()+"/complete", nil, nil)
	if !errors.As(err, &refused) || refused.Problem.Code != chat.NotFound {
		a.t.Errorf("a stranger completes it: got %v, want %s", err, chat.NotFound)
	}
}

func (a *album) changedInlet() {
	const file = "hers"
	begun, other := a.begin("x.txt", file), a.begin("y.txt", file)
	for name, changed := range map[string]struct{ method, url, body string }{
		"another key":   {"PUT", strings.Replace(begun.URL, begun.UploadID.String(), other.UploadID.String(), 1), file},
		"reading":       {"GET", begun.URL, ""},
		"removal":       {"DELETE", begun.URL, ""},
		"more bytes":    {"PUT", begun.URL, file + "!"},
		"a longer life": {"PUT", having(a.t, begun.URL, "X-Amz-Expires", "604800"), file},
		"unsigned":      {"PUT", begun.URL[:strings.Index(begun.URL, "?")], file},
	} {
		if got := a.ask(nil, changed.method, changed.url, changed.body); got.status != http.StatusForbidden {
			a.t.Errorf("%s: got %d, %s; want a refusal", name, got.status, got.body)
		}
	}
	for _, b := range []wire.DirectUpload{begun, other} { // So nothing lies there.
		var refused *client.StatusError
		if up, err := a.complete(b); !errors.As(err, &refused) || refused.Problem.Code != chat.BadRequest {
			a.t.Errorf("got %+v, %v; want %s", up, err, chat.BadRequest)
		}
	}
	if got := a.ask(nil, begun.Method, begun.URL, file); got.status != http.StatusOK {
		a.t.Errorf("as it was signed: got %d, %s", got.status, got.body)
	}
	if up, err := a.complete(begun); err != nil || up.Size != int64(len(file)) {
		a.t.Errorf("got %+v, %v", up, err)
	}
}

func (a *album) changedOutlet() {
	const file = "<script>alert(1)</script>"
	up, other := a.upload("x.html", file), a.upload("y.html", "not hers")
	target := a.sends("file", up)
	before, where := a.opens(nil, "GET", target)
	for name, changed := range map[string]struct{ method, url, body string }{
		"another upload": {"GET", strings.Replace(where, up.MediaID.String(), other.MediaID.String(), 1), ""},
		"another object": {"GET", strings.Replace(where, "/original?", "/info?", 1), ""},
		"asked for only": {"HEAD", where, ""},
		"writing":        {"PUT", where, "evil"},
		"removal":        {"DELETE", where, ""},
		"another type":   {"GET", having(a.t, where, "response-content-type", "text/html"), ""},
		"a second type":  {"GET", where + "&response-content-type=text%2Fhtml", ""},
		"no type":        {"GET", having(a.t, where, "response-content-type", ""), ""},
		"shown":          {"GET", having(a.t, where, "response-content-disposition", "inline"), ""},
		"no disposition": {"GET", having(a.t, where, "response-content-disposition", ""), ""},
		"unsigned":       {"GET", where[:strings.Index(where, "?")], ""},
	} {
		if got := a.ask(nil, changed.method, changed.url, changed.body); got.status != http.StatusForbidden {
			a.t.Errorf("%s: got %d, %s; want a refusal", name, got.status, got.body)
		}
	}
	if after := a.ask(nil, "GET", where, ""); before.body != file || after.status != http.StatusOK || after.body != file {
		a.t.Errorf("got %q before and %d, %q after; want %q", before.body, after.status, after.body, file)
	}
}

// having returns a URL in which a parameter has another value, or is gone if that is
// empty.
func having(t *testing.T, of, parameter, value string) string {
	t.Helper()
	u, err := url.Parse(of)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	if !query.Has(parameter) || query.Get(parameter) == value {
		t.Fatalf("%s has no %s to be changed to %q", of, parameter, value)
	}
	if query.Set(parameter, value); value == "" {
		query.Del(parameter)
	}
	u.RawQuery = query.Encode()
	return u.String()
}
