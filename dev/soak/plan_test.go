package soak

import (
	"slices"
	"testing"
)

func TestSeedDecidesEverything(t *testing.T) {
	draw := func(seed uint64) (sends []sendPlan, moves []movePlan) {
		p := newPlan(seed, 120)
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
	p := newPlan(1, 120)
	sizes := make(map[int]int)
	for _, talk := range p.talks {
		sizes[len(talk.members)]++
		if slices.Contains(talk.guests, talk.members[0]) {
			t.Error("the creator comes and goes")
		}
	}
	for _, size := range []int{2, groupSize, largeSize} {
		if sizes[size] == 0 {
			t.Errorf("no conversation of %d: %v", size, sizes)
		}
	}
	troubles := make(map[doubling]int)
	cuts, spoken := 0, make(map[int]int)
	for range 5000 {
		s := p.send()
		troubles[s.how]++
		spoken[len(p.talks[s.talk].members)]++
		if s.cut {
			cuts++
		}
	}
	for _, how := range []doubling{single, twin, overREST, again} {
		if troubles[how] == 0 {
			t.Errorf("5000 messages, none sent in way %d", how)
		}
	}
	if cuts < 100 || cuts > 400 {
		t.Errorf("%d connections of 5000 cut, want some hundred", cuts)
	}
	if spoken[2] < spoken[groupSize] || spoken[groupSize] < spoken[largeSize] || spoken[largeSize] == 0 {
		t.Errorf("messages by size of the conversation: %v", spoken)
	}
}
