package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"switchboard/internal/chat"
)

// oracle says with encoding/json what a frame means. It knows the rules of the
// protocol that go beyond JSON, and nothing of how the decoder does it.
type oracle struct {
	data map[string]json.RawMessage
	code chat.Code // the first refusal, except that bad JSON comes before all
}

func (o *oracle) refuse(code chat.Code) {
	if o.code == "" {
		o.code = code
	}
}

// object reads the members of an object; of two with one name the last counts.
func object(b []byte) (map[string]json.RawMessage, bool) {
	var members map[string]json.RawMessage
	err := json.Unmarshal(b, &members)
	return members, err == nil && members != nil
}

func missing(v json.RawMessage) bool { return len(v) == 0 || string(v) == "null" }

// text reads a string that may be absent.
func (o *oracle) text(v json.RawMessage, limit int, code chat.Code) string {
	if missing(v) {
		return ""
	}
	var s string
	switch {
	case json.Unmarshal(v, &s) != nil, halfPair(v):
		o.refuse(chat.BadRequest)
	case len(s) > limit:
		o.refuse(code)
	default:
		return s
	}
	return ""
}

var escapes = regexp.MustCompile(`\\(u[0-9a-fA-F]{4}|[^u])`)

// halfPair reports whether a JSON string escapes half a surrogate pair: it puts
// escapes that follow one another together and lets the standard library decode
// them.
func halfPair(raw []byte) bool {
	var units []uint16
	whole := func() bool {
		decoded := utf16.Decode(units)
		lost := strings.Count(string(decoded), "\uFFFD")
		for _, u := range units {
			if u == 0xfffd {
				lost--
			}
		}
		units = units[:0]
		return lost == 0
	}
	end := 0
	for _, at := range escapes.FindAllIndex(raw, -1) {
		if at[0] != end && !whole() {
			return true
		}
		end = at[1]
		if raw[at[0]+1] != 'u' {
			if !whole() {
				return true
			}
			continue
		}
		n, err := strconv.ParseUint(string(raw[at[0]+2:at[1]]), 16, 16)
		if err != nil {
			panic(err)
		}
		units = append(units, uint16(n))
	}
	return !whole()
}

var uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

func (o *oracle) uuid(name string, needed bool) (id [16]byte) {
	v := o.data[name]
	if missing(v) {
		if needed {
			o.refuse(chat.BadRequest)
		}
		return id
	}
	s := o.text(v, 36, chat.BadRequest)
	if !uuidForm.MatchString(s) || strings.Trim(s, "0-") == "" {
		o.refuse(chat.BadRequest)
		return id
	}
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil {
		panic(err)
	}
	return [16]byte(b)
}

func (o *oracle) token() string {
	s := o.text(o.data["token"], 1<<30, chat.BadRequest)
	if s == "" {
		o.refuse(chat.BadRequest)
	}
	return s
}

// event returns what the frame says, if there is nothing to refuse.
func (o *oracle) event(frame []byte) (ev ClientEvent) {
	members, ok := object(frame)
	if !ok {
		o.refuse(chat.BadRequest)
		return ev
	}
	ev.ID = o.text(members["id"], 4*chat.EnvelopeIDRunes, chat.BadRequest)
	if utf8.RuneCountInString(ev.ID) > chat.EnvelopeIDRunes {
		o.refuse(chat.BadRequest)
	}
	if missing(members["type"]) {
		o.refuse(chat.BadRequest)
	}
	name := o.text(members["type"], 1<<30, chat.BadRequest)
	names := []string{"", "connect", "send_message", "mark_delivered", "mark_read", "typing", "heartbeat", "refresh_token"}
	if ev.Type = ClientType(max(slices.Index(names, name), 0)); ev.Type == TypeUnknown {
		o.refuse(chat.UnknownType)
		return ev
	}
	if data := members["data"]; !missing(data) {
		if o.data, ok = object(data); !ok {
			o.refuse(chat.BadRequest)
		}
	}
	o.fill(&ev)
	return ev
}

func (o *oracle) fill(ev *ClientEvent) {
	switch ev.Type {
	case TypeConnect:
		ev.Token = o.token()
		ev.Device = o.text(o.data["device_id"], chat.DeviceIDBytes, chat.BadRequest)
	case TypeRefreshToken:
		ev.Token = o.token()
	case TypeSendMessage:
		o.message(ev)
	case TypeMarkDelivered, TypeMarkRead:
		ev.Conversation = o.uuid("conversation_id", true)
		ev.Message = o.uuid("message_id", false)
		if v := o.data["seq"]; !missing(v) {
			if json.Unmarshal(v, &ev.Seq) != nil || ev.Seq < 1 {
				o.refuse(chat.BadRequest)
			}
		}
		if missing(o.data["seq"]) == missing(o.data["message_id"]) {
			o.refuse(chat.BadRequest)
		}
	case TypeTyping:
		ev.Conversation = o.uuid("conversation_id", true)
		if v := o.data["is_typing"]; missing(v) || json.Unmarshal(v, &ev.IsTyping) != nil {
			o.refuse(chat.BadRequest)
		}
	case TypeUnknown, TypeHeartbeat:
	}
}

