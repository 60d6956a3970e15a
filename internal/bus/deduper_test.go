package bus

import (
	"errors"
	"testing"

	"switchboard/internal/chat"
)

func at(generation uint32, offset int64) chat.Position {
	return chat.Position{Generation: generation, Offset: offset}
}

func TestAZombiesOutcomesAreDropped(t *testing.T) {
	var d Deduper
	for i, step := range []struct {
		p    chat.Position
		want bool
	}{
		{at(1, 7), true}, // A reader may begin anywhere.
		{at(1, 7), false},
		{at(1, 8), true},
		{at(1, 3), false},
		{at(1, 12), true}, // What lies between is not asked for.
		{at(1, 9), false},
		{at(2, 0), true}, // A new log begins at 0 again.
		{at(1, 99), false},
		{at(2, 0), false},
		{at(2, 1), true},
	} {
		if got := d.New(step.p); got != step.want {
			t.Errorf("step %d, %+v: new = %v, want %v", i, step.p, got, step.want)
		}
	}
	if got, want := d.Last(), at(2, 1); got != want {
		t.Errorf("last %+v, want %+v", got, want)
	}
}

func TestAReaderFromTheBeginningStopsAtAGap(t *testing.T) {
	for name, c := range map[string]struct {
		after chat.Position
		next  chat.Position
		fresh bool
		gap   bool
	}{
		"first record":                 {at(0, 0), at(1, 0), true, false},
		"first record is missing":      {at(0, 0), at(1, 1), false, true},
		"next record":                  {at(1, 4), at(1, 5), true, false},
		"same record":                  {at(1, 4), at(1, 4), false, false},
		"older record":                 {at(1, 4), at(1, 0), false, false},
		"one is missing":               {at(1, 4), at(1, 6), false, true},
		"younger generation":           {at(1, 4), at(2, 0), true, false},
		"younger one, first missing":   {at(1, 4), at(2, 1), false, true},
		"older generation, far ahead":  {at(2, 0), at(1, 900), false, false},
		"a generation that was unused": {at(1, 4), at(4, 0), true, false},
	} {
		d := After(c.after)
		fresh, err := d.Next(c.next)
		if fresh != c.fresh || errors.Is(err, ErrGap) != c.gap || (err != nil) != c.gap {
			t.Errorf("%s: got %v, %v; want %v, gap %v", name, fresh, err, c.fresh, c.gap)
		}
		want := c.after
		if c.fresh {
			want = c.next
		}
		if got := d.Last(); got != want {
			t.Errorf("%s: last is %+v, want %+v", name, got, want)
		}
	}
}
