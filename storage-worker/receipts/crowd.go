package receipts

import (
	"context"
	"fmt"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// Crowd is from how many users of one conversation and batch on all its members
// are read at once, by two questions instead of two for each: whatever is said in
// a group of a hundred is marked by all of them within a second.
const Crowd = 8

// survey reads everybody's stay and marks, unless the conversation is so large
// that asking for some is cheaper.
func (t *talk) survey(ctx context.Context) error {
	stays, err := t.Store.StaysIn(ctx, t.turns[0].user, t.id)
	if err != nil {
		return fmt.Errorf("read a member's stays: %w", err)
	}
	if n := len(stays); n == 0 || stays[n-1].Large {
		return nil
	}
	spans, err := t.Store.Spans(ctx, t.id)
	if err != nil {
		return fmt.Errorf("read the members: %w", err)
	}
	marks, err := t.Store.Watermarks(ctx, t.id)
	if err != nil {
		return fmt.Errorf("read the watermarks: %w", err)
	}
	t.stays, t.old, t.crowd = t.present(spans), make(map[user]archive.Watermark), true
	for _, m := range marks {
		if stay := t.stays[m.User]; stay != nil && stay.Joined == m.Joined {
			t.old[m.User] = m
		}
	}
	return nil
}

// present returns the stays of those who are in a conversation now. A span that
// begins where the one before it ended belongs to the same stay.
func (t *talk) present(spans []archive.Span) map[user]*archive.Stay {
	stays := make(map[user]*archive.Stay)
	var before archive.Span
	var joined chat.Seq
	for _, s := range spans {
		if s.User != before.User || s.Joined != before.Left {
			joined = s.Joined
		}
		if before = s; s.Left == 0 {
			stays[s.User] = &archive.Stay{User: s.User, Conversation: t.id, Joined: joined}
		}
	}
	return stays
}

// watermark returns where a user stands; a missing mark is at the joining.
func (t *talk) watermark(ctx context.Context, stay archive.Stay) (archive.Watermark, error) {
	if t.crowd {
		m, ok := t.old[stay.User]
		if !ok {
			m = archive.Watermark{Conversation: t.id, User: stay.User, Joined: stay.Joined, Read: stay.Joined, Delivered: stay.Joined}
		}
		return m, nil
	}
	m, err := t.Store.Watermark(ctx, t.id, stay.User, stay.Joined)
	if err != nil {
		return m, fmt.Errorf("read a watermark: %w", err)
	}
	return m, nil
}
