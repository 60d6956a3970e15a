// Package memory is an archive that lives as long as the process: a real one,
// which passes the same suite as the others, for the tests of whoever stands on
// an archive. It writes nothing anywhere and never fails by itself.
package memory

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// Store is an [archive.Store] in maps. Use [New].
type Store struct {
	mu            sync.RWMutex
	conversations map[chat.ConversationID]*conversation
	seen          map[archive.Key]map[chat.Position]archive.Seen
	stays         map[chat.UserID]map[stayKey]*stay
	progress      map[progressKey]archive.Progress
	media         map[chat.MediaID]map[chat.ConversationID]chat.MessageID
}

var _ archive.Store = (*Store)(nil)

// conversation is one conversation's rows, by seq and ascending, and what
// stands beside them.
type conversation struct {
	rows    []archive.Row
	info    archive.Info
	created chat.Clock // of info without its name; 0 = not yet
	named   chat.Clock // of its name
	spans   map[spanKey]*span
	marks   map[spanKey]archive.Watermark // by user and the seq of joining
}

type spanKey struct {
	user   chat.UserID
	joined chat.Seq
}

// span has a clock for each of its halves; 0 = not yet.
type span struct {
	archive.Span
	opened, ended chat.Clock
}

type stayKey struct {
	conversation chat.ConversationID
	joined       chat.Seq
}

type stay struct {
	archive.Stay
	written, ended chat.Clock
}

type progressKey struct {
	generation uint32
	partition  int32
}

// New returns an empty store.
func New() *Store {
	return &Store{
		conversations: map[chat.ConversationID]*conversation{},
		seen:          map[archive.Key]map[chat.Position]archive.Seen{},
		stays:         map[chat.UserID]map[stayKey]*stay{},
		progress:      map[progressKey]archive.Progress{},
		media:         map[chat.MediaID]map[chat.ConversationID]chat.MessageID{},
	}
}

// Write implements [archive.Store].
func (s *Store) Write(ctx context.Context, b *archive.Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range b.Rows {
		s.conversation(r.Conversation).put(r)
	}
	for _, k := range b.Seen {
		if s.seen[k.Key] == nil {
			s.seen[k.Key] = map[chat.Position]archive.Seen{}
		}
		s.seen[k.Key][k.Position] = k
	}
	for _, w := range b.Infos {
		s.conversation(w.Conversation).describe(w)
	}
	for _, o := range b.Opened {
		c := s.conversation(o.Conversation)
		c.open(o.Span)
		if o.Left != 0 {
			c.end(o.User, o.Joined, o.Left, chat.ClockOf(o.At))
		}
	}
	for _, e := range b.Closed {
		s.conversation(e.Conversation).end(e.User, e.Joined, e.Left, chat.ClockOf(e.By))
	}
	for _, w := range b.Stays {
		s.putStay(w)
	}
	for _, m := range b.Marks {
		s.conversation(m.Conversation).mark(m)
	}
	for _, m := range b.Media {
		if s.media[m.Media] == nil {
			s.media[m.Media] = map[chat.ConversationID]chat.MessageID{}
		}
		if by, known := s.media[m.Media][m.Conversation]; !known || chat.CompareMessageIDs(m.By, by) > 0 {
			s.media[m.Media][m.Conversation] = m.By
		}
	}
	return nil
}

// MediaRefs implements [archive.Store].
func (s *Store) MediaRefs(ctx context.Context, id chat.MediaID, limit int) ([]archive.MediaRef, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	var refs []archive.MediaRef
	for c, by := range s.media[id] {
		refs = append(refs, archive.MediaRef{Media: id, Conversation: c, By: by})
	}
	return refs[:min(limit, len(refs))], nil
}

// conversation returns a conversation's rows, made if there are none.
func (s *Store) conversation(id chat.ConversationID) *conversation {
	c := s.conversations[id]
	if c == nil {
		c = &conversation{spans: map[spanKey]*span{}, marks: map[spanKey]archive.Watermark{}}
		s.conversations[id] = c
	}
	return c
}

