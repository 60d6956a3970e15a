package audit

import (
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// Evidence is everything that is known of a run. Who collects it may leave the
// order of its parts to chance, except inside a Device and among the Commands
// that concern one person in one conversation.
type Evidence struct {
	Conversations []Conversation
	Sends         []Send
	Answers       []Answer
	Commands      []Command
	Marks         []Mark
	Words         []Word
	Devices       []*Device
	Histories     []History
	Rosters       []Roster
	// Readings are Rosters too, read while people talked; those of one conversation
	// in the order of the reading, each after the answer to the one before.
	Readings []Roster
	Lists    []List
	// Held is the longest time for which something was stopped that may have kept what
	// it had to say: that comes at once.
	Held time.Duration
	// Frozen are the times in which a gateway stood still: to everybody else it had
	// died, and who was on it.
	Frozen []Span
}

// Span is a time from a moment to another.
type Span struct{ From, To time.Time }

// Conversation is a conversation as it was asked for.
type Conversation struct {
	ID      chat.ConversationID
	Direct  bool
	Creator chat.UserID   // stays to the end
	Members []chat.UserID // at the beginning, the creator included
}

// Send is one message that somebody wanted to send, however often it was tried.
type Send struct {
	User         chat.UserID
	Conversation chat.ConversationID
	Request      chat.RequestID
	Content      string // unique in the run
	Begun        time.Time
	// Refused says that every attempt was refused: it must not be in history.
	Refused bool
}

// Answer is a message_sent, or the same over REST.
type Answer struct {
	User         chat.UserID
	Conversation chat.ConversationID
	Request      chat.RequestID
	Message      chat.MessageID
	Seq          chat.Seq
	Duplicate    bool
	At           time.Time
}

// Command is a member added or removed, tried until there was an answer that
// leaves no doubt.
type Command struct {
	Conversation chat.ConversationID
	User         chat.UserID // whom it concerns
	Change       chat.Change // MemberAdded or MemberRemoved
	Begun        time.Time   // the first attempt
	Answered     time.Time   // zero: it is unknown whether it happened
}

// Mark says that its user has received or read everything up to a seq: as a device
// put it on the wire, or as it was asked for over REST.
type Mark struct {
	User         chat.UserID
	Conversation chat.ConversationID
	Status       chat.Status
	Seq          chat.Seq
	At           time.Time // just before it was written
}

// Word is one `typing`, as a device put it on the wire.
type Word struct {
	User         chat.UserID
	Conversation chat.ConversationID
	IsTyping     bool
	At           time.Time // just before it was written
}

// Way is how an event came to a device.
type Way uint8

// The ways.
const (
	Live    Way = iota + 1 // pushed on a connection
	Sync                   // in an answer of POST /sync
	Page                   // in a page of history
	Told                   // by message_sent, which counts as the event
	Carried                // in the head of a large conversation
)

// String says it in a word.
func (w Way) String() string {
	return [...]string{"unseen", "live", "synced", "paged", "told", "carried"}[w]
}

// Sighting is one durable event as it came over the wire. An event that is no
// message has the form of history, without what the live form leaves out.
type Sighting struct {
	At         time.Time
	Way        Way
	Connection int // which of the device's connections was the newest
	// Of Sync and Page: which answer it stood in, and up to where the device had
	// said that it has this conversation.
	Answer  int
	Have    chat.Seq
	Message wire.Message
}

// Hint is what was pushed to a device besides durable events and answers. One of
// the pointers is set.
type Hint struct {
	At         time.Time
	Connection int
	Head       *wire.ConversationUpdated // what it carries is a Sighting too
	Status     *wire.MessageStatus
	Typing     *wire.Typing
	Presence   *wire.Presence
}

// Lag is a conversation that an answer of /sync told a device to page.
type Lag struct {
	wire.Head

	Asked    time.Time // when the device began to ask
	Answered time.Time
}

// Link is one connection of a device, from `connected` to its end.
type Link struct {
	Connected time.Time // zero: `connected` never came
	Closed    time.Time // zero: it is still open
}

// Device is what one device saw, in the order in which it did.
type Device struct {
	User  chat.UserID
	Name  string
	Seen  []Sighting
	Hints []Hint
	Lags  []Lag
	Links []Link // Connection n is Links[n-1]
	// Applied is what the client library made of it.
	Applied []wire.Message
	// Last is the connection that the device has in the end.
	Last Connection
}

// Connection is one connection of a device that is still open.
type Connection struct {
	Number    int         // as in Sighting
	Connected time.Time   // when `connected` came; zero: nothing is known of it
	Behinds   []time.Time // when `behind` came
}

// History is a conversation as one of its members could read it in the end.
type History struct {
	User         chat.UserID
	Conversation chat.ConversationID
	Denied       bool // the answer was 404
	Messages     []wire.Message
}

// Roster is who is in a conversation, and how far each has come, as …/members says.
type Roster struct {
	Conversation chat.ConversationID
	Members      []wire.Member
	Version      chat.Seq
}

// List is what a user is told of all conversations in the end.
type List struct {
	User          chat.UserID
	Conversations []wire.Conversation
}
