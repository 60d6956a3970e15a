// Package presence knows where each user is connected. Gateways write it, the
// router reads it; it is a directory of routes, never a source of truth about
// messages: if it forgets, deliveries come late, not never.
//
//	gateway ──Apply, Renew──▶ directory ◀──Where── router
//	                                    ◀──Seen─── REST, for people to look at
//
// Beside the directory it tells people of each other: [Sightings] say who was seen
// when, [Notices] who was announced, and a [Channel] carries what is fleeting to
// gateways.
//
// A route is an entry of its user: slot.boot.session → device. A gateway's slot
// has a lease; an entry is online while its slot's lease is held by its boot.
// Package presence/redis is the implementation for Redis, package presencetest
// the suite that it passes.
package presence

import (
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
}

// Change registers or removes one session of a user. Each session touches only
// its own entry.
type Change struct {
	User   chat.UserID
	Route  Route
	Remove bool
	// Ended is when a session that is removed ended, and so when its user was
	// last seen; zero says nothing of it.
	Ended time.Time
}

// Places is where one user is.
type Places struct {
	// Routes are the sessions on the current boot of their slots: push there.
	Routes []Route
	// Online reports whether one of them has a valid lease: otherwise the user
	// is away and gets a push notification as well.
	Online bool
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
	// Apply carries out the changes, in order, in one round trip. When the
	// error is nil every one is visible to every later Where, and fresh[i] says
	// that change i registered an entry which was not there: for a session that
	// was registered before, that the directory had lost it.
	Apply(ctx context.Context, changes []Change) (fresh []bool, err error)
	// Where returns where each of the users is, in the order asked, in two
	// round trips. It never answers from a cache. Entries of boots that a
	// younger one has replaced are removed on the way, and their users were last
	// seen when the lease of that boot ended.
	Where(ctx context.Context, users []chat.UserID) ([]Places, error)
}
