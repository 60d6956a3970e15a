package soak

import (
	"slices"
	"testing"
)

func TestSeedDecidesEverything(t *testing.T) {
	draw := func(seed uint64) (sends []sendPlan, moves []movePlan) {
		p := newPlan(seed, 24)
		for i := range 500 {
			sends = append(sends, p.send())
			if i%3 == 0 { // how fast one stream is used up does not change the other
				moves = append(moves, p.move())
			}
		}
		return sends, moves
	}
	sends, moves := draw(7)
	again, movesAgain := draw(7)
	if !slices.Equal(sends, again) || !slices.Equal(moves, movesAgain) {
		t.Error("the same seed gave another plan")
	}
	if other, _ := draw(8); slices.Equal(sends, other) {
		t.Error("another seed gave the same plan")
	}
}

func TestPlanHasAllSizesAndTroubles(t *testing.T) {
	p := newPlan(1, 24)
	sizes := make(map[int]int)
	for _, talk := range p.talks {
		sizes[talk.size()]++
		if slices.Contains(talk.guests, talk.members[0]) {
			t.Error("the creator comes and goes")
		}
	}
	for _, size := range []int{2, groupSize, largeSize, borderSize, crowdSize} {
		if sizes[size] == 0 {
			t.Errorf("no conversation of %d: %v", size, sizes)
		}
	}
	troubles := make(map[doubling]int)
	cuts, twice, spoken := 0, 0, make(map[int]int)
	const sends = 5000
	for range sends {
		s := p.send()
		troubles[s.how]++
		spoken[p.talks[s.talk].size()]++
		if s.how != single {
			twice++
		}
		if s.cut {
			cuts++
		}
	}
	for _, how := range []doubling{single, twin, overREST, again} {
		if troubles[how] == 0 {
			t.Errorf("%d messages, none sent in way %d", sends, how)
		}
	}
	if cuts < sends*2/100 || cuts > sends*4/100 {
		t.Errorf("%d connections of %d cut, want some 3 %%", cuts, sends)
	}
	if twice < sends*4/100 || twice > sends*6/100 {
		t.Errorf("%d messages of %d doubled, want some 5 %%", twice, sends)
	}
	for size := range sizes {
		if spoken[size] < sends/100 {
			t.Errorf("%d messages of %d in conversations of %d", spoken[size], sends, size)
		}
	}
}

// A conversation at the border goes to and fro across it, one of a hundred is
// always pushed, and one of the most that there may be never has more.
func TestPlannedComingsAndGoings(t *testing.T) {
	p := newPlan(1, 24)
	inside := make([]map[int]bool, len(p.talks))
	sizes, crossings := make([]int, len(p.talks)), 0
	for i := range p.talks {
		inside[i] = make(map[int]bool)
		sizes[i] = p.talks[i].size()
		for _, m := range p.talks[i].members {
			inside[i][m] = true
		}
	}
	for range 500 {
		m := p.move()
		talk, who := &p.talks[m.talk], p.talks[m.talk].guests[m.guest]
		before := sizes[m.talk]
		if inside[m.talk][who] {
			sizes[m.talk]--
		} else {
			sizes[m.talk]++
		}
		inside[m.talk][who] = !inside[m.talk][who]
		now := sizes[m.talk]
		if (before > largeSize) != (now > largeSize) {
			crossings++
		}
		if talk.size() == largeSize && now > largeSize || now > crowdSize {
			t.Fatalf("a conversation of %d has %d members", talk.size(), now)
		}
	}
	if crossings < 25 {
		t.Errorf("%d crossings in 500 comings and goings", crossings)
	}
}
