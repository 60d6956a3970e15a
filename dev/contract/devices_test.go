package contract

// The rows of the table of "REST" that are about devices.

import (
	"fmt"
	"strings"
	"testing"
)

// p256dh is the key of nobody's browser, from RFC 8291.
const p256dh = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"

// subscription is one of a browser's, with an endpoint of its own.
func subscription() object {
	return object{
		"kind": "web_push", "endpoint": "https://push.example.net/" + fresh(),
		"keys": object{"p256dh": p256dh, "auth": "BTBZMqHH6r4Tts7J_aSIgg"},
	}
}

func TestRouteGetDevices(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	muted := alice.group("Friday")
	list := func(devices ...shape) shape {
		return shape{"devices": append([]shape{}, devices...), "web_push_key?": text}
	}
	alice.call("GET", "/api/v1/devices", nil).is(200, list())
	browser := subscription()
	browser["mute"] = object{"all": false, "conversation_ids": []string{muted}}
	alice.call("PUT", "/api/v1/devices/browser/push", browser).is(204, nil)
	alice.call("PUT", "/api/v1/devices/a%20phone/push", object{
		"kind": "webhook", "provider": "fcm", "token": fresh(), "mute": object{"all": true, "conversation_ids": []string{}},
	}).is(204, nil)
	alice.call("GET", "/api/v1/devices", nil).is(200, list(
		shape{"device_id": "a phone", "kind": "webhook", "provider": "fcm", "mute": shape{"all": true, "conversation_ids": []shape{}}, "updated_at": recent},
		shape{"device_id": "browser", "kind": "web_push", "mute": shape{"all": false, "conversation_ids": []string{muted}}, "updated_at": recent},
	))
	bob.call("GET", "/api/v1/devices", nil).is(200, list())
}

func TestRoutePutDevicesIDPush(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	const at = "/api/v1/devices/browser/push"
	browser := subscription()
	for range 2 {
		alice.call("PUT", at, browser).is(204, nil)
	}
	compare(t, "devices", len(alice.notified()), 1)
	bob.call("PUT", at, browser).is(204, nil) // Somebody else has logged in there.
	compare(t, "devices of who had it", len(alice.notified()), 0)
	compare(t, "devices of who has it", len(bob.notified()), 1)
	for i := range 11 {
		alice.call("PUT", fmt.Sprintf("/api/v1/devices/device-%d/push", i), subscription()).is(204, nil)
	}
	compare(t, "devices of many", len(alice.notified()), 10)
	for _, wrong := range []object{
		{"kind": "pigeon"},
		{"kind": "web_push"},
		{"kind": "webhook", "token": "x"},
		{"kind": "web_push", "endpoint": "https://push.example.net/x", "keys": object{"p256dh": "AAAA", "auth": "AAAA"}},
		{"kind": "web_push", "endpoint": "file:///etc/passwd", "keys": browser["keys"]},
	} {
		alice.call("PUT", at, wrong).refused("bad_request")
	}
	alice.call("PUT", "/api/v1/devices/"+strings.Repeat("x", 65)+"/push", subscription()).refused("bad_request")
}

func TestRouteDeleteDevicesIDPush(t *testing.T) {
	alice, bob := newcomer(t), newcomer(t)
	const at = "/api/v1/devices/browser/push"
	alice.call("PUT", at, subscription()).is(204, nil)
	bob.call("DELETE", at, nil).refused("not_found")
	compare(t, "devices", len(alice.notified()), 1)
	alice.call("DELETE", at, nil).is(204, nil)
	alice.call("DELETE", at, nil).refused("not_found")
	compare(t, "devices at the end", len(alice.notified()), 0)
}

// notified are the devices of a person that are.
func (p *person) notified() []any {
	p.t.Helper()
	return p.call("GET", "/api/v1/devices", nil).good()["devices"].([]any)
}
