package projection

import (
	"context"
	"errors"
	"slices"

	"switchboard/internal/chat"
	"switchboard/internal/roster"
	"switchboard/storage-worker/archive"
)

// acquaint loads conversations that the roster does not know from the archive, as
// they were before the first change that waits for each. The changes then apply
// as if the roster had known them always.
func (p *passage) acquaint(ctx context.Context, unknown []chat.ConversationID) error {
	for _, c := range unknown {
		at := slices.IndexFunc(p.changes, func(ch roster.Change) bool { return ch.Conversation == c })
		if at < 0 {
			continue
		}
		s, err := p.recall(ctx, c, p.changes[at].Seq)
		if errors.Is(err, archive.ErrNotFound) {
			p.orphan(c)
			continue
		}
		if err != nil {
			return err
		}
		if err := p.repeat(ctx, "load a conversation", func() error { return p.cfg.Roster.Load(ctx, s) }); err != nil {
			return err
		}
		p.counts.loads.Inc()
	}
	return nil
}

// recall reads a conversation as it was before the event with the seq border. All
// that is below it was durable before its outcome was told; of what is above it
// the archive may have only a part, which does not count.
func (p *passage) recall(ctx context.Context, c chat.ConversationID, border chat.Seq) (s roster.Snapshot, err error) {
	missing := false
	err = p.repeat(ctx, "read a conversation from the archive", func() error {
		info, err := p.cfg.Archive.Info(ctx, c)
		if missing = errors.Is(err, archive.ErrNotFound); missing {
			return nil
		}
		if err != nil {
			return err
		}
		spans, err := p.cfg.Archive.Spans(ctx, c)
		if err == nil {
			s = snapshotOf(c, info, spans, border)
		}
		return err
	})
	if missing {
		return s, archive.ErrNotFound
	}
	return s, err
}

// snapshotOf is the conversation as of border, the spans being in the archive's
// order: by user, then by beginning. The archive does not say when a span ended
// nor when a name was given, so Updated is the last joining or change of role;
// the next change corrects it. The name is the newest there is.
func snapshotOf(c chat.ConversationID, info archive.Info, spans []archive.Span, border chat.Seq) roster.Snapshot {
	s := roster.Snapshot{
		Conversation: c, Type: info.Type, Name: info.Name,
		Created: chat.ClockOf(info.Created), Updated: chat.ClockOf(info.Created), Version: border - 1,
	}
	var before archive.Span
	var joined chat.Clock
	for _, span := range spans {
		if span.User != before.User || before.Left != span.Joined {
			joined = chat.ClockOf(span.At)
		}
		before = span
		if span.Joined < border {
			s.Updated = max(s.Updated, chat.ClockOf(span.At))
		}
		if span.Counts(border) {
			s.Members = append(s.Members, roster.Member{User: span.User, Role: span.Role, Joined: joined})
		}
	}
	return s
}

// orphan gives up the changes of a conversation that the archive does not know
// either: it was taken out of the archive by hand.
func (p *passage) orphan(c chat.ConversationID) {
	p.counts.orphans.Inc()
	p.cfg.Logger.Error("the accepted log names a conversation that the archive does not know", "conversation", c)
	p.changes = slices.DeleteFunc(p.changes, func(ch roster.Change) bool { return ch.Conversation == c })
}
