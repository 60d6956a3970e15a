package presence

import (
	"context"
	"time"

	"switchboard/internal/chat"
)

// LastSeenFor is how long it is known when somebody was last online: whoever was
// away for longer is offline since nobody knows when.
const LastSeenFor = 30 * 24 * time.Hour

// Sighting is whether a user is online, and else when that was last so.
type Sighting struct {
	Online bool
	// Last is when the last session ended, to the second: when its gateway said
	// so, or, of a gateway that died, when its lease ended. Zero when that was
	// more than [LastSeenFor] ago, never, or forgotten by the directory. It says
	// nothing while Online.
	Last time.Time
}

// Sightings is what the directory tells of users to others, rather than to those
// who route.
type Sightings interface {
	// Seen returns a sighting of each of the users, in the order asked. It never
	// answers from a cache; an error means that nothing is known.
	Seen(ctx context.Context, users []chat.UserID) ([]Sighting, error)
}
