package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"switchboard/internal/chat"
	"switchboard/internal/presence"
)

var _ presence.Notices = (*Directory)(nil)

func noticeKey(u chat.UserID) string { return "o:{" + u.String() + "}" }

// What a notice says that others were told.
const toldOnline, toldOffline = "1", "0"

// offlineFor is for how long it is remembered that others were told that somebody is
// offline: longer than a router takes to do again what another left half done.
const offlineFor = time.Hour

// NoticeOnline implements presence.Notices: one command a user, in one round trip.
func (d *Directory) NoticeOnline(ctx context.Context, users []chat.UserID) ([]bool, error) {
	before, err := d.notice(ctx, users, toldOnline, goredis.SetArgs{Get: true, TTL: presence.NoticeFor})
	if err != nil {
		return nil, fmt.Errorf("note that %d users are online: %w", len(users), err)
	}
	news := make([]bool, len(users))
	for i, b := range before {
		news[i] = b == "" || b == toldOffline
	}
	return news, nil
}

// NoticeOffline implements presence.Notices, as NoticeOnline does. Nothing is deleted:
// a caller whose answer was lost, or who died of it, must get the same again.
func (d *Directory) NoticeOffline(ctx context.Context, users []chat.UserID) ([]bool, error) {
	before, err := d.notice(ctx, users, toldOffline, goredis.SetArgs{Mode: "XX", Get: true, TTL: offlineFor})
	if err != nil {
		return nil, fmt.Errorf("note that %d users are offline: %w", len(users), err)
	}
	news := make([]bool, len(users))
	for i, b := range before {
		news[i] = b != ""
	}
	return news, nil
}

// notice writes what others are told, and returns what was there; "" is nothing.
func (d *Directory) notice(ctx context.Context, users []chat.UserID, value string, how goredis.SetArgs) ([]string, error) {
	if len(users) == 0 {
		return nil, nil
	}
	pipe := d.client.Pipeline()
	answers := make([]*goredis.StatusCmd, len(users))
	for i, u := range users {
		answers[i] = pipe.SetArgs(ctx, noticeKey(u), value, how)
	}
	_, _ = pipe.Exec(ctx) // Its error may be that one of the answers is "nothing was there".
	before := make([]string, len(users))
	for i, a := range answers {
		if err := a.Err(); err != nil && !errors.Is(err, goredis.Nil) {
			return nil, err
		}
		before[i] = a.Val()
	}
	return before, nil
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
		pipe.Set(ctx, noticeKey(u), toldOnline, presence.NoticeFor)
	}
	_, _ = pipe.Exec(ctx)
}