func (s *Store) putStay(w archive.StayWrite) {
	key, clock := stayKey{w.Conversation, w.Joined}, chat.ClockOf(w.By)
	index := s.stays[w.User]
	if index == nil {
		index = map[stayKey]*stay{}
		s.stays[w.User] = index
	}
	old := index[key]
	if old == nil {
		old = &stay{Stay: archive.Stay{User: w.User, Conversation: w.Conversation, Joined: w.Joined}}
		index[key] = old
	}
	if clock >= old.written {
		old.Head, old.Large, old.written = w.Head, w.Large, clock
	}
	if w.Left != 0 && clock >= old.ended {
		old.Left, old.ended = w.Left, clock
	}
}

func compareSeq(r archive.Row, seq chat.Seq) int { return cmp.Compare(r.Seq, seq) }

func (c *conversation) put(r archive.Row) {
	at, found := slices.BinarySearchFunc(c.rows, r.Seq, compareSeq)
	switch {
	case !found:
		c.rows = slices.Insert(c.rows, at, r)
	case chat.CompareMessageIDs(r.ID, c.rows[at].ID) > 0:
		c.rows[at] = r
	}
}

func (c *conversation) describe(w archive.InfoWrite) {
	clock := chat.ClockOf(w.By)
	if w.Type != 0 && clock >= c.created {
		c.info.Type, c.info.Creator, c.info.Created, c.created = w.Type, w.Creator, w.Created, clock
	}
	if clock >= c.named {
		c.info.Name, c.named = w.Name, clock
	}
}

func (c *conversation) span(user chat.UserID, joined chat.Seq) *span {
	key := spanKey{user, joined}
	if c.spans[key] == nil {
		c.spans[key] = &span{Span: archive.Span{User: user, Joined: joined}}
	}
	return c.spans[key]
}

func (c *conversation) open(o archive.Span) {
	span := c.span(o.User, o.Joined)
	if clock := chat.ClockOf(o.At); clock >= span.opened {
		span.Role, span.At, span.opened = o.Role, o.At, clock
	}
}

func (c *conversation) end(user chat.UserID, joined, left chat.Seq, clock chat.Clock) {
	if span := c.span(user, joined); clock >= span.ended {
		span.Left, span.ended = left, clock
	}
}

func (c *conversation) mark(m archive.Watermark) {
	key := spanKey{m.User, m.Joined}
	old := c.marks[key]
	m.Read, m.Delivered = max(m.Read, old.Read), max(m.Delivered, old.Delivered)
	c.marks[key] = m
}

// read takes the lock for reading, and returns a conversation that may be
// empty. The caller unlocks, unless there is an error.
func (s *Store) read(ctx context.Context, id chat.ConversationID) (*conversation, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	if c := s.conversations[id]; c != nil {
		return c, nil
	}
	return &conversation{}, nil
}

// Tip implements [archive.Store].
func (s *Store) Tip(ctx context.Context, id chat.ConversationID, border chat.MessageID) (archive.Tip, error) {
	c, err := s.read(ctx, id)
	if err != nil {
		return archive.Tip{}, err
	}
	defer s.mu.RUnlock()
	n := len(c.rows)
	if !border.IsZero() {
		n, _ = slices.BinarySearchFunc(c.rows, border, func(r archive.Row, border chat.MessageID) int {
			return chat.CompareMessageIDs(r.ID, border)
		})
	}
	if n == 0 {
		return archive.Tip{}, nil
	}
	return archive.Tip{Seq: c.rows[n-1].Seq, ID: c.rows[n-1].ID}, nil
}

// Info implements [archive.Store].
func (s *Store) Info(ctx context.Context, id chat.ConversationID) (archive.Info, error) {
	c, err := s.read(ctx, id)
	if err != nil {
		return archive.Info{}, err
	}
	defer s.mu.RUnlock()
	if c.created == 0 {
		return archive.Info{}, archive.ErrNotFound
	}
	return c.info, nil
}

