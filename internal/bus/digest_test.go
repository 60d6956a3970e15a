package bus

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"switchboard/internal/chat"
)

func TestDigestCoversTheseBytes(t *testing.T) {
	unhex := func(parts ...string) []byte {
		b, err := hex.DecodeString(strings.Join(parts, ""))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	six := func(b string) string { return strings.Repeat(b, 16) }
	send := &Inbound{Send: &Send{Kind: chat.KindImage, Content: "hé", MediaURL: "u", ReplyTo: id(9)}}
	create := &Inbound{Create: &Create{Type: chat.Group, Name: "n", Members: []chat.UserID{id(0xbb), id(0xaa)}, Limit: 500}}
	for name, c := range map[string]struct {
		request *Inbound
		bytes   []byte
	}{
		"send": {send, unhex(hex.EncodeToString([]byte("switchboard.send.v1")), "00", "02",
			"00000003", "68c3a9", "00000001", "75", six("09"))},
		"create": {create, unhex(hex.EncodeToString([]byte("switchboard.create.v1")), "00", "02",
			"00000001", "6e", "00000002", six("aa"), six("bb"))},
	} {
		if got, want := DigestOf(c.request), sha256.Sum256(c.bytes); got != want {
			t.Errorf("%s: got %x, want %x", name, got, want)
		}
	}
	if got := create.Create.Members[0]; got != chat.UserID(id(0xbb)) {
		t.Errorf("the members were re-ordered in place: %v comes first", got)
	}
}

func TestDigestTellsRequestsApart(t *testing.T) {
	base := Send{Kind: chat.KindText, Content: "ab", MediaURL: "c", ReplyTo: id(1)}
	first := DigestOf(&Inbound{Send: &base})
	for name, change := range map[string]func(*Send){
		"kind":              func(s *Send) { s.Kind = chat.KindFile },
		"content":           func(s *Send) { s.Content = "aB" },
		"media_url":         func(s *Send) { s.MediaURL = "" },
		"reply_to":          func(s *Send) { s.ReplyTo = chat.MessageID{} },
		"where a text ends": func(s *Send) { s.Content, s.MediaURL = "a", "bc" },
	} {
		s := base
		change(&s)
		if DigestOf(&Inbound{Send: &s}) == first {
			t.Errorf("another %s has the same digest", name)
		}
	}
	again := &Inbound{ReplyTo: ReplyTo{Server: "rest-1"}, Request: id(7), Send: &base}
	if DigestOf(again) != first {
		t.Error("the digest depends on who asks and under which key")
	}
	for _, r := range []*Inbound{{Set: &SetMember{}}, {Remove: &RemoveMember{}}, {Rename: &Rename{}}, {Anchor: &Anchor{}}} {
		if got := DigestOf(r); got != [32]byte{} {
			t.Errorf("a command without a key has the digest %x, want none", got)
		}
	}
}
