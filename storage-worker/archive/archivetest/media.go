package archivetest

import (
	"bytes"
	"slices"
	"time"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// mediaRefs writes the references of uploads in any order, and again.
func (s *suite) mediaRefs() {
	id, other := chat.NewMediaID(time.Now()), chat.NewMediaID(time.Now())
	in := []chat.ConversationID{s.conversation, newConversation(), newConversation()}
	slices.SortFunc(in, func(a, b chat.ConversationID) int { return bytes.Compare(a[:], b[:]) })
	if got := s.mediaRefsOf(id, 10); len(got) != 0 {
		s.Errorf("an upload that nobody sent is in %v", got)
	}
	for _, record := range []int{5, 3, 4, 3} {
		s.write(&archive.Batch{Media: []archive.MediaRef{{Media: id, Conversation: in[record-3], By: idAt(record)}}})
	}
	// Once more to the first; what was sent to the others before comes late.
	s.write(&archive.Batch{Media: []archive.MediaRef{
		{Media: id, Conversation: in[0], By: idAt(9)},
		{Media: id, Conversation: in[1], By: idAt(2)},
		{Media: id, Conversation: in[2], By: idAt(1)},
		{Media: other, Conversation: in[2], By: idAt(9)},
	}})
	want := []archive.MediaRef{
		{Media: id, Conversation: in[0], By: idAt(9)},
		{Media: id, Conversation: in[1], By: idAt(4)},
		{Media: id, Conversation: in[2], By: idAt(5)},
	}
	if got := s.mediaRefsOf(id, 10); !slices.Equal(got, want) {
		s.Errorf("got %v, want %v", got, want)
	}
	if got := s.mediaRefsOf(id, 2); len(got) != 2 {
		s.Errorf("got %v, want two of them", got)
	}
	if got, want := s.mediaRefsOf(other, 10), []archive.MediaRef{{Media: other, Conversation: in[2], By: idAt(9)}}; !slices.Equal(got, want) {
		s.Errorf("the other upload: got %v, want %v", got, want)
	}
}

// mediaRefsOf returns the conversations that have an upload, in their order.
func (s *suite) mediaRefsOf(id chat.MediaID, limit int) []archive.MediaRef {
	s.Helper()
	refs, err := s.store.MediaRefs(s.Context(), id, limit)
	if err != nil {
		s.Fatal(err)
	}
	slices.SortFunc(refs, func(a, b archive.MediaRef) int { return bytes.Compare(a.Conversation[:], b.Conversation[:]) })
	return refs
}
