package fold

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
)

// The model test plays the whole road – clients, gateways, the inbound log, the
// real fold over an archive, the accepted log, routers, the directory, delivery
// topics – in one process under a scheduler that can interrupt, crash, pause and
// double everything at every side effect. Each seed is one schedule; a failing
// one prints the command that plays it again:
//
//	go test ./storage-worker/fold -run TestModel/road -model.seed 4711 -v
//
// So that a green run means something, the same schedules are played with each of
// a list of mistakes planted, and every one of them must be found.
var (
	modelSeed      = flag.Uint64("model.seed", 0, "play only this schedule, and tell it")
	modelSchedules = flag.Int("model.schedules", 10_000, "how many schedules to play")
)

const (
	modelUsers      = 5
	modelLargeAbove = 3
	modelLimit      = 5
)

// modelFaults is what is planted in one run: in the fold, in the delivery or in
// the archive.
type modelFaults struct {
	fold         faults
	delivery     deliveryFaults
	replacesKeys bool // the archive keeps one row for a key, whatever its position
}

// world is the whole system in one schedule.
type world struct {
	rng    *rand.Rand
	faults modelFaults
	counts counts
	cached int // what an owner's cache may weigh
	trace  func(format string, args ...any)

	// The scheduler.
	actors   []*actor
	steps    int
	troubles int // how many disturbances are left
	err      error

	// What is durable.
	inbound   [][]bus.Record
	accepted  [][]acceptedRecord
	archive   *modelArchive
	topics    [][]delivery // by slot
	committed []int64      // by the fold's group
	routed    []int        // by the router's group

	// What the network still carries.
	rowsUnderWay []func()
	wires        [][]func()

	// Who works.
	owners   []*owner
	routers  []*actor
	gateways []*gateway
	devices  []*device
	presence presenceModel

	// What clients do.
	rooms    []chat.ConversationID
	asked    []bus.Inbound
	millis   int64
	requests int
	boots    uint64
	sessions uint64

	// What was observed.
	told  map[outcomeKey][]byte
	large map[chat.MessageID]bool
	acked []acked
	shown []shown
}

// play plays one schedule and returns the first violation.
func play(seed uint64, f modelFaults, c counts, trace func(string, ...any)) error {
	w := build(seed, f, c, trace)
	defer w.end()
	w.run()
	if w.err == nil {
		w.check()
	}
	return w.err
}

// build makes the system of one schedule, before its first step.
func build(seed uint64, f modelFaults, c counts, trace func(string, ...any)) *world {
	w := &world{
		rng: newRand(seed), faults: f, counts: c, trace: trace,
		archive: newModelArchive(), millis: startTime,
		presence: presenceModel{routes: map[chat.UserID][]route{}, boots: map[int]uint64{}},
		told:     map[outcomeKey][]byte{}, large: map[chat.MessageID]bool{},
	}
	w.archive.replacesKeys = f.replacesKeys
	w.troubles = w.rng.IntN(9)
	w.cached = 1 + w.rng.IntN(12)
	partitions := 1 + w.rng.IntN(2)
	w.inbound = make([][]bus.Record, partitions)
	w.accepted = make([][]acceptedRecord, partitions)
	w.committed = make([]int64, partitions)
	w.routed = make([]int, partitions)
	w.owners = make([]*owner, partitions)
	w.routers = make([]*actor, partitions)
	w.topics = make([][]delivery, 2)
	w.gateways = make([]*gateway, 2)
	w.furnish()
	for p := range partitions {
		w.startOwner(int32(p))
		w.startRouter(int32(p))
	}
	for slot := range w.gateways {
		w.startGateway(slot)
	}
	for _, u := range []int{1, 1, 2, 3, 4} {
		w.startDevice(user(u))
	}
	w.start("admins", w.administer)
	return w
}

// furnish begins the conversations of the schedule.
func (w *world) furnish() {
	w.rooms = []chat.ConversationID{theGroup, thePair}
	members := []chat.UserID{anna, boris}
	for _, u := range []chat.UserID{clara, dina} {
		if w.chance(2) {
			members = append(members, u)
		}
	}
	w.ask(&bus.Inbound{
		Conversation: theGroup, Sender: anna, Request: ask(1),
		Create: &bus.Create{Type: chat.Group, Name: "Chess", Members: members, Limit: modelLimit},
	})
	w.ask(&bus.Inbound{
		Conversation: thePair, Sender: boris, Request: ask(2),
		Create: &bus.Create{Type: chat.Direct, Members: []chat.UserID{anna, boris}},
	})
}

// administer gives commands over REST, by those who may and those who may not,
// and repeats what others have sent.
func (w *world) administer(a *actor) {
	for range 8 + w.rng.IntN(16) {
		for range w.rng.IntN(30) {
			a.step()
		}
		a.step()
		w.command()
	}
}

