package main

import (
	"context"
	"fmt"

	"switchboard/bench/result"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

// measure ends the listening and fills in latencies and what was refused.
func (r *road) measure(report *roadReport, from, to int) {
	r.disconnect()
	delivery := result.NewTiming("delivery", "from the intended send to a member's socket")
	answer := result.NewTiming("answer", "from the intended send to message_sent")
	for _, p := range r.people {
		<-p.done
		p.record(delivery, answer, from, to)
	}
	report.Refused = r.refusals()
	report.delivery, report.answer = delivery, answer
	report.Delivery, report.Answer = summarize(delivery.Total()), summarize(answer.Total())
	report.Series = nil
	for _, h := range delivery.Intervals() {
		report.Series = append(report.Series, summarize(h))
	}
}

// refusals counts what was refused, by code; nil if nothing was.
func (r *road) refusals() (refused map[string]int) {
	for _, p := range r.people {
		for _, e := range p.refused {
			if refused == nil {
				refused = make(map[string]int)
			}
			refused[string(e.Code)]++
		}
	}
	return refused
}

// audit compares, conversation by conversation, what was sent with what history
// says and with what each member saw, in which order.
func (r *road) audit(ctx context.Context, report *roadReport, total int) error {
	views := make(map[chat.ConversationID]map[*person][]arrival)
	for _, p := range r.people {
		for _, a := range p.seen {
			if views[a.talk] == nil {
				views[a.talk] = make(map[*person][]arrival)
			}
			views[a.talk][p] = append(views[a.talk][p], a)
		}
	}
	stored := make([]int, total)
	for _, talk := range r.talks {
		var history []wire.Message
		err := again(ctx, func() (err error) {
			history, err = r.callsOf(talk.members[0].number).All(ctx, talk.id, 0)
			return err
		})
		if err != nil {
			return fmt.Errorf("read the history of %s: %w", talk.id, err)
		}
		order := make(map[chat.Seq]int, len(history))
		for i, m := range history {
			if i > 0 && m.Seq != history[i-1].Seq+1 {
				report.Gaps++
			}
			if n := r.numberOf(m.Content); n >= 0 && n < total {
				stored[n]++
				order[m.Seq] = n
			}
		}
		for _, p := range talk.members {
			compare(report, order, views[talk.id][p])
		}
	}
	for _, times := range stored {
		switch {
		case times == 0:
			report.Missing++
		case times > 1:
			report.Doubled += times - 1
		}
	}
	return nil
}

// compare checks one member's view of one conversation against history.
func compare(report *roadReport, order map[chat.Seq]int, view []arrival) {
	got := make(map[chat.Seq]bool, len(view))
	last := chat.Seq(0)
	for _, a := range view {
		switch {
		case got[a.seq]:
			report.Repeated++
		case a.seq < last:
			report.Reordered++
		}
		if n, ok := order[a.seq]; ok && a.number >= 0 && n != a.number {
			report.Misplaced++
		}
		got[a.seq], last = true, max(last, a.seq)
	}
	for seq := range order {
		if !got[seq] {
			report.NotDelivered++
		}
	}
}
