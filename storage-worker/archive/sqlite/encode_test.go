package sqlite

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"switchboard/internal/chat"
)

func TestTimeOrderedIsTheOrderOfIDs(t *testing.T) {
	clocks := rapid.OneOf(rapid.Int64Range(0, 1<<58), rapid.Int64Range(1<<40, 1<<40+10))
	id := rapid.Custom(func(t *rapid.T) chat.MessageID {
		return chat.NewMessageID(chat.Clock(clocks.Draw(t, "clock")), rapid.Uint32Max(3).Draw(t, "generation"), rapid.Uint32().Draw(t, "partition"))
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := id.Draw(t, "a"), id.Draw(t, "b")
		if got, want := bytes.Compare(timeOrdered(a), timeOrdered(b)), chat.CompareMessageIDs(a, b); got != want {
			t.Fatalf("order of %s and %s: got %d, want %d", a, b, got, want)
		}
	})
}

func TestTimeOrderedLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var id chat.MessageID
		copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		if got := fromTimeOrdered(timeOrdered(id)); got != id {
			t.Fatalf("%s came back as %s", id, got)
		}
	})
}

func TestParseKindKnowsWhatIsStored(t *testing.T) {
	for _, k := range []chat.Kind{chat.KindText, chat.KindImage, chat.KindFile, chat.KindEvent} {
		if got, err := parseKind(k.String()); got != k || err != nil {
			t.Errorf("%s: got %v, %v", k, got, err)
		}
	}
	if _, err := parseKind("unknown"); err == nil {
		t.Error("a word that is no type was read as one")
	}
}
