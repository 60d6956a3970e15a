package archivetest

import (
	"fmt"
	"math/rand/v2"
	"sync"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// marksTogether has owners of one partition that do not know of each other mark
// for the same members: whoever's write has returned finds at least its own mark,
// and in the end the highest stands, of each kind.
func (s *suite) marksTogether() {
	const owners, writes = 4, 25
	users := []chat.UserID{{1}, {2}, {3}}
	highest := make([]map[chat.UserID]archive.Watermark, owners)
	var running sync.WaitGroup
	for owner := range owners {
		rng := rand.New(rand.NewPCG(uint64(owner), 7))
		highest[owner] = map[chat.UserID]archive.Watermark{}
		running.Go(func() {
			for range writes {
				b := &archive.Batch{}
				for _, u := range users {
					read := 1 + chat.Seq(rng.IntN(1000))
					b.Marks = append(b.Marks, archive.Watermark{
						Conversation: s.conversation, User: u, Joined: 1, Read: read, Delivered: read + chat.Seq(rng.IntN(20)),
					})
				}
				s.markAndLook(b, highest[owner])
			}
		})
	}
	running.Wait()
	for _, u := range users {
		want := archive.Watermark{Conversation: s.conversation, User: u, Joined: 1}
		for _, h := range highest {
			want.Read, want.Delivered = max(want.Read, h[u].Read), max(want.Delivered, h[u].Delivered)
		}
		got, err := s.store.Watermark(s.Context(), s.conversation, u, 1)
		same(s, fmt.Sprint("mark of ", u[0]), must(s, got, err), want)
	}
}

// markAndLook writes marks and looks for them; highest is what this owner wrote.
func (s *suite) markAndLook(b *archive.Batch, highest map[chat.UserID]archive.Watermark) {
	if err := s.store.Write(s.Context(), b); err != nil {
		s.Errorf("write: %v", err)
		return
	}
	for _, m := range b.Marks {
		h := highest[m.User]
		h.Read, h.Delivered = max(h.Read, m.Read), max(h.Delivered, m.Delivered)
		highest[m.User] = h
		got, err := s.store.Watermark(s.Context(), m.Conversation, m.User, m.Joined)
		if err != nil || got.Read < h.Read || got.Delivered < h.Delivered {
			s.Errorf("after its write the mark is at %+v, %v, want at least %+v", got, err, h)
		}
	}
}
