package chat

import "time"

// The limits that clients meet. Each is told to them, in `connected` or in the
// error that names it; none is silent.
const (
	// FrameBytes bounds one frame from a client; a longer one closes with 1009.
	FrameBytes = 16 << 10
	// ServerFrameBytes bounds one frame to a client.
	ServerFrameBytes = 64 << 10
	// ContentBytes bounds a message's content in UTF-8, after JSON decoding.
	ContentBytes = 8 << 10
	// MediaURLBytes bounds a media_url.
	MediaURLBytes = 2 << 10
	// DeviceIDBytes bounds a device_id.
	DeviceIDBytes = 64
	// NameRunes bounds a conversation's name, in characters.
	NameRunes = 255
	// EnvelopeIDRunes bounds the id that a client may put on a frame.
	EnvelopeIDRunes = 36
	// ConnectionsPerUser is how many connections a user may hold; one more
	// closes the oldest with [CloseSessionReplaced].
	ConnectionsPerUser = 10
	// ConversationsPerUser bounds the user index: too_many_conversations.
	ConversationsPerUser = 5000
	// MembersDefault is the member limit of a group unless configured.
	MembersDefault = 500
	// MembersMax is the highest member limit that may be configured.
	MembersMax = 10_000
	// PageDefault is the length of a page of history unless asked otherwise.
	PageDefault = 50
	// PageMax is the longest page that may be asked for.
	PageMax = 200
	// SendsPerSecond fills the token bucket of one connection's send_message
	// events.
	SendsPerSecond = 20
	// SendBurst is how much that bucket holds.
	SendBurst = 40
	// UserSendsPerSecond and UserSendBurst are the same for all connections of a
	// user to one gateway together.
	UserSendsPerSecond = 40
	UserSendBurst      = 80
	// MarksPerSecond fills the token bucket of one connection's mark_delivered,
	// mark_read and heartbeat events, of which a few a second are enough for anybody.
	MarksPerSecond = 50
	// MarkBurst is how much that bucket holds: the marks of a client that comes
	// back to many conversations.
	MarkBurst = 500
	// UserMarksPerSecond and UserMarkBurst are the same for all connections of a
	// user to one gateway together.
	UserMarksPerSecond = 100
	UserMarkBurst      = 1000
	// OpensPerSecond fills the token bucket of a user's new connections to one
	// gateway, each of which costs a signature and some writes.
	OpensPerSecond = 5
	// OpenBurst is how much that bucket holds.
	OpenBurst = 200
	// ErrorsInARow closes a connection with [CloseTooManyErrors].
	ErrorsInARow = 10
	// TypingInterval is how often a connection may say `typing`.
	TypingInterval = 3 * time.Second
	// TypingShown is for how long others show it.
	TypingShown = 6 * time.Second
	// TypingMembers is up to how many members are told of it.
	TypingMembers = 50
	// MediaKept is how long an upload is kept that is in no message.
	MediaKept = 24 * time.Hour
	// AuthTimeout is how long a socket may take to say who it is.
	AuthTimeout = 10 * time.Second
)

// The numbers that outcomes depend on. They are part of the log's meaning:
// changing one would make a replay decide differently, so none ever changes.
const (
	// LargeAbove is the number of members above which a message is stored once
	// and pulled, instead of being pushed to each member.
	LargeAbove = 100
	// KeyWindow is how long, by the record clock, a retry finds its first send.
	KeyWindow = 7 * 24 * time.Hour
	// KeyTTL is how long the archive keeps the row that KeyWindow needs.
	KeyTTL = 8 * 24 * time.Hour
	// MediaWindow is how long after it was uploaded a file may first be sent, by the
	// record clock. What nobody has sent is removed after [MediaKept], so the fold
	// may be hours late and no message names a file that is gone.
	MediaWindow = 20 * time.Hour
	// BucketSize is how many events of a conversation share a partition of the
	// archive: bucket = (seq − 1) / BucketSize.
	BucketSize = 4096
)

// Ticks converts a duration to ticks of a [Clock].
func Ticks(d time.Duration) Clock { return Clock(d / time.Microsecond) }
