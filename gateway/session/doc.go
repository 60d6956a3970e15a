// Package session knows who is connected to this gateway and what state each
// connection is in. It is the [edge.Handler]: edge tells it about sockets, it
// answers with frames, and hands what clients send to the uplink.
//
//	edge ──Handshake──▶ judge ──▶ verifier (off the loops) ──▶ Accept
//	     ──Message───▶ handshaking → waiting → verifying → registering → connected
//	                                                 │          ▲            │
//	                                                 ▼          │ acknowledged▼
//	                                              registrar ──▶ presence   uplink
//	downlink ──Batch──▶ each loop ──▶ its user index ──▶ Write
//	         ──Replace─▶ a session whose place one on another gateway has taken
//
// Of a user's sessions on this gateway the census closes those that have to go, of
// those on other gateways rivals do.
//
// # A session is 80 bytes
//
// Everything about a session lies in a slot of a slab that belongs to its event
// loop, without a pointer, beside an index of the loop's users that costs some
// 8 bytes a session. There is no lock, no timer and no heap object per session:
// only the loop touches it, and the hand of the clock ([Keeper.Visit]) does what
// is due. A session's number says which loop, slot and generation it is, so an
// answer finds its socket without a search.
//
// # Before `connected`
//
// A session is in the presence directory, acknowledged, before it says
// `connected`, and `connected` is its first frame. So for an event e and a
// session of one of its recipients there are three cases:
//
//  1. The router looked the user up before the registration. Then e was stored
//     before it, for storing precedes looking up; `connected` came after it, and
//     the client's `/sync` after `connected` reads what was stored.
//  2. The router found the registration, and the push reaches the loop after
//     `connected` was written. Then it is pushed.
//  3. The router found the registration, but the push overtakes the
//     acknowledgement on its way to the loop: two roads, two goroutines. Then
//     the push is dropped. e was stored before the push began to travel, the
//     loop writes `connected` after it has seen the push, so the client's `/sync`
//     comes after the store, as in case 1. Dropping loses nothing, keeping it
//     until `connected` would only send it twice.
//
// Saying `connected` before the acknowledgement would break case 1: an event
// stored after the client's `/sync` could be looked up before the registration.
//
// Frames that a client sends after its credentials and before `connected` are
// held, a few, and worked on afterwards: a client need not wait.
//
// # What is not here
//
// Nothing in this package reads history or membership, so whether a typist is a
// member is judged where that is known.
package session
