// Package complaint keeps a log from saying the same again and again. What is
// tried every second, or fails for every partition at the same time, is worth one
// line a minute for each reason.
//
// It writes nothing: whoever logs asks whether a line is due.
package complaint

import (
	"strings"
	"time"
)

// Pause is how long a reason is not repeated.
const Pause = time.Minute

// Reason returns a text without its numbers: the port of our own end of a
// connection and the time that was waited are different at each try, and yet the
// reason is the same.
func Reason(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, text)
}

// Book remembers which reasons were given lately. It is not safe for concurrent
// use.
type Book struct {
	limit int
	last  map[string]time.Time // by reason
}

// NewBook returns a book of that many reasons at most. When it is full it is
// begun anew, and some are given sooner than they would be.
func NewBook(limit int) *Book {
	return &Book{limit: limit, last: make(map[string]time.Time)}
}

// Due reports whether a reason has not been given for [Pause], and then notes
// that it is given now.
func (b *Book) Due(reason string) bool {
	now := time.Now()
	if now.Sub(b.last[reason]) < Pause {
		return false
	}
	if len(b.last) >= b.limit {
		clear(b.last)
	}
	b.last[reason] = now
	return true
}

// Len returns how many reasons are remembered.
func (b *Book) Len() int { return len(b.last) }
