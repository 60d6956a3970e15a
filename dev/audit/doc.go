// Package audit judges a run of the system by what a client can rely on. It is
// given what was asked for, what was answered, what every device saw and what
// history says in the end, and names each promise of docs/protocol.md that these
// do not keep.
//
//	what clients sent ──▶
//	what they were told ──▶  Check ──▶ obligations checked, violations
//	what history says   ──▶
//
// It does no I/O, knows no server and trusts no client library: devices report
// the frames and bodies that came over the wire. The truth that everything is
// held against is the history of the conversation's creator, who never leaves;
// who may see what is computed from its events and from nothing else. What was sent
// before or after the answer to what is told by the clock of whoever collected the
// evidence, which is one.
//
// [Plants] try the judge: each is a mistake that a system could make, put into what
// was recorded of a sound run.
//
// Contents must be unique, since other people's messages carry no other mark
// that was known before they were sent.
package audit
