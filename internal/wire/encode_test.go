package wire

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"switchboard/internal/chat"
)

func TestEncodingAllocatesNothingBeyondItsBuffer(t *testing.T) {
	buffer := make([]byte, 0, 8<<10)
	text, event := said(), added()
	sent := MessageSent{ClientMessageID: text.Request, ConversationID: direct, MessageID: text.ID, Seq: 2, Timestamp: noon}
	refusal := chat.Errorf(chat.RateLimited, "too fast")
	refusal.RetryAfter = time.Second
	connected := Connected{SessionID: "s", UserID: alice, DeviceID: "d", Server: "gw-1"}
	for name, encode := range map[string]func(){
		"connected":            func() { _ = AppendConnected(buffer, "c1", &connected) },
		"message_sent":         func() { _ = AppendMessageSent(buffer, "c17", &sent) },
		"new_message":          func() { _ = AppendEntry(buffer, &text, true) },
		"conversation_updated": func() { _ = AppendEntry(buffer, event, false) },
		"error":                func() { _ = AppendError(buffer, "c17", text.Request, refusal) },
		"heartbeat_ack":        func() { _ = AppendHeartbeatAck(buffer, "c20", noon) },
		"token_refreshed":      func() { _ = AppendTokenRefreshed(buffer, "c21", noon) },
		"token_expiring":       func() { _ = AppendTokenExpiring(buffer, noon) },
		"message_status":       func() { _ = AppendMessageStatus(buffer, &MessageStatus{Status: "read", Seq: 3}) },
		"behind":               func() { _ = AppendBehind(buffer, Behind{Reason: "slow"}) },
		"reconnect":            func() { _ = AppendReconnect(buffer, Reconnect{Reason: "drain"}) },
	} {
		if got := testing.AllocsPerRun(100, encode); got != 0 {
			t.Errorf("%s: %v allocations, want 0", name, got)
		}
	}
}

func TestEncodersAppend(t *testing.T) {
	text := said()
	got := AppendEntry([]byte("kept"), &text, false)
	if want := append([]byte("kept"), golden(t, "server_new_message")...); !bytes.Equal(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTextIsEscapedNoMoreThanItMust(t *testing.T) {
	for s, want := range map[string]string{
		"":                      `""`,
		"plain é😀 <&> \u2028/":  "\"plain é😀 <&> \u2028/\"",
		"\"\\":                  `"\"\\"`,
		"\b\f\n\r\t":            `"\b\f\n\r\t"`,
		"a\x00b\x1f\x7f":        "\"a\\u0000b\\u001f\x7f\"",
		"not UTF-8: \xff\xc3 |": "\"not UTF-8: \uFFFD |\"",
	} {
		if got := string(appendString(nil, s)); got != want {
			t.Errorf("%q: got %s, want %s", s, got, want)
		}
	}
}

// What is pushed and what stands in history say the same with the same fields.
func TestHistoryShowsWhatWasPushed(t *testing.T) {
	text, image := said(), shown()
	for name, e := range map[string]*chat.Entry{"text": &text, "image": &image} {
		for _, own := range []bool{false, true} {
			var pushed struct {
				Data json.RawMessage `json:"data"`
			}
			if err := json.Unmarshal(AppendEntry(nil, e, own), &pushed); err != nil {
				t.Fatal(err)
			}
			var got, want map[string]any
			stored, err := json.Marshal(EntryMessage(e, own))
			if err != nil || json.Unmarshal(stored, &got) != nil || json.Unmarshal(pushed.Data, &want) != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s, own %v: history has %v, pushed was %v", name, own, got, want)
			}
		}
	}
}

func TestAnEventInHistoryIsNobodysMessage(t *testing.T) {
	e := added()
	got := EntryMessage(e, true)
	want := Message{
		MessageID: e.ID, ConversationID: group, Seq: 2, SenderID: alice, Type: "event", Timestamp: noon,
		Event: &Event{Change: "member_added", UserID: &e.User, Role: "member", MembersVersion: 2},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestARetryIsNeverAfterNothing(t *testing.T) {
	e := chat.Errorf(chat.Unavailable, "later")
	e.RetryAfter = time.Microsecond
	ev, err := DecodeServer(AppendError(nil, "", chat.RequestID{}, e))
	if err != nil || ev.Error.RetryAfterMS != 1 {
		t.Errorf("got %+v, %v; want retry_after_ms 1", ev.Error, err)
	}
	if got, want := *ev.Error.Refusal(), (chat.Error{Code: chat.Unavailable, Message: "later", RetryAfter: time.Millisecond}); got != want {
		t.Errorf("the client sees %+v, want %+v", got, want)
	}
}

func TestServerFramesOfALaterDayAreKept(t *testing.T) {
	got, err := DecodeServer([]byte(`{"type":"dance","id":"c1","data":{"x":1}}`))
	if want := (ServerEvent{Type: "dance", ID: "c1"}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for _, broken := range []string{"", "[]", `{"type":"behind","data":5}`, `{"type":"new_message","data":{"seq":"1"}}`} {
		if _, err := DecodeServer([]byte(broken)); err == nil {
			t.Errorf("%s: no error", broken)
		}
	}
}
