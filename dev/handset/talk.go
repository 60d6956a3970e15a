package handset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"switchboard/client"
	"switchboard/internal/chat"
	"switchboard/internal/wire"
)

const (
	// sayAgain is how long a message that was not taken waits until it is sent again.
	sayAgain = 50 * time.Millisecond
	// missTries is how often something is broken until it was missed: repairs come
	// by themselves, and now and then before anybody can miss anything.
	missTries = 5
)

// Talk is a conversation in which one person writes, over REST, and the device of
// another misses something, which has to be made good on the connection that it has.
type Talk struct {
	Writer *client.REST
	Device *Device
	ID     chat.ConversationID
}

// Say sends a message until it is answered, and returns its place.
func (k *Talk) Say(ctx context.Context, content string) (chat.Seq, error) {
	id := chat.NewRequestID()
	for {
		var sent wire.MessageSent
		err := k.Writer.Do(ctx, "POST", "/api/v1/conversations/"+k.ID.String()+"/messages",
			wire.SendMessage{Content: content, Type: chat.KindText.String(), ClientMessageID: &id}, &sent)
		var status *client.StatusError
		if err == nil || errors.As(err, &status) && !status.Temporary() {
			return sent.Seq, err
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("say %q: %w", content, errors.Join(ctx.Err(), err))
		case <-time.After(sayAgain):
		}
	}
}

// Pushes says something and waits until it comes over the device's socket.
func (k *Talk) Pushes(ctx context.Context) error {
	seq, err := k.Say(ctx, "do you hear me?")
	if err != nil {
		return err
	}
	if err := k.Device.Await(ctx, func() bool { return k.Device.Pushed(k.ID, seq) > 0 }); err != nil {
		return fmt.Errorf("%d is not pushed: %w", seq, err)
	}
	return nil
}

// Misses breaks something, says something, does what is to be done then, and waits
// until the device has it. That is repeated until once it was not pushed.
func (k *Talk) Misses(ctx context.Context, broken func() error, then ...func() error) error {
	for range missTries {
		if err := broken(); err != nil {
			return err
		}
		seq, err := k.Say(ctx, "are you there?")
		if err != nil {
			return err
		}
		for _, do := range then {
			if err := do(); err != nil {
				return err
			}
		}
		if err := k.Device.AwaitSeq(ctx, k.ID, seq); err != nil {
			return err
		}
		if k.Device.Pushed(k.ID, seq) == 0 {
			return nil
		}
	}
	return errors.New("everything was pushed although it was broken")
}

// Mended says what is wrong unless the device was told to sync for that reason, has
// all of history once and in order, and has connected only once.
func (k *Talk) Mended(ctx context.Context, reason string) error {
	d := k.Device
	told := d.Await(ctx, func() bool { return slices.Contains(d.Behinds(), reason) })
	if told != nil {
		told = fmt.Errorf("told behind %q, want %s: %w", d.Behinds(), reason, told)
	}
	history, err := k.Writer.All(ctx, k.ID, 0)
	if err != nil {
		return errors.Join(told, err)
	}
	if n := len(d.Opened()); n != 1 {
		err = fmt.Errorf("connected %d times, want once", n)
	}
	return errors.Join(told, err, d.Has(k.ID, history))
}

// Has says where what the device has applied of a conversation parts from its
// history, and whether any socket brought events out of order.
func (d *Device) Has(id chat.ConversationID, history []wire.Message) error {
	if n := d.Astray(); n > 0 {
		return fmt.Errorf("%d events were pushed twice, or after later ones", n)
	}
	applied := d.Applied(id)
	for i := range max(len(applied), len(history)) {
		if i >= len(applied) || i >= len(history) || applied[i].Seq != history[i].Seq || applied[i].Content != history[i].Content {
			return fmt.Errorf("applied %d events of %d; from place %d on %s, want %s", len(applied), len(history), i, some(applied, i), some(history, i))
		}
	}
	return nil
}

// some shows the next few of a list.
func some(messages []wire.Message, from int) string {
	var text strings.Builder
	for _, m := range messages[min(from, len(messages)):min(from+3, len(messages))] {
		fmt.Fprintf(&text, "[%d %.40s]", m.Seq, m.Content)
	}
	return text.String()
}
