package devices_test

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"strings"
	"testing"

	"switchboard/internal/chat"
	"switchboard/internal/devices"
)

func TestRegistrationsThatAreNone(t *testing.T) {
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	web := devices.Registration{
		Device: "phone", Kind: devices.WebPush, Address: "https://push.example/1",
		Settings: devices.Settings{
			P256DH: base64.RawURLEncoding.EncodeToString(key.PublicKey().Bytes()),
			Auth:   base64.StdEncoding.EncodeToString(make([]byte, 16)),
		},
	}
	hook := devices.Registration{Device: "phone", Kind: devices.Webhook, Address: "token", Settings: devices.Settings{Provider: "fcm"}}
	local := web
	local.Address = "http://127.0.0.1:8080/push/1"
	for _, fine := range []devices.Registration{web, local, hook} {
		if err := fine.Check(); err != nil {
			t.Errorf("%s: %v", fine.Kind, err)
		}
	}
	for name, change := range map[string]func(r *devices.Registration){
		"no name":                func(r *devices.Registration) { r.Device = "" },
		"a long name":            func(r *devices.Registration) { r.Device = strings.Repeat("x", chat.DeviceIDBytes+1) },
		"a name that is no text": func(r *devices.Registration) { r.Device = "\xff" },
		"no kind":                func(r *devices.Registration) { r.Kind = "" },
		"no address":             func(r *devices.Registration) { r.Address = "" },
		"a long address":         func(r *devices.Registration) { r.Address += strings.Repeat("x", devices.AddressBytes) },
		"another scheme":         func(r *devices.Registration) { r.Address = "file:///etc/passwd" },
		"no TLS":                 func(r *devices.Registration) { r.Address = "http://push.example/1" },
		"no TLS inside":          func(r *devices.Registration) { r.Address = "http://10.0.0.1/1" },
		"no host":                func(r *devices.Registration) { r.Address = "https:///path" },
		"a login":                func(r *devices.Registration) { r.Address = "https://user:secret@push.example/1" },
		"a point that is none":   func(r *devices.Registration) { r.P256DH = base64.RawURLEncoding.EncodeToString(make([]byte, 65)) },
		"no point":               func(r *devices.Registration) { r.P256DH = "%" },
		"a short secret":         func(r *devices.Registration) { r.Auth = "AAAA" },
		"too many muted":         func(r *devices.Registration) { r.Muted = make([]chat.ConversationID, devices.MutedMax+1) },
		"a muted one of zeros":   func(r *devices.Registration) { r.Muted = []chat.ConversationID{{1}, {}} },
		"no provider":            func(r *devices.Registration) { *r = hook; r.Provider = "" },
		"a long provider":        func(r *devices.Registration) { *r = hook; r.Provider = strings.Repeat("x", devices.ProviderBytes+1) },
	} {
		r := web
		change(&r)
		if r.Check() == nil {
			t.Errorf("%s: was taken", name)
		}
	}
}

func TestSilence(t *testing.T) {
	here, there := chat.ConversationID{1}, chat.ConversationID{2}
	some := devices.Settings{Muted: []chat.ConversationID{here}}
	all := devices.Settings{MuteAll: true}
	for name, got := range map[string]bool{
		"the muted one": some.Silences(here), "everything": all.Silences(there),
		"another": !some.Silences(there), "nothing": !(&devices.Settings{}).Silences(here),
	} {
		if !got {
			t.Error(name)
		}
	}
}
