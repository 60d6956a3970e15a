// Package redis keeps the presence directory in Redis (or Valkey): one hash per
// user, two small keys per gateway slot, and nothing that a heartbeat of a
// client would touch.
//
//	r:{user}  hash   slot.boot.session → order device   one field per session
//	g:{slot}  string boot, TTL 15 s                 the lease: who is online
//	b:{slot}  string boot, TTL 10 min               the last boot: where to route
//	l:{slot}  hash   boot → Unix seconds, TTL 30 d  when the leases of the last boots ended
//	s:{user}  string Unix seconds, TTL 30 d         when a session of the user last ended
//	o:{user}  string 1, TTL 30 d                    others were told that the user is online
//	          or 0, TTL 1 h                         and then that the user is offline
//	lives     zset   slot.boot → Unix milliseconds  when the leases end, for whoever looks for dead gateways
//	a:{slot.boot.n}  hash user and session → nothing, TTL 7 d   who is on the gateway, over 8,192 hashes
//
// Boots and sessions are 16 hexadecimal digits, so that comparing text compares
// numbers. The braces are Redis Cluster hash tags: the first three keys of a slot
// live on one node, where a script changes them together, and so do those of a user.
//
// It is the home of go-redis. Package presencetest holds it to the contract of
// presence.Directory.
package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"

	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/internal/presence"
)

// Config says where the directory is.
type Config struct {
	// Addrs is one server, or some nodes of a Redis Cluster.
	Addrs []string
	// Username and Password are who we are; empty: nobody.
	Username, Password string
	// TLS, when set, encrypts every connection, and the servers' names are
	// verified.
	TLS *tls.Config
	// Timeout bounds each round trip; default 500 ms.
	Timeout time.Duration
	// Metrics may be nil.
	Metrics *metrics.Set
	// Now is the clock that last_seen is told by; default time.Now.
	Now func() time.Time
}

// Directory is a presence.Directory on Redis. It is safe for concurrent use.
type Directory struct {
	client goredis.UniversalClient
	now    func() time.Time
	spare  atomic.Pointer[round] // of whoever registered again last
}

var (
	_ presence.Directory = (*Directory)(nil)
	_ presence.Sightings = (*Directory)(nil)
)

// Open returns a directory. It does not wait for the server: the first call
// that needs it says so when it cannot be reached.
func Open(cfg Config) (*Directory, error) {
	if len(cfg.Addrs) == 0 {
		return nil, errors.New("presence directory: no Redis address given")
	}
	client := goredis.NewUniversalClient(cfg.options())
	cfg.hook(client)
	if cluster, ok := client.(*goredis.ClusterClient); ok {
		cluster.OnNewNode(func(node *goredis.Client) { node.AddHook(unheard{}) })
	}
	now := cfg.Now
	if now == nil {
		now = time.Now
	}
	return &Directory{client: client, now: now}, nil
}

// options are those of every client here.
func (cfg *Config) options() *goredis.UniversalOptions {
	timeout := cfg.Timeout
	if timeout == 0 {
		timeout = 500 * time.Millisecond
	}
	// The client's own retries would stack up to seconds and hide an outage
	// that callers treat better: they repeat whole batches, in order. For a cluster
	// this turns off part of them only: as often as it follows redirections, which
	// it must, it also repeats what a broken connection or a time-out left without
	// an answer. What was carried out the first time is then found done, which Apply
	// notices, and others do not.
	return &goredis.UniversalOptions{
		Addrs: cfg.Addrs, Username: cfg.Username, Password: cfg.Password, TLSConfig: cfg.TLS,
		DialTimeout: timeout, ReadTimeout: timeout, WriteTimeout: timeout,
		MaxRetries: -1, DialerRetries: 1,
		ContextTimeoutEnabled: true,
		DisableIdentity:       true,
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled,
		},
	}
}

// hook has a client counted and its riddles explained.
func (cfg *Config) hook(client goredis.UniversalClient) {
	client.AddHook(newMeter(cfg.Metrics))
	if cfg.TLS == nil {
		client.AddHook(new(hello))
	}
	// It prints each failed connection by itself, past our log, and returns the
	// error as well; the switch is of the library, not of a client.
	logging.Disable()
}

// Close closes the connections.
func (d *Directory) Close() error { return d.client.Close() }

