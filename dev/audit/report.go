package audit

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Obligation is one promise of the protocol that is checked.
type Obligation string

// The obligations. Their text is what a violation is reported as.
const (
	Readable    Obligation = "the creator can read the history"
	Dense       Obligation = "seq is dense from 1"
	Ascending   Obligation = "message_id ascends with seq"
	Stamped     Obligation = "timestamp is the id's"
	Sent        Obligation = "history holds what was sent, by whom it was sent"
	ByMember    Obligation = "history holds what members sent while they were members"
	Once        Obligation = "a message is in history at most once"
	Kept        Obligation = "what was acknowledged is in history, at the acknowledged seq and id"
	SameAnswer  Obligation = "every retry is answered with the same id and seq"
	OneFirst    Obligation = "at most one answer is no duplicate"
	NotRefused  Obligation = "what was refused is not in history"
	SameHistory Obligation = "every member reads the same history, inside the memberships"
	Closed      Obligation = "history is closed to whoever left"
	Delivered   Obligation = "every device of a member sees every event"
	NotSilent   Obligation = "what is sent while a device is connected is pushed to it, or `behind` tells"
	Inside      Obligation = "nobody sees what lies outside the memberships"
	Unaltered   Obligation = "what is seen is what history says"
	OwnMark     Obligation = "client_message_id comes to its sender and to nobody else"
	InOrder     Obligation = "on one connection events come once and by seq"
	Fresh       Obligation = "an answer of /sync or history has only what was asked for, once and by seq"
	AppliedOnce Obligation = "a device applies every visible event once, by seq"
	Obeyed      Obligation = "an answered change of membership happened, once"
	InForce     Obligation = "a change of membership is in force when it is answered"
	SameRoster  Obligation = "the list of members is what the events say"
	Listed      Obligation = "a user's list has the conversations that the user is in, with head and members"
	OwnRead     Obligation = "sending a message moves the sender's own read mark to it"
	Unread      Obligation = "unread counts the messages of others above the read mark"
)

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
	for _, o := range slices.Sorted(maps.Keys(r.Checked)) {
		fmt.Fprintf(&b, "%10d checked %6d broken  %s\n", r.Checked[o], r.Broken[o], o)
	}
	return b.String()
}
