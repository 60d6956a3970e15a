package wire

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"switchboard/internal/chat"
)

// The cast of the golden files: three people, a direct conversation, a group.
var (
	alice, bob, carol = chat.DemoUser("alice"), chat.DemoUser("bob"), chat.DemoUser("carol")

	direct = chat.DirectConversation(alice, bob)
	group  = chat.GroupConversation(alice, request(0x20))
)

// noon is the time of everything in the golden files.
const noon = 1_790_000_000

// request returns a request id that looks like the UUIDv7 of a client.
func request(last byte) chat.RequestID {
	return chat.RequestID{0x01, 0x9a, 0xb3, 0xc4, 0xd5, 0xe6, 0x70, 0x00, 0x8a, 0xbc, 0xde, 0xf0, 0x12, 0x34, 0x56, last}
}

// entry returns an entry with an id that is n ticks after noon.
func entry(c chat.ConversationID, seq chat.Seq, kind chat.Kind) chat.Entry {
	return chat.Entry{
		Conversation: c, Seq: seq, ID: chat.NewMessageID(chat.ClockAt(noon)+chat.Clock(seq), 1, 7),
		Sender: alice, Request: request(byte(seq)), Kind: kind, MembersVersion: 1,
	}
}

func said() chat.Entry {
	e := entry(direct, 2, chat.KindText)
	e.Content = "Hello, “Bob” \\ привет 👋\nA second line & a <tag>."
	return e
}

func shown() chat.Entry {
	e := entry(direct, 3, chat.KindImage)
	e.MediaURL, e.ReplyTo = "https://media.example.com/m/4f2a?mac=9c", said().ID
	return e
}

func changed(seq chat.Seq, change chat.Change, then func(*chat.Entry)) *chat.Entry {
	e := entry(group, seq, chat.KindEvent)
	e.Change = change
	if then != nil {
		then(&e)
	}
	return &e
}

// alone is the one thing that is new in a large conversation.
func alone() *chat.Entry {
	e := entry(group, 7, chat.KindText)
	e.Content = "The one thing that is new."
	return &e
}

func added() *chat.Entry {
	return changed(2, chat.MemberAdded, func(e *chat.Entry) { e.User, e.Role, e.MembersVersion = carol, chat.Member, 2 })
}

// serverFrames are the frames that the golden files server_*.json hold.
func serverFrames() map[string][]byte {
	text, image := said(), shown()
	refused := chat.Errorf(chat.NotMember, "there is no such conversation for you")
	hasty := chat.Errorf(chat.RateLimited, "more than 20 messages a second")
	hasty.RetryAfter = 50 * time.Millisecond
	sent := MessageSent{
		ClientMessageID: text.Request, ConversationID: direct, MessageID: text.ID, Seq: 2, Timestamp: noon,
	}
	again := sent
	again.Duplicate = true
	return map[string][]byte{
		"connected": AppendConnected(nil, "c1", &Connected{
			SessionID: "gw-1.18d2.2a", UserID: alice, DeviceID: "phone", HeartbeatMS: 30_000,
			TokenExpiresAt: noon + 3600, Time: noon, Server: "gw-1",
			Limits: Limits{
				FrameBytes: chat.FrameBytes, ContentBytes: chat.ContentBytes, DeviceIDBytes: chat.DeviceIDBytes,
				Connections: chat.ConnectionsPerUser, Members: chat.MembersDefault,
				SendsPerSecond: chat.SendsPerSecond, SendBurst: chat.SendBurst,
				TypingIntervalMS: chat.TypingInterval.Milliseconds(),
			},
		}),
		"message_sent":           AppendMessageSent(nil, "c17", &sent),
		"message_sent_duplicate": AppendMessageSent(nil, "c18", &again),
		"new_message":            AppendEntry(nil, &text, false),
		"new_message_own":        AppendEntry(nil, &text, true),
		"new_message_image":      AppendEntry(nil, &image, false),
		"conversation_updated_created": AppendEntry(nil, changed(1, chat.Created, func(e *chat.Entry) {
			e.Name = "Friday"
		}), false),
		"conversation_updated_member_added": AppendEntry(nil, added(), false),
		"conversation_updated_role_changed": AppendEntry(nil, changed(3, chat.RoleChanged, func(e *chat.Entry) {
			e.User, e.Role, e.MembersVersion = carol, chat.Admin, 3
		}), false),
		"conversation_updated_renamed": AppendEntry(nil, changed(4, chat.Renamed, func(e *chat.Entry) {
			e.Name, e.MembersVersion = "Saturday", 3
		}), false),
		"conversation_updated_member_removed": AppendEntry(nil, changed(5, chat.MemberRemoved, func(e *chat.Entry) {
			e.User, e.MembersVersion = bob, 5
		}), true),
		"conversation_updated_head":         AppendConversationHead(nil, group, 6, nil),
		"conversation_updated_head_message": AppendConversationHead(nil, group, 7, alone()),
		"message_status": AppendMessageStatus(nil, &MessageStatus{
			ConversationID: direct, UserID: bob, Status: chat.Read.String(), MessageID: image.ID, Seq: 3, Timestamp: noon,
		}),
		"typing":             AppendTyping(nil, &Typing{ConversationID: direct, UserID: bob, IsTyping: true}),
		"presence_update":    AppendPresenceUpdate(nil, &Presence{UserID: bob, Status: chat.Offline.String(), LastSeen: noon}),
		"error":              AppendError(nil, "c17", request(2), refused),
		"error_rate_limited": AppendError(nil, "c19", request(3), hasty),
		"heartbeat_ack":      AppendHeartbeatAck(nil, "c20", noon),
		"token_refreshed":    AppendTokenRefreshed(nil, "c21", noon+7200),
		"token_expiring":     AppendTokenExpiring(nil, noon+3600),
		"behind":             AppendBehind(nil, Behind{Reason: "routing", AfterMS: 250}),
		"reconnect":          AppendReconnect(nil, Reconnect{AfterMS: 0, JitterMS: 5000, Reason: "drain"}),
	}
}

