package soak

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"switchboard/internal/chat"
)

// The sizes of the conversations, and how often each is spoken in.
const (
	groupSize   = 8
	largeSize   = 100 // the most that are pushed to one by one
	directShare = 0.7
	largeShare  = 0.03
)

// What goes wrong on purpose, as shares of all messages.
const (
	cutShare   = 0.04 // the connection is reset right after the send
	twinShare  = 0.03 // both devices send it
	restShare  = 0.02 // it is sent over REST too
	againShare = 0.03 // it is sent again after it was answered
	guestShare = 0.05 // somebody who comes and goes says it, member or not
)

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
	guests  []int // come and go; those of a large one are members at first
}

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
	talks        []talkPlan
	directs      int // the first of talks
	groups       int // the next
	sends, moves *rand.Rand
	faults       *rand.Rand
}

// newPlan decides who talks with whom.
func newPlan(seed uint64, people int) *plan {
	p := &plan{
		sends: rand.New(rand.NewPCG(seed, 2)), moves: rand.New(rand.NewPCG(seed, 3)), faults: rand.New(rand.NewPCG(seed, 4)),
	}
	random := rand.New(rand.NewPCG(seed, 1))
	order := random.Perm(people)
	for i := 0; i+1 < people; i += 2 {
		p.talks = append(p.talks, talkPlan{direct: true, members: order[i : i+2]})
	}
	p.directs = len(p.talks)
	for range people / 6 {
		who := random.Perm(people)[:groupSize+2]
		p.talks = append(p.talks, talkPlan{members: who[:groupSize], guests: who[groupSize:]})
	}
	p.groups = len(p.talks) - p.directs
	if people >= largeSize {
		for range 2 {
			who := random.Perm(people)[:largeSize]
			p.talks = append(p.talks, talkPlan{members: who, guests: who[largeSize-3:]})
		}
	}
	return p
}

// send decides the next message.
func (p *plan) send() sendPlan {
	s := sendPlan{device: p.sends.IntN(2), words: p.sends.IntN(24)}
	kind := p.sends.Float64()
	larges := len(p.talks) - p.directs - p.groups
	switch {
	case kind < directShare || p.groups == 0:
		s.talk = p.sends.IntN(p.directs)
	case kind > 1-largeShare && larges > 0:
		s.talk = p.directs + p.groups + p.sends.IntN(larges)
	default:
		s.talk = p.directs + p.sends.IntN(p.groups)
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
	if len(p.talks) == p.directs {
		return movePlan{talk: -1}
	}
	talk := p.directs + p.moves.IntN(len(p.talks)-p.directs)
	return movePlan{talk: talk, guest: p.moves.IntN(len(p.talks[talk].guests))}
}

// content is what a message says: its id, which makes it unique, and some words.
func content(id chat.RequestID, words int) string {
	return fmt.Sprintf("%s%s", id, strings.Repeat(" слово", words))
}
