package rest

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// The bodies in wire's testdata are the examples of docs/protocol.md. Here they
// are held to the answers that this package gives: the same fields, in the same
// order, and no other.
func TestBodiesAreThoseOfTheDocumentation(t *testing.T) {
	for name, body := range map[string]any{
		"gateway": new(wire.GatewayInfo), "conversation": new(wire.Conversation), "conversations": new(wire.ConversationList),
		"members": new(wire.MemberList), "messages": new(wire.MessagePage), "event": new(wire.Message),
		"message_sent": new(wire.MessageSent), "sync_answer": new(wire.SyncResponse), "problem": new(wire.Problem),
	} {
		want, err := os.ReadFile(filepath.Join("..", "..", "internal", "wire", "testdata", "rest_"+name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		decoder := json.NewDecoder(bytes.NewReader(want))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(body); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got bytes.Buffer
		encoder := json.NewEncoder(&got)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(body); err != nil {
			t.Fatal(err)
		}
		if got.String() != string(want) {
			t.Errorf("%s: got %s, want %s", name, got.String(), want)
		}
	}
}

// The bodies that clients send are understood as they stand in the documentation.
func TestRequestsOfTheDocumentation(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join("..", "..", "internal", "wire", "testdata", "rest_"+name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	r := newRig(t)
	var c wire.Conversation
	r.do(alice, 201, nil, "POST", conversations, read("create_direct"))
	r.do(alice, 201, &c, "POST", conversations, read("create_group"))
	path := conversations + "/" + c.ID.String()
	r.do(alice, 201, nil, "POST", path+"/messages", read("send_message"))
	r.do(alice, 201, nil, "PUT", path+"/members/"+carol.String(), read("put_member"))
	r.do(alice, 200, &c, "PATCH", path, read("patch_conversation"))
	if c.Name != "Saturday" || c.MembersCount != 3 {
		t.Errorf("got %+v", c)
	}
	r.do(alice, 204, nil, "POST", path+"/read", read("read"))
	r.do(alice, 200, nil, "POST", "/api/v1/sync", read("sync"))
}

// The decoder of messages is the oracle: both judge escapes by RFC 8259.
func FuzzLoneSurrogate(f *testing.F) {
	for _, s := range []string{`\ud83d\ude00`, `\ud83d`, `\ude00`, `\\ud83d`, `\\\ud83d`, `\uD83D\uDE0`, `\ud83d\ud83d\ude00`, `x\ud83d\n`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		body := []byte(`{"type":"text","content":"` + s + `"}`)
		if strings.Contains(s, `"`) || s == "" || len(s) > chat.ContentBytes || !json.Valid(body) || !utf8.Valid(body) {
			t.Skip()
		}
		err := wire.DecodeSend(body, new(wire.ClientEvent))
		if broken := err != nil; broken != loneSurrogate(body) {
			t.Errorf("%s: decoder says %v, loneSurrogate %v", body, err, loneSurrogate(body))
		}
	})
}

// No query is worse than a bad request.
func FuzzQuery(f *testing.F) {
	for _, q := range []string{"", "limit=1", "before=5", "after_seq=9223372036854775807", "before_id=98fc0014-b5c6-11f1-8001-010000000007", "cursor=AAAA", "a;b"} {
		f.Add(q)
	}
	r := newRig(f)
	_, path := r.group(bob)
	r.say(bob, path, "x")
	token := r.request(alice, "GET", path, "").Header
	f.Fuzz(func(t *testing.T, q string) {
		for _, path := range []string{path + "/messages", conversations} {
			req := httptest.NewRequestWithContext(t.Context(), "GET", path, nil)
			req.Header, req.URL = token, &url.URL{Path: path, RawQuery: q}
			if w := r.serve(req); w.Code != 200 && w.Code != 400 {
				t.Errorf("%s?%s: got %d %s", path, q, w.Code, w.Body)
			}
		}
	})
}
