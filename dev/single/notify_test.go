package single

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"switchboard/client"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// From a browser that registers over REST to its push service: who is away hears of
// a message, who is there does not.
func TestWhoIsAwayIsNotified(t *testing.T) {
	arrived := make(chan string, 100)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // what is in it is the matter of router/push
		arrived <- r.URL.Path
		w.WriteHeader(http.StatusCreated)
	}))
	t.Cleanup(service.Close)
	s := start(t, func(c *Config) { c.PushPrivate = true })
	alice := s.person(t, "alice", "desk")
	bobs := &client.REST{Base: s.URLs().REST, Token: s.tokens(chat.DemoUser("bob"))}
	carols := &client.REST{Base: s.URLs().REST, Token: s.tokens(chat.DemoUser("carol"))}
	c, err := alice.rest.Direct(t.Context(), chat.DemoUser("bob"))
	if err != nil {
		t.Fatal(err)
	}
	subscribe := func(by *client.REST, path string) {
		t.Helper()
		err := by.Do(t.Context(), "PUT", "/api/v1/devices/"+path+"/push", wire.PutPush{
			Kind: "web_push", Endpoint: service.URL + "/" + path, Keys: wire.PushKeys{
				P256DH: "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4", Auth: "BTBZMqHH6r4Tts7J_aSIgg",
			},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	subscribe(bobs, "browser")
	var list wire.DeviceList
	if err := bobs.Do(t.Context(), "GET", "/api/v1/devices", nil, &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Devices) != 1 || list.WebPushKey == "" {
		t.Fatalf("got %+v", list)
	}
	hears := func(want string) {
		t.Helper()
		select {
		case got := <-arrived:
			if got != want {
				t.Fatalf("%s is notified, want %s", got, want)
			}
		case <-time.After(patience):
			t.Fatalf("%s is not notified", want)
		}
	}
	alice.say(c)
	hears("/browser")
	subscribe(bobs, "phone")
	subscribe(carols, "carol")
	alice.say(c)
	if first, second := <-arrived, <-arrived; first == second || first == "/carol" || second == "/carol" {
		t.Errorf("notified were %s and %s, want both devices", first, second)
	}
	s.person(t, "bob", "desk") // Not away: nobody is notified of the next.
	alice.say(c)
	with, err := alice.rest.Direct(t.Context(), chat.DemoUser("carol"))
	if err != nil {
		t.Fatal(err)
	}
	alice.say(with)
	hears("/carol")
}
