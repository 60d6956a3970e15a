package archivetest

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"strings"

	"switchboard/internal/chat"
	"switchboard/storage-worker/archive"
)

// Traffic makes the batches that one partition's fold writes, for benchmarks
// that shall be comparable between stores: direct conversations and small groups
// of 2 to 9, each message a row, a key, an index row for each member and
// the sender's mark. It is not safe for concurrent use.
type Traffic struct {
	partition     uint32
	clock         chat.Clock
	offset        int64
	random        *rand.Rand
	conversations []talk
}

type talk struct {
	id      chat.ConversationID
	members []chat.UserID
	seq     chat.Seq
}

const (
	talksEach  = 128  // conversations of a partition
	usersInAll = 2000 // who take part in them
)

// NewTraffic returns the traffic of a partition: the same members each time, in
// new conversations.
func NewTraffic(partition uint32) *Traffic {
	tr := &Traffic{
		partition: partition, clock: chat.ClockAt(1_800_000_000), random: rand.New(rand.NewPCG(uint64(partition), 1)),
	}
	for range talksEach {
		tk := talk{id: newConversation()}
		for _, u := range tr.random.Perm(usersInAll)[:2+tr.random.IntN(8)] {
			digest := sha256.Sum256(binary.AppendUvarint(nil, uint64(u)))
			tk.members = append(tk.members, chat.UserID(digest[:16]))
		}
		tr.conversations = append(tr.conversations, tk)
	}
	return tr
}

// First is one message in each conversation, which makes the index rows.
func (tr *Traffic) First() *archive.Batch {
	b := &archive.Batch{}
	for i := range tr.conversations {
		tr.say(b, &tr.conversations[i])
	}
	return b
}

// Add appends a message in any of the conversations to the batch.
func (tr *Traffic) Add(b *archive.Batch) {
	tr.say(b, &tr.conversations[tr.random.IntN(len(tr.conversations))])
}

// content is what every message says, 126 bytes.
var content = strings.Repeat("Good morning, ", 9)

func (tr *Traffic) say(b *archive.Batch, tk *talk) {
	tr.clock += chat.TicksPerMillisecond
	tr.offset++
	tk.seq++
	id := chat.NewMessageID(tr.clock, 1, tr.partition)
	sender := tk.members[tr.random.IntN(len(tk.members))]
	row := archive.Row{
		Entry: chat.Entry{
			Conversation: tk.id, Seq: tk.seq, ID: id, Sender: sender, Request: chat.NewRequestID(),
			Kind: chat.KindText, Content: content, MembersVersion: 1,
		},
		Position: chat.Position{Generation: 1, Offset: tr.offset},
	}
	head := archive.Tip{Seq: tk.seq, ID: id}
	b.Rows = append(b.Rows, row)
	b.Seen = append(b.Seen, archive.Seen{
		Key:      archive.Key{Conversation: tk.id, Sender: sender, Request: row.Request},
		Position: row.Position, Seq: tk.seq, ID: id, Digest: sha256.Sum256(id[:]),
	})
	b.Marks = append(b.Marks, archive.Watermark{Conversation: tk.id, User: sender, Joined: 1, Read: tk.seq, Delivered: tk.seq})
	for _, u := range tk.members {
		b.Stays = append(b.Stays, archive.StayWrite{By: id, Stay: archive.Stay{User: u, Conversation: tk.id, Joined: 1, Head: head}})
	}
	b.Records++
}
