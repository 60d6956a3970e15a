// Package rest is the public HTTP interface: history, conversations and members
// to read, and the same commands as on a socket for those who have none.
//
//	client ──GET──▶ authorize ──▶ archive ──▶ page
//	client ──POST, PUT, PATCH, DELETE──▶ authorize ──▶ chat.inbound ─ ─▶ (fold, router)
//	client ──GET …/presence──▶ who shares a conversation ──▶ archive, directory
//	client ──POST …/read──▶ authorize ──▶ chat.receipts ─ ─▶ (watermarks, router)
//	                    answer ◀── chat.delivery.<server>, read by Run ◀─ ─┘
//
// What changes a conversation is decided by the fold and by nobody else: a call
// puts a record on the inbound log, names this server and itself as the one to
// answer, and waits. What the answer is made of is read from the archive then,
// since everything is stored before it is answered. A call that waited too long
// has an unknown outcome and says so: `timeout`.
//
// # Authorization
//
// Each call that names a conversation first asks the archive for the caller's stays
// in it, past any cache. A conversation that the caller has left, never was in, or
// that does not exist gives one and the same refusal, after that one read. Whoever
// is in sees what lies inside the stays, earlier ones included, and nothing else.
// Whatever shows some of a conversation, the answer to a change included, asks again
// when it is ready, so that one under way during a removal shows nothing from after
// it.
//
// Who is online is told to those who share a conversation now, by the same index
// and not by the roster, which may be late: whoever was removed from the last
// common conversation sees nothing any more as soon as that is answered.
//
// # Limits
//
// Each user has a bucket for each kind of call on this server, and a call that comes
// too soon is told when to come again. The token is verified first, and the bucket
// asked before the body or the archive is read. Who has no good token is not limited
// by address, since a balancer's is all that is seen here (docs/adr).
//
// # What is not there yet
//
// The archive shows the events of a conversation in order of seq, but its index
// may run ahead of them and one reading may miss what the next one has. So pages
// and /sync end before the first event that is missing, and tell no head above
// it: what is missing is pushed once it is stored, and nothing was stepped over.
//
// # What it does not do
//
// It keeps nothing but those buckets: no session, no cursor, no cache. It
// terminates no TLS. It does not know Kafka or SQLite; package main hands it both
// behind interfaces.
package rest
