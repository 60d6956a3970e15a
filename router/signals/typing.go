package signals

import (
	"context"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/roster"
	"switchboard/internal/wire"
)

// typings are the latest words of each typist in each conversation, in the order
// of their first.
type typings struct {
	hints []bus.Hint
	at    map[typist]int
}

type typist struct {
	conversation chat.ConversationID
	user         chat.UserID
}

func (t *typings) add(h *bus.Hint) {
	key := typist{h.Conversation, h.User}
	if i, ok := t.at[key]; ok {
		t.hints[i] = *h
		return
	}
	if t.at == nil {
		t.at = make(map[typist]int)
	}
	t.at[key] = len(t.hints)
	t.hints = append(t.hints, *h)
}

// routeTyping tells the others of each conversation who types.
func (p *passage) routeTyping(ctx context.Context, t *typings) {
	fresh := slices.DeleteFunc(t.hints, func(h bus.Hint) bool {
		old := time.Since(time.UnixMilli(h.Millis)) > chat.TypingShown
		if old {
			p.stale.Inc()
		}
		return old
	})
	members := p.members(ctx, fresh)
	var letters []letter
	for _, h := range fresh {
		others, ok := p.others(&h, members[h.Conversation])
		if !ok {
			continue
		}
		letters = append(letters, letter{
			to: others,
			frame: bus.Frame{Payload: wire.AppendTyping(nil, &wire.Typing{
				ConversationID: h.Conversation, UserID: h.User, IsTyping: h.IsTyping,
			})},
		})
	}
	p.post(ctx, bus.Signal, letters)
}

// others returns the members besides the typist, who must be one of them.
func (p *passage) others(h *bus.Hint, members []roster.Member) (others []chat.UserID, ok bool) {
	if members == nil {
		return nil, false // Counted where there was no answer.
	}
	if len(members) > chat.TypingMembers {
		p.large.Inc()
		return nil, false
	}
	for _, m := range members {
		if m.User == h.User {
			ok = true
		} else {
			others = append(others, m.User)
		}
	}
	if !ok {
		p.foreign.Inc()
	}
	return others, ok
}

// members asks who is in the conversations, one more than may be told where there
// are too many. Those about which there is no answer are missing.
func (p *passage) members(ctx context.Context, hints []bus.Hint) map[chat.ConversationID][]roster.Member {
	all := make(map[chat.ConversationID][]roster.Member)
	for i := range hints {
		all[hints[i].Conversation] = nil
	}
	conversations := slices.Collect(maps.Keys(all))
	answers := make([][]roster.Member, len(conversations))
	unknown := p.ask(len(conversations), func(i int) (err error) {
		answers[i], err = p.cfg.Roster.Members(ctx, conversations[i], chat.UserID{}, chat.TypingMembers+1)
		return err
	})
	for i, c := range conversations {
		if !unknown[i] {
			all[c] = slices.Grow(answers[i], 1) // Not nil: there was an answer.
		}
	}
	return all
}

// ask puts n questions to the roster, some at a time, and says which had no
// answer; they are counted.
func (p *passage) ask(n int, question func(i int) error) (unknown []bool) {
	unknown = make([]bool, n)
	var asked errgroup.Group
	asked.SetLimit(rosterAtOnce)
	for i := range n {
		asked.Go(func() error {
			if question(i) != nil {
				p.lost.Inc()
				unknown[i] = true
			}
			return nil
		})
	}
	_ = asked.Wait() // Nothing in it fails.
	return unknown
}
