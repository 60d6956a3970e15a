package transfer

import (
	"sync"
	"testing"

	"switchboard/internal/chat"
	"switchboard/internal/metrics"
)

func TestSlots(t *testing.T) {
	s := NewSlots(metrics.New())
	one, other := chat.NewMediaID(chat.MediaMade(chat.MediaID{})), chat.NewMediaID(chat.MediaMade(chat.MediaID{}))
	enter := func(id chat.MediaID, n int) (leave []func(), err error) {
		for range n {
			l, err := s.Enter(id)
			if err != nil {
				return leave, err
			}
			leave = append(leave, l)
		}
		return leave, nil
	}
	ofOne, err := enter(one, TransfersPerUpload+1)
	if len(ofOne) != TransfersPerUpload || chat.AsError(err).Code != chat.Unavailable {
		t.Errorf("one upload: got %d and %v, want %d", len(ofOne), err, TransfersPerUpload)
	}
	rest, err := enter(chat.MediaID{}, TransfersAtOnce)
	if len(rest) != TransfersAtOnce-TransfersPerUpload || chat.AsError(err).Code != chat.Unavailable {
		t.Errorf("all others: got %d and %v, want %d", len(rest), err, TransfersAtOnce-TransfersPerUpload)
	}
	if _, err := s.Enter(other); chat.AsError(err).Code != chat.Unavailable {
		t.Errorf("got %v, want %s", err, chat.Unavailable)
	}
	var all sync.WaitGroup
	for _, leave := range append(ofOne, rest...) {
		all.Go(leave)
	}
	all.Wait()
	if leave, err := s.Enter(one); err != nil || s.all != 1 || len(s.busy) != 1 {
		t.Errorf("all have left: %v, %d and %v", err, s.all, s.busy)
	} else if leave(); len(s.busy) != 0 || s.all != 0 {
		t.Errorf("%v is remembered", s.busy)
	}
}
