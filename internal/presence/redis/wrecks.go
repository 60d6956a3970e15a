package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"switchboard/internal/chat"
	"switchboard/internal/presence"
)

const (
	// aboardHashes is over how many hashes the list of one life is spread: 122
	// sessions each with a million connections. Up to 512 fields Redis keeps a hash
	// in one piece of memory, at 28 bytes a session instead of some 80 (and a set
	// only from 7.2 on, and up to 128), and whatever is done to one hash is short.
	aboardHashes = 1 << 13
	// aboardFor is how long a hash outlives its last new session, so that lists which
	// nobody clears do not stay. Where no session is new for longer, the next sweep
	// of one that stays makes the hash anew; that one has no end until a new session
	// comes, so it stays if the gateway dies first and nobody clears it.
	aboardFor = 7 * 24 * time.Hour
	// livesKey is of all slots together, which are some hundreds.
	livesKey = "lives"
)

var _ presence.Wrecks = (*Directory)(nil)

func aboardKey(l presence.Life, part int) string {
	return string(appendAboardKey(nil, l, part))
}

// aboardField is a session in a hash: the user's 16 bytes and the session's 8.
func aboardField(u chat.UserID, session uint64) string {
	return string(appendAboardField(nil, u, session))
}

// list puts a session on the list of its life, or takes it off. Whatever the list
// has lost comes back by this too: sessions are registered again all the time.
func list(ctx context.Context, pipe goredis.Pipeliner, c *presence.Change) {
	key, session := aboardKey(c.Route.Life(), aboardHash(c.User)), aboardField(c.User, c.Route.Session)
	if c.Remove {
		pipe.HDel(ctx, key, session)
		return
	}
	pipe.HSet(ctx, key, session, "")
	if c.Begins {
		pipe.PExpire(ctx, key, aboardFor)
	}
}

// enlist notes until when a life has its lease, and so that it was there at all.
func (d *Directory) enlist(ctx context.Context, l presence.Life, end time.Time) error {
	if err := d.client.ZAdd(ctx, livesKey, goredis.Z{Score: float64(end.UnixMilli()), Member: lifeName(l)}).Err(); err != nil {
		return fmt.Errorf("note the lease of %s: %w", l.Slot, err)
	}
	return nil
}

// delist notes that a life is over, if it is still known.
func (d *Directory) delist(ctx context.Context, l presence.Life, now time.Time) error {
	if err := d.client.ZAddXX(ctx, livesKey, goredis.Z{Score: float64(now.UnixMilli()), Member: lifeName(l)}).Err(); err != nil {
		return fmt.Errorf("note that the lease of %s is over: %w", l.Slot, err)
	}
	return nil
}

// forgetLives drops lives of which nobody asks any more, for sites on which nobody
// clears wrecks.
func (d *Directory) forgetLives(ctx context.Context) error {
	before := strconv.FormatInt(d.now().Add(-presence.LastSeenFor).UnixMilli(), 10)
	if err := d.client.ZRemRangeByScore(ctx, livesKey, "-inf", before).Err(); err != nil {
		return fmt.Errorf("forget old leases: %w", err)
	}
	return nil
}

func lifeName(l presence.Life) string { return l.Slot + "." + number(l.Boot) }

func parseLife(name string) (l presence.Life, ok bool) {
	slot, digits, ok := strings.Cut(name, ".")
	boot, err := strconv.ParseUint(digits, 16, 64)
	return presence.Life{Slot: slot, Boot: boot}, ok && err == nil && len(digits) == 16
}

// Wrecks reads all lives, then the leases of those whose time is over. A time that
// is too far away is of a clock that is wrong, and the lease alone counts.
func (d *Directory) Wrecks(ctx context.Context) ([]presence.Wreck, error) {
	lives, err := d.client.ZRangeWithScores(ctx, livesKey, 0, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("look up the lives of gateways: %w", err)
	}
	now := d.now()
	var over []presence.Wreck
	slots := make(map[string]slot)
	for _, z := range lives {
		l, ok := parseLife(z.Member.(string))
		end := time.UnixMilli(int64(z.Score))
		if !ok || end.After(now) && end.Sub(now) <= presence.LeaseTTL {
			continue
		}
		if end.After(now) {
			end = now
		}
		over = append(over, presence.Wreck{Life: l, Ended: end})
		slots[l.Slot] = slot{}
	}
	if err := d.readSlots(ctx, slots); err != nil {
		return nil, err
	}
	var wrecks []presence.Wreck
	for _, w := range over {
		if slots[w.Slot].lease != w.Boot {
			wrecks = append(wrecks, w)
		}
	}
	return wrecks, nil
}

// hashesOf are the hashes of one part.
func hashesOf(l presence.Life, part int) []string {
	const each = aboardHashes / presence.AboardParts
	keys := make([]string, each)
	for i := range keys {
		keys[i] = aboardKey(l, part*each+i)
	}
	return keys
}

// Aboard reads the hashes of a part in one round trip.
func (d *Directory) Aboard(ctx context.Context, l presence.Life, part int) ([]chat.UserID, error) {
	pipe := d.client.Pipeline()
	var answers []*goredis.StringSliceCmd
	for _, key := range hashesOf(l, part) {
		answers = append(answers, pipe.HKeys(ctx, key))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("look up who is on %s: %w", l.Slot, err)
	}
	var users []chat.UserID
	seen := make(map[chat.UserID]struct{})
	for _, a := range answers {
		for _, m := range a.Val() {
			var u chat.UserID
			if len(m) != len(u)+8 {
				continue // Nobody of ours wrote it.
			}
			copy(u[:], m)
			if _, twice := seen[u]; !twice {
				seen[u] = struct{}{}
				users = append(users, u)
			}
		}
	}
	return users, nil
}

// Disembark deletes the hashes of a part. Redis frees them beside its work.
func (d *Directory) Disembark(ctx context.Context, l presence.Life, part int) error {
	pipe := d.client.Pipeline()
	for _, key := range hashesOf(l, part) {
		pipe.Unlink(ctx, key)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("forget who is on %s: %w", l.Slot, err)
	}
	return nil
}

// Remove forgets a life.
func (d *Directory) Remove(ctx context.Context, l presence.Life) error {
	if err := d.client.ZRem(ctx, livesKey, lifeName(l)).Err(); err != nil {
		return fmt.Errorf("forget a life of %s: %w", l.Slot, err)
	}
	return nil
}
