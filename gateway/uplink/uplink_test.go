package uplink

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"switchboard/gateway/session"
	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/mediaurl"
	"switchboard/internal/metrics"
	"switchboard/internal/wire"
)

// producer keeps what it gets, or refuses it.
type producer struct {
	messages []bus.Message
	done     []func(int64, error)
	err      error
}

func (p *producer) Produce(m bus.Message, done func(int64, error)) error {
	if p.err != nil {
		return p.err
	}
	p.messages, p.done = append(p.messages, m), append(p.done, done)
	return nil
}

func newUplink(p *producer) (*Uplink, *metrics.Set) {
	set := metrics.New()
	return New(Config{Producer: p, Receipts: p, Server: "gw-1", Boot: 7, Generation: 2, Partitions: 16, Metrics: set}), set
}

func message() (session.Sender, *wire.ClientEvent) {
	alice, bob := chat.DemoUser("alice"), chat.DemoUser("bob")
	return session.Sender{User: alice, Number: 99}, &wire.ClientEvent{
		Type: wire.TypeSendMessage, ID: "c17", Conversation: chat.DirectConversation(alice, bob),
		Request: chat.NewRequestID(), Kind: chat.KindText, Content: "hello", ReplyTo: chat.MessageID{1},
	}
}

func TestMessageReachesTheInboundLog(t *testing.T) {
	p := new(producer)
	u, _ := newUplink(p)
	from, ev := message()
	if err := u.Send(from, ev); err != nil {
		t.Fatal(err)
	}
	m := p.messages[0]
	if m.Topic != "chat.inbound.2" || m.Partition != bus.PartitionOf(ev.Conversation, 16) || !bytes.Equal(m.Key, ev.Conversation[:]) {
		t.Errorf("the message went to %s/%d under %x", m.Topic, m.Partition, m.Key)
	}
	var got bus.Inbound
	if err := bus.ParseInbound(m.Value, &got); err != nil {
		t.Fatal(err)
	}
	wantReply := bus.ReplyTo{Server: "gw-1", Boot: 7, Session: 99, ID: "c17"}
	wantSend := bus.Send{Kind: chat.KindText, Content: "hello", ReplyTo: chat.MessageID{1}}
	if got.ReplyTo != wantReply || *got.Send != wantSend || got.Sender != from.User ||
		got.Request != ev.Request || got.Conversation != ev.Conversation {
		t.Errorf("the record is %+v, %+v", got, got.Send)
	}
}

func TestMissingClientMessageIDIsMadeHere(t *testing.T) {
	p := new(producer)
	u, _ := newUplink(p)
	from, ev := message()
	ev.Request = chat.RequestID{}
	seen := make(map[chat.RequestID]bool)
	for i := range 3 {
		if err := u.Send(from, ev); err != nil {
			t.Fatal(err)
		}
		var got bus.Inbound
		if err := bus.ParseInbound(p.messages[i].Value, &got); err != nil {
			t.Fatal(err)
		}
		if got.Request.IsZero() || seen[got.Request] {
			t.Errorf("request id %s is none or not new", got.Request)
		}
		seen[got.Request] = true
	}
}

func TestLogRefuses(t *testing.T) {
	strange := errors.New("strange")
	for _, test := range []struct {
		err       error
		code      chat.Code
		retryable bool
	}{
		{fmt.Errorf("wrapped: %w", bus.ErrOverloaded), chat.Unavailable, true},
		{bus.ErrTooLarge, chat.TooLarge, false},
		{strange, chat.Internal, false},
	} {
		u, _ := newUplink(&producer{err: test.err})
		from, ev := message()
		e := chat.AsError(u.Send(from, ev))
		if e.Code != test.code || (e.RetryAfter > 0) != test.retryable {
			t.Errorf("%v becomes %+v, want %s", test.err, e, test.code)
		}
	}
}

func TestForeignMediaIsRefused(t *testing.T) {
	p := new(producer)
	u, _ := newUplink(p)
	from, ev := message()
	ev.Kind, ev.MediaURL = chat.KindImage, "https://evil.example/x.png"
	if e := chat.AsError(u.Send(from, ev)); e.Code != chat.BadRequest || len(p.messages) != 0 {
		t.Errorf("Send = %v, and %d records were written", e, len(p.messages))
	}
}

// The log gets the path of an upload that was issued to its sender, whatever URL of
// it was sent, so that a retry with a fresher one is the same message.
func TestIssuedMediaIsSentByItsPath(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "keys")
	if err := mediaurl.Generate(keys); err != nil {
		t.Fatal(err)
	}
	links, err := mediaurl.Open(keys, "https://chat.example")
	if err != nil {
		t.Fatal(err)
	}
	p := new(producer)
	u, _ := newUplink(p)
	u.cfg.Links = links
	from, ev := message()
	id := chat.NewMediaID(time.Now())
	ev.Kind, ev.MediaURL = chat.KindImage, links.Issued(id, from.User)
	if err := u.Send(from, ev); err != nil {
		t.Fatal(err)
	}
	var got bus.Inbound
	if err := bus.ParseInbound(p.messages[0].Value, &got); err != nil || got.Send.MediaURL != chat.MediaPath(id) {
		t.Errorf("the record has %+v, %v; want the path of %s", got.Send, err, id)
	}
	for _, foreign := range []string{links.Issued(id, chat.DemoUser("bob")), links.Signed(chat.MediaPath(id)), chat.MediaPath(id)} {
		ev.MediaURL = foreign
		if e := chat.AsError(u.Send(from, ev)); e.Code != chat.BadRequest || len(p.messages) != 1 {
			t.Errorf("%s: Send = %v, and %d records were written", foreign, e, len(p.messages)-1)
		}
	}
}

func TestFateOfRecordsIsCounted(t *testing.T) {
	p := new(producer)
	u, set := newUplink(p)
	from, ev := message()
	for range 2 {
		if err := u.Send(from, ev); err != nil {
			t.Fatal(err)
		}
	}
	p.done[0](4, nil)
	p.done[1](0, bus.ErrClosed)
	for name, want := range map[string]uint64{
		"switchboard_gateway_kafka_records_total":                          1,
		`switchboard_gateway_kafka_produce_errors_total{reason="unknown"}`: 1,
	} {
		if got := set.Counter(name).Get(); got != want {
			t.Errorf("%s = %d, want %d", name, got, want)
		}
	}
}
