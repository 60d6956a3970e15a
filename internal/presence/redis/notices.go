package redis

import (
	"context"
	"errors"
	"fmt"

	goredis "github.com/redis/go-redis/v9"

	"switchboard/internal/chat"
	"switchboard/internal/presence"
)

var _ presence.Notices = (*Directory)(nil)

func noticeKey(u chat.UserID) string { return "o:{" + u.String() + "}" }

// NoticeOnline implements presence.Notices: one command a user, in one round trip.
func (d *Directory) NoticeOnline(ctx context.Context, users []chat.UserID) ([]bool, error) {
	if len(users) == 0 {
		return nil, nil
	}
	pipe := d.client.Pipeline()
	answers := make([]*goredis.StatusCmd, len(users))
	for i, u := range users {
		answers[i] = pipe.SetArgs(ctx, noticeKey(u), "1", goredis.SetArgs{Get: true, TTL: presence.NoticeFor})
	}
	_, _ = pipe.Exec(ctx) // Its error may be that one of the answers is "nothing was there".
	news := make([]bool, len(users))
	for i, a := range answers {
		switch err := a.Err(); {
		case errors.Is(err, goredis.Nil):
			news[i] = true
		case err != nil:
			return nil, fmt.Errorf("note that %d users are online: %w", len(users), err)
		}
	}
	return news, nil
}

// NoticeOffline implements presence.Notices.
func (d *Directory) NoticeOffline(ctx context.Context, users []chat.UserID) ([]bool, error) {
	if len(users) == 0 {
		return nil, nil
	}
	pipe := d.client.Pipeline()
	answers := make([]*goredis.IntCmd, len(users))
	for i, u := range users {
		answers[i] = pipe.Del(ctx, noticeKey(u))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("note that %d users are offline: %w", len(users), err)
	}
	news := make([]bool, len(users))
	for i, a := range answers {
		news[i] = a.Val() == 1
	}
	return news, nil
}

// restoreNotices remembers anew of whom others know that they are online: a session
// that was registered again and was not there had been lost, and with it the notice,
// which lives beside it. If that fails, somebody goes unannounced.
func (d *Directory) restoreNotices(ctx context.Context, users []chat.UserID) {
	if len(users) == 0 {
		return
	}
	pipe := d.client.Pipeline()
	for _, u := range users {
		pipe.Set(ctx, noticeKey(u), "1", presence.NoticeFor)
	}
	_, _ = pipe.Exec(ctx)
}