func (w *world) command() {
	w.requests++
	in := bus.Inbound{Conversation: theGroup, Sender: user(1 + w.rng.IntN(modelUsers)), Request: ask(w.requests)}
	for _, s := range w.archive.spansOf(theGroup) {
		if s.Left == 0 && s.Role == chat.Admin && !w.chance(4) {
			in.Sender = s.User // Mostly someone who may.
		}
	}
	target := user(1 + w.rng.IntN(modelUsers))
	switch w.rng.IntN(15) {
	case 0, 1, 2, 13, 14:
		in.Set = &bus.SetMember{User: target, Limit: modelLimit}
	case 3:
		in.Set = &bus.SetMember{User: target, Role: chat.Role(1 + w.rng.IntN(2)), Limit: modelLimit}
	case 4, 5:
		in.Remove = &bus.RemoveMember{User: target}
	case 6:
		in.Remove = &bus.RemoveMember{User: in.Sender}
	case 7:
		in.Rename = &bus.Rename{Name: fmt.Sprint("name ", w.requests)}
	case 8:
		w.put(int32(w.rng.IntN(len(w.inbound))), theGroup[:], []byte("no record"))
		return
	case 9:
		w.millis += chat.KeyWindow.Milliseconds() - int64(w.rng.IntN(3))*1000
		return
	default:
		w.repeat()
		return
	}
	w.ask(&in)
}

// repeat sends again what somebody sent before, with other words now and then,
// or lets somebody speak who may not be a member.
func (w *world) repeat() {
	if len(w.asked) == 0 || w.chance(5) {
		w.ask(w.newMessage(user(1 + w.rng.IntN(modelUsers))))
		return
	}
	in := w.asked[w.rng.IntN(len(w.asked))]
	in.ReplyTo = bus.ReplyTo{}
	if w.chance(5) {
		other := *in.Send
		other.Content += ", corrected"
		in.Send = &other
	}
	w.ask(&in)
}

// search plays schedules from the seed on until one fails, n were played or the
// time is over.
func search(from uint64, n int, limit time.Duration, f modelFaults) (played int, seed uint64, err error) {
	var (
		next, done atomic.Int64
		mu         sync.Mutex
		workers    sync.WaitGroup
		begun      = time.Now()
	)
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			c := newModelCounts()
			for {
				i := next.Add(1) - 1
				if i >= int64(n) || time.Since(begun) > limit {
					return
				}
				s := from + uint64(i)
				e := play(s, f, c, nil)
				done.Add(1)
				if e == nil {
					continue
				}
				mu.Lock()
				if err == nil || s < seed {
					seed, err = s, e
				}
				mu.Unlock()
				next.Store(int64(n))
				return
			}
		})
	}
	workers.Wait()
	return int(done.Load()), seed, err
}

// raced reports whether the race detector watches. A schedule runs on one
// goroutine at a time, so that it finds nothing there and only costs tenfold.
func raced() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

func TestModel(t *testing.T) {
	t.Run("road", func(t *testing.T) {
		if *modelSeed != 0 {
			if err := play(*modelSeed, modelFaults{}, newModelCounts(), t.Logf); err != nil {
				t.Fatal(err)
			}
			return
		}
		n := *modelSchedules
		if testing.Short() || raced() {
			n = min(n, 1000)
		}
		begun := time.Now()
		played, seed, err := search(1, n, time.Hour, modelFaults{})
		if err != nil {
			t.Fatalf("%v\nplay it again: go test ./storage-worker/fold -run TestModel/road -model.seed %d -v", err, seed)
		}
		t.Logf("%d schedules in %v", played, time.Since(begun).Round(time.Millisecond))
	})
	for _, planted := range plantedFaults() {
		t.Run(planted.name, func(t *testing.T) {
			if *modelSeed != 0 {
				t.Log(play(*modelSeed, planted.faults, newModelCounts(), t.Logf))
				return
			}
			begun := time.Now()
			played, seed, err := search(1, 10_000, time.Minute, planted.faults)
			if err == nil {
				t.Fatalf("not found in %d schedules", played)
			}
			t.Logf("found by schedule %d after %d, in %v: %v", seed, played, time.Since(begun).Round(time.Millisecond), err)
		})
	}
}

func TestOneSeedIsOneSchedule(t *testing.T) {
	for seed := range uint64(50) {
		var told [2]*world
		for i := range told {
			told[i] = build(seed, modelFaults{}, newModelCounts(), nil)
			told[i].run()
			told[i].end()
		}
		a, b := told[0], told[1]
		if a.steps != b.steps || !reflect.DeepEqual(a.accepted, b.accepted) || a.archive.differs(b.archive) != "" {
			t.Fatalf("seed %d: two runs differ, of %d and %d steps", seed, a.steps, b.steps)
		}
	}
}