func userKey(u chat.UserID) string  { return string(appendUserKey(nil, u)) }
func seenKey(u chat.UserID) string  { return "s:{" + u.String() + "}" }
func leaseKey(slot string) string   { return "g:{" + slot + "}" }
func bootKey(slot string) string    { return "b:{" + slot + "}" }
func endsKey(slot string) string    { return "l:{" + slot + "}" }
func number(n uint64) string        { return string(appendNumber(nil, n)) }
func slotKeys(slot string) []string { return []string{leaseKey(slot), bootKey(slot)} }

// field returns the hash field of one session.
func field(r presence.Route) string {
	return string(appendField(nil, r))
}

// orderDigits bounds an order as it is written: what a number of Lua writes and
// reads without loss. No user comes so often.
const orderDigits = 12

// parseValue reads what appendValue wrote, or the bare device of an older release.
func parseValue(v string) (order uint64, device string) {
	digits, device, ok := strings.Cut(v, " ")
	order, err := strconv.ParseUint(digits, 10, 64)
	if !ok || err != nil || len(digits) > orderDigits {
		return 0, v
	}
	return order, device
}

// parseField reads what field and appendValue wrote; ok is false for another field.
func parseField(f, v string) (r presence.Route, ok bool) {
	parts := strings.Split(f, ".")
	if len(parts) != 3 {
		return r, false
	}
	boot, err1 := strconv.ParseUint(parts[1], 16, 64)
	session, err2 := strconv.ParseUint(parts[2], 16, 64)
	if err1 != nil || err2 != nil || len(parts[1]) != 16 || len(parts[2]) != 16 {
		return r, false
	}
	order, device := parseValue(v)
	return presence.Route{Slot: parts[0], Boot: boot, Session: session, Device: device, Order: order}, true
}

// parseEntries reads the entries of a user, and leaves out what is none.
func parseEntries(hash map[string]string) (routes []presence.Route) {
	for f, v := range hash {
		if r, ok := parseField(f, v); ok {
			routes = append(routes, r)
		}
	}
	return routes
}

// hold takes or keeps a slot: it answers -1 when a younger boot is known, 1 when
// the lease was held by this boot already, 0 when it had to be taken. When it will
// end is noted for as long as somebody may ask when its users were last seen, of
// the last boots only: a slot that restarts all day needs no more.
var hold = goredis.NewScript(`
local last = redis.call('GET', KEYS[2])
if last and last > ARGV[1] then return -1 end
local held = redis.call('GET', KEYS[1]) == ARGV[1]
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[4])
redis.call('PEXPIRE', KEYS[3], ARGV[5])
if not held then
  local boots = redis.call('HKEYS', KEYS[3])
  table.sort(boots)
  for i = 1, #boots - tonumber(ARGV[6]) do redis.call('HDEL', KEYS[3], boots[i]) end
end
return held and 1 or 0`)

// bootsKept is of how many boots of a slot it is known when their leases ended.
const bootsKept = 16

