package handset

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"switchboard/client"
	"switchboard/internal/chat"
)

const (
	// sendersAmong is that every so many-th device of a crowd sends.
	sendersAmong = 8
	// sendPause is how long a sender rests after each answer.
	sendPause = 150 * time.Millisecond
)

// Crowd are the devices of some people of one group, who talk while something
// happens to the system.
type Crowd struct {
	Devices []*Device
	Talk    Talk // its device is not set

	mu     sync.Mutex
	acked  map[string]chat.Seq
	latest time.Time     // of the last answer
	silent time.Duration // the longest time without one
	failed []error
}

// Gather makes the group and connects two devices of each of its people. People of
// another name are others. at says how a user's device is to be started.
func Gather(ctx context.Context, name string, people int, group chat.RequestID, at func(user chat.UserID, device string) Config) (*Crowd, error) {
	c := &Crowd{acked: make(map[string]chat.Seq)}
	var users []chat.UserID
	for i := range people {
		user := Person(name, i)
		users = append(users, user)
		for _, device := range []string{"phone", "desk"} {
			c.Devices = append(c.Devices, Start(at(user, device)))
		}
	}
	admin := at(users[0], "")
	c.Talk.Writer = &client.REST{Base: admin.Base, Token: admin.Token}
	var err error
	if c.Talk.ID, err = c.Talk.Writer.Group(ctx, group, name, users[1:]); err == nil {
		err = c.await(ctx, 1)
	}
	if err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// Person is one of the people of a name. The first makes the group.
func Person(name string, n int) chat.UserID { return chat.DemoUser(fmt.Sprint(name, " ", n)) }

// Stop ends all devices.
func (c *Crowd) Stop() (failed error) {
	for i, d := range c.Devices {
		if err := d.Stop(); err != nil {
			failed = errors.Join(failed, fmt.Errorf("device %d: %w", i, err))
		}
	}
	return failed
}

// await waits until every device has everything up to a place.
func (c *Crowd) await(ctx context.Context, seq chat.Seq) error {
	for i, d := range c.Devices {
		if err := d.AwaitSeq(ctx, c.Talk.ID, seq); err != nil {
			return fmt.Errorf("device %d: %w", i, err)
		}
	}
	return nil
}

// Begin has some of the devices send, one message at a time each, until hush is
// called, which returns when all that was sent is answered or ctx ends.
func (c *Crowd) Begin(ctx context.Context) (hush func()) {
	talking, stop := context.WithCancel(ctx)
	var senders sync.WaitGroup
	c.latest = time.Now()
	for i := 0; i < len(c.Devices); i += sendersAmong {
		senders.Go(func() {
			for n := 0; talking.Err() == nil; n++ {
				c.send(ctx, i, n)
				select {
				case <-talking.Done():
				case <-time.After(sendPause):
				}
			}
		})
	}
	return func() {
		stop()
		senders.Wait()
	}
}

// send sends one message and notes the answer.
func (c *Crowd) send(ctx context.Context, device, n int) {
	content := fmt.Sprint(device, "-", n)
	sent, err := c.Devices[device].Send(ctx, client.Outgoing{Conversation: c.Talk.ID, Content: content})
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.failed = append(c.failed, fmt.Errorf("send %s: %w", content, err))
		return
	}
	c.acked[content] = sent.Seq
	now := time.Now()
	c.silent, c.latest = max(c.silent, now.Sub(c.latest)), now
}

// Answered returns how many messages were.
func (c *Crowd) Answered() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.acked)
}

// Silence returns how many messages were answered, and the longest time in which
// none was, and begins to count that time anew.
func (c *Crowd) Silence() (acked int, longest time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	longest = max(c.silent, time.Since(c.latest))
	c.silent, c.latest = 0, time.Now()
	return len(c.acked), longest
}

// Judge says what is wrong unless each message that was acknowledged is in history
// once and in its place, and each device has applied exactly history. It returns
// how many events that has.
func (c *Crowd) Judge(ctx context.Context) (events int, wrong error) {
	last, err := c.Talk.Say(ctx, "the last one")
	if err == nil {
		err = c.await(ctx, last)
	}
	if err != nil {
		return 0, err
	}
	history, err := c.Talk.Writer.All(ctx, c.Talk.ID, 0)
	if err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	wrong = errors.Join(c.failed...)
	places := make(map[string][]chat.Seq)
	for i, m := range history {
		places[m.Content] = append(places[m.Content], m.Seq)
		if m.Seq != chat.Seq(i+1) {
			wrong = errors.Join(wrong, fmt.Errorf("place %d of history has seq %d", i+1, m.Seq))
		}
	}
	for content, seq := range c.acked {
		if at := places[content]; len(at) != 1 || at[0] != seq {
			wrong = errors.Join(wrong, fmt.Errorf("%s was acknowledged at %d and is in history at %d", content, seq, at))
		}
	}
	for i, d := range c.Devices {
		if err := d.Has(c.Talk.ID, history); err != nil {
			wrong = errors.Join(wrong, fmt.Errorf("device %d: %w", i, err))
		}
	}
	return len(history), wrong
}

// Moves says, for devices that were asked to connect elsewhere at a moment, how many
// did so in each second after it, the last one standing for all that follow. What
// is wrong is any other number of connections, or of requests, than one more.
func (c *Crowd) Moves(since time.Time, seconds int) (counts []int, wrong error) {
	counts = make([]int, seconds+1)
	for i, d := range c.Devices {
		opened := d.Opened()
		if len(opened) != 2 || d.Reconnects() != 1 {
			wrong = errors.Join(wrong, fmt.Errorf("device %d connected %d times and was asked to %d times, want twice and once", i, len(opened), d.Reconnects()))
			continue
		}
		counts[min(int(opened[1].Sub(since)/time.Second), seconds)]++
	}
	return counts, wrong
}
