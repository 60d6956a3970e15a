package redis

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"switchboard/internal/presence"
)

// The periods of listening.
const (
	// listenSilence is after how long without a word the server is asked whether it
	// is there; twice that ends the connection.
	listenSilence = 5 * time.Second
	// listenFirst and listenLast bound the pause before listening again.
	listenFirst, listenLast = 50 * time.Millisecond, 2 * time.Second
)

// Channel is a presence.Channel on Redis Pub/Sub: the channel `server:<slot>` on
// one of the servers, chosen by a hash of the slot, so that the same program on
// more servers carries more. Servers of a cluster will do, but each publication
// goes to all its nodes. It is safe for concurrent use.
type Channel struct {
	addrs   []string
	clients []*goredis.Client
}

var _ presence.Channel = (*Channel)(nil)

// OpenChannel returns a channel. It does not wait for the servers.
func OpenChannel(cfg Config) (*Channel, error) {
	if len(cfg.Addrs) == 0 {
		return nil, errors.New("presence channel: no Redis address given")
	}
	c := &Channel{addrs: cfg.Addrs}
	for _, addr := range cfg.Addrs {
		one := cfg
		one.Addrs = []string{addr}
		client := goredis.NewClient(one.options().Simple())
		one.hook(client)
		c.clients = append(c.clients, client)
	}
	return c, nil
}

// Close closes the connections of publications; those that listen end with their
// contexts.
func (c *Channel) Close() error {
	var errs []error
	for _, client := range c.clients {
		errs = append(errs, client.Close())
	}
	return errors.Join(errs...)
}

// channelName is where a server listens.
func channelName(server string) string { return "server:" + server }

// choose returns which of some addresses a server's channel is on: the highest of
// a hash of both, so that the order of the addresses does not matter and another
// one takes only its share.
func choose(addrs []string, server string) int {
	best, highest := 0, uint64(0)
	for i, addr := range addrs {
		h := fnv.New64a()
		_, _ = h.Write([]byte(addr + "\x00" + server))
		sum := mixed(h.Sum64())
		if i == 0 || sum > highest {
			best, highest = i, sum
		}
	}
	return best
}

// mixed spreads what differs in a hash over all of its bits, as MurmurHash3 ends:
// by itself FNV orders two addresses alike for most servers.
func mixed(h uint64) uint64 {
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// Publish implements presence.Channel: one pipeline for each Redis server.
func (c *Channel) Publish(ctx context.Context, notes []presence.Note) error {
	pipes := make([]goredis.Pipeliner, len(c.clients))
	for _, n := range notes {
		i := choose(c.addrs, n.Server)
		if pipes[i] == nil {
			pipes[i] = c.clients[i].Pipeline()
		}
		pipes[i].Publish(ctx, channelName(n.Server), n.Payload)
	}
	var errs []error
	for _, pipe := range pipes {
		if pipe == nil {
			continue
		}
		if _, err := pipe.Exec(ctx); err != nil {
			errs = append(errs, fmt.Errorf("publish: %w", err))
		}
	}
	return errors.Join(errs...)
}

// Listening implements presence.Channel: one question for each Redis server.
func (c *Channel) Listening(ctx context.Context, servers []string) ([]bool, error) {
	asked := make([][]string, len(c.clients)) // channels, by Redis server
	for _, s := range servers {
		i := choose(c.addrs, s)
		asked[i] = append(asked[i], channelName(s))
	}
	ears := make(map[string]bool, len(servers))
	for i, names := range asked {
		if len(names) == 0 {
			continue
		}
		counts, err := c.clients[i].PubSubNumSub(ctx, names...).Result()
		if err != nil {
			return nil, fmt.Errorf("ask who listens: %w", err)
		}
		for name, n := range counts {
			ears[name] = n > 0
		}
	}
	listening := make([]bool, len(servers))
	for i, s := range servers {
		listening[i] = ears[channelName(s)]
	}
	return listening, nil
}

// Listen implements presence.Channel.
func (c *Channel) Listen(ctx context.Context, server string, heard func(), hear func(payload []byte)) error {
	pause := listenFirst
	for ctx.Err() == nil {
		begun := false
		c.listen(ctx, server, func() { begun = true; heard() }, hear)
		if begun {
			pause = listenFirst
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
			pause = min(2*pause, listenLast)
		}
	}
	return nil
}

// listen listens on one connection until it fails or ctx ends.
func (c *Channel) listen(ctx context.Context, server string, heard func(), hear func(payload []byte)) {
	subscription := c.clients[choose(c.addrs, server)].Subscribe(ctx, channelName(server))
	done := context.AfterFunc(ctx, func() { _ = subscription.Close() }) // A read does not heed ctx.
	defer func() {
		done()
		_ = subscription.Close()
	}()
	for silent := false; ctx.Err() == nil; {
		said, err := subscription.ReceiveTimeout(ctx, listenSilence)
		if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() && !silent {
			silent = true
			err = subscription.Ping(ctx)
			if err == nil {
				continue
			}
		}
		if err != nil {
			return
		}
		silent = false
		switch said := said.(type) {
		case *goredis.Subscription:
			heard()
		case *goredis.Message:
			hear([]byte(said.Payload))
		}
	}
}
