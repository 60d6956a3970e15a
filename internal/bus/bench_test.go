package bus

import (
	"bytes"
	"testing"

	"switchboard/internal/chat"
)

// crowd is a delivery to a hundred members of which the sender is one.
func crowd() *Delivery {
	d := sampleDelivery()
	d.Frames[0].Payload = bytes.Repeat([]byte("x"), 400)
	d.Frames[0].Recipients = make([]chat.UserID, chat.LargeAbove)
	return d
}

func BenchmarkParseDelivery(b *testing.B) {
	record := crowd().Append(nil)
	b.SetBytes(int64(len(record)))
	b.ReportAllocs()
	var d Delivery
	for b.Loop() {
		if err := ParseDelivery(record, &d); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendDelivery(b *testing.B) {
	d := crowd()
	var record []byte
	b.ReportAllocs()
	for b.Loop() {
		record = d.Append(record[:0])
	}
	b.SetBytes(int64(len(record)))
}

func BenchmarkParseInbound(b *testing.B) {
	record := sampleInbound().Append(nil)
	b.SetBytes(int64(len(record)))
	b.ReportAllocs()
	var r Inbound
	for b.Loop() {
		if err := ParseInbound(record, &r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseAccepted(b *testing.B) {
	record := sampleAccepted().Append(nil)
	b.SetBytes(int64(len(record)))
	b.ReportAllocs()
	var r Accepted
	for b.Loop() {
		if err := ParseAccepted(record, &r); err != nil {
			b.Fatal(err)
		}
	}
}
