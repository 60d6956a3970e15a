package presence

import (
	"context"
	"time"

	"switchboard/internal/chat"
)

// AboardParts is into how many parts the list of who is on one gateway is cut: some
// 4,000 users each where a million are connected.
const AboardParts = 256

// Life is one boot of a slot.
type Life struct {
	Slot string
	Boot uint64
}

// Life returns the life of the gateway that a route leads to.
func (r Route) Life() Life { return Life{r.Slot, r.Boot} }

// Wreck is a life whose lease has ended.
type Wreck struct {
	Life
	Ended time.Time // never later than now
}

// Wrecks tell who was on a gateway that ended without a word about them: each
// session is on a list of its life until it is removed. What is left on the list of
// a life that has ended are those whose going nobody has told.
//
// Whether a gateway is dead or cut off from the directory nobody can know. One that
// comes back holds its lease again, is no wreck any more, and registers all its
// sessions again, which puts them back on the list.
type Wrecks interface {
	// Wrecks returns the lives that have ended and were not removed yet, also those
	// that left nobody behind.
	Wrecks(ctx context.Context) ([]Wreck, error)
	// Aboard returns one part, from 0 to AboardParts-1, of those on the list of a
	// life, each user once.
	Aboard(ctx context.Context, l Life, part int) ([]chat.UserID, error)
	// Disembark forgets one part of the list.
	Disembark(ctx context.Context, l Life, part int) error
	// Remove forgets a life that nobody is on any more.
	Remove(ctx context.Context, l Life) error
}