// decodedServer says how a client sees some of them.
func decodedServer() map[string]ServerEvent {
	text, image, entry := said(), shown(), added()
	news := EntryMessage(alone(), false)
	plain, own, picture := EntryMessage(&text, false), EntryMessage(&text, true), EntryMessage(&image, false)
	return map[string]ServerEvent{
		"new_message":       {Type: "new_message", Message: &plain},
		"new_message_own":   {Type: "new_message", Message: &own},
		"new_message_image": {Type: "new_message", Message: &picture},
		"conversation_updated_member_added": {Type: "conversation_updated", Updated: &ConversationUpdated{
			ConversationID: group, Seq: 2, Change: "member_added", UserID: &entry.User, Role: "member", MembersVersion: 2,
		}},
		"conversation_updated_head_message": {Type: "conversation_updated", Updated: &ConversationUpdated{
			ConversationID: group, Change: "head", HeadSeq: 7, Message: &news,
		}},
		"message_sent_duplicate": {Type: "message_sent", ID: "c18", MessageSent: &MessageSent{
			ClientMessageID: text.Request, ConversationID: direct, MessageID: text.ID, Seq: 2, Timestamp: noon, Duplicate: true,
		}},
		"error_rate_limited": {Type: "error", ID: "c19", Error: &Error{
			ID: "c19", ClientMessageID: optional(request(3)), Code: chat.RateLimited,
			Message: "more than 20 messages a second", Temporary: true, RetryAfterMS: 50,
		}},
		"message_status": {Type: "message_status", Status: &MessageStatus{
			ConversationID: direct, UserID: bob, Status: "read", MessageID: image.ID, Seq: 3, Timestamp: noon,
		}},
		"typing":          {Type: "typing", Typing: &Typing{ConversationID: direct, UserID: bob, IsTyping: true}},
		"presence_update": {Type: "presence_update", Presence: &Presence{UserID: bob, Status: "offline", LastSeen: noon}},
		"heartbeat_ack":   {Type: "heartbeat_ack", ID: "c20", Stamp: &Stamp{Time: noon}},
		"token_refreshed": {Type: "token_refreshed", ID: "c21", Expiry: &Expiry{ExpiresAt: noon + 7200}},
		"token_expiring":  {Type: "token_expiring", Expiry: &Expiry{ExpiresAt: noon + 3600}},
		"behind":          {Type: "behind", Behind: &Behind{Reason: "routing", AfterMS: 250}},
		"reconnect":       {Type: "reconnect", Reconnect: &Reconnect{JitterMS: 5000, Reason: "drain"}},
	}
}

// clientFrames are the events that the golden files client_*.json hold.
func clientFrames() map[string]ClientEvent {
	text, image := said(), shown()
	return map[string]ClientEvent{
		"connect": {Type: TypeConnect, ID: "c1", Token: "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIuLi4ifQ.c2ln", Device: "phone"},
		"send_message": {
			Type: TypeSendMessage, ID: "c17", Conversation: direct, Request: text.Request,
			Kind: chat.KindText, Content: text.Content,
		},
		"send_message_image": {
			Type: TypeSendMessage, ID: "c18", Conversation: direct, Request: image.Request,
			Kind: chat.KindImage, MediaURL: image.MediaURL, ReplyTo: image.ReplyTo,
		},
		"mark_delivered": {Type: TypeMarkDelivered, Conversation: direct, Seq: 3},
		"mark_read":      {Type: TypeMarkRead, Conversation: direct, Message: image.ID},
		"typing":         {Type: TypeTyping, Conversation: direct, IsTyping: true},
		"heartbeat":      {Type: TypeHeartbeat, ID: "c20"},
		"refresh_token":  {Type: TypeRefreshToken, ID: "c21", Token: "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIuLi4ifQ.bmV3"},
	}
}

