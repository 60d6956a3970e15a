package bus

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"
	"pgregory.net/rapid"

	"switchboard/internal/chat"
)

// record is what the codecs of all records have in common, for the tests.
type record[T any] interface {
	*T
	Append(dst []byte) []byte
}

// checkAgainstSchema holds a codec to the official library: the same bytes for
// the same values, the same values for the same bytes, also among fields of the
// future and in the room of an earlier record.
func checkAgainstSchema[T any, P record[T]](t *testing.T, draw func(*rapid.T) T,
	official func(*T) *dynamicpb.Message, parse func([]byte, *T) error,
) {
	rapid.Check(t, func(rt *rapid.T) {
		want := draw(rt)
		prefix := []byte("kept")
		got := P(&want).Append(prefix)
		if !bytes.HasPrefix(got, prefix) {
			rt.Fatalf("Append overwrote what was there")
		}
		got = got[len(prefix):]
		message := official(&want)
		wantBytes, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
		if err != nil {
			rt.Fatalf("marshal with the official library: %v", err)
		}
		if !bytes.Equal(got, wantBytes) {
			rt.Fatalf("Append(%+v)\n got %x\nwant %x", want, got, wantBytes)
		}
		back := message.New().Interface()
		if err := proto.Unmarshal(got, back); err != nil || !proto.Equal(message, back) {
			rt.Fatalf("the official library reads %v, %v; want %v", back, err, message)
		}
		var parsed T
		if err := parse(withFuture(got), &parsed); err != nil || !reflect.DeepEqual(parsed, want) {
			rt.Fatalf("parsed %+v, %v; want %+v", parsed, err, want)
		}
		other := draw(rt)
		if err := parse(P(&other).Append(nil), &parsed); err != nil {
			rt.Fatalf("parse into a used record: %v", err)
		}
		if again := P(&parsed).Append(nil); !bytes.Equal(again, P(&other).Append(nil)) {
			rt.Fatalf("a used record keeps something of its first use: %+v, want %+v", parsed, other)
		}
	})
}

// withFuture puts fields around b that no version knows yet, of every wire type.
func withFuture(b []byte) []byte {
	out := protowire.AppendTag(nil, 900, protowire.VarintType)
	out = protowire.AppendVarint(out, 1<<63)
	out = protowire.AppendTag(out, 901, protowire.Fixed32Type)
	out = protowire.AppendFixed32(out, 7)
	out = protowire.AppendTag(out, 902, protowire.StartGroupType)
	out = protowire.AppendTag(out, 902, protowire.EndGroupType)
	out = append(out, b...)
	out = protowire.AppendTag(out, 903, protowire.BytesType)
	out = protowire.AppendBytes(out, []byte("later"))
	out = protowire.AppendTag(out, 904, protowire.Fixed64Type)
	return protowire.AppendFixed64(out, 8)
}

func TestInboundIsWhatTheSchemaSays(t *testing.T) {
	checkAgainstSchema[Inbound](t, anyInbound, compileSchema(t).inbound, ParseInbound)
}

func TestAcceptedIsWhatTheSchemaSays(t *testing.T) {
	checkAgainstSchema[Accepted](t, anyAccepted, compileSchema(t).accepted, ParseAccepted)
}

func TestDeliveryIsWhatTheSchemaSays(t *testing.T) {
	checkAgainstSchema[Delivery](t, anyDelivery, compileSchema(t).delivery, ParseDelivery)
}

func TestPushIsWhatTheSchemaSays(t *testing.T) {
	checkAgainstSchema[Push](t, anyPush, compileSchema(t).push, ParsePush)
}

func TestReceiptIsWhatTheSchemaSays(t *testing.T) {
	checkAgainstSchema[Receipt](t, anyReceipt, compileSchema(t).receipt, ParseReceipt)
}

func TestStatusIsWhatTheSchemaSays(t *testing.T) {
	checkAgainstSchema[Status](t, anyStatus, compileSchema(t).status, ParseStatus)
}

func TestHintIsWhatTheSchemaSays(t *testing.T) {
	checkAgainstSchema[Hint](t, anyHint, compileSchema(t).hint, ParseHint)
}

// id returns an id of sixteen times the same byte.
func id(b byte) (out [16]byte) {
	for i := range out {
		out[i] = b
	}
	return out
}

func sampleInbound() *Inbound {
	return &Inbound{
		Conversation: id(0xc0), Sender: id(0x0a), Request: id(0x01),
		ReplyTo: ReplyTo{Server: "gw-7", Boot: 2, Session: 3, ID: "c17"},
		Send:    &Send{Kind: chat.KindText, Content: "a\x00б"},
	}
}