func (o *oracle) message(ev *ClientEvent) {
	ev.Request = o.uuid("client_message_id", false)
	ev.Conversation = o.uuid("conversation_id", false)
	var ok bool
	if ev.Kind, ok = chat.ParseKind(o.text(o.data["type"], 1<<30, chat.BadRequest)); !ok {
		o.refuse(chat.BadRequest)
	}
	if ev.ReplyTo = o.uuid("reply_to", false); !ev.ReplyTo.IsZero() && !chat.IsMessageID(ev.ReplyTo) {
		o.refuse(chat.BadRequest)
	}
	ev.Content = o.text(o.data["content"], chat.ContentBytes, chat.TooLarge)
	ev.MediaURL = o.text(o.data["media_url"], chat.MediaURLBytes, chat.BadRequest)
	if ev.Content == "" && (ev.Kind == chat.KindText || ev.MediaURL == "") {
		o.refuse(chat.BadRequest)
	}
	if missing(o.data["conversation_id"]) {
		o.refuse(chat.BadRequest)
	}
}

// nesting returns how deeply a JSON text nests, as far as brackets tell.
func nesting(b []byte) int {
	depth, deepest, quoted := 0, 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == '{' || c == '['):
			depth++
			deepest = max(deepest, depth)
		case !quoted && (c == '}' || c == ']'):
			depth--
		}
	}
	return deepest
}

// The decoder and encoding/json agree on what is JSON, what it says and why it
// is refused. Left out is what they are meant to judge differently: bytes that
// are not UTF-8, which the socket has refused before, and deep nesting.
func FuzzDecodeClient(f *testing.F) {
	files, err := filepath.Glob("testdata/client_*.json")
	if err != nil || len(files) == 0 {
		f.Fatalf("no golden client frames: %v", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(say(`"type":"text","content":"\ud83d\ude00\ufffd\ud83d","x":[{"y":-1.5e+3},[],{}]`)))
	for _, beat := range beats() {
		f.Add([]byte(beat))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		before := bytes.Clone(frame)
		var got ClientEvent
		err := DecodeClient(frame, &got)
		if !bytes.Equal(frame, before) {
			t.Fatalf("the frame was changed: %q to %q", before, frame)
		}
		if !utf8.Valid(frame) || nesting(frame) > maxDepth {
			return
		}
		var o oracle
		want := o.event(frame)
		var refusal *chat.Error
		switch {
		case err == nil:
			if o.code != "" || got != want {
				t.Fatalf("%q\n got %+v\nwant %+v, refused as %q", frame, got, want, o.code)
			}
		case !errors.As(err, &refusal) || refusal.Code != o.code:
			t.Fatalf("%q\n got %v\nwant %+v, refused as %q", frame, err, want, o.code)
		}
	})
}

// Whatever text a frame carries, the frame is JSON and says that text, byte for
// byte, to encoding/json and to the decoder here.
func FuzzEncode(f *testing.F) {
	f.Add("Hello \"Bob\" \\ \x00\x1f\b\f\n\r\t\x7f é 😀 \u2028", "c17", "u")
	f.Fuzz(func(t *testing.T, content, id, url string) {
		for _, s := range []string{content, id, url} {
			if !utf8.ValidString(s) {
				checkRepaired(t, s)
				return
			}
		}
		e := said()
		e.Content, e.MediaURL = content, url
		ev, err := DecodeServer(AppendEntry(nil, &e, true))
		if err != nil || ev.Message.Content != content || ev.Message.MediaURL != url {
			t.Fatalf("content %q, media_url %q came back as %+v, %v", content, url, ev.Message, err)
		}
		refusal := chat.Errorf(chat.BadRequest, "%s", content)
		ev, err = DecodeServer(AppendError(nil, id, e.Request, refusal))
		if err != nil || ev.ID != id || ev.Error.ID != id || ev.Error.Message != content {
			t.Fatalf("message %q, id %q came back as %+v, %v", content, id, ev.Error, err)
		}
		if content == "" || len(content) > chat.ContentBytes {
			return
		}
		frame := append([]byte(`{"type":"text","content":`), appendString(nil, content)...)
		var got ClientEvent
		if err := DecodeSend(append(frame, '}'), &got); err != nil || got.Content != content {
			t.Fatalf("content %q was decoded as %q, %v", content, got.Content, err)
		}
	})
}

// checkRepaired checks that text which is not UTF-8 becomes text that is.
func checkRepaired(t *testing.T, s string) {
	t.Helper()
	var back string
	if b := appendString(nil, s); !utf8.Valid(b) || json.Unmarshal(b, &back) != nil {
		t.Fatalf("%q was written as %q", s, b)
	}
	if want := strings.ToValidUTF8(s, "\uFFFD"); back != want {
		t.Fatalf("%q came back as %q, want %q", s, back, want)
	}
}
