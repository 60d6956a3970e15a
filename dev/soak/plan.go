package soak

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"switchboard/internal/chat"
)

// The sizes of the conversations, and how often each kind is spoken in.
const (
	groupSize  = 8
	largeSize  = chat.LargeAbove     // the most that are pushed to one by one
	borderSize = chat.LargeAbove + 1 // goes to and fro across that
	crowdSize  = chat.MembersDefault // the most that there may be

	directShare = 0.45
	groupShare  = 0.25 // the rest goes to the larger ones
)

// How many of each kind there are, and how many people come and go in each.
const (
	larges, largeGuests   = 2, 3
	borders, borderGuests = 2, 6
	borderInside          = 4 // of those guests at first
	crowds, crowdGuests   = 1, 4
	// mostPresent bounds how many of a larger one have devices: the others are ids,
	// as most members of a large conversation are away most of the time.
	mostPresent = largeSize - 1
)

// What goes wrong on purpose, as shares of all messages. Those that are doubled are
// 5 % in all.
const (
	cutShare   = 0.03 // the connection is reset right after the send
	twinShare  = 0.02 // both devices send it
	restShare  = 0.01 // it is sent over REST too
	againShare = 0.02 // it is sent again after it was answered
	guestShare = 0.05 // somebody who comes and goes says it, member or not
)

// borderMoves is the share of the comings and goings that a conversation at the
// border sees.
const borderMoves = 0.4

// doubling is how a message is sent more than once.
type doubling uint8

const (
	single   doubling = iota
	twin              // by both devices of its sender at once
	overREST          // on the socket and over REST at once
	again             // by the other device, after the answer
)

// talkPlan is one conversation: indexes of people. The first member makes it and
// stays.
type talkPlan struct {
	direct  bool
	members []int
	guests  []int // come and go; those of a larger one are members at first, most of them
	absent  int   // members without a device
}

// size is how many members there are at first.
func (t *talkPlan) size() int { return len(t.members) + t.absent }

// sendPlan is one message.
type sendPlan struct {
	talk, sender, device int
	words                int
	cut                  bool
	how                  doubling
}

// movePlan is somebody who comes or goes.
type movePlan struct{ talk, guest int }

// plan is everything that the seed decides. Each stream of decisions has a
// source of its own, so that how fast one is used up does not change another.
type plan struct {
	talks   []talkPlan
	directs int // the first of talks
	groups  int // the next, and then the larger ones
	borders int // the first of those at the border

	sends, moves, faults *rand.Rand
	typing, absences     *rand.Rand
}

// newPlan decides who talks with whom.
func newPlan(seed uint64, people int) *plan {
	source := func(n uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, n)) }
	p := &plan{sends: source(2), moves: source(3), faults: source(4), typing: source(5), absences: source(6)}
	random := source(1)
	order := random.Perm(people)
	for i := 0; i+1 < people; i += 2 {
		p.talks = append(p.talks, talkPlan{direct: true, members: order[i : i+2]})
	}
	p.directs = len(p.talks)
	for range people / 6 * min(1, people/(groupSize+2)) {
		who := random.Perm(people)[:groupSize+2]
		p.talks = append(p.talks, talkPlan{members: who[:groupSize], guests: who[groupSize:]})
	}
	p.groups = len(p.talks) - p.directs
	if p.groups == 0 {
		return p
	}
	large := func(n, size, guests, outside int) {
		for range n {
			who := random.Perm(people)[:min(people, mostPresent)]
			inside := len(who) - outside
			p.talks = append(p.talks, talkPlan{members: who[:inside], guests: who[len(who)-guests:], absent: size - inside})
		}
	}
	large(larges, largeSize, largeGuests, 0)
	p.borders = len(p.talks)
	large(borders, borderSize, borderGuests, borderGuests-borderInside)
	large(crowds, crowdSize, crowdGuests, 0)
	return p
}

// send decides the next message.
func (p *plan) send() sendPlan {
	s := sendPlan{device: p.sends.IntN(2), words: p.sends.IntN(24)}
	switch kind := p.sends.Float64(); {
	case kind < directShare || p.groups == 0:
		s.talk = p.sends.IntN(p.directs)
	case kind < directShare+groupShare:
		s.talk = p.directs + p.sends.IntN(p.groups)
	default:
		s.talk = p.directs + p.groups + p.sends.IntN(larges+borders+crowds)
	}
	t := &p.talks[s.talk]
	s.sender = t.members[p.sends.IntN(len(t.members))]
	if guest := p.sends.Float64() < guestShare; guest && len(t.guests) > 0 {
		s.sender = t.guests[p.sends.IntN(len(t.guests))]
	}
	s.cut = p.sends.Float64() < cutShare
	switch how := p.sends.Float64(); {
	case how < twinShare:
		s.how = twin
	case how < twinShare+restShare:
		s.how = overREST
	case how < twinShare+restShare+againShare:
		s.how = again
	}
	return s
}

// move decides who comes or goes next.
func (p *plan) move() movePlan {
	if p.groups == 0 {
		return movePlan{talk: -1}
	}
	talk := p.directs + p.moves.IntN(len(p.talks)-p.directs)
	if p.moves.Float64() < borderMoves {
		talk = p.borders + p.moves.IntN(borders)
	}
	return movePlan{talk: talk, guest: p.moves.IntN(len(p.talks[talk].guests))}
}

// word decides who types where next: a member, or somebody who comes and goes.
func (p *plan) word() sendPlan {
	s := sendPlan{talk: p.typing.IntN(len(p.talks)), device: p.typing.IntN(2)}
	t := &p.talks[s.talk]
	who := p.typing.IntN(len(t.members) + len(t.guests))
	if who < len(t.members) {
		s.sender = t.members[who]
	} else {
		s.sender = t.guests[who-len(t.members)]
	}
	return s
}

// content is what a message says: its id, which makes it unique, and some words.
func content(id chat.RequestID, words int) string {
	return fmt.Sprintf("%s%s", id, strings.Repeat(" слово", words))
}
