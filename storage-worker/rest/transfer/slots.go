package transfer

import (
	"sync"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/metrics"
)

const (
	// TransfersAtOnce is how many uploads one process takes and gives at once; one
	// more is `unavailable`. They are not counted among other requests: whoever reads
	// slowly, which takes no more than a URL, holds up nobody but such readers.
	TransfersAtOnce = 2048
	// TransfersPerUpload is how many of them may be of one upload.
	TransfersPerUpload = 256
)

// Slots are the transfers that are under way.
type Slots struct {
	// Fixed after construction.
	refused *metrics.Counter

	mu   sync.Mutex
	all  int
	busy map[chat.MediaID]int
}

// NewSlots returns slots that are free.
func NewSlots(set *metrics.Set) *Slots {
	s := &Slots{refused: set.Counter(`switchboard_rest_refused_total{reason="transfers"}`), busy: map[chat.MediaID]int{}}
	set.Gauge(`switchboard_rest_transfers_in_flight`, func() float64 {
		s.mu.Lock()
		defer s.mu.Unlock()
		return float64(s.all)
	})
	return s
}

// Enter lets a transfer begin, which leave must end; or it is `unavailable`. The zero
// id is that of an upload which has none yet.
func (s *Slots) Enter(id chat.MediaID) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := id != chat.MediaID{}
	if s.all >= TransfersAtOnce || one && s.busy[id] >= TransfersPerUpload {
		s.refused.Inc()
		return nil, &chat.Error{Code: chat.Unavailable, Message: "too many files are on their way", RetryAfter: time.Second}
	}
	s.all++
	if one {
		s.busy[id]++
	}
	return func() { s.leave(id) }, nil
}

func (s *Slots) leave(id chat.MediaID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.busy[id]--; s.busy[id] <= 0 {
		delete(s.busy, id)
	}
}
