// Package presence knows where each user is connected. Gateways write it, the
// router reads it; it is a directory of routes, never a source of truth about
// messages: if it forgets, deliveries come late, not never.
//
//	gateway ──Apply, Renew──▶ directory ◀──Where── router
//	                                    ◀──Seen─── REST, for people to look at
//
// Beside the directory it tells people of each other: [Sightings] say who was seen
// when, [Notices] who was announced, [Wrecks] who was on a gateway that died, and a
// [Channel] carries what is fleeting to gateways.
//
// A route is an entry of its user: slot.boot.session → order, device. A gateway's
// slot has a lease; an entry is online while its slot's lease is held by its boot.
// The order says which of a user's sessions came before which, on all gateways,
// without anybody's clock: see [Change].
// Package presence/redis is the implementation for Redis, package presencetest
// the suite that it passes.
package presence

import (
	"cmp"
	"context"
	"errors"
	"time"

	"switchboard/internal/chat"
)

const (
	// RenewEvery is how often a gateway renews its lease.
	RenewEvery = 5 * time.Second
	// LeaseTTL is how long a lease outlives its last renewal: the longest time
	// that a dead gateway's users are called online.
	LeaseTTL = 15 * time.Second
	// RouteTTL is how long routers go on writing to a slot's last boot after
	// its lease lapsed: a gateway cut off from the directory still gets its
	// deliveries.
	RouteTTL = 10 * time.Minute
)

// ErrReplaced says that a younger boot of the same slot has taken the lease. The
// older one closes its connections and ends.
var ErrReplaced = errors.New("slot is held by a younger boot")

// Route is one connected session.
type Route struct {
	Slot    string
	Boot    uint64
	Session uint64
	Device  string
	// Order and Leased are what Where answers; changes do not look at them. Of two
	// sessions of one user the one with the higher Order began later. It is 0, and
	// so the session counts as older than all others, where the directory had lost
	// the entry, or an older release wrote it. Leased says that the lease of the
	// slot is valid, and held by this boot.
	Order  uint64
	Leased bool
}

// Compare tells which of two sessions of one user counts as older, negative if it
// is r: by order, and where that says nothing by name, so that all who look decide
// alike.
func (r Route) Compare(other Route) int {
	return cmp.Or(
		cmp.Compare(r.Order, other.Order), cmp.Compare(r.Slot, other.Slot),
		cmp.Compare(r.Boot, other.Boot), cmp.Compare(r.Session, other.Session))
}

// Change registers or removes one session of a user. Each session touches only
// its own entry.
type Change struct {
	User   chat.UserID
	Route  Route
	Remove bool
	// Begins says that the session which is registered is new: it gets an Order
	// above that of every entry that the user has, in one step with looking at
	// them. Repeating that, as after an error, keeps the order that it got.
	// Without Begins a session that should be there already is registered again:
	// its entry is left as it is, or made with Order 0.
	Begins bool
	// Ended is when a session that is removed ended, and so when its user was
	// last seen; zero says nothing of it.
	Ended time.Time
}

// Applied is what the directory says of one change that it has carried out.
type Applied struct {
	// Fresh says that an entry was registered which was not there: without Begins,
	// that the directory had lost it.
	Fresh bool
	// Company says, with Begins only, that the user had entries on other slots at
	// that moment, dead ones among them.
	Company bool
}

// Places is where one user is.
type Places struct {
	// Routes are the sessions on the current boot of their slots: push there.
	Routes []Route
	// Online reports whether one of them has a valid lease: otherwise the user
	// is away and gets a push notification as well.
	Online bool
	// Unknown reports that there is an entry of a slot which the directory knows
	// nothing else of: none has been there for RouteTTL, or it was forgotten and is
	// about to say that it is there.
	Unknown bool
}

// Directory is where users are. All methods wait for the answer; an error means
// that what was asked is unknown.
type Directory interface {
	// Claim takes the lease of a slot for a boot, from whoever holds it: boots
	// are numbered in time order and the last one wins.
	Claim(ctx context.Context, slot string, boot uint64) error
	// Renew keeps the lease; lapsed reports that it had ended or was unknown, so
	// that every session must be registered again. The error is [ErrReplaced]
	// when a younger boot holds it.
	Renew(ctx context.Context, slot string, boot uint64) (lapsed bool, err error)
	// Release ends the lease if boot still holds it.
	Release(ctx context.Context, slot string, boot uint64) error
	// Apply carries out the changes, in order, in one round trip, and says of
	// each what it found. When the error is nil every one is visible to every
	// later Where. After an error some may have been carried out: who repeats them
	// all, in order, leaves the same behind.
	Apply(ctx context.Context, changes []Change) ([]Applied, error)
	// Where returns where each of the users is, in the order asked, in two
	// round trips. It never answers from a cache. Entries of boots that a
	// younger one has replaced, or whose lease ended a day ago, are removed on the
	// way, with more round trips, and their users were last seen when the lease of
	// that boot ended.
	Where(ctx context.Context, users []chat.UserID) ([]Places, error)
}
