package bus

import (
	"errors"
	"fmt"

	"switchboard/internal/chat"
)

// ErrGap says that the accepted log does not hold the outcome of an inbound
// record that its reader has not seen. What the reader built is no longer what
// the log would build: it must begin again from a snapshot.
var ErrGap = errors.New("gap in the accepted log")

// Deduper makes reading of one accepted partition "each outcome once". The
// storage worker appends an outcome at least once: one that died, or that does
// not know yet that it lost the partition, repeats what is there already, byte
// for byte. So an outcome counts when its inbound position is above the highest
// that was seen; the rest is dropped.
//
// The zero value has seen nothing. One Deduper is for one partition and for one
// goroutine.
type Deduper struct {
	last chat.Position
}

// After returns a Deduper for a reader that has seen everything up to p: of a
// snapshot, for instance.
func After(p chat.Position) Deduper { return Deduper{last: p} }

// Last returns the highest position seen, or the zero value.
func (d *Deduper) Last() chat.Position { return d.last }

// New reports whether the outcome of p is one that was not seen, and remembers
// it. It is for readers that began somewhere in the log: whatever comes first
// is new, and what lies between two positions is not asked for.
func (d *Deduper) New(p chat.Position) bool {
	if p.Compare(d.last) <= 0 {
		return false
	}
	d.last = p
	return true
}

// Next does the same for readers that carry the last position from the
// beginning of the log on, and must not miss an outcome. A new outcome must
// answer the very next inbound record: one offset on in the same generation, or
// offset 0 of a younger one. Anything above is [ErrGap], and is not remembered,
// so that the same record gives the same error again.
func (d *Deduper) Next(p chat.Position) (fresh bool, err error) {
	if p.Compare(d.last) <= 0 {
		return false, nil
	}
	want := chat.Position{Generation: p.Generation}
	if p.Generation == d.last.Generation {
		want.Offset = d.last.Offset + 1
	}
	if p != want {
		return false, fmt.Errorf("%w: after generation %d offset %d comes generation %d offset %d",
			ErrGap, d.last.Generation, d.last.Offset, p.Generation, p.Offset)
	}
	d.last = p
	return true, nil
}
