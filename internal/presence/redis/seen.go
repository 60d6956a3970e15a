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

// bury removes an entry that can never come back, and notes when its user was
// last seen unless something later is known.
var bury = goredis.NewScript(`
redis.call('HDEL', KEYS[1], ARGV[1])
local end_ = tonumber(ARGV[2])
if end_ > tonumber(redis.call('GET', KEYS[2]) or '0') then
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
end
return 1`)

// bury removes the entries of boots that were replaced or are over. A failure to tidy up is no
// failure to look up: the next reader tries.
func (d *Directory) bury(ctx context.Context, dead []presence.Change) {
	if len(dead) == 0 {
		return
	}
	lives := make(map[presence.Life]int64)
	for _, c := range dead {
		lives[c.Route.Life()] = 0
	}
	if d.readEnds(ctx, lives) != nil {
		return
	}
	pipe := d.client.Pipeline()
	for _, c := range dead {
		bury.Eval(ctx, pipe, []string{userKey(c.User), seenKey(c.User)},
			field(c.Route), lives[c.Route.Life()], presence.LastSeenFor.Milliseconds())
	}
	_, _ = pipe.Exec(ctx)
}

// readEnds fills in when the leases of some boots ended, in Unix seconds; 0 stays
// where nothing is known.
func (d *Directory) readEnds(ctx context.Context, lives map[presence.Life]int64) error {
	if len(lives) == 0 {
		return nil
	}
	pipe := d.client.Pipeline()
	answers := make(map[presence.Life]*goredis.StringCmd, len(lives))
	for l := range lives {
		answers[l] = pipe.HGet(ctx, endsKey(l.Slot), number(l.Boot))
	}
	_, _ = pipe.Exec(ctx) // Its error may be that one of the answers is "nothing".
	for l, a := range answers {
		seconds, err := seconds(a)
		if err != nil {
			return fmt.Errorf("look up the ends of %d leases: %w", len(lives), err)
		}
		lives[l] = seconds
	}
	return nil
}

// seconds reads a time; what is not there, or is none, is 0.
func seconds(a *goredis.StringCmd) (int64, error) {
	if err := a.Err(); err != nil && !errors.Is(err, goredis.Nil) {
		return 0, err
	}
	n, err := a.Int64()
	if err != nil {
		return 0, nil //nolint:nilerr // nobody was seen at a time that is none
	}
	return n, nil
}

// Seen asks for the users' entries and the ends of their sessions, then for the
// leases of the slots that appear in them, then, for those on none that is valid,
// when those ended.
func (d *Directory) Seen(ctx context.Context, users []chat.UserID) ([]presence.Sighting, error) {
	if len(users) == 0 {
		return nil, nil
	}
	pipe := d.client.Pipeline()
	entries := make([]*goredis.MapStringStringCmd, len(users))
	ended := make([]*goredis.StringCmd, len(users))
	for i, u := range users {
		entries[i], ended[i] = pipe.HGetAll(ctx, userKey(u)), pipe.Get(ctx, seenKey(u))
	}
	_, _ = pipe.Exec(ctx) // Its error may be that one of the answers is "nothing".
	seen := make([]sighted, len(users))
	for i := range users {
		last, err := seconds(ended[i])
		if err = errors.Join(entries[i].Err(), err); err != nil {
			return nil, fmt.Errorf("look up %d users: %w", len(users), err)
		}
		seen[i] = sighted{routes: parseEntries(entries[i].Val()), last: last}
	}
	return d.judge(ctx, users, seen)
}

// sighted is what is known of a user before the leases are.
type sighted struct {
	routes []presence.Route
	last   int64
}

// judge says who is online, and since when the others are not.
func (d *Directory) judge(ctx context.Context, users []chat.UserID, seen []sighted) ([]presence.Sighting, error) {
	slots := make(map[string]slot)
	for _, s := range seen {
		for _, r := range s.routes {
			slots[r.Slot] = slot{}
		}
	}
	if err := d.readSlots(ctx, slots); err != nil {
		return nil, err
	}
	ended := make(map[presence.Life]int64)
	var dead []presence.Change
	for i, s := range seen {
		for _, r := range s.routes {
			if r.Boot != slots[r.Slot].lease {
				ended[r.Life()] = 0
			}
		}
		_, dead = place(users[i], s.routes, slots, nil, dead)
	}
	if err := d.readEnds(ctx, ended); err != nil {
		return nil, err
	}
	d.bury(ctx, dead)
	sightings := make([]presence.Sighting, len(users))
	for i, s := range seen {
		for _, r := range s.routes {
			sightings[i].Online = sightings[i].Online || r.Boot == slots[r.Slot].lease
			s.last = max(s.last, ended[r.Life()])
		}
		if s.last > 0 {
			sightings[i].Last = time.Unix(s.last, 0)
		}
	}
	return sightings, nil
}
