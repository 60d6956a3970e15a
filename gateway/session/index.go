package session

import (
	"hash/maphash"

	"switchboard/internal/chat"
)

// index finds the sessions of a user on one loop: an open-addressed table of
// slot numbers, one entry a user, whose further sessions are linked through
// state.next. 4 bytes an entry at most three quarters full, and nothing on the
// heap per user. The states themselves are the keys.
type index struct {
	seed  maphash.Seed // secret, so that nobody can choose ids that collide
	heads []uint32     // slot + 1 of the user's first session, 0 = free
	count int          // users
}

const indexFloor = 64

// place returns where a user's entry is, or the free place where it belongs.
func (l *loop) place(u chat.UserID) int {
	mask := len(l.users.heads) - 1
	at := l.home(u)
	for l.users.heads[at] != 0 && l.at(l.users.heads[at]-1).user != u {
		at = (at + 1) & mask
	}
	return at
}

// home is where a user's entry is when nothing is in its way.
func (l *loop) home(u chat.UserID) int {
	return int(maphash.Bytes(l.users.seed, u[:]) & uint64(len(l.users.heads)-1))
}

// first returns slot + 1 of the user's first session here, 0 if there is none.
func (l *loop) first(u chat.UserID) uint32 {
	if l.users.count == 0 {
		return 0
	}
	return l.users.heads[l.place(u)]
}

// link puts a session with a user into the index.
func (l *loop) link(slot uint32, s *state) {
	if (l.users.count+1)*4 > len(l.users.heads)*3 {
		l.grow()
	}
	at := l.place(s.user)
	if l.users.heads[at] == 0 {
		l.users.count++
	}
	s.next = l.users.heads[at]
	l.users.heads[at] = slot + 1
	s.set(indexed)
}

// unlink takes a session out.
func (l *loop) unlink(slot uint32, s *state) {
	s.unset(indexed)
	at := l.place(s.user)
	if head := l.users.heads[at]; head != slot+1 {
		for before := l.at(head - 1); ; before = l.at(before.next - 1) {
			if before.next == slot+1 {
				before.next = s.next
				return
			}
		}
	}
	if s.next != 0 {
		l.users.heads[at] = s.next
		return
	}
	l.free(at)
}

// free empties a place and moves up what others had pushed further on, so that
// no search ends too early and no tombstone is left.
func (l *loop) free(hole int) {
	heads := l.users.heads
	mask := len(heads) - 1
	l.users.count--
	for at := (hole + 1) & mask; heads[at] != 0; at = (at + 1) & mask {
		home := l.home(l.at(heads[at] - 1).user)
		// The entry may move to the hole unless its home lies behind it.
		if (at-home)&mask >= (at-hole)&mask {
			heads[hole] = heads[at]
			hole = at
		}
	}
	heads[hole] = 0
}

// grow doubles the table.
func (l *loop) grow() {
	old := l.users.heads
	l.users.heads = make([]uint32, max(2*len(old), indexFloor))
	for _, head := range old {
		if head != 0 {
			l.users.heads[l.place(l.at(head-1).user)] = head
		}
	}
}
