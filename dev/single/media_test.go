package single

import (
	"bytes"
	"encoding/json"
	"image"
	"image/png"
	"io"
	"net/http"
	"strings"
	"testing"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// open asks for a URL without any header, as an <img> does.
func open(t *testing.T, url string) (status int, contentType string, body []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, err = io.ReadAll(answer.Body); err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, answer.Header.Get("Content-Type"), body
}

// pushed returns the next message that a person is told of.
func (p *person) pushed() (m wire.Message) {
	p.t.Helper()
	if err := json.Unmarshal(p.next("new_message").Data, &m); err != nil {
		p.t.Fatal(err)
	}
	return m
}

// A picture goes from one person to another over the sockets and opens without a
// header; who is in the conversation may read it, and nobody else.
func TestAPictureIsSentAndSeen(t *testing.T) {
	s := start(t)
	alice, bob, mallory := s.person(t, "alice", ""), s.person(t, "bob", ""), s.person(t, "mallory", "")
	pair, err := alice.rest.Direct(t.Context(), bob.id)
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := png.Encode(&file, image.NewGray(image.Rect(0, 0, 400, 300))); err != nil {
		t.Fatal(err)
	}
	up, err := alice.rest.Upload(t.Context(), "cat.png", bytes.NewReader(file.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	byToken := "/api/v1/media/" + up.MediaID.String()
	if err := bob.rest.Do(t.Context(), "GET", byToken+"/info", nil, nil); err == nil {
		t.Error("bob reads what was not sent")
	}
	send := func(p *person, mediaURL string) {
		p.write("send_message", wire.SendMessage{ConversationID: &pair, Type: "image", MediaURL: mediaURL, ClientMessageID: new(chat.NewRequestID())})
	}
	send(bob, up.MediaURL)
	if got := refusal(t, bob.next("error")); got.Code != chat.BadRequest {
		t.Errorf("bob sends what is alice's: %+v", got)
	}
	send(alice, up.MediaURL)
	alice.next("message_sent")
	m := bob.pushed()
	if m.Type != "image" || strings.Contains(m.MediaURL, "own=") {
		t.Errorf("bob was told %+v", m)
	}
	if status, kind, body := open(t, m.MediaURL); status != http.StatusOK || kind != "image/png" || !bytes.Equal(body, file.Bytes()) {
		t.Errorf("%s answers %d, %s, %d bytes of %d", m.MediaURL, status, kind, len(body), file.Len())
	}
	if status, kind, _ := open(t, strings.Replace(m.MediaURL, "?", "/thumbnail?", 1)); status != http.StatusOK || kind != "image/jpeg" {
		t.Errorf("the thumbnail answers %d, %s", status, kind)
	}
	var about wire.Upload
	if err := bob.rest.Do(t.Context(), "GET", byToken+"/info", nil, &about); err != nil || about.Width != 400 || about.MediaURL != m.MediaURL {
		t.Errorf("bob reads %+v, %v", about, err)
	}
	send(bob, m.MediaURL)
	if got := refusal(t, bob.next("error")); got.Code != chat.BadRequest {
		t.Errorf("bob sends what everybody sees: %+v", got)
	}
	for _, path := range []string{"", "/thumbnail", "/info"} {
		if err := mallory.rest.Do(t.Context(), "GET", byToken+path, nil, nil); err == nil || !strings.Contains(err.Error(), "not_found") {
			t.Errorf("mallory asks for %q: %v, want not_found", path, err)
		}
	}
	// The same send again is the same message, by whatever URL of the upload.
	request := chat.NewRequestID()
	var first, again wire.MessageSent
	for _, sent := range []*wire.MessageSent{&first, &again} {
		if err := alice.rest.Do(t.Context(), "GET", byToken+"/info", nil, &about); err != nil {
			t.Fatal(err)
		}
		body := wire.SendMessage{Type: "file", MediaURL: about.MediaURL, ClientMessageID: &request}
		if err := alice.rest.Do(t.Context(), "POST", "/api/v1/conversations/"+pair.String()+"/messages", body, sent); err != nil {
			t.Fatal(err)
		}
	}
	if again.MessageID != first.MessageID || !again.Duplicate {
		t.Errorf("got %+v and %+v, want the same message", first, again)
	}
}
