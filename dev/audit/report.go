package audit

import (
	"fmt"
	"strings"
)

// Obligation is one promise of the protocol that is checked.
type Obligation string

// The obligations. Their text is what a violation is reported as. They stand by
// kind; see kinds.
const (
	Readable    Obligation = "the creator can read the history"
	Dense       Obligation = "seq is dense from 1"
	Ascending   Obligation = "message_id ascends with seq"
	Stamped     Obligation = "timestamp is the id's"
	Sent        Obligation = "history holds what was sent, by whom it was sent"
	Once        Obligation = "a message is in history at most once"
	SameHistory Obligation = "every member reads the same history, inside the memberships"

	Kept       Obligation = "what was acknowledged is in history, at the acknowledged seq and id"
	SameAnswer Obligation = "every retry is answered with the same id and seq"
	OneFirst   Obligation = "at most one answer is no duplicate"
	NotRefused Obligation = "what was refused is not in history"

	Delivered   Obligation = "every device of a member sees every event"
	NotSilent   Obligation = "what is sent while a device is connected is pushed to it, or `behind` tells"
	Unaltered   Obligation = "what is seen is what history says"
	OwnMark     Obligation = "client_message_id comes to its sender and to nobody else"
	InOrder     Obligation = "on one connection events come once and by seq"
	Fresh       Obligation = "an answer of /sync or history has only what was asked for, once and by seq"
	AppliedOnce Obligation = "a device applies every visible event once, by seq"

	Inside     Obligation = "nobody sees what lies outside the memberships"
	ByMember   Obligation = "history holds what members sent while they were members"
	Closed     Obligation = "history is closed to whoever left"
	Obeyed     Obligation = "an answered change of membership happened, once"
	InForce    Obligation = "a change of membership is in force when it is answered"
	SameRoster Obligation = "the list of members is what the events say"
	Listed     Obligation = "a user's list has the conversations that the user is in, with head and members"
	LagInside  Obligation = "/sync names no conversation to somebody who is not in it"

	MarkForward   Obligation = "watermarks in the list of members never move back"
	MarkBounded   Obligation = "nobody has read what they have not received, or what is not there"
	MarkKept      Obligation = "every mark is reached in the list of members"
	MarkEarned    Obligation = "nobody stands further than they marked or wrote"
	StatusForward Obligation = "on one connection no mark is told after a higher one"
	StatusTrue    Obligation = "a mark that is told was made before, and names its event"
	StatusInside  Obligation = "a mark is told to members whom it concerns, and to nobody who left before it"
	OwnRead       Obligation = "sending a message moves the sender's own read mark to it"
	SameMark      Obligation = "a user's list and the list of members agree on what was read"
	Unread        Obligation = "unread counts the messages of others above the read mark"

	HeadForward Obligation = "on one connection no head is told after a higher one"
	HeadTrue    Obligation = "a head is the seq of an event of a large conversation, and carries that event or none"
	HeadInside  Obligation = "nobody is told of a head outside the memberships"
	HeadPace    Obligation = "heads of a conversation come once a second at most"
	HeadInstead Obligation = "an event of a large conversation is pushed only to those whom it concerns"
	LagTrue     Obligation = "/sync names no head beyond the newest event"

	TypingInside Obligation = "typing of members is told to the other members"
	TypingSmall  Obligation = "typing is told in small conversations only"
	TypingSaid   Obligation = "typing that is told was said"
	PeersOnly    Obligation = "coming and going is told to direct peers only"
	NotGone      Obligation = "nobody is called offline who is connected"
)

// kind is what a promise is about.
type kind struct {
	name        string
	obligations []Obligation
}

// kinds has every obligation once.
func kinds() []kind {
	return []kind{
		{"history", []Obligation{Readable, Dense, Ascending, Stamped, Sent, Once, SameHistory}},
		{"answers", []Obligation{Kept, SameAnswer, OneFirst, NotRefused}},
		{"delivery", []Obligation{Delivered, NotSilent, Unaltered, OwnMark, InOrder, Fresh, AppliedOnce}},
		{"membership", []Obligation{Inside, ByMember, Closed, Obeyed, InForce, SameRoster, Listed, LagInside}},
		{"marks", []Obligation{
			MarkForward, MarkBounded, MarkKept, MarkEarned, StatusForward, StatusTrue, StatusInside, OwnRead, SameMark, Unread,
		}},
		{"heads", []Obligation{HeadForward, HeadTrue, HeadInside, HeadPace, HeadInstead, LagTrue}},
		{"hints", []Obligation{TypingInside, TypingSmall, TypingSaid, PeersOnly, NotGone}},
	}
}

// violationsKept bounds how many violations of one promise are told one by one: a
// fault usually breaks it thousands of times.
const violationsKept = 10

// Violation is one promise that was not kept.
type Violation struct {
	Obligation Obligation
	Detail     string
}

// String returns both in a line.
func (v Violation) String() string { return string(v.Obligation) + ": " + v.Detail }

// Report is the judgement.
type Report struct {
	Checked    map[Obligation]int // how often each was checked
	Broken     map[Obligation]int // how often each was found broken
	Violations []Violation        // the first of each
	Crossings  int                // how often a conversation became large, or small again
}

func newReport() *Report {
	return &Report{Checked: make(map[Obligation]int), Broken: make(map[Obligation]int)}
}

// check counts one check and, unless it holds, notes the violation.
func (r *Report) check(o Obligation, holds bool, format string, args ...any) {
	r.Checked[o]++
	if holds {
		return
	}
	r.Broken[o]++
	if r.Broken[o] <= violationsKept {
		r.Violations = append(r.Violations, Violation{Obligation: o, Detail: fmt.Sprintf(format, args...)})
	}
}

// Obligations returns how many checks were made.
func (r *Report) Obligations() (n int) { return sum(r.Checked) }

// Failures returns how many of them failed.
func (r *Report) Failures() int { return sum(r.Broken) }

func sum(counts map[Obligation]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// Table returns a line for each obligation: how often it was checked, and how
// often it did not hold.
func (r *Report) Table() string {
	var b strings.Builder
	for _, k := range kinds() {
		for _, o := range k.obligations {
			fmt.Fprintf(&b, "%-10s %10d checked %6d broken  %s\n", k.name, r.Checked[o], r.Broken[o], o)
		}
	}
	return b.String()
}

// ByKind returns in one line how many checks of each kind were made.
func (r *Report) ByKind() string {
	var parts []string
	for _, k := range kinds() {
		n := 0
		for _, o := range k.obligations {
			n += r.Checked[o]
		}
		parts = append(parts, fmt.Sprintf("%s %d", k.name, n))
	}
	return strings.Join(parts, ", ")
}
