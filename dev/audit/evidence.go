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
	Devices       []*Device
	Histories     []History
	Rosters       []Roster
	Lists         []List
}

// Conversation is a conversation as it was asked for.
type Conversation struct {
	ID      chat.ConversationID
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

// Way is how an event came to a device.
type Way uint8

// The ways.
const (
	Live Way = iota + 1 // pushed on a connection
	Sync                // in an answer of POST /sync
	Page                // in a page of history
	Told                // by message_sent, which counts as the event
)

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

// Device is what one device saw, in the order in which it did.
type Device struct {
	User chat.UserID
	Name string
	Seen []Sighting
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

// Roster is who is in a conversation, as the server says in the end.
type Roster struct {
	Conversation chat.ConversationID
	Members      []chat.UserID
	Version      chat.Seq
}

// List is what a user is told of all conversations in the end.
type List struct {
	User          chat.UserID
	Conversations []wire.Conversation
}