// bodies are the values that the golden files rest_*.json hold.
func bodies() map[string]any {
	text, image, event := said(), shown(), added()
	textMessage, imageMessage := EntryMessage(&text, true), EntryMessage(&image, false)
	eventMessage := EntryMessage(event, false)
	key, groupKey, name := text.Request, request(0x20), "Saturday"
	talk := Conversation{
		ID: direct, Type: "direct", MembersCount: 2, Role: "member", HeadSeq: 3, ReadSeq: 2, Unread: 1,
		LastMessage: &imageMessage, UpdatedAt: noon,
	}
	refusal := chat.Errorf(chat.NotMember, "there is no such conversation for you")
	frame := func(e *chat.Entry) Envelope {
		var out Envelope
		if err := json.Unmarshal(AppendEntry(nil, e, true), &out); err != nil {
			panic(err)
		}
		return out
	}
	return map[string]any{
		"gateway": &GatewayInfo{URL: "wss://chat.example.com/api/v1/ws", Protocols: []string{Subprotocol}, HeartbeatMS: 30_000},
		"create_direct": &CreateConversation{
			Type: "direct", MemberIDs: []chat.UserID{bob},
		},
		"create_group": &CreateConversation{
			Type: "group", Name: "Friday", MemberIDs: []chat.UserID{bob}, ClientConversationID: &groupKey,
		},
		"conversation":       &talk,
		"conversations":      &ConversationList{Conversations: []Conversation{talk}},
		"patch_conversation": &PatchConversation{Name: &name},
		"put_member":         &PutMember{Role: "admin"},
		"members": &MemberList{Members: []Member{
			{UserID: alice, Role: "admin", JoinedAt: noon, ReadSeq: 2, DeliveredSeq: 2},
			{UserID: carol, Role: "member", JoinedAt: noon, ReadSeq: 2, DeliveredSeq: 2},
		}, MembersVersion: 2},
		"messages":     &MessagePage{Messages: []Message{textMessage, imageMessage}, FirstSeq: 2, LastSeq: 3, HasMore: true},
		"event":        &eventMessage,
		"send_message": &SendMessage{Content: text.Content, Type: "text", ClientMessageID: &key},
		"message_sent": &MessageSent{
			ClientMessageID: key, ConversationID: direct, MessageID: text.ID, Seq: 2, Timestamp: noon,
		},
		"read": &MarkRead{Seq: 3},
		"presence": &[]Presence{
			{UserID: bob, Status: "online", LastSeen: noon}, {UserID: carol, Status: "offline", LastSeen: noon - 3600},
		},
		"search": &SearchPage{
			Results: []SearchResult{{Message: textMessage, Highlights: []Highlight{
				{Start: 0, End: 5, Text: "Hello"}, {Start: 15, End: 21, Text: "привет"},
			}}},
			Cursor: "AcHDTQhMOo0ABlwAd2Kf8A",
		},
		"problem": &Problem{
			Type: "about:blank", Title: "Not Found", Status: 404, Detail: refusal.Message, Code: refusal.Code,
		},
		"sync": &SyncRequest{Have: map[chat.ConversationID]chat.Seq{direct: 1}, Limit: 200},
		"sync_answer": &SyncResponse{
			Events: []Envelope{frame(&text), frame(&image)},
			Heads:  []Head{{ConversationID: group, HeadSeq: 5, ReadSeq: 2}},
		},
	}
}

// mediaBodies are those of uploads.
func mediaBodies() map[string]any {
	return map[string]any{
		"upload": &Upload{
			MediaID:  chat.MediaID{0x01, 0xa0, 0xc5, 0x65, 0xf0, 0x00, 0x7a, 0xbc, 0x8d, 0xef, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab},
			MediaURL: "https://chat.example.org/api/v1/media/01a0c565-f000-7abc-8def-0123456789ab?exp=1790006400&sig=Z7wQh2sWJfVYl1o0mJkK3A&own=q3tJ9v6sYV0f0x3m8wTn2Q",
			Type:     "image/jpeg", Size: 2_841_013, Name: "IMG_2041.jpg", Width: 3024, Height: 4032,
			ThumbnailURL: "https://chat.example.org/api/v1/media/01a0c565-f000-7abc-8def-0123456789ab/thumbnail?exp=1790006400&sig=Z7wQh2sWJfVYl1o0mJkK3A",
			Placeholder:  "data:image/png;base64,iVBORw0KGgo=",
		},
		"begin_upload": &BeginUpload{Size: 2_841_013, Name: "IMG_2041.jpg"},
		"direct_upload": &DirectUpload{
			UploadID: chat.MediaID{0x01, 0xa0, 0xc5, 0x65, 0xdc, 0x78, 0x7a, 0xbc, 0x8d, 0xef, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab},
			Method:   "PUT",
			URL:      "https://media.example.org/switchboard-media/pending/open/17c43426-d780-5e57-b88e-bcc975610551/01a0c565-dc78-7abc-8def-0123456789ab/bytes?X-Amz-Signature=8f14",
			Size:     2_841_013, ExpiresAt: noon + 900,
		},
	}
}