// release ends a lease that is still this boot's.
var release = goredis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
return redis.call('DEL', KEYS[1])`)

// Claim takes the lease of a slot for a boot. Unlike a renewal it insists on the
// boot being on the list of lives.
func (d *Directory) Claim(ctx context.Context, slot string, boot uint64) error {
	end := d.now().Add(presence.LeaseTTL)
	if _, err := d.hold(ctx, slot, boot, end); err != nil {
		return err
	}
	if err := d.enlist(ctx, presence.Life{Slot: slot, Boot: boot}, end); err != nil {
		return err
	}
	return d.forgetLives(ctx)
}

// asideTimeout bounds what is noted of a lease at livesKey. That is on one server,
// and no lease must depend on it: while it is away, what it says of the end is too
// old, and whoever looks for the dead asks for the lease as well.
const asideTimeout = 500 * time.Millisecond

// Renew keeps the lease of a slot. That it had lapsed is said once, so nothing may
// fail after that is known.
func (d *Directory) Renew(ctx context.Context, slot string, boot uint64) (lapsed bool, err error) {
	end := d.now().Add(presence.LeaseTTL)
	lapsed, err = d.hold(ctx, slot, boot, end)
	if err != nil {
		return false, err
	}
	aside, cancel := context.WithTimeout(ctx, asideTimeout)
	defer cancel()
	_ = d.enlist(aside, presence.Life{Slot: slot, Boot: boot}, end) // The next renewal tries again.
	return lapsed, nil
}

// hold takes or keeps a lease, which ends then, and reports whether it had to be
// taken.
func (d *Directory) hold(ctx context.Context, slot string, boot uint64, end time.Time) (taken bool, err error) {
	answer, err := hold.Run(ctx, d.client, append(slotKeys(slot), endsKey(slot)), number(boot),
		presence.LeaseTTL.Milliseconds(), presence.RouteTTL.Milliseconds(),
		end.Unix(), presence.LastSeenFor.Milliseconds(), bootsKept).Int()
	if err != nil {
		return false, fmt.Errorf("renew the lease of %s: %w", slot, err)
	}
	if answer < 0 {
		return false, fmt.Errorf("renew the lease of %s: %w", slot, presence.ErrReplaced)
	}
	return answer == 0, nil
}

// Release ends the lease if boot still holds it.
func (d *Directory) Release(ctx context.Context, slot string, boot uint64) error {
	keys, now := []string{leaseKey(slot), endsKey(slot)}, d.now()
	if err := release.Run(ctx, d.client, keys, number(boot), now.Unix()).Err(); err != nil {
		return fmt.Errorf("release the lease of %s: %w", slot, err)
	}
	aside, cancel := context.WithTimeout(ctx, asideTimeout)
	defer cancel()
	_ = d.delist(aside, presence.Life{Slot: slot, Boot: boot}, now) // Its end is thought to be later than it was.
	return nil
}

// begin registers a new session: above all entries that are there, in one step
// with looking at them, and only once. It answers whether the entry was made, and
// whether there are entries of other slots: those of this one its gateway knows
// itself, or they are of a boot that is gone.
var begin = goredis.NewScript(`
local all = redis.call('HGETALL', KEYS[1])
local top, made, company = 0, 1, 0
for i = 1, #all, 2 do
  if all[i] == ARGV[1] then made = 0 end
  if string.sub(all[i], 1, #ARGV[3]) ~= ARGV[3] then company = 1 end
  local digits = string.match(all[i + 1], '^(%d+) ')
  if digits and #digits <= tonumber(ARGV[4]) then top = math.max(top, tonumber(digits)) end
end
if made == 1 then redis.call('HSET', KEYS[1], ARGV[1], (top + 1) .. ' ' .. ARGV[2]) end
return made + 2 * company`)

// Apply carries out the changes in one pipeline.
func (d *Directory) Apply(ctx context.Context, changes []presence.Change) ([]presence.Applied, error) {
	ctx, unheard := heedUnheard(ctx)
	carryOut := d.applyMixed
	if onlyAgain(changes) {
		carryOut = d.registerAgain
	}
	applied, err := carryOut(ctx, changes)
	if err != nil {
		return nil, err
	}
	var lost []chat.UserID
	for i, c := range changes {
		if unheard.Load() && !c.Begins && !c.Remove {
			return nil, errUnheard // Whether it had been lost the caller must not take from this.
		}
		if applied[i].Fresh && !c.Begins {
			lost = append(lost, c.User)
		}
	}
	d.restoreNotices(ctx, lost)
	return applied, nil
}

// applyMixed carries out changes of any kind. A server that does not know the script
// says so once, and is then sent all of it again with the script; what was carried out
// the first time has been found then.
func (d *Directory) applyMixed(ctx context.Context, changes []presence.Change) ([]presence.Applied, error) {
	applied, err := d.apply(ctx, changes, begin.EvalSha)
	if goredis.HasErrorPrefix(err, "NOSCRIPT") {
		first := applied
		applied, err = d.apply(ctx, changes, begin.Eval)
		for i := range applied {
			applied[i].Fresh = applied[i].Fresh || first[i].Fresh
		}
	}
	return applied, err
}

// evaluate runs a script, by its name or by its text.
type evaluate func(ctx context.Context, c goredis.Scripter, keys []string, args ...any) *goredis.Cmd

// apply returns, with an error too, what is known of the changes.
func (d *Directory) apply(ctx context.Context, changes []presence.Change, begin evaluate) ([]presence.Applied, error) {
	if len(changes) == 0 {
		return nil, nil
	}
	pipe := d.client.Pipeline()
	begun := make([]*goredis.Cmd, len(changes))
	again := make([]*goredis.BoolCmd, len(changes))
	for i, c := range changes {
		list(ctx, pipe, &c)
		key, name := userKey(c.User), field(c.Route)
		switch {
		case c.Remove:
			pipe.HDel(ctx, key, name)
			if !c.Ended.IsZero() {
				pipe.Set(ctx, seenKey(c.User), c.Ended.Unix(), presence.LastSeenFor)
			}
		case c.Begins:
			begun[i] = begin(ctx, pipe, []string{key}, name, c.Route.Device, c.Route.Slot+".", orderDigits)
		default:
			again[i] = pipe.HSetNX(ctx, key, name, string(appendValue(nil, 0, c.Route.Device)))
		}
	}
	_, err := pipe.Exec(ctx)
	applied := make([]presence.Applied, len(changes))
	for i := range changes {
		switch {
		case begun[i] != nil && begun[i].Err() == nil:
			found, _ := begun[i].Int() // The script answers with a number.
			applied[i] = presence.Applied{Fresh: found&1 != 0, Company: found&2 != 0}
		case again[i] != nil:
			applied[i].Fresh = again[i].Val()
		}
	}
	if err != nil {
		return applied, fmt.Errorf("write %d changes of presence: %w", len(changes), err)
	}
	return applied, nil
}

// Where asks for the users' entries, then for the leases of the slots that
// appear in them. Entries first: an entry that is there now had its slot's boot
// written before it.
func (d *Directory) Where(ctx context.Context, users []chat.UserID) ([]presence.Places, error) {
	if len(users) == 0 {
		return nil, nil
	}
	pipe := d.client.Pipeline()
	entries := make([]*goredis.MapStringStringCmd, len(users))
	for i, u := range users {
		entries[i] = pipe.HGetAll(ctx, userKey(u))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("look up %d users: %w", len(users), err)
	}
	routes := make([][]presence.Route, len(users))
	slots := make(map[string]slot)
	for i, e := range entries {
		routes[i] = parseEntries(e.Val())
		for _, r := range routes[i] {
			slots[r.Slot] = slot{}
		}
	}
	if err := d.readSlots(ctx, slots); err != nil {
		return nil, err
	}
	over := d.over(ctx, routes, slots)
	places := make([]presence.Places, len(users))
	var dead []presence.Change
	for i, u := range users {
		places[i], dead = place(u, routes[i], slots, over, dead)
	}
	d.bury(ctx, dead)
	return places, nil
}

// goneAfter is for how long a lease must have been over before the entries on a slot
// that is not used any more are removed: longer than any gateway is cut off. One that
// came back would find its people lost, and could not say that they are there again.
const goneAfter = 24 * time.Hour

// over returns the lives, on slots that nothing else is known of, whose lease ended
// more than goneAfter ago: nothing else would ever remove their entries. Not to know
// is no failure to look up.
func (d *Directory) over(ctx context.Context, routes [][]presence.Route, slots map[string]slot) map[presence.Life]bool {
	ends := make(map[presence.Life]int64)
	for _, some := range routes {
		for _, r := range some {
			if slots[r.Slot].last == 0 {
				ends[r.Life()] = 0
			}
		}
	}
	if len(ends) == 0 || d.readEnds(ctx, ends) != nil {
		return nil
	}
	before, over := d.now().Add(-goneAfter).Unix(), make(map[presence.Life]bool)
	for l, end := range ends {
		over[l] = 0 < end && end < before
	}
	return over
}

// slot is what the two keys of a slot say; 0 where a key has expired.
type slot struct{ lease, last uint64 }

func (d *Directory) readSlots(ctx context.Context, slots map[string]slot) error {
	if len(slots) == 0 {
		return nil
	}
	pipe := d.client.Pipeline()
	answers := make(map[string]*goredis.SliceCmd, len(slots))
	for name := range slots {
		answers[name] = pipe.MGet(ctx, slotKeys(name)...)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("look up %d leases: %w", len(slots), err)
	}
	for name, a := range answers {
		values := a.Val()
		slots[name] = slot{lease: boot(values[0]), last: boot(values[1])}
	}
	return nil
}

func boot(value any) uint64 {
	text, _ := value.(string)
	n, err := strconv.ParseUint(text, 16, 64)
	if err != nil {
		return 0
	}
	return n
}

// place sorts a user's entries: those on the last boot of their slot are routes,
// one with a valid lease makes the user online, and those of an older boot are
// added to dead, for they can never come back, as are those of lives that are over.
// Of a slot that nothing is known of only one thing is: that the directory once knew it.
func place(
	u chat.UserID, routes []presence.Route, slots map[string]slot, over map[presence.Life]bool, dead []presence.Change,
) (presence.Places, []presence.Change) {
	var p presence.Places
	for _, r := range routes {
		s := slots[r.Slot]
		switch {
		case s.last == 0 && over[r.Life()]:
			dead = append(dead, presence.Change{User: u, Route: r, Remove: true})
		case s.last == 0:
			p.Unknown = true
		case r.Boot == s.last:
			r.Leased = r.Boot == s.lease
			p.Routes = append(p.Routes, r)
			p.Online = p.Online || r.Leased
		case r.Boot < s.last:
			dead = append(dead, presence.Change{User: u, Route: r, Remove: true})
		}
	}
	return p, dead
}