// Spans implements [archive.Store].
func (s *Store) Spans(ctx context.Context, id chat.ConversationID) ([]archive.Span, error) {
	c, err := s.read(ctx, id)
	if err != nil {
		return nil, err
	}
	defer s.mu.RUnlock()
	var spans []archive.Span
	for _, span := range c.spans {
		if span.opened != 0 {
			spans = append(spans, span.Span)
		}
	}
	slices.SortFunc(spans, func(a, b archive.Span) int {
		return cmp.Or(bytes.Compare(a.User[:], b.User[:]), cmp.Compare(a.Joined, b.Joined))
	})
	return spans, nil
}

// SeenKeys implements [archive.Store].
func (s *Store) SeenKeys(ctx context.Context, keys []archive.Key) ([]archive.Seen, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	var all []archive.Seen
	for _, k := range keys {
		all = slices.AppendSeq(all, maps.Values(s.seen[k]))
	}
	return all, nil
}

// Entries implements [archive.Store].
func (s *Store) Entries(ctx context.Context, id chat.ConversationID, from, to chat.Seq, limit int, newest bool) ([]archive.Row, error) {
	c, err := s.read(ctx, id)
	if err != nil {
		return nil, err
	}
	defer s.mu.RUnlock()
	low, _ := slices.BinarySearchFunc(c.rows, from, compareSeq)
	high, found := slices.BinarySearchFunc(c.rows, to, compareSeq)
	if found {
		high++
	}
	if low >= high || limit <= 0 {
		return nil, nil
	}
	rows := c.rows[low:high]
	if n := min(limit, len(rows)); newest {
		rows = rows[len(rows)-n:]
	} else {
		rows = rows[:n]
	}
	return slices.Clone(rows), nil
}

// Stays implements [archive.Store].
func (s *Store) Stays(ctx context.Context, u chat.UserID) ([]archive.Stay, error) {
	return s.staysOf(ctx, u, func(stayKey) bool { return true })
}

// StaysIn implements [archive.Store].
func (s *Store) StaysIn(ctx context.Context, u chat.UserID, c chat.ConversationID) ([]archive.Stay, error) {
	return s.staysOf(ctx, u, func(key stayKey) bool { return key.conversation == c })
}

func (s *Store) staysOf(ctx context.Context, u chat.UserID, wanted func(stayKey) bool) ([]archive.Stay, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	var stays []archive.Stay
	for key, stay := range s.stays[u] {
		if wanted(key) {
			stays = append(stays, stay.Stay)
		}
	}
	slices.SortFunc(stays, func(a, b archive.Stay) int {
		return cmp.Or(bytes.Compare(a.Conversation[:], b.Conversation[:]), cmp.Compare(a.Joined, b.Joined))
	})
	return stays, nil
}

// Watermarks implements [archive.Store].
func (s *Store) Watermarks(ctx context.Context, id chat.ConversationID) ([]archive.Watermark, error) {
	c, err := s.read(ctx, id)
	if err != nil {
		return nil, err
	}
	defer s.mu.RUnlock()
	return slices.SortedFunc(maps.Values(c.marks), func(a, b archive.Watermark) int {
		return cmp.Or(bytes.Compare(a.User[:], b.User[:]), cmp.Compare(a.Joined, b.Joined))
	}), nil
}

// Watermark implements [archive.Store].
func (s *Store) Watermark(ctx context.Context, id chat.ConversationID, u chat.UserID, joined chat.Seq) (archive.Watermark, error) {
	c, err := s.read(ctx, id)
	if err != nil {
		return archive.Watermark{}, err
	}
	defer s.mu.RUnlock()
	if m, ok := c.marks[spanKey{u, joined}]; ok {
		return m, nil
	}
	return archive.Watermark{Conversation: id, User: u, Joined: joined, Read: joined, Delivered: joined}, nil
}

// Progress implements [archive.Store].
func (s *Store) Progress(ctx context.Context, generation uint32, partition int32) (archive.Progress, error) {
	if err := ctx.Err(); err != nil {
		return archive.Progress{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.progress[progressKey{generation, partition}], nil
}

// SetProgress implements [archive.Store].
func (s *Store) SetProgress(ctx context.Context, partition int32, p archive.Progress) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := progressKey{p.Position.Generation, partition}
	if old, ok := s.progress[key]; !ok || p.Position.Compare(old.Position) >= 0 {
		s.progress[key] = p
	}
	return nil
}