func sampleAccepted() *Accepted {
	return &Accepted{
		Outcome: Stored, Position: chat.Position{Generation: 1, Offset: 300}, Clock: 10_000,
		Conversation: id(0xc0), Sender: id(0x0a), Request: id(0x01),
		Events: []Event{{Entry: chat.Entry{
			Conversation: id(0xc0), Sender: id(0x0a), Request: id(0x01),
			Seq: 5, ID: id(0xee), Kind: chat.KindText, Content: "hi", MembersVersion: 1,
		}}},
		Recipients: []chat.UserID{id(0x0a), id(0x0b)},
	}
}

func sampleDelivery() *Delivery {
	return &Delivery{
		Class: Durable, Position: chat.Position{Generation: 1, Offset: 300}, Partition: 4,
		Frames: []Frame{
			{Payload: []byte(`{"type":"new_message"}`), Recipients: []chat.UserID{id(0x0a), id(0x0b)}, ExceptBoot: 2, ExceptSession: 3},
			{Payload: []byte(`{}`), Recipients: []chat.UserID{id(0x0c)}},
		},
		Answer: &Answer{Boot: 2, Session: 3, Payload: []byte(`{"type":"message_sent"}`), Outcome: Refused, Seq: 5, ID: id(0xee), Code: chat.NotMember, Message: "no"},
	}
}

func samplePush() *Push {
	return &Push{
		User: id(0x0b), Position: chat.Position{Generation: 1, Offset: 300}, Partition: 4,
		Conversation: id(0xc0), ID: id(0xee), Seq: 5, Sender: id(0x0a), Kind: chat.KindFile,
	}
}

func sampleReceipt() *Receipt {
	return &Receipt{
		Conversation: id(0xc0), User: id(0x0a), ReplyTo: ReplyTo{Server: "gw-7", Boot: 2, Session: 3}, Answer: true,
		Marks: []Mark{{Status: chat.Read, Seq: 300, ID: "c17"}, {Status: chat.Delivered, Message: id(0xee)}},
	}
}

func sampleHint() *Hint {
	return &Hint{User: id(0x0a), Millis: 10_000, Conversation: id(0xc0), IsTyping: true, Presence: chat.Offline}
}

func sampleStatus() *Status {
	return &Status{
		Conversation: id(0xc0), User: id(0x0a), Status: chat.Read, Seq: 300, Message: id(0xee), Millis: 10_000,
		Recipients: []chat.UserID{id(0x0b)}, ReplyTo: ReplyTo{Server: "gw-7"},
		Outcome: Refused, Code: chat.BadRequest, Text: "no",
	}
}

// The bytes on the log, for ever: a change here is a change of format.
func TestGoldenRecords(t *testing.T) {
	six := func(b string) string { return strings.Repeat(b, 16) }
	for name, c := range map[string]struct {
		got  []byte
		want string
	}{
		"inbound": {sampleInbound().Append(nil), "0801" + "1210" + six("c0") + "1a10" + six("0a") + "2210" + six("01") +
			"2a1d" + "0a0467772d37" + "110200000000000000" + "190300000000000000" + "2203633137" +
			"3208" + "0801" + "12046100d0b1"},
		"accepted": {sampleAccepted().Append(nil), "0801" + "1001" + "1801" + "20ac02" + "28904e" +
			"3210" + six("c0") + "3a10" + six("0a") + "4210" + six("01") +
			"521c" + "0805" + "1210" + six("ee") + "1801" + "22026869" + "5801" +
			"5a20" + six("0a") + six("0b")},
		"delivery": {sampleDelivery().Append(nil), "0801" + "1001" + "1801" + "2004" + "28ac02" +
			"324e" + "0801" + "1216" + hex.EncodeToString([]byte(`{"type":"new_message"}`)) + "1a20" + six("0a") + six("0b") +
			"210200000000000000" + "290300000000000000" +
			"3218" + "0801" + "12027b7d" + "1a10" + six("0c") +
			"3a51" + "090200000000000000" + "110300000000000000" + "1a17" + hex.EncodeToString([]byte(`{"type":"message_sent"}`)) +
			"2003" + "2805" + "3210" + six("ee") + "3a0a" + hex.EncodeToString([]byte("not_member")) + "42026e6f"},
		"push": {samplePush().Append(nil), "0801" + "1210" + six("0b") + "1801" + "2004" + "28ac02" +
			"3210" + six("c0") + "3a10" + six("ee") + "4005" + "4a10" + six("0a") + "5003"},
		"latest": {
			(&Delivery{Class: Latest, Frames: []Frame{{Payload: []byte("{}"), Key: []byte("k"), Order: 300}}}).Append(nil),
			"0801" + "1002" + "320c" + "0801" + "12027b7d" + "32016b" + "38ac02",
		},
		"close": {
			(&Delivery{Class: Signal, Closes: []Close{{User: id(0x0a), Boot: 2, Session: 3}}}).Append(nil),
			"0801" + "1003" + "4224" + "0a10" + six("0a") + "110200000000000000" + "190300000000000000",
		},
		"receipt": {sampleReceipt().Append(nil), "0801" + "1210" + six("c0") + "1a10" + six("0a") +
			"2218" + "0a0467772d37" + "110200000000000000" + "190300000000000000" + "2801" +
			"320a" + "0802" + "10ac02" + "2203633137" + "3214" + "0801" + "1a10" + six("ee")},
		"hint": {sampleHint().Append(nil), "0801" + "1210" + six("0a") + "18904e" + "2210" + six("c0") + "2801" + "3002"},
		"status": {sampleStatus().Append(nil), "0801" + "1210" + six("c0") + "1a10" + six("0a") + "2002" + "28ac02" +
			"3210" + six("ee") + "38904e" + "4210" + six("0b") + "4a06" + "0a0467772d37" + "5003" +
			"5a0b" + hex.EncodeToString([]byte("bad_request")) + "62026e6f"},
	} {
		if got := hex.EncodeToString(c.got); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", name, got, c.want)
		}
	}
}

