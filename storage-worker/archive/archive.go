// Package archive is what the storage tier remembers: every durable event of
// every conversation, who was a member when, which sends were already seen, and
// how far each partition of the log has been worked off. It is the truth for
// the fold and for REST alike.
//
//	fold ──Write──▶ archive ◀──Entries, Stays, Spans── rest
//
// The tables, the same in CQL and in SQLite, stand in docs/formats.md:
//
//	messages          ((conversation_id, bucket), seq)              what was said
//	message_keys      ((conversation_id, sender_id, request_id),
//	                   generation, inbound_offset)                  for retries, 8 days
//	conversations     ((conversation_id))                           type, name
//	heads             ((conversation_id))                           the newest bucket's first seq
//	members           ((conversation_id), user_id, joined_seq)      spans, never deleted
//	conversations_of  ((user_id), conversation_id, joined_seq)      the user index: stays
//	watermarks        ((conversation_id), user_id, joined_seq)      read and delivered
//	progress          ((generation, partition))                     where to go on
//	media_refs        ((media_id), conversation_id)                 who may open an upload
//
// Every write carries the record's clock as its write timestamp and the newest
// timestamp wins, column by column, so that a zombie or a replay can repeat any
// write at any time and change nothing. The package deliberately decides
// nothing: outcomes are the fold's business.
package archive

import (
	"context"
	"errors"

	"switchboard/internal/chat"
)

// ErrNotFound says that there is no such conversation.
var ErrNotFound = errors.New("no such conversation")

// Tip is the newest event of a conversation, as of some border. The zero value
// means that there is none.
type Tip struct {
	Seq chat.Seq
	ID  chat.MessageID
}

// Info is what a conversation is.
type Info struct {
	Type    chat.Type
	Name    string
	Creator chat.UserID
	Created chat.MessageID // id of its first event
}

// Span is a time of membership in one role. It covers the events with
// Joined ≤ seq ≤ Left. A change of role closes a span and opens another at the
// same seq; so two spans belong to one stay exactly when Left of the first is
// Joined of the second.
type Span struct {
	User   chat.UserID
	Joined chat.Seq
	Left   chat.Seq // 0 = still open
	Role   chat.Role
	At     chat.MessageID // of the event that opened it: carries joined_at
}

// Counts reports whether the span makes its user a member when the event with
// the candidate seq s is decided. It holds for a replay as well, when later
// spans and ends are already there.
func (s Span) Counts(candidate chat.Seq) bool {
	return s.Joined < candidate && (s.Left == 0 || s.Left >= candidate)
}

// Stay is a row of the user index: one unbroken membership of a user, over all
// its roles. Head is the newest event that the user may see, for conversations
// that are not Large; a large one's head is asked with [Store.Tip].
type Stay struct {
	User         chat.UserID
	Conversation chat.ConversationID
	Joined       chat.Seq
	Left         chat.Seq // 0 = still there; else the last event the user may see
	Head         Tip
	Large        bool
}

// Key is what makes a retry recognisable.
type Key struct {
	Conversation chat.ConversationID
	Sender       chat.UserID
	Request      chat.RequestID
}

// Seen is what is known of a [Key]: one row for each inbound record that was
// stored under it. There are two when a request id was used again after
// [chat.KeyWindow]; the second must not hide the first from a predecessor's or a
// zombie's record that stands between them, so Position is part of the row's
// primary key.
type Seen struct {
	Key
	Position chat.Position // of the inbound record that was stored
	Seq      chat.Seq
	ID       chat.MessageID
	Digest   [32]byte
}

// Watermark is how far a user has read and been sent a conversation, in one
// stay.
type Watermark struct {
	Conversation chat.ConversationID
	User         chat.UserID
	Joined       chat.Seq // of the stay
	Read         chat.Seq
	Delivered    chat.Seq
}

// Progress is how far a partition of the inbound log was worked off: everything
// up to and including Position has its outcome on the accepted log.
type Progress struct {
	Position chat.Position
	Clock    chat.Clock
}

// MediaRef says that an upload was sent to a conversation, by an event. Of several
// events the last one is kept.
type MediaRef struct {
	Media        chat.MediaID
	Conversation chat.ConversationID
	By           chat.MessageID
}

// Row is a stored event, with the inbound record that caused it.
type Row struct {
	chat.Entry
	Position chat.Position
}

