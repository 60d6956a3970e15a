package opensearch

import (
	"strings"
	"testing"

	"switchboard/internal/chat"
	"switchboard/storage-worker/search"
)

func TestAMessageComesBackFromItsPiece(t *testing.T) {
	for _, content := range []string{"", "x", "zwei", "и ещё 🙂\x00", strings.Repeat("長", chat.ContentBytes/3)} {
		want := search.Document{
			ID: chat.NewMessageID(1_700_000_000_000_000, 3, 9), Conversation: chat.ConversationID{1, 2}, Seq: 1 << 40, Sender: chat.UserID{3, 15: 4},
			Kind: chat.KindFile, Media: true, Content: content, Version: 1_700_000_000_000_001,
		}
		for _, media := range []bool{true, false} {
			want.Media = media
			got, err := unpack(pack(&want))
			if err != nil || got != want {
				t.Errorf("%.20q: got %+v, %v", content, got, err)
			}
			if got, err := unpack(strings.TrimRight(pack(&want), "=")); err != nil || got != want {
				t.Errorf("%.20q without padding: got %+v, %v", content, got, err)
			}
		}
	}
}
