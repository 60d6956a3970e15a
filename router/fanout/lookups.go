package fanout

import (
	"context"
	"sync"
	"time"

	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/internal/presence"
)

// UsersPerLookup bounds one question to the directory: 1,000 hashes are some
// hundred kilobytes of answer.
const UsersPerLookup = 1000

// lookups asks the directory for all partitions together: what gathers while one
// question is under way is the next question. A user whom several partitions
// ask for is asked once. Each input has its own, so that messages do not queue
// behind statuses.
type lookups struct {
	cfg      Config
	wake     chan struct{} // holds one token while something waits
	retries  *metrics.Counter
	users    *metrics.Counter
	seconds  *metrics.Histogram
	notAsked map[chat.UserID]presence.Places // the answer about nobody

	mu      sync.Mutex
	pending []*question
}

// question is one partition's wish; done is closed when places holds the answer.
type question struct {
	users  []chat.UserID
	places map[chat.UserID]presence.Places
	done   chan struct{}
}

func newLookups(cfg Config, prefix string) *lookups {
	return &lookups{
		cfg:     cfg,
		wake:    make(chan struct{}, 1),
		retries: cfg.Metrics.Counter(prefix + "_lookup_retries_total"),
		users:   cfg.Metrics.Counter(prefix + "_lookup_users_total"),
		seconds: cfg.Metrics.Histogram(prefix + "_lookup_seconds"),
	}
}

// where returns where the users are, as of some time after the call. It waits
// for as long as the directory is silent; the error is ctx's.
func (l *lookups) where(ctx context.Context, users []chat.UserID) (map[chat.UserID]presence.Places, error) {
	if len(users) == 0 {
		return l.notAsked, nil
	}
	began := time.Now()
	q := &question{users: users, done: make(chan struct{})}
	l.mu.Lock()
	l.pending = append(l.pending, q)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-q.done:
		l.seconds.UpdateDuration(began)
		return q.places, nil
	}
}

// run answers questions until ctx ends.
func (l *lookups) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
		}
		l.mu.Lock()
		questions := l.pending
		l.pending = nil
		l.mu.Unlock()
		if !l.answer(ctx, questions) {
			return
		}
	}
}

// answer asks for everybody in the questions; false says that ctx ended.
func (l *lookups) answer(ctx context.Context, questions []*question) bool {
	places := make(map[chat.UserID]presence.Places)
	var users []chat.UserID
	for _, q := range questions {
		for _, u := range q.users {
			if _, ok := places[u]; !ok {
				places[u] = presence.Places{}
				users = append(users, u)
			}
		}
	}
	for len(users) > 0 {
		n := min(len(users), UsersPerLookup)
		if !l.ask(ctx, users[:n], places) {
			return false
		}
		users = users[n:]
	}
	for _, q := range questions {
		q.places = places // shared: nobody writes to it any more
		close(q.done)
	}
	return true
}

// ask repeats one question until the directory answers.
func (l *lookups) ask(ctx context.Context, users []chat.UserID, places map[chat.UserID]presence.Places) bool {
	const first, last = 20 * time.Millisecond, time.Second
	for pause := first; ; pause = min(2*pause, last) {
		answers, err := l.cfg.Directory.Where(ctx, users)
		if err == nil {
			l.users.Add(len(users))
			for i, u := range users {
				places[u] = answers[i]
			}
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		l.retries.Inc()
		l.cfg.Logger.Warn("presence does not answer; deliveries wait", "error", err, "again_in", pause)
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause):
		}
	}
}
