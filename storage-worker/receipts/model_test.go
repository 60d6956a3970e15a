package receipts

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// The model test plays one partition of the receipts under a scheduler that
// crashes owners at each of their steps and lets some of them go on as zombies,
// while people write, come, go and mark. So that a green run means something, the
// same schedules are played with mistakes planted, and each must be found.
const modelSchedules = 2000

// mistakes are the simpler things that a reasonable person might have written.
type mistakes struct {
	tellFirst   bool // tell, then save
	commitFirst bool // commit, then tell
	noRepeats   bool // what equals the watermark is never told
	tellAll     bool // the watermark is not asked
	membership  bool // who left may mark
}

// owner is one life of a worker, between two of its effects.
type owner struct {
	*partition
	step  int // 0 = has nothing, 1 = has judged, 2 = did the first thing, 3 = did both
	v     *verdict
	until int64 // the offset after the batch at hand
}

// scene is one schedule.
type scene struct {
	*hall
	rng      *rand.Rand
	mistakes mistakes
	log      []bus.Record
	valid    []bool // by offset: names an event that was there when it was written
	told     []bus.Status
	commit   int64
	owner    *owner
	zombies  []*owner
	zombied  bool
	left     int // records that an append still takes before its owner dies
	marks    map[markKey]archive.Watermark
	sent     map[user]chat.Seq // the newest own message of the present stay
	wrong    []string
}

type markKey struct {
	user   user
	joined chat.Seq
}

func (s *scene) fail(format string, args ...any) {
	s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
}

// Produce takes statuses until the owner's time has come.
func (s *scene) Produce(m bus.Message, done func(int64, error)) error {
	if s.left == 0 {
		return bus.ErrClosed
	}
	s.left--
	var status bus.Status
	if err := bus.ParseStatus(m.Value, &status); err != nil {
		s.fail("a status cannot be read: %v", err)
	}
	s.hear(status)
	done(int64(len(s.told)), nil)
	return nil
}

// hear checks what must hold of each status when it is told.
func (s *scene) hear(status bus.Status) {
	s.told = append(s.told, status)
	if status.Outcome != 0 {
		return
	}
	marks, err := s.Store.Watermarks(context.Background(), theGroup)
	if err != nil {
		s.fail("%v", err)
	}
	var saved chat.Seq
	for _, m := range marks {
		if m.User == status.User {
			saved = max(saved, m.Read)
			if status.Status == chat.Delivered {
				saved = max(saved, m.Delivered)
			}
		}
	}
	if saved < status.Seq {
		s.fail("%s %s %d is told and not saved: %d", names[status.User], status.Status, status.Seq, saved)
	}
}

// look checks that no watermark moved back.
func (s *scene) look() {
	marks, err := s.Store.Watermarks(context.Background(), theGroup)
	if err != nil {
		s.fail("%v", err)
	}
	for _, m := range marks {
		old := s.marks[markKey{m.User, m.Joined}]
		if m.Read < old.Read || m.Delivered < old.Delivered {
			s.fail("%s went back from %+v to %+v", names[m.User], old, m)
		}
		if m.Read > m.Delivered || m.Delivered > s.heads[theGroup] {
			s.fail("%s stands at %+v of %d", names[m.User], m, s.heads[theGroup])
		}
		s.marks[markKey{m.User, m.Joined}] = m
	}
}

// begin starts a new owner where the group was.
func (s *scene) begin() {
	o := &owner{partition: s.keeper(s.storeOf(), s)}
	o.next, o.repeats = s.commit, int64(len(s.log))
	if s.mistakes.noRepeats {
		o.repeats = 0
	}
	s.owner = o
}

func (s *scene) storeOf() archive.Store {
	if s.mistakes.tellAll || s.mistakes.membership {
		return blind{s.Store, s.mistakes}
	}
	return s.Store
}

// blind is an archive that hides what a mistake does not look at.
type blind struct {
	archive.Store
	mistakes mistakes
}

func (b blind) Watermark(ctx context.Context, c chat.ConversationID, u user, joined chat.Seq) (archive.Watermark, error) {
	if b.mistakes.tellAll {
		return archive.Watermark{Conversation: c, User: u, Joined: joined, Read: joined, Delivered: joined}, nil
	}
	return b.Store.Watermark(ctx, c, u, joined)
}

