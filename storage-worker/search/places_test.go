package search

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/metrics"
)

// slow is an index that takes its time.
type slow struct {
	Store
	takes   time.Duration
	now     chan int // one number: questions being answered
	highest int
}

func (s *slow) Match(context.Context, *Question) (Matches, error) {
	n := <-s.now + 1
	s.highest = max(s.highest, n)
	s.now <- n
	time.Sleep(s.takes)
	s.now <- <-s.now - 1
	return Matches{}, nil
}

// TestSearchesWaitForOneAnother has callers who ask more often than they are answered.
func TestSearchesWaitForOneAnother(t *testing.T) {
	for name, test := range map[string]struct {
		callers, each int
		takes         time.Duration
		highest, late int
	}{
		"one caller":            {1, 5, time.Second, FindsPerCaller, 0},
		"one caller, very slow": {1, 5, 20 * time.Second, FindsPerCaller, 3},
		"many callers":          {FindsAtOnce + 4, 1, time.Second, FindsAtOnce, 0},
		"many, very slow":       {FindsAtOnce + 4, 1, 20 * time.Second, FindsAtOnce, 4},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &slow{takes: test.takes, now: make(chan int, 1)}
				store.now <- 0
				f := NewFinder(store, metrics.New())
				errs := make(chan error)
				for caller := range test.callers {
					for range test.each {
						go func() {
							q := terms(word("x"))
							_, err := f.Find(t.Context(), &Request{Caller: chat.UserID{byte(caller)}, Query: &q, Scope: Scope{group: {{From: 1}}}})
							errs <- err
						}()
					}
				}
				late := 0
				for range test.callers * test.each {
					switch err := <-errs; {
					case errors.Is(err, context.DeadlineExceeded):
						late++
					case err != nil:
						t.Error(err)
					}
				}
				if store.highest != test.highest || late != test.late {
					t.Errorf("%d at once, %d too late; want %d and %d", store.highest, late, test.highest, test.late)
				}
				if n := len(f.places.callers) + len(f.places.all); n != 0 {
					t.Errorf("%d places and callers are left", n)
				}
			})
		})
	}
}
