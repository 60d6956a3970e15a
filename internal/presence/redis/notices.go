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
		answers[i] = pipe.SetArgs(ctx, noticeKey(u), "1", goredis.SetArgs{Mode: "NX", TTL: presence.NoticeFor})
	}
	_, _ = pipe.Exec(ctx) // Its error may be that one of the answers is "it was there".
	news := make([]bool, len(users))
	for i, a := range answers {
		switch err := a.Err(); {
		case err == nil:
			news[i] = true
		case !errors.Is(err, goredis.Nil):
			return nil, fmt.Errorf("note that %d users are online: %w", len(users), err)
		}
	}
	return news, nil
}

// NoticeOffline implements presence.Notices.
func (d *Directory) NoticeOffline(ctx context.Context, users []chat.UserID) error {
	if len(users) == 0 {
		return nil
	}
	pipe := d.client.Pipeline()
	for _, u := range users {
		pipe.Del(ctx, noticeKey(u))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("note that %d users are offline: %w", len(users), err)
	}
	return nil
}