func (b blind) StaysIn(ctx context.Context, u user, c chat.ConversationID) ([]archive.Stay, error) {
	stays, err := b.Store.StaysIn(ctx, u, c)
	if b.mistakes.membership {
		for i := range stays {
			stays[i].Left = 0
		}
	}
	return stays, err
}

// advance does one step of an owner, or dies in the middle of it.
func (s *scene) advance(o *owner) (alive bool) {
	ctx := context.Background()
	var err error
	save := func() error { return o.save(ctx, o.v) }
	tell := func() error {
		s.left = 1 << 30
		if s.rng.IntN(8) == 0 {
			s.left = s.rng.IntN(len(o.v.statuses) + 1)
		}
		return o.tell(ctx, o.v)
	}
	commit := func() error {
		if o == s.owner { // A zombie's is fenced.
			s.commit = o.until
		}
		return nil
	}
	effects := []func() error{save, tell, commit}
	switch {
	case s.mistakes.tellFirst:
		effects = []func() error{tell, save, commit}
	case s.mistakes.commitFirst:
		effects = []func() error{save, commit, tell}
	}
	if o.step == 0 {
		if o.next == int64(len(s.log)) {
			return true
		}
		o.until = o.next + 1 + s.rng.Int64N(int64(len(s.log))-o.next)
		if o.v, err = o.judge(ctx, s.log[o.next:o.until]); err != nil {
			s.fail("judge: %v", err)
		}
	} else if err = effects[o.step-1](); err != nil {
		if !errors.Is(err, bus.ErrClosed) {
			s.fail("step %d: %v", o.step, err)
		}
		return false
	}
	if o.step++; o.step > len(effects) {
		o.step, o.next = 0, o.until
	}
	return true
}

// live is one random thing that happens.
func (s *scene) live(zombies bool) {
	people := []user{anna, boris, clara}
	u := people[s.rng.IntN(len(people))]
	_, in := s.joined[theGroup][u]
	switch n := s.rng.IntN(20); {
	case n < 3 && in:
		s.sent[u] = s.say(theGroup, u)
	case n == 3 && u == clara && in:
		s.leave(theGroup, u)
	case n == 3 && u == clara:
		s.join(theGroup, u)
		delete(s.sent, u)
	case n < 9:
		s.mark(u)
	case n < 17:
		if !s.advance(s.owner) {
			s.begin()
		}
	case n == 17: // It dies between two effects, or lives on without its claim.
		if zombies && s.rng.IntN(2) == 0 {
			s.zombies, s.zombied = append(s.zombies, s.owner), true
		}
		s.begin()
	case len(s.zombies) > 0:
		at := s.rng.IntN(len(s.zombies))
		if z := s.zombies[at]; !s.advance(z) || z.step == 0 {
			s.zombies = append(s.zombies[:at], s.zombies[at+1:]...) // It has learnt of it.
		}
	}
	s.look()
}

// mark puts a receipt on the log.
func (s *scene) mark(u user) {
	seq := 1 + chat.Seq(s.rng.Int64N(int64(s.heads[theGroup])))
	m := bus.Mark{Status: chat.Status(1 + s.rng.IntN(2)), Seq: seq}
	if s.rng.IntN(3) == 0 {
		m.Seq, m.Message = 0, idOf(seq)
	}
	valid := s.rng.IntN(10) > 0
	if !valid {
		m.Seq, m.Message = 1_000_000, chat.MessageID{}
	}
	s.log = append(s.log, receipt(int64(len(s.log)), theGroup, u, m))
	s.valid = append(s.valid, valid)
}

