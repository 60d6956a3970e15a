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
	want := []chat.ConversationID{s.conversation, newConversation(), newConversation()}
	slices.SortFunc(want, func(a, b chat.ConversationID) int { return bytes.Compare(a[:], b[:]) })
	if got := s.mediaRefsOf(id, 10); len(got) != 0 {
		s.Errorf("an upload that nobody sent is in %v", got)
	}
	for _, record := range []int{5, 3, 4, 3} {
		s.write(&archive.Batch{Media: []archive.MediaRef{{Media: id, Conversation: want[record-3], By: idAt(record)}}})
	}
	s.write(&archive.Batch{Media: []archive.MediaRef{
		{Media: id, Conversation: want[0], By: idAt(9)},
		{Media: id, Conversation: want[1], By: idAt(9)},
		{Media: other, Conversation: want[2], By: idAt(9)},
	}})
	if got := s.mediaRefsOf(id, 10); !slices.Equal(got, want) {
		s.Errorf("got %v, want %v", got, want)
	}
	if got := s.mediaRefsOf(id, 2); len(got) != 2 {
		s.Errorf("got %v, want two of them", got)
	}
	if got := s.mediaRefsOf(other, 10); !slices.Equal(got, want[2:]) {
		s.Errorf("the other upload: got %v, want %v", got, want[2:])
	}
}

// mediaRefsOf returns the conversations that have an upload, in order.
func (s *suite) mediaRefsOf(id chat.MediaID, limit int) []chat.ConversationID {
	s.Helper()
	refs, err := s.store.MediaRefs(s.Context(), id, limit)
	if err != nil {
		s.Fatal(err)
	}
	slices.SortFunc(refs, func(a, b chat.ConversationID) int { return bytes.Compare(a[:], b[:]) })
	return refs
}
