// Package search finds messages by what is in them.
//
//	chat.accepted ──▶ Indexer ──▶ Store.Apply (messages and progress in one) ──▶ commit
//	                     └─ what the log no longer holds ──▶ read it from the archive
//
//	REST ──▶ Parse ──▶ Finder ──▶ Store.Match ──▶ rank, highlights ──▶ a page, and where to go on
//	          scope ───▲
//
// The index is a copy that may be thrown away: the [Indexer] fills an empty one from
// the accepted log. Since seq is dense, it sees what a conversation lacks, and reads
// that from the archive: what is older than the log, or was deleted there unread. It
// is a reader of its own, with a consumer group of its own, and nothing waits for it;
// so a message is found a moment after it was stored.
//
// # Who finds what
//
// A [Scope] says which events of which conversations the caller may see, and it is
// part of every question to the store, not a filter of its answers. It is made from
// the archive's user index when the question comes, never from the index, which
// may be late. Whoever shows the answer reads the messages from the archive and
// asks once more.
//
// # Ranking
//
// A store answers with the newest messages that match, a [Window] of them at a time;
// here they are ranked among themselves by how well they match and how old they are.
// What is older than a window comes on later pages. So any question costs a window
// or two, whatever the words, all that matches is found by going on, and every
// implementation gives the same order.
//
// What it does not do: it keeps no truth. It knows no stems and no spelling mistakes.
package search

import (
	"context"
	"errors"
	"slices"
	"sort"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// Document is a message as the index has it.
type Document struct {
	ID           chat.MessageID // its key, and its place: newer ones are above
	Conversation chat.ConversationID
	Seq          chat.Seq
	Sender       chat.UserID
	Kind         chat.Kind // never an event
	Media        bool
	Content      string
	// Version is the clock of the record that this state of the message comes from.
	// An older one never replaces a newer.
	Version chat.Clock
}

// NewDocument returns what the index keeps of an entry; ok is false for events.
func NewDocument(e *chat.Entry) (d Document, ok bool) {
	if e.Kind != chat.KindText && e.Kind != chat.KindImage && e.Kind != chat.KindFile {
		return d, false
	}
	return Document{
		ID: e.ID, Conversation: e.Conversation, Seq: e.Seq, Sender: e.Sender, Kind: e.Kind,
		Media: e.MediaURL != "" || e.Kind != chat.KindText, Content: e.Content, Version: chat.ClockOf(e.ID),
	}, true
}

// Has returns what the message has beside its text.
func (d *Document) Has() (things []Thing) {
	if d.Media {
		things = append(things, Media)
	}
	switch d.Kind {
	case chat.KindImage:
		things = append(things, Image)
	case chat.KindFile:
		things = append(things, File)
	case chat.KindText, chat.KindEvent:
	}
	return things
}

// Span is events of a conversation, both ends included; To is 0 when it is open.
type Span struct{ From, To chat.Seq }

// Scope is what somebody may see: of each conversation, spans that ascend and lie
// apart.
type Scope map[chat.ConversationID][]Span

// ScopeOf returns what the user may see whose whole index stays is: all stays, earlier
// ones included, in the conversations that the user is in now.
func ScopeOf(stays []archive.Stay) Scope {
	scope := make(Scope)
	for _, s := range stays {
		if s.Left == 0 {
			scope[s.Conversation] = nil
		}
	}
	for _, s := range stays {
		if spans, in := scope[s.Conversation]; in {
			scope[s.Conversation] = append(spans, Span{s.Joined, s.Left})
		}
	}
	return scope
}

// Covers reports whether an event may be seen.
func (s Scope) Covers(c chat.ConversationID, seq chat.Seq) bool {
	spans := s[c]
	begun := sort.Search(len(spans), func(i int) bool { return spans[i].From > seq })
	return begun > 0 && (spans[begun-1].To == 0 || seq <= spans[begun-1].To)
}

// HasAll reports whether something may be seen of each conversation.
func (s Scope) HasAll(conversations []chat.ConversationID) bool {
	return !slices.ContainsFunc(conversations, func(c chat.ConversationID) bool {
		_, in := s[c]
		return !in
	})
}

// within returns what is left of the scope in these conversations; nil means all.
func (s Scope) within(in []chat.ConversationID) Scope {
	if len(in) == 0 {
		return s
	}
	part := make(Scope)
	for _, c := range in {
		if spans, ok := s[c]; ok {
			part[c] = spans
		}
	}
	return part
}

// Progress is how far a partition of the accepted log is in the index.
type Progress struct {
	Generation uint32
	Partition  int32
	Next       int64 // offset of the accepted record to read next
	Last       int64 // inbound offset of the newest outcome in the index; -1 when there is none
}

// Question is what a store is asked.
type Question struct {
	*Query
	Scope Scope
	// Top and Bottom bound the messages: Bottom ≤ id < Top. Zero ones do not.
	Top, Bottom chat.MessageID
	Limit       int // at most Window
}

// Matches is a store's answer.
type Matches struct {
	Documents []Document // the newest first
	// Next is where to go on, as the Top of the next question; zero when there is
	// nothing more. It may be set although there are fewer documents than asked for,
	// even none: the store has looked at as many as it does at a time.
	Next chat.MessageID
}

// Batch is what some records leave behind.
type Batch struct {
	Documents []Document
	// Reached says of conversations that all their messages up to this seq are in the
	// index once the batch is.
	Reached map[chat.ConversationID]chat.Seq
	// Progress is noted together with it, if its generation is not 0.
	Progress Progress
}

// ErrGone says that an index is not the one that was prepared: somebody deleted that,
// and perhaps made another. What was read of its progress is not true of any that
// is there.
var ErrGone = errors.New("the search index is gone")

// Store is an index. All methods are safe for concurrent use and wait for the store.
// They return ctx's error when it ends first, and all but Match may return [ErrGone];
// after any other the call may be repeated.
type Store interface {
	// Apply writes a batch, all of it or nothing, or at least the documents before
	// the rest. A document whose version is not above the stored one's changes
	// nothing, nor does a lower progress or seq, so that everything may be repeated at
	// any time. What it wrote is found once it has returned.
	Apply(ctx context.Context, b *Batch) error
	// Progress returns how far a partition is; ok is false when nothing is known.
	Progress(ctx context.Context, generation uint32, partition int32) (p Progress, ok bool, err error)
	// Reached returns how far conversations are in the index, as batches said; those of
	// which nothing is known are left out.
	Reached(ctx context.Context, conversations []chat.ConversationID) (map[chat.ConversationID]chat.Seq, error)
	// Match returns what answers to the query inside the scope, or at least to what is
	// sought of it. It looks at a bounded number of messages, newer ones first. Nothing
	// outside of the scope is ever in the answer; everything inside that is in the
	// index is, by going on.
	Match(ctx context.Context, q *Question) (Matches, error)
}
