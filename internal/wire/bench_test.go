package wire

import (
	"encoding/json"
	"testing"
)

// sink keeps the compiler from leaving the work out.
var sink []byte

func BenchmarkDecodeSend(b *testing.B) {
	decodes(b, []byte(say(`"type":"text","content":"Hello, “Bob” \\ привет 👋\nA second line & a <tag>."`)))
}

func BenchmarkDecodeHeartbeat(b *testing.B) { decodes(b, []byte(`{"type":"heartbeat","id":"123456"}`)) }

func decodes(b *testing.B, frame []byte) {
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		var ev ClientEvent
		if err := DecodeClient(frame, &ev); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecodeSendStandard is what the standard library takes for the same,
// without any of the checks.
func BenchmarkDecodeSendStandard(b *testing.B) {
	frame := []byte(say(`"type":"text","content":"Hello, “Bob” \\ привет 👋\nA second line & a <tag>."`))
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		var ev struct {
			Type, ID string
			Data     SendMessage
		}
		if err := json.Unmarshal(frame, &ev); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendEntry(b *testing.B) {
	e := said()
	b.ReportAllocs()
	for b.Loop() {
		sink = AppendEntry(sink[:0], &e, false)
	}
	b.SetBytes(int64(len(sink)))
}
