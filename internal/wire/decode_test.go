package wire

import (
	"errors"
	"strings"
	"testing"

	"switchboard/internal/chat"
)

const (
	talkText  = "11a8ae09-3fdc-5d9b-8d59-1b7f37a4c5ee"
	keyText   = "0190a6f0-1111-7000-8000-000000000001"
	entryText = "6ba4c000-a7f5-11ef-8001-010000000003"
)

func talk(t *testing.T) chat.ConversationID {
	t.Helper()
	id, err := chat.ParseConversationID(talkText)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func key(t *testing.T) chat.RequestID {
	t.Helper()
	id, err := chat.ParseRequestID(keyText)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func entryID(t *testing.T) chat.MessageID {
	t.Helper()
	id, err := chat.ParseMessageID(entryText)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// say returns a send_message frame with these fields after the conversation and
// the key.
func say(more string) string {
	return `{"type":"send_message","id":"c17","data":{"conversation_id":"` + talkText +
		`","client_message_id":"` + keyText + `",` + more + `}}`
}

func TestClientFramesAreRead(t *testing.T) {
	message := ClientEvent{
		Type: TypeSendMessage, ID: "c17", Conversation: talk(t), Request: key(t),
		Kind: chat.KindText, Content: "hi",
	}
	with := func(change func(*ClientEvent)) ClientEvent {
		ev := message
		change(&ev)
		return ev
	}
	for name, c := range map[string]struct {
		frame string
		want  ClientEvent
	}{
		"send_message":          {say(`"type":"text","content":"hi"`), message},
		"data before type":      {`{"data":{"content":"hi","type":"text","client_message_id":"` + keyText + `","conversation_id":"` + talkText + `"},"id":"c17","type":"send_message"}`, message},
		"space everywhere":      {" \t\r\n" + strings.ReplaceAll(say(`"type" : "text" , "content":"hi"`), "{", "{\n ") + "\n", message},
		"the last of two":       {say(`"type":"text","content":"no","content":5,"content":"hi"`), message},
		"names in escapes":      {strings.ReplaceAll(say(`"type":"te\u0078t","\u0063ontent":"hi"`), `"data"`, `"d\u0061ta"`), message},
		"unknown fields":        {say(`"type":"text","content":"hi","x":[{"content":"no","y":[1.5e+3,[],{},null]},true],"":0`), message},
		"null is absent":        {say(`"type":"text","content":"hi","media_url":null,"reply_to":null`), message},
		"U+0000":                {say(`"type":"text","content":"a\u0000b"`), with(func(ev *ClientEvent) { ev.Content = "a\x00b" })},
		"every escape":          {say(`"type":"text","content":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é😀\u007f"`), with(func(ev *ClientEvent) { ev.Content = "\"\\/\b\f\n\r\té😀é😀\x7f" })},
		"half a pair, not used": {say(`"type":"text","content":"hi","x":"\ud83d","\udc00":1`), message},
		"no key":                {strings.Replace(say(`"type":"text","content":"hi"`), `"client_message_id":"`+keyText+`",`, "", 1), with(func(ev *ClientEvent) { ev.Request = chat.RequestID{} })},
		"upper-case id":         {strings.Replace(say(`"type":"text","content":"hi"`), talkText, strings.ToUpper(talkText), 1), message},
		"image without content": {say(`"type":"image","media_url":"https://m/1"`), with(func(ev *ClientEvent) { ev.Kind, ev.Content, ev.MediaURL = chat.KindImage, "", "https://m/1" })},
		"file with content":     {say(`"type":"file","content":"hi"`), with(func(ev *ClientEvent) { ev.Kind = chat.KindFile })},
		"reply":                 {say(`"type":"text","content":"hi","reply_to":"` + entryText + `"`), with(func(ev *ClientEvent) { ev.ReplyTo = entryID(t) })},
		"longest content":       {say(`"type":"text","content":"` + strings.Repeat("é", chat.ContentBytes/2) + `"`), with(func(ev *ClientEvent) { ev.Content = strings.Repeat("é", chat.ContentBytes/2) })},
		"longest id":            {`{"type":"heartbeat","id":"` + strings.Repeat("😀", 36) + `"}`, ClientEvent{Type: TypeHeartbeat, ID: strings.Repeat("😀", 36)}},
		"heartbeat, spaced":     {` { "id" : "7" , "type" : "heartbeat" } `, ClientEvent{Type: TypeHeartbeat, ID: "7"}},
		"heartbeat":             {`{"type":"heartbeat"}`, ClientEvent{Type: TypeHeartbeat}},
		"heartbeat with data":   {`{"type":"heartbeat","id":null,"data":{}}`, ClientEvent{Type: TypeHeartbeat}},
		"connect":               {`{"type":"connect","data":{"token":"a.b.c","device_id":"phone","client":{"name":"x","version":"1"}}}`, ClientEvent{Type: TypeConnect, Token: "a.b.c", Device: "phone"}},
		"refresh_token":         {`{"type":"refresh_token","data":{"token":"a.b.c"}}`, ClientEvent{Type: TypeRefreshToken, Token: "a.b.c"}},
		"mark_read by seq":      {`{"type":"mark_read","data":{"conversation_id":"` + talkText + `","seq":9223372036854775807}}`, ClientEvent{Type: TypeMarkRead, Conversation: talk(t), Seq: 1<<63 - 1}},
		"mark_delivered by id":  {`{"type":"mark_delivered","data":{"conversation_id":"` + talkText + `","message_id":"` + entryText + `","seq":null}}`, ClientEvent{Type: TypeMarkDelivered, Conversation: talk(t), Message: entryID(t)}},
		"typing":                {`{"type":"typing","data":{"conversation_id":"` + talkText + `","is_typing":true}}`, ClientEvent{Type: TypeTyping, Conversation: talk(t), IsTyping: true}},
		"typing no more":        {`{"type":"typing","data":{"conversation_id":"` + talkText + `","is_typing":false}}`, ClientEvent{Type: TypeTyping, Conversation: talk(t)}},
	} {
		var got ClientEvent
		before := c.frame
		if err := DecodeClient([]byte(c.frame), &got); err != nil || got != c.want {
			t.Errorf("%s: %s\n got %+v, %v\nwant %+v", name, before, got, err, c.want)
		}
	}
}

// refused is a client frame that must be refused, with the code and with what
// the message must name.
type refused struct {
	frame string
	code  chat.Code
	field string
}

func checkRefused(t *testing.T, cases map[string]refused) {
	t.Helper()
	for name, c := range cases {
		var ev ClientEvent
		err := DecodeClient([]byte(c.frame), &ev)
		var refusal *chat.Error
		if !errors.As(err, &refusal) || refusal.Code != c.code || !strings.HasPrefix(refusal.Message, c.field+" ") {
			t.Errorf("%s: %.200s\n got %v\nwant %s about %q", name, c.frame, err, c.code, c.field)
		}
	}
}

func TestFramesThatAreNoEnvelopeAreRefused(t *testing.T) {
	text := `"type":"text","content":"hi"`
	checkRefused(t, map[string]refused{
		"nothing":             {"", chat.BadRequest, "the frame"},
		"no JSON":             {"hello", chat.BadRequest, "the frame"},
		"null":                {"null", chat.BadRequest, "the frame"},
		"a list":              {"[]", chat.BadRequest, "the frame"},
		"two objects":         {say(text) + "{}", chat.BadRequest, "the frame"},
		"trailing comma":      {say(text + ","), chat.BadRequest, "the frame"},
		"cut short":           {say(text)[:len(say(text))-1], chat.BadRequest, "the frame"},
		"raw control":         {say("\"type\":\"text\",\"content\":\"a\nb\""), chat.BadRequest, "the frame"},
		"unknown escape":      {say(`"type":"text","content":"\x"`), chat.BadRequest, "the frame"},
		"short escape":        {say(`"type":"text","content":"\u12"`), chat.BadRequest, "the frame"},
		"number with plus":    {say(text + `,"x":+1`), chat.BadRequest, "the frame"},
		"number with zero":    {say(text + `,"x":01`), chat.BadRequest, "the frame"},
		"number cut short":    {say(text + `,"x":1.`), chat.BadRequest, "the frame"},
		"exponent cut short":  {say(text + `,"x":1e`), chat.BadRequest, "the frame"},
		"not a number":        {say(text + `,"x":NaN`), chat.BadRequest, "the frame"},
		"nested too deeply":   {say(text + `,"x":` + strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1)), chat.BadRequest, "the frame"},
		"brackets crossed":    {say(text + `,"x":[{]}`), chat.BadRequest, "the frame"},
		"no type":             {`{"id":"c17"}`, chat.BadRequest, "type"},
		"type is no string":   {`{"type":5}`, chat.BadRequest, "type"},
		"half a pair in type": {`{"type":"\ud800"}`, chat.BadRequest, "type"},
		"unknown type":        {`{"type":"dance"}`, chat.UnknownType, "type"},
		"type in capitals":    {`{"type":"HEARTBEAT"}`, chat.UnknownType, "type"},
		"type of a later day": {`{"type":"edit_message","data":{}}`, chat.UnknownType, "type"},
		"id is no string":     {`{"type":"heartbeat","id":17}`, chat.BadRequest, "id"},
		"id too long":         {`{"type":"heartbeat","id":"` + strings.Repeat("x", 37) + `"}`, chat.BadRequest, "id"},
		"half a pair in id":   {`{"type":"heartbeat","id":"\udc00\ud800"}`, chat.BadRequest, "id"},
		"data is no object":   {`{"type":"heartbeat","data":[]}`, chat.BadRequest, "data"},
	})
}

func TestFramesWithWrongDataAreRefused(t *testing.T) {
	text := `"type":"text","content":"hi"`
	checkRefused(t, map[string]refused{
		"no data":              {`{"type":"send_message"}`, chat.BadRequest, "data.type"},
		"no conversation":      {`{"type":"typing","data":{"is_typing":true}}`, chat.BadRequest, "data.conversation_id"},
		"conversation no UUID": {strings.Replace(say(text), talkText, "conv_123", 1), chat.BadRequest, "data.conversation_id"},
		"zero conversation":    {strings.Replace(say(text), talkText, "00000000-0000-0000-0000-000000000000", 1), chat.BadRequest, "data.conversation_id"},
		"conversation in list": {strings.Replace(say(text), `"`+talkText+`"`, "[]", 1), chat.BadRequest, "data.conversation_id"},
		"key no UUID":          {strings.Replace(say(text), keyText, "1", 1), chat.BadRequest, "data.client_message_id"},
		"no message type":      {say(`"content":"hi"`), chat.BadRequest, "data.type"},
		"message type unknown": {say(`"type":"event","content":"hi"`), chat.BadRequest, "data.type"},
		"no content":           {say(`"type":"text"`), chat.BadRequest, "data.content"},
		"empty content":        {say(`"type":"text","content":"","media_url":"u"`), chat.BadRequest, "data.content"},
		"image of nothing":     {say(`"type":"image"`), chat.BadRequest, "data.content"},
		"content is no string": {say(`"type":"text","content":["hi"]`), chat.BadRequest, "data.content"},
		"content too large":    {say(`"type":"text","content":"` + strings.Repeat("x", chat.ContentBytes+1) + `"`), chat.TooLarge, "data.content"},
		"too large in escapes": {say(`"type":"text","content":"` + strings.Repeat("x", chat.ContentBytes-2) + `\u20ac"`), chat.TooLarge, "data.content"},
		"half a pair":          {say(`"type":"text","content":"\ud83dx"`), chat.BadRequest, "data.content"},
		"half a pair at end":   {say(`"type":"text","content":"\ud83d"`), chat.BadRequest, "data.content"},
		"pair the other way":   {say(`"type":"text","content":"\ude00\ud83d"`), chat.BadRequest, "data.content"},
		"half before escape":   {say(`"type":"text","content":"\ud83d\n00000"`), chat.BadRequest, "data.content"},
		"not UTF-8":            {say("\"type\":\"text\",\"content\":\"\xff\""), chat.BadRequest, "data.content"},
		"media_url too long":   {say(text + `,"media_url":"` + strings.Repeat("x", chat.MediaURLBytes+1) + `"`), chat.BadRequest, "data.media_url"},
		"reply to no UUID":     {say(text + `,"reply_to":"x"`), chat.BadRequest, "data.reply_to"},
		"reply to no message":  {say(text + `,"reply_to":"` + talkText + `"`), chat.BadRequest, "data.reply_to"},
		"no token":             {`{"type":"connect","data":{}}`, chat.BadRequest, "data.token"},
		"empty token":          {`{"type":"refresh_token","data":{"token":""}}`, chat.BadRequest, "data.token"},
		"device too long":      {`{"type":"connect","data":{"token":"t","device_id":"` + strings.Repeat("x", 65) + `"}}`, chat.BadRequest, "data.device_id"},
		"no mark":              {`{"type":"mark_read","data":{"conversation_id":"` + talkText + `"}}`, chat.BadRequest, "data.seq"},
		"two marks":            {`{"type":"mark_read","data":{"conversation_id":"` + talkText + `","seq":1,"message_id":"` + entryText + `"}}`, chat.BadRequest, "data.seq"},
		"seq 0":                {`{"type":"mark_read","data":{"conversation_id":"` + talkText + `","seq":0}}`, chat.BadRequest, "data.seq"},
		"seq below 0":          {`{"type":"mark_read","data":{"conversation_id":"` + talkText + `","seq":-1}}`, chat.BadRequest, "data.seq"},
		"seq with a point":     {`{"type":"mark_read","data":{"conversation_id":"` + talkText + `","seq":1.0}}`, chat.BadRequest, "data.seq"},
		"seq in quotes":        {`{"type":"mark_read","data":{"conversation_id":"` + talkText + `","seq":"1"}}`, chat.BadRequest, "data.seq"},
		"seq beyond 63 bits":   {`{"type":"mark_read","data":{"conversation_id":"` + talkText + `","seq":9223372036854775808}}`, chat.BadRequest, "data.seq"},
		"is_typing missing":    {`{"type":"typing","data":{"conversation_id":"` + talkText + `"}}`, chat.BadRequest, "data.is_typing"},
		"is_typing a number":   {`{"type":"typing","data":{"conversation_id":"` + talkText + `","is_typing":1}}`, chat.BadRequest, "data.is_typing"},
	})
}

func TestARefusalKnowsWhatItAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		frame   string
		id      string
		request chat.RequestID
	}{
		"content too large": {say(`"type":"text","content":"` + strings.Repeat("x", chat.ContentBytes+1) + `"`), "c17", key(t)},
		"trailing garbage":  {say(`"type":"text","content":"hi"`) + "x", "c17", key(t)},
		"cut in the data":   {say(`"type":"text","content":"hi`)[:90], "c17", chat.RequestID{}},
		"unknown type":      {`{"type":"dance","id":"c17"}`, "c17", chat.RequestID{}},
		"id too long":       {strings.Replace(say(`"type":"text","content":"hi"`), "c17", strings.Repeat("x", 37), 1), "", key(t)},
	} {
		var ev ClientEvent
		if err := DecodeClient([]byte(c.frame), &ev); err == nil || ev.ID != c.id || ev.Request != c.request {
			t.Errorf("%s: got id %q, request %v, error %v; want %q, %v and an error", name, ev.ID, ev.Request, err, c.id, c.request)
		}
	}
}

