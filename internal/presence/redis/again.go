package redis

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"strconv"

	goredis "github.com/redis/go-redis/v9"

	"switchboard/internal/chat"
	"switchboard/internal/presence"
)

// Everybody is registered again every two minutes, and where nothing else happens that
// is all that a gateway writes: what it leaves behind each time is what a connection at
// rest weighs until the collector comes by. The client's own calls leave 900 bytes for a
// session; these leave the 32 of its two places in the pipeline, since commands, their
// arguments and the text of these are used over and over.

// word is an argument whose text changes. The client takes it by its pointer.
type word struct{ text []byte }

// MarshalBinary is what the client writes.
func (w *word) MarshalBinary() ([]byte, error) { return w.text, nil }

// String is what the client of a cluster finds the server by.
func (w *word) String() string { return string(w.text) }

// again registers one session again: it puts it on the list of its life, and makes its
// entry unless it is there.
type again struct {
	aboard, session, user, name, value word

	listing, entering []any
	list              *goredis.IntCmd
	enter             *goredis.BoolCmd
}

func newAgain(ctx context.Context) *again {
	a := new(again)
	a.listing = []any{"hset", &a.aboard, &a.session, ""}
	a.entering = []any{"hsetnx", &a.user, &a.name, &a.value}
	a.renew(ctx)
	return a
}

// renew makes the commands anew: the client of a cluster notes in them where they went.
func (a *again) renew(ctx context.Context) {
	a.list, a.enter = goredis.NewIntCmd(ctx, a.listing...), goredis.NewBoolCmd(ctx, a.entering...)
}

// take makes it that of a change.
func (a *again) take(c *presence.Change) {
	a.aboard.text = appendAboardKey(a.aboard.text[:0], c.Route.Life(), aboardHash(c.User))
	a.session.text = appendAboardField(a.session.text[:0], c.User, c.Route.Session)
	a.user.text = appendUserKey(a.user.text[:0], c.User)
	a.name.text = appendField(a.name.text[:0], c.Route)
	a.value.text = appendValue(a.value.text[:0], 0, c.Route.Device)
	a.list.SetErr(nil)
	a.enter.SetErr(nil)
	a.enter.SetVal(false)
}

// spareSessions is how many sessions at a time are kept for, some 700 bytes each. More
// come at once where all are registered again, which is no rest.
const spareSessions = 256

// round is what one pipeline needs.
type round struct {
	sessions []*again
	commands []goredis.Cmder
}

// onlyAgain reports whether all changes are of sessions that should be there already.
func onlyAgain(changes []presence.Change) bool {
	for i := range changes {
		if changes[i].Begins || changes[i].Remove {
			return false
		}
	}
	return true
}

// registerAgain is apply for such changes. What may still be in use after an error is
// not lent again.
func (d *Directory) registerAgain(ctx context.Context, changes []presence.Change) ([]presence.Applied, error) {
	if len(changes) == 0 {
		return nil, nil
	}
	_, cluster := d.client.(*goredis.ClusterClient)
	r := d.spare.Swap(nil)
	if r == nil {
		r = new(round)
	}
	r.commands = r.commands[:0]
	for i := range changes {
		if i == len(r.sessions) {
			r.sessions = append(r.sessions, newAgain(context.WithoutCancel(ctx)))
		} else if cluster {
			r.sessions[i].renew(ctx)
		}
		a := r.sessions[i]
		a.take(&changes[i])
		r.commands = append(r.commands, a.list, a.enter)
	}
	pipe := d.client.Pipeline()
	_ = pipe.BatchProcess(ctx, r.commands...) // It takes note of them, and no more.
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("register %d sessions again: %w", len(changes), err)
	}
	applied := make([]presence.Applied, len(changes))
	for i := range changes {
		applied[i].Fresh = r.sessions[i].enter.Val()
	}
	if len(r.sessions) <= spareSessions {
		d.spare.Store(r)
	}
	return applied, nil
}

// The texts of keys, fields and values, behind what is there.

func appendUserKey(b []byte, u chat.UserID) []byte {
	return append(u.Append(append(b, "r:{"...)), '}')
}

// appendNumber writes 16 hexadecimal digits.
func appendNumber(b []byte, n uint64) []byte {
	var big [8]byte
	binary.BigEndian.PutUint64(big[:], n)
	return hex.AppendEncode(b, big[:])
}

func appendField(b []byte, r presence.Route) []byte {
	b = append(append(b, r.Slot...), '.')
	b = append(appendNumber(b, r.Boot), '.')
	return appendNumber(b, r.Session)
}

func appendValue(b []byte, order uint64, device string) []byte {
	b = append(strconv.AppendUint(b, order, 10), ' ')
	return append(b, device...)
}

func appendAboardKey(b []byte, l presence.Life, part int) []byte {
	b = append(append(append(b, "a:{"...), l.Slot...), '.')
	b = append(appendNumber(b, l.Boot), '.')
	var big [2]byte
	binary.BigEndian.PutUint16(big[:], uint16(part))
	return append(hex.AppendEncode(b, big[:]), '}')
}

// aboardHash returns the number of the hash that a user's sessions are in.
func aboardHash(u chat.UserID) int {
	h := fnv.New32a()
	_, _ = h.Write(u[:]) // It never fails.
	return int(h.Sum32() % aboardHashes)
}

func appendAboardField(b []byte, u chat.UserID, session uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, u[:]...), session)
}