func TestMalformedRecordsAreRefused(t *testing.T) {
	valid := sampleInbound().Append(nil)
	raw := func(num protowire.Number, b []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), b)
	}
	number := func(num protowire.Number, n uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), n)
	}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	codec := number(1, 1)
	parsers := map[string]func([]byte) error{
		"inbound":  func(b []byte) error { return ParseInbound(b, new(Inbound)) },
		"accepted": func(b []byte) error { return ParseAccepted(b, new(Accepted)) },
		"delivery": func(b []byte) error { return ParseDelivery(b, new(Delivery)) },
		"push":     func(b []byte) error { return ParsePush(b, new(Push)) },
		"receipt":  func(b []byte) error { return ParseReceipt(b, new(Receipt)) },
		"status":   func(b []byte) error { return ParseStatus(b, new(Status)) },
	}
	for name, c := range map[string]struct {
		parser string
		bytes  []byte
	}{
		"nothing":              {"inbound", nil},
		"no codec":             {"inbound", raw(10, nil)},
		"another codec":        {"inbound", join(number(1, 2), raw(10, nil))},
		"asks for nothing":     {"inbound", codec},
		"asks twice":           {"inbound", join(codec, raw(10, nil), raw(9, nil))},
		"asks the same twice":  {"inbound", join(codec, raw(10, nil), raw(10, nil))},
		"two reply addresses":  {"inbound", join(codec, raw(10, nil), raw(5, nil), raw(5, nil))},
		"short id":             {"inbound", join(codec, raw(2, make([]byte, 15)), raw(10, nil))},
		"empty id":             {"inbound", join(codec, raw(2, nil), raw(10, nil))},
		"id as a number":       {"inbound", join(codec, number(2, 1), raw(10, nil))},
		"content not UTF-8":    {"inbound", join(codec, raw(6, raw(2, []byte{0xff})))},
		"kind out of range":    {"inbound", join(codec, raw(6, number(1, 256)))},
		"members not whole":    {"inbound", join(codec, raw(7, raw(3, make([]byte, 17))))},
		"limit out of range":   {"inbound", join(codec, raw(8, number(3, 1<<31)))},
		"lying length":         {"inbound", join(codec, []byte{0x52, 0xff, 0xff, 0xff, 0xff, 0x0f})},
		"endless varint":       {"inbound", bytes.Repeat([]byte{0xff}, 11)},
		"group without an end": {"inbound", join(valid, protowire.AppendTag(nil, 99, protowire.StartGroupType))},
		"no outcome":           {"accepted", codec},
		"unknown outcome":      {"accepted", join(codec, number(2, 4))},
		"negative offset":      {"accepted", join(codec, number(2, 1), number(4, 1<<63))},
		"too many events":      {"accepted", join(codec, number(2, 1), bytes.Repeat(raw(10, nil), eventsPerOutcome+1))},
		"flag beyond one":      {"accepted", join(codec, number(2, 1), number(12, 2))},
		"no class":             {"delivery", codec},
		"unknown class":        {"delivery", join(codec, number(2, 4))},
		"frame without codec":  {"delivery", join(codec, number(2, 1), raw(6, raw(2, []byte("{}"))))},
		"too many frames":      {"delivery", join(codec, number(2, 1), bytes.Repeat(raw(6, codec), framesPerDelivery+1))},
		"two answers":          {"delivery", join(codec, number(2, 1), raw(7, nil), raw(7, nil))},
		"partition too high":   {"delivery", join(codec, number(2, 1), number(4, 1<<31))},
		"push without codec":   {"push", number(10, 1)},
		"negative order":       {"delivery", join(codec, number(2, 1), raw(6, join(codec, number(7, 1<<63))))},
		"receipt of no codec":  {"receipt", raw(6, number(1, 1))},
		"negative mark":        {"receipt", join(codec, raw(6, number(2, 1<<63)))},
		"too many marks":       {"receipt", join(codec, bytes.Repeat(raw(6, nil), marksPerReceipt+1))},
		"status without codec": {"status", number(4, 1)},
		"recipients not whole": {"status", join(codec, raw(8, make([]byte, 17)))},
	} {
		if err := parsers[c.parser](c.bytes); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %v, want ErrMalformed", name, err)
		}
	}
	for cut := range valid {
		// Cutting between two fields can leave a record that is whole but asks
		// for nothing; either way it is no record.
		if err := ParseInbound(valid[:cut], new(Inbound)); !errors.Is(err, ErrMalformed) {
			t.Errorf("cut to %d bytes: got %v, want ErrMalformed", cut, err)
		}
	}
}