func TestABodyIsReadByTheSameRules(t *testing.T) {
	var got ClientEvent
	body := `{"content":"hi","type":"text","client_message_id":"` + keyText + `"}`
	want := ClientEvent{Type: TypeSendMessage, Request: key(t), Kind: chat.KindText, Content: "hi"}
	if err := DecodeSend([]byte(body), &got); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for _, refused := range []string{"", "null", body + "x", `{"type":"text","content":"\ud800"}`, `{"type":"text"}`} {
		var refusal *chat.Error
		if err := DecodeSend([]byte(refused), &got); !errors.As(err, &refusal) || refusal.Code != chat.BadRequest {
			t.Errorf("%s: got %v, want bad_request", refused, err)
		} else if strings.Contains(refusal.Message, "data.") {
			t.Errorf("%s: %s speaks of a frame", refused, refusal.Message)
		}
	}
}

func TestADecodedFrameMayBeOverwritten(t *testing.T) {
	frame := []byte(say(`"type":"text","content":"hi","media_url":"u"`))
	original := string(frame)
	var ev ClientEvent
	if err := DecodeClient(frame, &ev); err != nil {
		t.Fatal(err)
	}
	if string(frame) != original {
		t.Errorf("the frame was changed to %s", frame)
	}
	clear(frame)
	if ev.ID != "c17" || ev.Content != "hi" || ev.MediaURL != "u" {
		t.Errorf("the event points into the frame: %+v", ev)
	}
}

