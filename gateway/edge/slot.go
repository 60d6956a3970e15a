package edge

import "sync/atomic"

// state is how far a connection has come. It only ever goes down the list.
type state uint8

const (
	free    state = iota // nobody's
	asking               // the request is being read
	waiting              // the handler has the request and has not answered
	open                 // frames go both ways
	closing              // our close frame is sent, the peer's is awaited
	leaving              // all is said: flush, FIN, and wait for the peer's FIN
)

// The flags of a slot.
const (
	reads   uint8 = 1 << iota // registered for input
	writes                    // registered for output
	told                      // the handler knows it, so it is owed a Closed
	broken                    // the socket failed; its end is in loop.doomed
	ended                     // the peer will send no more
	refused                   // over MaxConnections: to be answered with 503
	proxied                   // its PROXY header has to come before its request
)

// slot is all that an idle connection costs in user space, but for its word in
// the table of descriptors. It has no pointer, so that the garbage collector
// never looks at the slabs.
type slot struct {
	fd    int32
	gen   uint32 // how often the slot was given back
	seen  uint32 // tick of the last byte from the peer
	extra uint32 // number of its extra plus 1; of a free slot, the next free slot plus 1
	state state
	flags uint8
}

// pageSlots is how many slots are allocated at once. Pages never move.
const pageSlots = 1024

// slab holds the slots of one loop. Numbers are given out last-freed first, so
// they stay dense.
type slab struct {
	pages []*[pageSlots]slot
	used  uint32 // slots ever given out
	free  uint32 // first free slot plus 1
}

func (b *slab) at(i uint32) *slot { return &b.pages[i/pageSlots][i%pageSlots] }

// take gives out a slot; its generation is what its last owner's was, plus 1.
func (b *slab) take() (uint32, *slot) {
	if b.free > 0 {
		i := b.free - 1
		s := b.at(i)
		b.free, s.extra = s.extra, 0
		return i, s
	}
	i := b.used
	if int(i/pageSlots) == len(b.pages) {
		b.pages = append(b.pages, new([pageSlots]slot))
	}
	b.used++
	return i, b.at(i)
}

// put takes a slot back. Every Conn that names it becomes void.
func (b *slab) put(i uint32) {
	s := b.at(i)
	*s = slot{fd: -1, gen: s.gen + 1, extra: b.free}
	b.free = i + 1
}

// pageFDs is how many descriptors a page of the table covers.
const pageFDs = 4096

// fdTable finds the slot of a descriptor. One table serves all loops, since a
// descriptor is one loop's at a time: a table for each would cost a word per
// connection and loop. What it says is believed only if the slot agrees.
type fdTable struct {
	pages []atomic.Pointer[[pageFDs]atomic.Uint32]
}

func newFDTable(descriptors int) *fdTable {
	return &fdTable{pages: make([]atomic.Pointer[[pageFDs]atomic.Uint32], (descriptors+pageFDs-1)/pageFDs)}
}

// reserve makes room for fd; false says that it is beyond the table. Only the
// acceptor calls it.
func (t *fdTable) reserve(fd int) bool {
	if fd/pageFDs >= len(t.pages) {
		return false
	}
	if page := &t.pages[fd/pageFDs]; page.Load() == nil {
		page.Store(new([pageFDs]atomic.Uint32))
	}
	return true
}

func (t *fdTable) set(fd int32, slotPlus1 uint32) {
	t.pages[fd/pageFDs].Load()[fd%pageFDs].Store(slotPlus1)
}

// get returns the slot plus 1, or 0.
func (t *fdTable) get(fd int) uint32 {
	page := t.pages[fd/pageFDs].Load()
	if page == nil {
		return 0
	}
	return page[fd%pageFDs].Load()
}