func TestTooManyClosesAreRefused(t *testing.T) {
	d := Delivery{Class: Signal, Closes: make([]Close, ClosesPerDelivery)}
	if err := ParseDelivery(d.Append(nil), new(Delivery)); err != nil {
		t.Errorf("as many as there may be: %v", err)
	}
	d.Closes = append(d.Closes, Close{})
	if err := ParseDelivery(d.Append(nil), new(Delivery)); !errors.Is(err, ErrMalformed) {
		t.Errorf("one more: got %v, want ErrMalformed", err)
	}
}

func TestMalformedHintsAreRefused(t *testing.T) {
	for _, b := range [][]byte{
		nil,
		{6<<3 | byte(protowire.VarintType), 1}, // without a codec
		{1 << 3, 2},                            // of another codec
		{1 << 3, 1, 5 << 3, 2},                 // types twice
		{1 << 3, 1, 4<<3 | byte(protowire.BytesType)}, // cut off
	} {
		if err := ParseHint(b, new(Hint)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%x: got %v, want ErrMalformed", b, err)
		}
	}
}

func TestDeliveryIsParsedInPlace(t *testing.T) {
	b := sampleDelivery().Append(nil)
	var fresh, reused Delivery
	if err := ParseDelivery(b, &reused); err != nil {
		t.Fatal(err)
	}
	if got := testing.AllocsPerRun(100, func() {
		fresh = Delivery{}
		if ParseDelivery(b, &fresh) != nil {
			t.Fail()
		}
	}); got > 2 {
		t.Errorf("a fresh delivery costs %v allocations, want at most 2", got)
	}
	if got := testing.AllocsPerRun(100, func() {
		if ParseDelivery(b, &reused) != nil {
			t.Fail()
		}
	}); got != 0 {
		t.Errorf("a reused delivery costs %v allocations, want 0", got)
	}
	at := bytes.Index(b, []byte("new_message"))
	b[at] = 'N'
	if got, want := string(reused.Frames[0].Payload), `{"type":"New_message"}`; got != want {
		t.Errorf("payload %s is a copy, want a view that shows %s", got, want)
	}
}

func TestCopiesDoNotPointIntoTheRecord(t *testing.T) {
	b := sampleAccepted().Append(nil)
	var got Accepted
	if err := ParseAccepted(b, &got); err != nil {
		t.Fatal(err)
	}
	clear(b)
	if want := sampleAccepted(); !reflect.DeepEqual(&got, want) {
		t.Errorf("after the buffer was overwritten: %+v, want %+v", &got, want)
	}
	b = sampleInbound().Append(nil)
	var in Inbound
	if err := ParseInbound(b, &in); err != nil {
		t.Fatal(err)
	}
	clear(b)
	if want := sampleInbound(); !reflect.DeepEqual(&in, want) {
		t.Errorf("after the buffer was overwritten: %+v, want %+v", &in, want)
	}
}

func TestEncodingAllocatesNothingBeyondItsBuffer(t *testing.T) {
	buffer := make([]byte, 0, 4096)
	in, out, delivery, push := sampleInbound(), sampleAccepted(), sampleDelivery(), samplePush()
	receipt, status, hint := sampleReceipt(), sampleStatus(), sampleHint()
	if got := testing.AllocsPerRun(100, func() {
		_ = in.Append(buffer)
		_ = out.Append(buffer)
		_ = delivery.Append(buffer)
		_ = push.Append(buffer)
		_ = receipt.Append(buffer)
		_ = status.Append(buffer)
		_ = hint.Append(buffer)
	}); got != 0 {
		t.Errorf("encoding seven records costs %v allocations, want 0", got)
	}
}