func TestDecodingAllocatesTextAndID(t *testing.T) {
	for name, c := range map[string]struct {
		frame string
		want  float64
	}{
		"send_message": {say(`"type":"text","content":"hi \u00e9\n there"`), 2},
		"heartbeat":    {`{"type":"heartbeat","id":"a longer one than 16 bytes"}`, 0},
		"mark_read":    {`{"type":"mark_read","data":{"conversation_id":"` + talkText + `","seq":7}}`, 0},
		"typing":       {`{"type":"typing","data":{"conversation_id":"` + talkText + `","is_typing":true}}`, 0},
	} {
		frame := []byte(c.frame)
		if got := testing.AllocsPerRun(100, func() {
			var ev ClientEvent // It stays on the caller's stack, too.
			if DecodeClient(frame, &ev) != nil {
				t.Fail()
			}
		}); got > c.want {
			t.Errorf("%s: %v allocations, want at most %v", name, got, c.want)
		}
	}
}

// beats are heartbeats, and what only begins as one.
func beats() []string {
	const head = `{"type":"heartbeat"`
	return []string{
		head + `}`, head + `,"id":"c20"}`, head + `,"id":""}`, head + `,"id":"` + strings.Repeat("x", chat.EnvelopeIDRunes) + `"}`,
		head, head + `,`, head + `}}`, head + `,"id":"}`, head + `,"id":"a","id":"b"}`, head + `,"id":"a"b"}`, head + `,"id":"a\"}`, head + `,"id":"\u0041"}`,
		head + `,"id":"é"}`, head + ",\"id\":\"\x00\"}", head + `,"id":"` + strings.Repeat("x", chat.EnvelopeIDRunes+1) + `"}`,
		head + `,"id":"a","type":"typing"}`, head + `,"data":{}}`, head + ` }`, `{"type":"heartbeats","id":"a"}`,
	}
}

// The short way and the long one come to the same judgment.
func TestPlainHeartbeats(t *testing.T) {
	plain := 0
	for _, beat := range beats() {
		id, ok := plainHeartbeat([]byte(beat))
		if !ok {
			continue
		}
		plain++
		d := decoder{within: "data."}
		d.frame([]byte(beat))
		if want := (ClientEvent{Type: TypeHeartbeat, ID: string(id)}); d.err != nil || d.ev != want {
			t.Errorf("%s: got %+v, want %+v, %v", beat, want, d.ev, d.err)
		}
	}
	if plain != 4 {
		t.Errorf("%d are plain, want the first 4", plain)
	}
}
