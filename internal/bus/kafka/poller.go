package kafka

import (
	"context"
	"sync"
	"time"

	"switchboard/internal/bus"
)

const (
	// longWait is how long the broker keeps a fetch that has nothing to bring.
	// It costs no latency, since the first record ends it; it is how often an
	// idle program talks to the broker.
	longWait = 500 * time.Millisecond
	// joinWait is the same for readers that came while the long poll was under
	// way, and how long they may keep it from beginning again with them.
	joinWait = 10 * time.Millisecond
	// bufferBytes is how much a reader may have fetched ahead before its
	// partition is left out. One fetch more can still come on top.
	bufferBytes = 256 << 10
)

// pollerKey says what one poller asks for. Two readers of one partition cannot
// be in one request, so the second of them is in the poller with lap 1.
type pollerKey struct {
	broker int32
	topic  string
	lap    int
}

// poller fetches for all readers of one topic whose partitions have one leader.
//
// Its long poll carries every reader with room, fetches ahead, and begins anew
// as soon as it is answered. A reader that was opened or made room meanwhile is
// not in it; so that it need not wait for the answer, the poller has a second
// request, short, for those. When the long poll is answered it waits for the
// short one and takes all readers together again: a program with 256 quiet
// partitions has one request under way, not 256.
type poller struct {
	client *Client
	key    pollerKey

	mu      sync.Mutex
	changed sync.Cond
	readers map[int32]*reader // by partition
	long    bool              // the long poll is under way
	short   bool              // the short one is
	ended   bool
	first   int32 // the partition that a request begins with, for fairness
}

// attach puts a reader into the poller of its leader, which it starts when it
// is the first. It reports whether the client is still open.
func (c *Client) attach(r *reader, broker int32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	for lap := 0; ; lap++ {
		key := pollerKey{broker, r.topic, lap}
		p := c.pollers[key]
		if p == nil {
			p = &poller{client: c, key: key, readers: make(map[int32]*reader)}
			p.changed.L = &p.mu
			c.pollers[key] = p
			c.polling.Go(func() { p.run(c.ctx, true) })
			c.polling.Go(func() { p.run(c.ctx, false) })
		}
		if p.add(r) {
			return true
		}
	}
}

// add takes a reader unless another one has its partition.
func (p *poller) add(r *reader) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.readers[r.partition] != nil {
		return false
	}
	p.readers[r.partition] = r
	r.mu.Lock()
	r.poller = p
	r.mu.Unlock()
	p.changed.Broadcast()
	return true
}

// remove lets a reader go. When it was the last, the poller ends.
func (p *poller) remove(r *reader) {
	p.client.mu.Lock()
	defer p.client.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.readers[r.partition] == r {
		delete(p.readers, r.partition)
	}
	if len(p.readers) == 0 && !p.ended {
		p.ended = true
		delete(p.client.pollers, p.key)
		p.changed.Broadcast()
	}
}

// stop ends the poller.
func (p *poller) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.changed.Broadcast()
}

// roomMade is called by a reader that was left out and has room again.
func (p *poller) roomMade() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changed.Broadcast()
}

// run makes one request after the other: the long ones or the short ones.
func (p *poller) run(ctx context.Context, long bool) {
	wait := joinWait
	if long {
		wait = longWait
	}
	for {
		group := p.gather(long)
		if group == nil {
			return
		}
		p.poll(ctx, group, wait)
		p.release(long)
	}
}

// gather waits until there are readers to fetch for, and takes them. It returns
// nil when the poller has ended.
func (p *poller) gather(long bool) []*reader {
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.ended {
		// The short request is for those whom the long one left behind, and the
		// long one takes those of the short one along.
		if (long && !p.short) || (!long && p.long) {
			if group := p.eligible(); len(group) > 0 {
				p.setBusy(long, true)
				return group
			}
		}
		p.changed.Wait()
	}
	return nil
}

// eligible returns the readers that have room and are in no request, and marks
// them, beginning with another partition each time. The caller holds mu.
func (p *poller) eligible() []*reader {
	var before, behind []*reader
	for partition, r := range p.readers {
		if !r.begin() {
			continue
		}
		if partition < p.first {
			before = append(before, r)
		} else {
			behind = append(behind, r)
		}
	}
	group := append(behind, before...)
	if len(group) > 0 {
		p.first = group[len(group)/2].partition
	}
	return group
}

func (p *poller) release(long bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.setBusy(long, false)
}

// setBusy notes that a request begins or ends. The caller holds mu.
func (p *poller) setBusy(long, busy bool) {
	if long {
		p.long = busy
	} else {
		p.short = busy
	}
	p.changed.Broadcast()
}

// poll makes one request and hands out what it brought. A reader with an error
// is let go: its own Next decides what to do, and how soon.
func (p *poller) poll(ctx context.Context, group []*reader, wait time.Duration) {
	wants := make([]want, len(group))
	for i, r := range group {
		wants[i] = want{topic: r.topic, partition: r.partition, offset: r.fetchFrom()}
	}
	gots, err := p.client.fetch(ctx, wants, wait)
	for i, r := range group {
		result := got{next: wants[i].offset, err: err}
		if err == nil {
			result = gots[i]
		}
		if result.err != nil {
			p.remove(r)
		}
		r.deliver(result)
	}
}

// reader implements [bus.Reader].
type reader struct {
	client    *Client
	topic     string
	partition int32
	arrived   chan struct{} // capacity 1: something changed for Next
	traffic   *traffic
	attempts  int // of Next, fruitless and in a row

	mu      sync.Mutex
	poller  *poller // nil while nobody fetches for it
	flying  bool    // in a request
	next    int64   // the offset to fetch from
	records []bus.Record
	bytes   int   // of records
	err     error // why nobody fetches
	closed  bool
}

// begin marks the reader as being in a request, unless it is or has no room.
func (r *reader) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flying || r.closed || r.bytes >= bufferBytes {
		return false
	}
	r.flying = true
	return true
}

func (r *reader) fetchFrom() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next
}

// deliver hands the reader what a fetch brought.
func (r *reader) deliver(g got) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flying = false // Before Next can know, so that it may go to another poller.
	if r.closed {
		return
	}
	r.next = g.next
	bytes := 0
	for i := range g.records {
		bytes += len(g.records[i].Key) + len(g.records[i].Value)
	}
	r.bytes += bytes + len(g.records)*lingerOverhead
	r.traffic.arrived(g.records, bytes)
	if len(r.records) == 0 {
		r.records = g.records
	} else {
		r.records = append(r.records, g.records...)
	}
	if g.err != nil {
		r.err, r.poller = g.err, nil
	}
	if g.err != nil || len(g.records) > 0 {
		wake(r.arrived)
	}
}
