package chat

import (
	"bytes"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// These ids were computed with another program (Python's uuid); they can never
// change.
func TestMessageIDs(t *testing.T) {
	for want, c := range map[string]struct {
		clock                 Clock
		generation, partition uint32
	}{
		"13814000-1dd2-11b2-8001-010000000000": {0, 1, 0},
		"1381400a-1dd2-11b2-8001-010000000000": {1, 1, 0},
		"98fc0014-b5c6-11f1-8001-010000000007": {1_790_000_000_000_002, 1, 7},
		"98fc0014-b5c6-11f1-8002-0100000000ff": {1_790_000_000_000_002, 2, 255},
		"98fc0014-b5c6-11f1-bfff-0100000003ff": {1_790_000_000_000_002, 16383, 1023},
		"13813ff8-1dd2-19b2-8001-010000000010": {57_646_075_230_342_348, 1, 16},
	} {
		id := NewMessageID(c.clock, c.generation, c.partition)
		if got := id.String(); got != want {
			t.Errorf("%+v: got %s, want %s", c, got, want)
		}
		if got := ClockOf(id); got != c.clock {
			t.Errorf("%s: clock %d, want %d", want, got, c.clock)
		}
		if got := PartitionOf(id); got != c.partition {
			t.Errorf("%s: partition %d, want %d", want, got, c.partition)
		}
	}
}

func TestMessageIDsAscendWithTheClock(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const last = (1<<60 - 1 - gregorian) / perTick // 60 bits of time last until the year 5236.
		a := Clock(rapid.Int64Range(0, last).Draw(t, "a"))
		b := Clock(rapid.Int64Range(0, last).Draw(t, "b"))
		generation, partition := rapid.Uint32Range(1, 1<<14-1).Draw(t, "generation"), rapid.Uint32().Draw(t, "partition")
		x, y := NewMessageID(a, generation, partition), NewMessageID(b, generation, partition)
		sign := 0
		switch {
		case a < b:
			sign = -1
		case a > b:
			sign = 1
		}
		if got := CompareMessageIDs(x, y); got != sign {
			t.Fatalf("comparing the ids of %d and %d gives %d, want %d", a, b, got, sign)
		}
		if ClockOf(x) != a || ClockOf(y) != b {
			t.Fatalf("clocks %d and %d came back as %d and %d", a, b, ClockOf(x), ClockOf(y))
		}
		if border := FirstMessageID(a); CompareMessageIDs(border, x) > 0 || ClockOf(border) != a {
			t.Fatalf("the border %v of %d lies above %v", border, a, x)
		}
		if a > 0 && CompareMessageIDs(NewMessageID(a-1, generation, partition), FirstMessageID(a)) >= 0 {
			t.Fatalf("the id of %d is not below the border of %d", a-1, a)
		}
	})
}

func TestTheOrderOfIDsIsNotThatOfTheirBytes(t *testing.T) {
	early := NewMessageID(ClockAt(1_790_000_000), 1, 7)
	late := NewMessageID(ClockAt(1_790_000_300), 1, 7)
	if CompareMessageIDs(early, late) != -1 || bytes.Compare(early[:], late[:]) != 1 {
		t.Errorf("%v and %v were chosen so that bytes and time disagree", early, late)
	}
	other := NewMessageID(ClockAt(1_790_000_000), 1, 8)
	if got := CompareMessageIDs(early, other); got != -1 {
		t.Errorf("ids of one time in two partitions compare as %d, want -1", got)
	}
}

func TestEveryRecordAdvancesTheClock(t *testing.T) {
	const millis = 1_790_000_000_000
	noon := ClockAt(millis / 1000)
	for name, c := range map[string]struct {
		before Clock
		millis int64
		want   Clock
	}{
		"the first record":            {0, millis, noon},
		"a later record":              {noon, millis + 1, noon + TicksPerMillisecond},
		"in the same millisecond":     {noon, millis, noon + 1},
		"a host's clock is behind":    {noon, millis - 5000, noon + 1},
		"a record without a time":     {noon, -1, noon + 1},
		"a millisecond is used up":    {noon + TicksPerMillisecond - 1, millis, noon + TicksPerMillisecond},
		"just ahead of a millisecond": {noon + TicksPerMillisecond, millis + 1, noon + TicksPerMillisecond + 1},
	} {
		if got := c.before.Next(c.millis); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}

func TestWhatAClockIsShownAs(t *testing.T) {
	c := ClockAt(1_790_000_000) + 123_456
	if got, want := c.Unix(), int64(1_790_000_000); got != want {
		t.Errorf("Unix: got %d, want %d", got, want)
	}
	if got, want := int64(c), int64(1_790_000_000_123_456); got != want {
		t.Errorf("microseconds: got %d, want %d", got, want)
	}
	if got, want := c.Time(), time.Date(2026, 9, 21, 14, 13, 20, 123_456_000, time.UTC); !got.Equal(want) || got.Location() != time.UTC {
		t.Errorf("Time: got %v, want %v", got, want)
	}
	if got, want := Ticks(KeyWindow), Clock(7*24*3600*1_000_000); got != want {
		t.Errorf("Ticks: got %d, want %d", got, want)
	}
}
