package fold

import (
	"bytes"
	"cmp"
	"maps"
	"slices"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// modelArchive is an archive as a store with many nodes is one: each row of a
// batch becomes durable by itself, and of each group of columns the newest write
// wins. It is small and slow on purpose.
type modelArchive struct {
	rows     map[modelRowKey]archive.Row
	seen     map[modelSeenKey]archive.Seen
	infos    map[chat.ConversationID]modelInfo
	spans    map[modelSpanKey]modelSpan
	stays    map[modelSpanKey]modelStay
	marks    map[modelSpanKey]archive.Watermark
	media    map[modelMediaKey]bool
	progress map[int32]archive.Progress

	replacesKeys bool // planted: a key has one row, and the newest use of it wins
}

type (
	modelRowKey struct {
		c   chat.ConversationID
		seq chat.Seq
	}
	modelSeenKey struct {
		archive.Key
		at chat.Position
	}
	modelMediaKey struct {
		id chat.MediaID
		c  chat.ConversationID
	}
	modelSpanKey struct {
		c      chat.ConversationID
		u      chat.UserID
		joined chat.Seq
	}
	modelInfo struct {
		archive.Info
		named chat.MessageID
	}
	modelSpan struct {
		role     chat.Role
		at       chat.MessageID
		left     chat.Seq
		closedBy chat.MessageID
	}
	modelStay struct {
		head   archive.Tip
		large  bool
		by     chat.MessageID
		left   chat.Seq
		leftBy chat.MessageID
	}
)

func newModelArchive() *modelArchive {
	return &modelArchive{
		rows: map[modelRowKey]archive.Row{}, seen: map[modelSeenKey]archive.Seen{},
		infos: map[chat.ConversationID]modelInfo{},
		spans: map[modelSpanKey]modelSpan{}, stays: map[modelSpanKey]modelStay{},
		marks: map[modelSpanKey]archive.Watermark{}, progress: map[int32]archive.Progress{},
		media: map[modelMediaKey]bool{},
	}
}

// clone returns a copy without the progress.
func (m *modelArchive) clone() *modelArchive {
	return &modelArchive{
		rows: maps.Clone(m.rows), seen: maps.Clone(m.seen), infos: maps.Clone(m.infos),
		spans: maps.Clone(m.spans), stays: maps.Clone(m.stays), marks: maps.Clone(m.marks), media: maps.Clone(m.media),
		progress: map[int32]archive.Progress{}, replacesKeys: m.replacesKeys,
	}
}

// differs names the first table in which m and o are not the same, or "".
func (m *modelArchive) differs(o *modelArchive) string {
	switch {
	case !maps.Equal(m.rows, o.rows):
		return "messages"
	case !maps.Equal(m.seen, o.seen):
		return "message_keys"
	case !maps.Equal(m.infos, o.infos):
		return "conversations"
	case !maps.Equal(m.spans, o.spans):
		return "members"
	case !maps.Equal(m.stays, o.stays):
		return "conversations_of"
	case !maps.Equal(m.marks, o.marks):
		return "watermarks"
	case !maps.Equal(m.media, o.media):
		return "media_refs"
	}
	return ""
}

func newer(id, than chat.MessageID) bool { return chat.CompareMessageIDs(id, than) >= 0 }

// ops returns the writes of a batch, each of which is durable by itself.
func (m *modelArchive) ops(b *archive.Batch, conflict func(archive.Row)) (ops []func()) {
	for _, r := range b.Rows {
		ops = append(ops, func() {
			k := modelRowKey{r.Conversation, r.Seq}
			old, ok := m.rows[k]
			if ok && old.ID != r.ID {
				conflict(r)
			}
			if !ok || newer(r.ID, old.ID) {
				m.rows[k] = r
			}
		})
	}
	for _, s := range b.Seen {
		ops = append(ops, func() { m.writeSeen(s) })
	}
	for _, i := range b.Infos {
		ops = append(ops, func() { m.writeInfo(i) })
	}
	for _, s := range b.Opened {
		ops = append(ops, func() {
			k := modelSpanKey{s.Conversation, s.User, s.Joined}
			v := m.spans[k]
			v.role, v.at = s.Role, s.At
			m.spans[k] = v
		})
	}
	for _, s := range b.Closed {
		ops = append(ops, func() {
			k := modelSpanKey{s.Conversation, s.User, s.Joined}
			v := m.spans[k]
			v.left, v.closedBy = s.Left, s.By
			m.spans[k] = v
		})
	}
	for _, s := range b.Stays {
		ops = append(ops, func() { m.writeStay(s) })
	}
	for _, mark := range b.Marks {
		ops = append(ops, func() {
			k := modelSpanKey{mark.Conversation, mark.User, mark.Joined}
			mark.Read = max(mark.Read, m.marks[k].Read)
			mark.Delivered = max(mark.Delivered, m.marks[k].Delivered)
			m.marks[k] = mark
		})
	}
	for _, ref := range b.Media {
		ops = append(ops, func() { m.media[modelMediaKey{ref.Media, ref.Conversation}] = true })
	}
	return ops
}

func (m *modelArchive) writeSeen(s archive.Seen) {
	k := modelSeenKey{s.Key, s.Position}
	if m.replacesKeys {
		k.at = chat.Position{}
	}
	if newer(s.ID, m.seen[k].ID) {
		m.seen[k] = s
	}
}

// saw reports whether the key row of a record is there.
func (m *modelArchive) saw(k archive.Key, at chat.Position, id chat.MessageID) bool {
	return m.replacesKeys || m.seen[modelSeenKey{k, at}].ID == id
}

func (m *modelArchive) writeInfo(i archive.InfoWrite) {
	v := m.infos[i.Conversation]
	if i.Type != 0 {
		v.Type, v.Creator, v.Created = i.Type, i.Creator, i.Created
	}
	if newer(i.By, v.named) {
		v.Name, v.named = i.Name, i.By
	}
	m.infos[i.Conversation] = v
}

func (m *modelArchive) writeStay(s archive.StayWrite) {
	k := modelSpanKey{s.Conversation, s.User, s.Joined}
	v := m.stays[k]
	if newer(s.By, v.by) {
		v.head, v.large, v.by = s.Head, s.Large, s.By
	}
	if s.Left != 0 {
		v.left, v.leftBy = s.Left, s.By
	}
	m.stays[k] = v
}

// tip returns the newest row below the border, or of all.
func (m *modelArchive) tip(c chat.ConversationID, border chat.MessageID) (t archive.Tip) {
	for k, r := range m.rows {
		if k.c == c && k.seq > t.Seq && (border.IsZero() || chat.CompareMessageIDs(r.ID, border) < 0) {
			t = archive.Tip{Seq: r.Seq, ID: r.ID}
		}
	}
	return t
}

func (m *modelArchive) spansOf(c chat.ConversationID) (spans []archive.Span) {
	for k, v := range m.spans {
		if k.c == c {
			spans = append(spans, archive.Span{User: k.u, Joined: k.joined, Left: v.left, Role: v.role, At: v.at})
		}
	}
	slices.SortFunc(spans, func(a, b archive.Span) int {
		return cmp.Or(bytes.Compare(a.User[:], b.User[:]), cmp.Compare(a.Joined, b.Joined))
	})
	return spans
}

// staysOf returns a user's index, ordered by conversation and Joined.
func (m *modelArchive) staysOf(u chat.UserID) (stays []archive.Stay) {
	for k, v := range m.stays {
		if k.u == u {
			stays = append(stays, archive.Stay{
				User: u, Conversation: k.c, Joined: k.joined, Left: v.left, Head: v.head, Large: v.large,
			})
		}
	}
	slices.SortFunc(stays, func(a, b archive.Stay) int {
		return cmp.Or(bytes.Compare(a.Conversation[:], b.Conversation[:]), cmp.Compare(a.Joined, b.Joined))
	})
	return stays
}

// sees reports whether the event lies inside one of the user's spans.
func (m *modelArchive) sees(u chat.UserID, c chat.ConversationID, seq chat.Seq) bool {
	for k, v := range m.spans {
		if k.c == c && k.u == u && !v.at.IsZero() && k.joined <= seq && (v.left == 0 || seq <= v.left) {
			return true
		}
	}
	return false
}
