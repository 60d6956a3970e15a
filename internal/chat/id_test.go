package chat

import (
	"encoding/hex"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

const sample = "0190a6f0-1111-7000-8abc-def012345601"

func mustUser(t *testing.T, s string) UserID {
	t.Helper()
	u, err := ParseUserID(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestTextOfAnID(t *testing.T) {
	want := UserID{0x01, 0x90, 0xa6, 0xf0, 0x11, 0x11, 0x70, 0x00, 0x8a, 0xbc, 0xde, 0xf0, 0x12, 0x34, 0x56, 0x01}
	for _, s := range []string{sample, strings.ToUpper(sample)} {
		if got := mustUser(t, s); got != want {
			t.Errorf("%s is read as %v", s, got)
		}
	}
	if got := want.String(); got != sample {
		t.Errorf("got %s, want %s", got, sample)
	}
	for _, s := range []string{
		"", "x", sample[:35], sample + "0", "{" + sample[:34] + "}", "urn:uuid:" + sample[:27],
		strings.ReplaceAll(sample, "-", ""), strings.ReplaceAll(sample, "-", "_"),
		strings.Replace(sample, "a", "g", 1), strings.Replace(sample, "0190a6f0-1", "0190a6f-01", 1),
		" " + sample[1:], sample[:35] + "\x00", sample[:34] + "é",
	} {
		if id, err := ParseUserID(s); err == nil || !id.IsZero() {
			t.Errorf("%q is read as %v, %v; want an error and no id", s, id, err)
		}
	}
}

func TestEveryKindOfIDIsRead(t *testing.T) {
	want := mustUser(t, sample)
	conversation, err1 := ParseConversationID(sample)
	message, err2 := ParseMessageID(sample)
	request, err3 := ParseRequestID(sample)
	if err1 != nil || err2 != nil || err3 != nil {
		t.Fatal(err1, err2, err3)
	}
	if UserID(conversation) != want || UserID(message) != want || UserID(request) != want {
		t.Errorf("got %v, %v, %v; want %v", conversation, message, request, want)
	}
}

func TestAnIDInJSON(t *testing.T) {
	in := map[ConversationID]UserID{ConversationID(mustUser(t, sample)): mustUser(t, sample)}
	b, err := json.Marshal(in)
	if want := `{"` + sample + `":"` + sample + `"}`; err != nil || string(b) != want {
		t.Fatalf("got %s, %v; want %s", b, err, want)
	}
	var out map[ConversationID]UserID
	if err := json.Unmarshal(b, &out); err != nil || out[ConversationID(mustUser(t, sample))] != mustUser(t, sample) {
		t.Errorf("got %v, %v; want %v", out, err, in)
	}
	var u UserID
	if err := json.Unmarshal([]byte(`"no"`), &u); err == nil || !u.IsZero() {
		t.Errorf("got %v, %v; want an error and no id", u, err)
	}
}

var form = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)

// An id is 8-4-4-4-12 hexadecimal digits and nothing else, whatever its version;
// written and read again it is the same.
func FuzzParseID(f *testing.F) {
	f.Add(sample)
	f.Add(strings.ToUpper(sample))
	f.Add("{0190a6f0-1111-7000-8abc-def012345601}")
	f.Add("0190a6f0-1111-7000-8abc-def01234560g")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseMessageID(s)
		if (err == nil) != form.MatchString(s) {
			t.Fatalf("%q: got %v, want an id exactly if the form is right", s, err)
		}
		if err != nil {
			return
		}
		if want, err := hex.DecodeString(strings.ReplaceAll(s, "-", "")); err != nil || string(id[:]) != string(want) {
			t.Fatalf("%q is read as %x, want %x", s, id[:], want)
		}
		if got, want := id.String(), strings.ToLower(s); got != want {
			t.Fatalf("%q is written as %q", s, got)
		}
	})
}

func TestReadingAndWritingIDsAllocatesNothing(t *testing.T) {
	room := make([]byte, 0, 36)
	text := []byte(sample)
	var id MessageID
	if got := testing.AllocsPerRun(100, func() {
		if id.UnmarshalText(text) != nil {
			t.Fail()
		}
		room = id.Append(room[:0])
	}); got != 0 {
		t.Errorf("%v allocations, want 0", got)
	}
}

// The ids of conversations follow from who they are for. These were computed
// with another program (Python's hashlib); they can never change.
func TestConversationIDs(t *testing.T) {
	low, high := mustUser(t, "00000000-0000-4000-8000-000000000001"), mustUser(t, "ffffffff-ffff-4fff-bfff-fffffffffffe")
	alice, bob := DemoUser("alice"), DemoUser("bob")
	for name, c := range map[string]struct{ got, want string }{
		"alice":          {alice.String(), "62e48500-8080-59a0-8071-a85950223b90"},
		"bob":            {bob.String(), "17c43426-d780-5e57-b88e-bcc975610551"},
		"direct":         {DirectConversation(low, high).String(), "451d054c-7e8e-53cc-9f0d-72002d3f4411"},
		"the other way":  {DirectConversation(high, low).String(), "451d054c-7e8e-53cc-9f0d-72002d3f4411"},
		"alice and bob":  {DirectConversation(alice, bob).String(), "bb595a9e-6971-5656-be51-9156a7dd9901"},
		"with oneself":   {DirectConversation(alice, alice).String(), "e93691c2-1a7a-56e3-ac05-329117d38672"},
		"group":          {GroupConversation(high, RequestID(low)).String(), "403c5084-5b80-564e-a65b-075c783f2daa"},
		"group of alice": {GroupConversation(alice, RequestID(mustUser(t, "019ab3c4-d5e6-7000-8abc-def012345620"))).String(), "39701582-1926-51b6-b08b-e53c2dcdadce"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %s, want %s", name, c.got, c.want)
		}
	}
}

func TestMadeRequestIDsAreRandomUUIDs(t *testing.T) {
	seen := make(map[RequestID]bool)
	for range 100 {
		id := NewRequestID()
		if seen[id] || id[6]>>4 != 4 || id[8]>>6 != 2 {
			t.Fatalf("%v is no fresh version 4 UUID", id)
		}
		seen[id] = true
	}
}
