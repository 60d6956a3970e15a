package opensearch

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"switchboard/internal/chat"
	"switchboard/storage-worker/search"
)

// document is a message as the index has it: what it is found and ordered by, and in
// one piece what comes back. The piece is a column beside the index (doc values), of
// which reading one costs a copy; `_source`, which is not kept, would be a compressed
// block to open for each of the [search.Window] messages of a page.
type document struct {
	Clock        chat.Clock          `json:"clock"`
	Node         int64               `json:"node"` // the id's last octets, which settle the order of equal clocks
	Conversation chat.ConversationID `json:"conversation"`
	Seq          chat.Seq            `json:"seq"`
	Sender       chat.UserID         `json:"sender"`
	Has          []search.Thing      `json:"has,omitempty"`
	Words        string              `json:"words,omitempty"`
	Message      string              `json:"message"` // see pack
}

func documentOf(d *search.Document) document {
	var words []string
	for _, w := range search.Words(d.Content) {
		words = append(words, w.Text)
	}
	return document{
		Clock: chat.ClockOf(d.ID), Node: nodeOf(d.ID), Conversation: d.Conversation, Seq: d.Seq, Sender: d.Sender, Has: d.Has(),
		Words: strings.Join(words, " "), Message: pack(d),
	}
}

// nodeOf returns the last octets of an id as a number that is ordered as they are.
func nodeOf(id chat.MessageID) int64 {
	return int64(binary.BigEndian.Uint64(id[8:]) ^ 1<<63)
}

// packedBytes is what pack writes before the content.
const packedBytes = 16 + 16 + 8 + 16 + 8 + 1 + 1

// pack writes a document as
//
//	id 16 | conversation 16 | seq 8 | sender 16 | version 8 | kind 1 | media 1 | content
//
// with numbers in big endian, in base64. Another form is another version of the index.
func pack(d *search.Document) string {
	b := make([]byte, 0, packedBytes+len(d.Content))
	b = append(b, d.ID[:]...)
	b = append(b, d.Conversation[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(d.Seq))
	b = append(b, d.Sender[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(d.Version))
	media := byte(0)
	if d.Media {
		media = 1
	}
	b = append(b, byte(d.Kind), media)
	return base64.StdEncoding.EncodeToString(append(b, d.Content...))
}

func unpack(message string) (d search.Document, err error) {
	// OpenSearch 2.19 leaves the padding out.
	b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(message, "="))
	if err != nil {
		return d, fmt.Errorf("understand a message of the search index: %w", err)
	}
	if len(b) < packedBytes {
		return d, fmt.Errorf("a message of the search index has %d bytes, want %d at least", len(b), packedBytes)
	}
	copy(d.ID[:], b)
	copy(d.Conversation[:], b[16:])
	d.Seq = chat.Seq(binary.BigEndian.Uint64(b[32:]))
	copy(d.Sender[:], b[40:])
	d.Version = chat.Clock(binary.BigEndian.Uint64(b[56:]))
	d.Kind, d.Media, d.Content = chat.Kind(b[64]), b[65] == 1, string(b[packedBytes:])
	return d, nil
}

// hits is an answer.
type hits struct {
	TimedOut bool `json:"timed_out"`
	Shards   struct {
		// A shard that is nowhere is in neither Successful nor Failures.
		Total, Successful int
		Failures          json.RawMessage
	} `json:"_shards"`
	Hits struct {
		Hits []struct {
			Fields struct {
				Message []string `json:"message"` // one
			} `json:"fields"`
		} `json:"hits"`
	} `json:"hits"`
}

// whole returns an error unless all of the index was asked.
func (h *hits) whole() error {
	if h.TimedOut {
		return fmt.Errorf("OpenSearch did not finish in %s: %w", searchTime, context.DeadlineExceeded)
	}
	if s := &h.Shards; s.Total == 0 || s.Successful != s.Total {
		return fmt.Errorf("OpenSearch searched %d of %d shards: %.300s", s.Successful, s.Total, s.Failures)
	}
	return nil
}

// documents returns the messages of an answer.
func (h *hits) documents() ([]search.Document, error) {
	docs := make([]search.Document, len(h.Hits.Hits))
	for i, one := range h.Hits.Hits {
		if len(one.Fields.Message) != 1 {
			return nil, errors.New("the search index found something that is no message")
		}
		d, err := unpack(one.Fields.Message[0])
		if err != nil {
			return nil, err
		}
		docs[i] = d
	}
	return docs, nil
}
