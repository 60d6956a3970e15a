package bus

import "switchboard/internal/chat"

// Codec is the version of the record bodies that this code writes and reads.
const Codec = 1

// ReplyTo names the socket or REST call that waits for an outcome. The zero
// value means that nobody does.
type ReplyTo struct {
	Server  string // slot; the answer goes to DeliveryTopic(Server)
	Boot    uint64 // which life of that server
	Session uint64 // which socket or call in that life
	ID      string // the client's own envelope id, echoed in the answer
}

// Inbound is what a client wants of a conversation. Exactly one of the pointers
// is set.
type Inbound struct {
	Conversation chat.ConversationID
	Sender       chat.UserID
	Request      chat.RequestID // never zero: the gateway or REST node makes one
	ReplyTo      ReplyTo

	Send   *Send
	Create *Create
	Set    *SetMember
	Remove *RemoveMember
	Rename *Rename
	Anchor *Anchor
}

// Send is a message.
type Send struct {
	Kind     chat.Kind
	Content  string
	MediaURL string
	ReplyTo  chat.MessageID
}

// Create begins a conversation.
type Create struct {
	Type    chat.Type
	Name    string
	Members []chat.UserID // the creator among them, no one twice
	Limit   int           // the member limit in force when asked
}

// SetMember adds a user, or gives a member another role.
type SetMember struct {
	User  chat.UserID
	Role  chat.Role // 0: leave as it is; `member` for a new one
	Limit int
}

// RemoveMember takes a user out; a member may take out itself.
type RemoveMember struct{ User chat.UserID }

// Rename gives the conversation another name.
type Rename struct{ Name string }

// Anchor begins a generation of the inbound log with the clock of the last.
type Anchor struct{ Clock chat.Clock }

// Outcome is what became of an inbound record.
type Outcome uint8

// The outcomes.
const (
	// Stored: it is in the archive, with a seq and an id of its own.
	Stored Outcome = 1
	// Duplicate: it was stored before, or asks for what is so already.
	Duplicate Outcome = 2
	// Refused: nothing was stored; the code says why.
	Refused Outcome = 3
)

// String returns the word for metrics and logs.
func (o Outcome) String() string {
	switch o {
	case Stored:
		return "stored"
	case Duplicate:
		return "duplicate"
	case Refused:
		return "refused"
	}
	return "unknown"
}

// Accepted is the outcome of one inbound record.
type Accepted struct {
	Outcome  Outcome
	Position chat.Position // of the inbound record
	Clock    chat.Clock

	Conversation chat.ConversationID
	Sender       chat.UserID
	Request      chat.RequestID
	ReplyTo      ReplyTo

	// Stored.
	Events []Event // one, or two when an admin leaves and hands over
	// Recipients are the members to push to, those concerned by name when
	// Large. The sender is among them for the sake of its other devices.
	Recipients []chat.UserID
	Large      bool

	// Duplicate.
	Seq chat.Seq
	ID  chat.MessageID

	// Refused.
	Code    chat.Code
	Message string
}

// Event is one durable event of an outcome: the entry, and what a `created`
// begins with. The entry's Conversation, Sender and Request are those of the
// outcome.
type Event struct {
	chat.Entry
	Added []chat.UserID // with Created: the first members
	Type  chat.Type     // with Created
}

// Class is how a delivery may be treated by the gateway that gets it.
type Class uint8

// The classes.
const (
	// Durable records are filtered by inbound position and never dropped.
	Durable Class = 1
	// Latest wins: receipts and heads; exempt from the filter.
	Latest Class = 2
	// Signal: typing and presence; dropped first.
	Signal Class = 3
)

// Delivery is all that one outcome means for one server.
type Delivery struct {
	Class     Class
	Position  chat.Position // of the inbound record
	Partition int32         // of the inbound and the accepted log
	Frames    []Frame
	Answer    *Answer // to the sender, when it waits on this server
	Closes    []Close // only of what is fleeting
}

// ClosesPerDelivery bounds Closes.
const ClosesPerDelivery = 1024

// Close tells a server to close one of its sessions: another one, on another server,
// has taken its place. One that is not there, or not this user's, is left alone.
type Close struct {
	User          chat.UserID
	Boot, Session uint64
}

// Frame is one payload, encoded once as clients see it, and whom it is for.
type Frame struct {
	Payload    []byte
	Recipients []chat.UserID
	// ExceptBoot and ExceptSession name the one socket that gets Answer
	// instead; zero when there is none.
	ExceptBoot, ExceptSession uint64
	// Key is set for frames that say the latest of something: of those with one
	// key a gateway passes none whose Order is below one that it has passed.
	Key   []byte
	Order int64
}

// Answer is the outcome for the one who asked.
type Answer struct {
	Boot, Session uint64
	Payload       []byte // the frame for a socket
	Outcome       Outcome
	Seq           chat.Seq
	ID            chat.MessageID
	Code          chat.Code
	Message       string
}

// Push is a message for a member who is away.
type Push struct {
	User         chat.UserID
	Position     chat.Position
	Partition    int32
	Conversation chat.ConversationID
	ID           chat.MessageID
	Seq          chat.Seq
	Sender       chat.UserID
	Kind         chat.Kind
}

// Receipt is how far a user says to have received and read a conversation.
type Receipt struct {
	Conversation chat.ConversationID
	User         chat.UserID
	ReplyTo      ReplyTo // where refusals go; ReplyTo.ID is not used
	Answer       bool    // somebody waits to hear that the marks are in force
	Marks        []Mark
}

// Mark says "all up to here", by Seq or, where that is 0, by Message.
type Mark struct {
	Status  chat.Status
	Seq     chat.Seq
	Message chat.MessageID
	ID      string // the client's own envelope id, echoed in a refusal
}

// Status is a watermark that moved, or the answer to the one who moved it: an
// answer has an Outcome, a watermark has Recipients.
type Status struct {
	Conversation chat.ConversationID
	User         chat.UserID // whose watermark

	Status     chat.Status
	Seq        chat.Seq
	Message    chat.MessageID // of the event with that seq
	Millis     int64          // when it was marked: Unix time
	Recipients []chat.UserID

	ReplyTo ReplyTo // of an answer: to whom; else the one socket that is left out
	Outcome Outcome // Stored or Refused; 0 = no answer
	Code    chat.Code
	Text    string // of a refusal, a sentence
}

// Hint is something fleeting that a user does: it types, or has come, or is gone.
// Nothing depends on it, and it may be lost on the way.
type Hint struct {
	User   chat.UserID
	Millis int64 // when, by its gateway's clock: Unix time

	Conversation chat.ConversationID // of typing; zero with Presence
	IsTyping     bool                // or typing no more
	Presence     chat.Presence       // of one session; 0 with a Conversation
}
