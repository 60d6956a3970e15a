package bus

import (
	"bytes"
	"errors"
	"runtime"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// fuzzAgainstSchema checks for any bytes: no panic, an error that says
// ErrMalformed, no memory beyond a small multiple of the input; and whatever the
// parser accepts, the official library reads as the same values.
func fuzzAgainstSchema[T any, P record[T]](f *testing.F, message string, parse func([]byte, *T) error, seeds ...[]byte) {
	s := compileSchema(f)
	kind := s.file.Messages().ByName(protoreflect.Name(message))
	for _, seed := range seeds {
		f.Add(seed)
		f.Add(withFuture(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r T
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := parse(b, &r)
		runtime.ReadMemStats(&after)
		if grown, limit := after.TotalAlloc-before.TotalAlloc, uint64(256<<10+8*len(b)); grown > limit {
			t.Fatalf("%d bytes of input took %d bytes of memory, want at most %d", len(b), grown, limit)
		}
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("error %v does not wrap ErrMalformed", err)
			}
			return
		}
		official := dynamicpb.NewMessage(kind)
		if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b, official); err != nil {
			t.Fatalf("accepted %x, which the official library refuses: %v", b, err)
		}
		// An inner message that is there but empty says the same as none, so
		// the values are compared by what this package writes for them.
		var want T
		if err := parse(s.bytes(t, official), &want); err != nil {
			t.Fatalf("cannot read what the official library writes: %v", err)
		}
		if got, want := P(&r).Append(nil), P(&want).Append(nil); !bytes.Equal(got, want) {
			t.Fatalf("read %+v from %x\n got %x\nwant %x", r, b, got, want)
		}
	})
}

func FuzzParseInbound(f *testing.F) {
	fuzzAgainstSchema[Inbound](f, "Inbound", ParseInbound, sampleInbound().Append(nil),
		(&Inbound{Create: &Create{Type: 2, Name: "n", Members: sampleAccepted().Recipients, Limit: 500}}).Append(nil),
		(&Inbound{Set: &SetMember{User: id(1), Role: 2, Limit: 3}}).Append(nil),
		(&Inbound{Remove: &RemoveMember{User: id(1)}}).Append(nil),
		(&Inbound{Rename: &Rename{Name: "n"}}).Append(nil),
		(&Inbound{Anchor: &Anchor{Clock: -1}}).Append(nil))
}

func FuzzParseAccepted(f *testing.F) {
	fuzzAgainstSchema[Accepted](f, "Accepted", ParseAccepted, sampleAccepted().Append(nil))
}

func FuzzParseDelivery(f *testing.F) {
	fuzzAgainstSchema[Delivery](f, "Delivery", ParseDelivery, sampleDelivery().Append(nil))
}

func FuzzParsePush(f *testing.F) {
	fuzzAgainstSchema[Push](f, "Push", ParsePush, samplePush().Append(nil))
}

func FuzzParseReceipt(f *testing.F) {
	fuzzAgainstSchema[Receipt](f, "Receipt", ParseReceipt, sampleReceipt().Append(nil))
}

func FuzzParseStatus(f *testing.F) {
	fuzzAgainstSchema[Status](f, "Status", ParseStatus, sampleStatus().Append(nil))
}

func FuzzParseHint(f *testing.F) {
	fuzzAgainstSchema[Hint](f, "Hint", ParseHint, sampleHint().Append(nil))
}