// allBodies are those of every call.
func allBodies() map[string]any {
	all := bodies()
	maps.Copy(all, deviceBodies())
	maps.Copy(all, mediaBodies())
	return all
}

// deviceBodies are those about devices that are notified.
func deviceBodies() map[string]any {
	return map[string]any{
		"put_push": &PutPush{
			Kind: "web_push", Endpoint: "https://push.example.net/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV",
			Keys: PushKeys{P256DH: "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4", Auth: "BTBZMqHH6r4Tts7J_aSIgg"},
			Mute: Mute{ConversationIDs: []chat.ConversationID{group}},
		},
		"put_push_token": &PutPush{Kind: "webhook", Provider: "fcm", Token: "bk3RNwTe3H0:CI2k_HHwgIpoDKCIZvvDMExUdFQ3P1"},
		"devices": &DeviceList{
			Devices: []Device{
				{DeviceID: "browser", Kind: "web_push", Mute: Mute{ConversationIDs: []chat.ConversationID{group}}, UpdatedAt: noon},
				{DeviceID: "phone", Kind: "webhook", Provider: "fcm", Mute: Mute{ConversationIDs: []chat.ConversationID{}}, UpdatedAt: noon},
			},
			WebPushKey: "BA1Hxzyi1RUM1b5wjxsn7nGxAszw2u61m164i3MrAIxHF6YK5h4SDYic-dRuU_RCPCfA5aq9ojSwk5Y2EmClBPs",
		},
	}
}

// golden returns a file of testdata without its last newline.
func golden(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(b, []byte("\n"))
}

func TestServerFramesAreTheGoldenOnes(t *testing.T) {
	for name, got := range serverFrames() {
		if want := golden(t, "server_"+name); !bytes.Equal(got, want) {
			t.Errorf("%s\n got %s\nwant %s", name, got, want)
		}
		if len(got) > chat.ServerFrameBytes {
			t.Errorf("%s has %d bytes", name, len(got))
		}
	}
	for name, want := range decodedServer() {
		got, err := DecodeServer(golden(t, "server_"+name))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: decoded %+v, %v; want %+v", name, got, err, want)
		}
	}
}

func TestClientFramesAreTheGoldenOnes(t *testing.T) {
	for name, want := range clientFrames() {
		var got ClientEvent
		if err := DecodeClient(golden(t, "client_"+name), &got); err != nil || got != want {
			t.Errorf("%s: decoded %+v, %v; want %+v", name, got, err, want)
		}
	}
}

func TestBodiesAreTheGoldenOnes(t *testing.T) {
	for name, value := range allBodies() {
		file := golden(t, "rest_"+name)
		back := reflect.New(reflect.TypeOf(value).Elem()).Interface()
		strict := json.NewDecoder(bytes.NewReader(file))
		strict.DisallowUnknownFields()
		if err := strict.Decode(back); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, want := pretty(t, back), pretty(t, value); got != want || string(file) != want {
			t.Errorf("%s: file\n%s\ndecoded\n%s\nwant\n%s", name, file, got, want)
		}
	}
}

// pretty returns a body as the golden files show it: indented, and with the
// characters that encoding/json would escape for the sake of HTML.
func pretty(t *testing.T, body any) string {
	t.Helper()
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(body); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func TestEveryGoldenFileIsChecked(t *testing.T) {
	known := make(map[string]bool)
	for name := range serverFrames() {
		known["server_"+name] = true
	}
	for name := range clientFrames() {
		known["client_"+name] = true
	}
	for name := range allBodies() {
		known["rest_"+name] = true
	}
	files, err := filepath.Glob("testdata/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if name := strings.TrimSuffix(filepath.Base(file), ".json"); !known[name] {
			t.Errorf("no test reads %s", file)
		}
	}
	if got, want := len(files), len(known); got != want {
		t.Errorf("there are %d golden files, want %d", got, want)
	}
}
