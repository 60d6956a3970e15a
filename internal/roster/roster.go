// Package roster says who is in which conversation now, in tables that SQL can
// ask. It is a projection of the accepted log: what the outcomes say happened to
// conversations and their members, and nothing that they do not say.
//
//	accepted[p] ──▶ projection ──Apply──▶ roster ◀───List──── heads of large conversations
//	                                        ▲  ▲────Peers──── presence: whom a change is told
//	                                        └───────SQL────── operators
//
// It decides nothing. The fold and REST ask the archive, never the roster, so
// that messages flow while the roster's server is away; what is here may be late
// by that long, and is never ahead of the log. Messages leave no trace in it.
//
// Every row is guarded by the version of its conversation, the seq of the newest
// event that was applied: an event at or below it changes nothing. So a batch may
// be repeated, by a projector that died or by one that does not know that it was
// replaced, at any time and beside any other.
//
// postgres and sqlite implement [Store]; rostertest is the suite that both pass.
package roster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"switchboard/internal/chat"
)

// The limits of a roster.
const (
	// PeersMax bounds what [Store.Peers] returns: nobody is told of more people.
	PeersMax = 200
	// SharingMax bounds how many users one [Store.Sharing] asks about.
	SharingMax = 200
	// PageMax bounds a page of [Store.Members].
	PageMax = 10_000
)

// Change is one thing that happened to a conversation.
type Change struct {
	Conversation chat.ConversationID
	Seq          chat.Seq   // of the event: what versions are made of
	At           chat.Clock // of the event
	// What happened. [chat.ChangeNone] stands for an event that changes nothing
	// here, and only says that there is such a conversation: see [UnknownError].
	What chat.Change

	Type    chat.Type     // with Created
	Creator chat.UserID   // with Created: the admin of a group
	Added   []chat.UserID // with Created: the first members
	Name    string        // with Created and Renamed
	User    chat.UserID   // with MemberAdded, MemberRemoved, RoleChanged
	Role    chat.Role     // with MemberAdded, RoleChanged
}

// Member is someone who is in a conversation.
type Member struct {
	User   chat.UserID
	Role   chat.Role
	Joined chat.Clock // when the present stay began
}

// Snapshot is a conversation as of a version, read from the archive.
type Snapshot struct {
	Conversation chat.ConversationID
	Type         chat.Type
	Name         string
	Created      chat.Clock
	Updated      chat.Clock
	Version      chat.Seq // everything up to this event is in it
	Members      []Member
}

// Progress is how far a partition of the accepted log was applied.
type Progress struct {
	Generation uint32
	Partition  int32
	Next       int64 // offset on the accepted log of the record to read next
	Last       int64 // offset on the inbound log of the newest outcome applied
}

// UnknownError refuses a batch: it changes conversations that the roster has
// never heard of, since it began later than they did or missed a part of the log.
// Nothing was applied. [Store.Load] them from the archive and apply again.
type UnknownError struct{ Conversations []chat.ConversationID }

// Error implements error.
func (e *UnknownError) Error() string {
	return fmt.Sprintf("the roster does not know %d of the conversations", len(e.Conversations))
}

// ErrSchema says that the tables are missing or not those of this release:
// `storage-worker migrate` makes them.
var ErrSchema = errors.New("the roster's tables are missing; run storage-worker migrate")

// Lists say who is in a conversation: the part of a [Store] that heads of large
// conversations need.
type Lists interface {
	// List returns all members of a conversation, in no order, and the version that
	// they are as of: the seq of the newest event that made them so. Both are of
	// one moment, whatever happens meanwhile, a change of servers included. A
	// conversation that is not known has none, at version 0.
	List(ctx context.Context, c chat.ConversationID) (members []Member, version chat.Seq, err error)
}

// Store is a roster. All methods are safe for concurrent use, wait for the store,
// and return ctx's error when it ends first. Any other error that is not named
// means that the outcome is unknown and the call may be repeated.
type Store interface {
	Lists

	// Apply makes the changes and the progress durable, all in one transaction:
	// when it returns nil whoever asks sees all of it, and a store that is put
	// back to a former day has put its progress back as well.
	//
	// The changes of one conversation are in the order of seq, as they are on the
	// log. Of a batch that was applied before, wholly or in part, what is not
	// above the conversation's version is dropped, and progress never moves back;
	// so two that apply the same log at the same time end with the rows of one.
	// What may not be is a batch that leaves out changes below its own: only a
	// conversation of which nothing is known is noticed, by an [UnknownError].
	Apply(ctx context.Context, changes []Change, at Progress) error

	// Load puts a conversation in place of whatever is known of it at a lower
	// version, in one transaction; at the same or a higher version it changes
	// nothing.
	Load(ctx context.Context, s Snapshot) error

	// Progress returns how far a partition was applied; ok is false when nothing
	// of it was.
	Progress(ctx context.Context, generation uint32, partition int32) (p Progress, ok bool, err error)

	// Members returns the members whose id is above after, ascending by the bytes
	// of their ids, limit at most (and [PageMax] at most). The zero id begins; a
	// page that is not full is the last. A conversation that is not known has
	// none. Pages are not one snapshot: who joins or leaves in between may be
	// missed or named, everybody else is named once.
	Members(ctx context.Context, c chat.ConversationID, after chat.UserID, limit int) ([]Member, error)

	// Peers returns those with whom the user has a direct conversation, those of
	// the newest conversations first, limit at most (and [PeersMax] at most).
	Peers(ctx context.Context, user chat.UserID, limit int) ([]chat.UserID, error)

	// Sharing returns those of others, [SharingMax] at most, who are in some
	// conversation together with the user, in the order of others.
	Sharing(ctx context.Context, user chat.UserID, others []chat.UserID) ([]chat.UserID, error)
}

// Name returns a conversation's name as the roster keeps it. PostgreSQL's text
// cannot hold U+0000, which a name may contain; U+2400 (␀, "symbol for null")
// stands in its place. The archive has the name as it was given, and clients are
// shown that one. What is longer than the limit for names, which the fold does
// not let through, is cut rather than refused for ever.
func Name(s string) string {
	if utf8.RuneCountInString(s) > chat.NameRunes {
		s = string([]rune(s)[:chat.NameRunes])
	}
	return strings.ReplaceAll(s, "\x00", "\u2400")
}