// Batch is what some records of one partition leave behind. Every element
// carries its clock in an id of its own ([chat.ClockOf]).
type Batch struct {
	Rows    []Row
	Seen    []Seen
	Infos   []InfoWrite
	Opened  []SpanOpened
	Closed  []SpanClosed
	Stays   []StayWrite
	Media   []MediaRef
	Marks   []Watermark // a maximum: a lower value than the stored one changes nothing
	Records int         // how many inbound records are in it, for metrics
}

// InfoWrite creates a conversation or renames it. Creator, Type and Created are
// zero when it only renames.
type InfoWrite struct {
	Conversation chat.ConversationID
	Info
	By chat.MessageID // the event that caused it
}

// SpanOpened begins a span.
type SpanOpened struct {
	Conversation chat.ConversationID
	Span
}

// SpanClosed ends the span of a user that began at Joined.
type SpanClosed struct {
	Conversation chat.ConversationID
	User         chat.UserID
	Joined, Left chat.Seq
	By           chat.MessageID
}

// StayWrite writes a row of the user index. Head and Large always count; Left
// counts unless it is 0, and once set it stays.
type StayWrite struct {
	Stay
	By chat.MessageID
}

// Store is the archive. All methods are safe for concurrent use, wait for the
// store, and return ctx's error when it ends first; any other error means that
// the outcome is unknown and the call may be repeated.
type Store interface {
	// Write makes everything in b durable. When it returns nil all of it is
	// there; otherwise any part may be. Repeating it is harmless, also after
	// later batches were written.
	//
	// The events of one conversation appear in order of seq: whoever can read
	// one can read all below it, those of b and those of batches whose Write has
	// returned. (Where a transaction is too dear: one batch for what goes to the
	// same bucket, the next bucket when the first is acknowledged.) Nothing else
	// has an order, so that a head or a stay may be read before the event that
	// moved it.
	Write(ctx context.Context, b *Batch) error

	// Tip returns the newest event of a conversation whose id is below the
	// border; a zero border means the newest of all. No event: the zero Tip.
	// Everything up to the newest of all can be read.
	Tip(ctx context.Context, c chat.ConversationID, border chat.MessageID) (Tip, error)
	// Info returns what a conversation is, or [ErrNotFound].
	Info(ctx context.Context, c chat.ConversationID) (Info, error)
	// Spans returns all spans of a conversation, ordered by user and Joined.
	Spans(ctx context.Context, c chat.ConversationID) ([]Span, error)
	// SeenKeys returns all that is known of the keys, in any order, unknown ones
	// left out: each position of a key is a row of its own.
	SeenKeys(ctx context.Context, keys []Key) ([]Seen, error)

	// Entries returns the events with from ≤ seq ≤ to, ascending, at most
	// limit: the lowest of them, or the highest if newest is set. It need not be
	// one reading: of a Write that is under way, the lowest may lack an event
	// and have a later one.
	Entries(ctx context.Context, c chat.ConversationID, from, to chat.Seq, limit int, newest bool) ([]Row, error)
	// Stays returns a user's whole index, ordered by conversation and Joined.
	Stays(ctx context.Context, u chat.UserID) ([]Stay, error)
	// StaysIn returns a user's stays in one conversation, ordered by Joined:
	// what every authorization asks. It sees each Write that has returned.
	StaysIn(ctx context.Context, u chat.UserID, c chat.ConversationID) ([]Stay, error)
	// Watermarks returns the marks of all members of a conversation. Like
	// Watermark, it sees each Write that has returned.
	Watermarks(ctx context.Context, c chat.ConversationID) ([]Watermark, error)
	// Watermark returns one user's mark in a stay; a missing one is at Joined.
	Watermark(ctx context.Context, c chat.ConversationID, u chat.UserID, joined chat.Seq) (Watermark, error)

	// MediaRefs returns conversations that an upload was sent to, each with the last
	// message that did, at most limit of them, in any order.
	MediaRefs(ctx context.Context, id chat.MediaID, limit int) ([]MediaRef, error)

	// Progress returns how far a partition was worked off; the zero value when
	// nothing is known.
	Progress(ctx context.Context, generation uint32, partition int32) (Progress, error)
	// SetProgress notes it. A lower position than the stored one changes
	// nothing.
	SetProgress(ctx context.Context, partition int32, p Progress) error
}
