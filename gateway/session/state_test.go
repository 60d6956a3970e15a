package session

import (
	"hash/maphash"
	"math/rand/v2"
	"testing"
	"unsafe"

	"switchboard/gateway/edge"
	"switchboard/internal/chat"
)

// What a session costs is part of the design: see the package comment.
func TestASessionIs80Bytes(t *testing.T) {
	if got := unsafe.Sizeof(state{}); got > 80 {
		t.Errorf("a state has %d bytes, want at most 80", got)
	}
}

func TestNumberNamesTheSession(t *testing.T) {
	for _, c := range []edge.Conn{
		{}, {Loop: 1<<loopBits - 1, Slot: 1<<slotBits - 1, Gen: 1<<32 - 2}, {Loop: 3, Slot: 70000, Gen: 9},
	} {
		n := numberOf(c)
		if n == 0 || connOf(n) != c {
			t.Errorf("connOf(numberOf(%v)) = %v, by number %d", c, connOf(n), n)
		}
	}
}

func TestBucketForgetsTheFarPast(t *testing.T) {
	var b bucket
	for _, now := range []uint32{0, 5_000, 1 << 31, 1<<32 - 10, 100_000, 1 << 30} {
		for i := range chat.SendBurst {
			if wait := b.take(now, sendPace()); wait != 0 {
				t.Fatalf("at %d send %d has to wait %d ms", now, i, wait)
			}
		}
		if wait := b.take(now, sendPace()); wait == 0 || wait > sendPace().interval {
			t.Fatalf("at %d the send after the burst waits %d ms", now, wait)
		}
	}
}

func TestSpreadIsEvenAndBounded(t *testing.T) {
	const n, sessions = 10, 10_000
	var counts [n]int
	for i := range sessions {
		s := state{serial: uint32(i)}
		counts[s.spread(n)]++
	}
	for i, got := range counts {
		if got < sessions/n*8/10 || got > sessions/n*12/10 {
			t.Errorf("%d of %d sessions fall to %d", got, sessions, i)
		}
	}
}

// The index is compared with a map under random coming and going.
func TestIndexAgainstAMap(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	l := &loop{users: index{seed: maphash.MakeSeed()}}
	users := make([]chat.UserID, 300)
	for i := range users {
		random := chat.NewRequestID()
		users[i] = chat.UserID(random)
	}
	model := make(map[chat.UserID]map[uint32]bool)
	here := make(map[uint32]bool)
	for step := range 60_000 {
		slot := uint32(random.IntN(3000))
		if here[slot] {
			s := l.at(slot)
			delete(model[s.user], slot)
			l.unlink(slot, s)
			*s = state{}
			delete(here, slot)
		} else {
			s := l.begin(edge.Conn{Slot: slot})
			s.user = users[random.IntN(len(users))]
			l.link(slot, s)
			if model[s.user] == nil {
				model[s.user] = make(map[uint32]bool)
			}
			model[s.user][slot] = true
			here[slot] = true
		}
		u := users[random.IntN(len(users))]
		got := 0
		for next := l.first(u); next != 0; next = l.at(next - 1).next {
			if !model[u][next-1] {
				t.Fatalf("step %d: slot %d is listed for a user who is not there", step, next-1)
			}
			got++
		}
		if got != len(model[u]) {
			t.Fatalf("step %d: %d sessions of a user, want %d", step, got, len(model[u]))
		}
	}
	if l.first(chat.UserID{1}) != 0 {
		t.Error("a user who never came is there")
	}
}

func TestSlotsOfUnknownConnections(t *testing.T) {
	l := new(loop)
	c := edge.Conn{Slot: 5, Gen: 2}
	l.begin(c)
	for _, gone := range []edge.Conn{{Slot: 5, Gen: 1}, {Slot: 6, Gen: 0}, {Slot: 1 << 20, Gen: 2}} {
		if l.find(gone) != nil {
			t.Errorf("%v was found", gone)
		}
	}
	if l.find(c) == nil {
		t.Errorf("%v was not found", c)
	}
}