// end lets everybody finish and checks what came of it.
func (s *scene) end() {
	for _, z := range s.zombies {
		for s.advance(z) && z.step != 0 {
			s.look()
		}
	}
	for s.owner.step != 0 || s.owner.next < int64(len(s.log)) {
		if !s.advance(s.owner) {
			s.begin()
		}
		s.look()
	}
	for _, u := range []user{anna, boris} { // who were members all the time
		want := archive.Watermark{Conversation: theGroup, User: u, Joined: 1, Read: max(1, s.sent[u]), Delivered: max(1, s.sent[u])}
		for i, record := range s.log {
			var r bus.Receipt
			if err := bus.ParseReceipt(record.Value, &r); err != nil {
				s.fail("%v", err)
			}
			if r.User != u || !s.valid[i] {
				continue
			}
			m := r.Marks[0]
			seq := max(m.Seq, chat.Seq(chat.ClockOf(m.Message)/1000))
			want.Delivered = max(want.Delivered, seq)
			if m.Status == chat.Read {
				want.Read = max(want.Read, seq)
			}
		}
		got, err := s.Store.Watermark(context.Background(), theGroup, u, 1)
		if err != nil || got != want {
			s.fail("%s stands at %+v, %v, want %+v", names[u], got, err, want)
		}
		s.checkTold(u, want)
	}
	if _, in := s.joined[theGroup][clara]; !in {
		for _, m := range s.marks {
			if stays, _ := s.StaysIn(context.Background(), clara, theGroup); m.User == clara && len(stays) > 0 {
				if last := stays[len(stays)-1]; last.Joined == m.Joined && s.tardy(last.Left) {
					s.fail("clara marked %+v after she had left with %d", m, last.Left)
				}
			}
		}
	}
}

// tardy reports whether clara's mark stands above her departure.
func (s *scene) tardy(left chat.Seq) bool {
	for _, m := range s.marks {
		if m.User == clara && m.Read > left {
			return true
		}
	}
	return false
}

// checkTold holds what was told to two rules: without zombies it ascends by
// itself, and the last word is where the watermark stands, unless a message of
// its own moved it there.
func (s *scene) checkTold(u user, at archive.Watermark) {
	last := map[chat.Status]chat.Seq{}
	highest := map[chat.Status]chat.Seq{}
	for _, status := range s.told {
		if status.User != u || status.Outcome != 0 {
			continue
		}
		if status.Seq < last[status.Status] && !s.zombied {
			s.fail("%s %s %d is told after %d", names[u], status.Status, status.Seq, last[status.Status])
		}
		last[status.Status] = status.Seq
		highest[status.Status] = max(highest[status.Status], status.Seq)
	}
	if s.zombied {
		return
	}
	if at.Read > max(1, s.sent[u]) && highest[chat.Read] != at.Read {
		s.fail("%s has read %d, and %d was told", names[u], at.Read, highest[chat.Read])
	}
	if at.Delivered > max(at.Read, s.sent[u]) && highest[chat.Delivered] != at.Delivered {
		s.fail("%s has received %d, and %d was told", names[u], at.Delivered, highest[chat.Delivered])
	}
}

// play plays one schedule and returns what was wrong with it.
func play(t testing.TB, seed uint64, zombies bool, m mistakes) []string {
	s := &scene{
		hall: newHall(t), rng: rand.New(rand.NewPCG(seed, 1)), mistakes: m,
		marks: map[markKey]archive.Watermark{}, sent: map[user]chat.Seq{},
	}
	s.create(theGroup, chat.Group, anna, boris, clara)
	s.begin()
	for range 150 {
		s.live(zombies)
	}
	s.end()
	return s.wrong
}

func TestModel(t *testing.T) {
	for seed := range uint64(modelSchedules) {
		if wrong := play(t, seed, seed%2 == 0, mistakes{}); len(wrong) > 0 {
			t.Fatalf("seed %d:\n%s", seed, strings.Join(wrong, "\n"))
		}
	}
}

func TestModelFindsPlantedMistakes(t *testing.T) {
	for name, m := range map[string]mistakes{
		"tell, then save":                 {tellFirst: true},
		"commit, then tell":               {commitFirst: true},
		"what equals is never told":       {noRepeats: true},
		"the watermark is not asked":      {tellAll: true},
		"who left may mark what is later": {membership: true},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(modelSchedules) {
				if len(play(t, seed, false, m)) > 0 {
					return
				}
			}
			t.Errorf("%d schedules did not find it", modelSchedules)
		})
	}
}
