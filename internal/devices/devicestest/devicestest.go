// Package devicestest is the suite that every [devices.Store] passes.
package devicestest

import (
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/devices"
)

// Run tries a store; open returns one without registrations.
func Run(t *testing.T, open func(t *testing.T) devices.Store) {
	for name, test := range map[string]func(t *testing.T, s devices.Store){
		"a registration is kept as it was given":    kept,
		"an address belongs to one device":          oneAddress,
		"one device too many takes the oldest away": crowd,
		"a dead address is not the new one's end":   dead,
		"what was read only grows":                  reads,
		"what was read is kept for devices only":    strangers,
		"calls at the same time":                    together,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

var (
	alice, bob = chat.DemoUser("alice"), chat.DemoUser("bob")
	talk       = chat.DirectConversation(alice, bob)
)

func web(u chat.UserID, device, address string) devices.Registration {
	return devices.Registration{
		User: u, Device: device, Kind: devices.WebPush, Address: address,
		Settings: devices.Settings{P256DH: "p", Auth: "a", Muted: []chat.ConversationID{talk}},
	}
}

func put(t *testing.T, s devices.Store, all ...devices.Registration) {
	t.Helper()
	for _, r := range all {
		if err := s.Put(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
}

// of returns the registrations of some users, after a look at the stamps.
func of(t *testing.T, s devices.Store, users ...chat.UserID) []devices.Registration {
	t.Helper()
	all, err := s.Of(t.Context(), users)
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		if since := time.Since(all[i].Updated); since < -time.Minute || since > time.Hour {
			t.Errorf("%s was stamped %v ago", all[i].Device, since)
		}
		all[i].Updated = time.Time{}
	}
	return all
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %+v, want %+v", what, got, want)
	}
}

func kept(t *testing.T, s devices.Store) {
	phone := web(alice, "phone", "https://push.example/1")
	watch := devices.Registration{
		User: alice, Device: "watch", Kind: devices.Webhook, Address: "token ⌚",
		Settings: devices.Settings{Provider: "fcm", MuteAll: true},
	}
	desk := web(bob, "desk", "https://push.example/2")
	put(t, s, watch, phone, desk)
	same(t, "of alice", of(t, s, alice, alice), []devices.Registration{phone, watch})
	if got := of(t, s, bob, alice); len(got) != 3 {
		t.Errorf("of both: got %+v", got)
	}
	same(t, "of nobody", len(of(t, s)), 0)
	phone.Address, phone.Muted = "https://push.example/3", nil
	put(t, s, phone)
	same(t, "after another PUT", of(t, s, alice), []devices.Registration{phone, watch})
	for _, want := range []bool{true, false} {
		got, err := s.Remove(t.Context(), alice, "watch")
		if err != nil || got != want {
			t.Errorf("removed: got %v, %v; want %v", got, err, want)
		}
	}
	same(t, "after a DELETE", of(t, s, alice), []devices.Registration{phone})
}

func oneAddress(t *testing.T, s devices.Store) {
	const browser = "https://push.example/browser"
	put(t, s, web(alice, "browser", browser), web(bob, "browser", browser))
	same(t, "of who had it", len(of(t, s, alice)), 0)
	same(t, "of who has it", of(t, s, bob), []devices.Registration{web(bob, "browser", browser)})
}

func crowd(t *testing.T, s devices.Store) {
	for i := range devices.PerUser + 2 {
		put(t, s, web(alice, fmt.Sprintf("device-%02d", i), fmt.Sprintf("https://push.example/%d", i)))
	}
	put(t, s, web(bob, "desk", "https://push.example/bob"))
	all := of(t, s, alice)
	same(t, "devices", len(all), devices.PerUser)
	newest := fmt.Sprintf("device-%02d", devices.PerUser+1)
	found := false
	for _, r := range all {
		found = found || r.Device == newest
	}
	same(t, "the newest is there", found, true)
	same(t, "others", len(of(t, s, bob)), 1)
}

func dead(t *testing.T, s devices.Store) {
	put(t, s, web(alice, "phone", "https://push.example/new"))
	for _, address := range []string{"https://push.example/old", "https://push.example/new"} {
		before := len(of(t, s, alice))
		if err := s.RemoveDead(t.Context(), alice, "phone", address); err != nil {
			t.Fatal(err)
		}
		same(t, "devices before "+address, before, 1)
	}
	same(t, "devices at the end", len(of(t, s, alice)), 0)
}

func read(t *testing.T, s devices.Store, all ...devices.Read) {
	t.Helper()
	if err := s.SetRead(t.Context(), all); err != nil {
		t.Fatal(err)
	}
}

func seqs(t *testing.T, s devices.Store, keys ...devices.Key) []chat.Seq {
	t.Helper()
	got, err := s.ReadSeqs(t.Context(), keys)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func reads(t *testing.T, s devices.Store) {
	put(t, s, web(alice, "phone", "https://push.example/1"))
	here, other := devices.Key{User: alice, Conversation: talk}, devices.Key{User: alice, Conversation: chat.DirectConversation(alice, alice)}
	read(t, s, devices.Read{Key: here, Seq: 7}, devices.Read{Key: here, Seq: 5}, devices.Read{Key: other, Seq: 1})
	read(t, s, devices.Read{Key: here, Seq: 6})
	read(t, s)
	unknown := devices.Key{User: bob, Conversation: talk}
	same(t, "read", seqs(t, s, other, unknown, here, here), []chat.Seq{1, 0, 7, 7})
	same(t, "read of nothing", len(seqs(t, s)), 0)
}

func strangers(t *testing.T, s devices.Store) {
	key := devices.Key{User: alice, Conversation: talk}
	read(t, s, devices.Read{Key: key, Seq: 3})
	same(t, "before there is a device", seqs(t, s, key), []chat.Seq{0})
	put(t, s, web(alice, "phone", "https://push.example/1"))
	read(t, s, devices.Read{Key: key, Seq: 4})
	same(t, "with one", seqs(t, s, key), []chat.Seq{4})
	if _, err := s.Remove(t.Context(), alice, "phone"); err != nil {
		t.Fatal(err)
	}
	same(t, "without it", seqs(t, s, key), []chat.Seq{0})
}

func together(t *testing.T, s devices.Store) {
	var all sync.WaitGroup
	key := devices.Key{User: alice, Conversation: talk}
	put(t, s, web(alice, "desk", "https://push.example/desk"))
	for i := range 8 {
		all.Go(func() {
			for n := range 5 {
				if err := s.Put(t.Context(), web(alice, "phone", fmt.Sprintf("https://push.example/%d", n))); err != nil {
					t.Error(err)
				}
				if err := s.SetRead(t.Context(), []devices.Read{{Key: key, Seq: chat.Seq(10*n + i + 1)}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	same(t, "devices", len(of(t, s, alice)), 2)
	same(t, "read", seqs(t, s, key), []chat.Seq{48})
}
