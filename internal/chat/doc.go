// Package chat is the vocabulary of the system: what a user, a conversation, a
// message and an outcome are called and how large they may be. Every other
// package speaks in these words; this one imports nothing but the standard
// library and does nothing: no I/O, no goroutine, no clock of its own.
//
// # Identity
//
// All identifiers are UUIDs, 16 bytes in memory and on the log, lower-case text
// towards clients, and a different Go type for each kind of thing. A
// [MessageID] is a TIMEUUID (RFC 9562 version 1) made from a partition's
// [Clock]; a direct conversation's id follows from the pair of users
// ([DirectConversation]), a group's from its creator and the creator's own
// request id ([GroupConversation]), so that asking twice names the same thing.
//
// # Order
//
// [Seq] orders, ids identify, time only displays. A conversation's durable
// events are numbered 1, 2, 3 … without a gap, messages and membership events
// alike; message ids ascend with seq.
//
// What is pinned for ever stands in docs/formats.md, and a test beside each
// piece holds it there.
package chat
