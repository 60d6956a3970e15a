package fold

import "switchboard/internal/chat"

// cache keeps the conversations that were used last, so that a warm one costs
// no read. It is only an accelerator: an owner begins with an empty one, and
// what it holds equals what the archive would answer.
type cache struct {
	limit  int
	weight int
	known  map[chat.ConversationID]*conversation
	ends   conversation // ring: ends.older is the newest, ends.newer the oldest
}

func newCache(limit int) *cache {
	c := &cache{limit: limit, known: make(map[chat.ConversationID]*conversation)}
	c.ends.newer, c.ends.older = &c.ends, &c.ends
	return c
}

// get returns a conversation, or nil, and makes it the newest.
func (c *cache) get(id chat.ConversationID) *conversation {
	v := c.known[id]
	if v != nil {
		v.unlink()
		c.link(v)
	}
	return v
}

// put adds a conversation that is not there. Nothing is dropped before trim, so
// that a batch keeps what it works on.
func (c *cache) put(v *conversation) {
	c.known[v.id] = v
	c.link(v)
	c.weigh(v)
}

// weigh notes how many members v has now. One that does not exist yet weighs
// as well: made-up ids must not fill the memory.
func (c *cache) weigh(v *conversation) {
	c.weight -= v.weight
	v.weight = 1 + len(v.members)
	c.weight += v.weight
}

// trim drops the oldest until the limit holds.
func (c *cache) trim() {
	for c.weight > c.limit && c.ends.newer != &c.ends {
		v := c.ends.newer
		v.unlink()
		c.weight -= v.weight
		delete(c.known, v.id)
	}
}

func (c *cache) link(v *conversation) {
	v.newer, v.older = &c.ends, c.ends.older
	v.older.newer = v
	c.ends.older = v
}

func (c *conversation) unlink() {
	c.newer.older, c.older.newer = c.older, c.newer
	c.newer, c.older = nil, nil
}
