package picture

import (
	"encoding/binary"
	"errors"
	"slices"
)

// extentsMax bounds the pieces in which the metadata of a still may lie: it has one of
// Exif and one of XMP.
const extentsMax = 64

var (
	// wordy are properties of a picture that say when it was made, and of what.
	wordy = []string{"crtt", "mdft", "udes"}
	// emptyExif is an item of Exif without a field.
	emptyExif = []byte("\x00\x00\x00\x00MM\x00*\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00")
)

var (
	errBoxes = errors.New("its boxes do not fit")
	errPlace = errors.New("where its metadata is cannot be told")
)

// metaBox is a box "meta" in which something is looked for.
type metaBox struct {
	b     []byte
	at    int64             // of b in the file
	kinds map[uint64]string // the items that are metadata, by id
	iloc  []byte
	idat  int64 // where its bytes are in the file, and end
	end   int64
	blots []blot
}

// blotsOf overwrites what a box "meta", which stands at a place in the file, has of
// metadata by itself, and returns where its items of metadata are.
func blotsOf(b []byte, header int, at int64) ([]blot, error) {
	const fullBox = 4
	m := &metaBox{b: b, at: at, kinds: make(map[uint64]string)}
	if err := m.each(header+fullBox, len(b), m.part); err != nil {
		return nil, err
	}
	if len(m.kinds) == 0 {
		return nil, nil
	}
	return m.blots, m.locate()
}

// each calls do with each box between two places of b, and where its content is.
func (m *metaBox) each(from, to int, do func(name string, from, to int) error) error {
	for from < to {
		header := 8
		if to-from < header {
			return errBoxes
		}
		size := int(binary.BigEndian.Uint32(m.b[from:]))
		switch size {
		case 0:
			size = to - from
		case 1:
			if header = 16; to-from < header {
				return errBoxes
			}
			size = int(min(binary.BigEndian.Uint64(m.b[from+8:]), metaBytes+1))
		}
		if size < header || size > to-from {
			return errBoxes
		}
		name := string(m.b[from+4 : from+8])
		if slices.Contains(about, name) || slices.Contains(wordy, name) {
			copy(m.b[from+4:], "free") // An entry of a list is counted still.
			clear(m.b[from+header : from+size])
		} else if err := do(name, from+header, from+size); err != nil {
			return err
		}
		from += size
	}
	return nil
}

// part looks at a part of the box.
func (m *metaBox) part(name string, from, to int) error {
	switch name {
	case "iprp", "ipco":
		return m.each(from, to, m.part)
	case "iinf":
		c := &cursor{b: m.b[from:to]}
		count := 4
		if c.uint(4)>>24 == 0 { // version and flags
			count = 2
		}
		if c.uint(count); c.short {
			return errBoxes
		}
		return m.each(to-len(c.b), to, m.item)
	case "iloc":
		m.iloc = m.b[from:to]
	case "idat":
		m.idat, m.end = m.at+int64(from), m.at+int64(to)
	}
	return nil
}

// item notes an item if it is metadata: Exif, XMP, which is called mime, and what is only
// named by a URI. Those of the first versions are all of the second kind.
func (m *metaBox) item(name string, from, to int) error {
	if name != "infe" {
		return nil
	}
	c := &cursor{b: m.b[from:to]}
	version, width, kind := c.uint(4)>>24, 2, "mime"
	if version > 2 {
		width = 4
	}
	id := c.uint(width)
	if c.uint(2); version > 1 && len(c.b) >= 4 {
		kind = string(c.b[:4])
	}
	if c.short {
		return errBoxes
	}
	if kind == "Exif" || kind == "mime" || kind == "uri " {
		m.kinds[id] = kind
	}
	return nil
}

// locate notes where the items are that are metadata. One that is in no place is fine.
func (m *metaBox) locate() error {
	c := &cursor{b: m.iloc}
	version, sizes := c.uint(4)>>24, c.uint(2)
	width, index := 2, int(sizes&15)
	if version == 2 {
		width = 4
	}
	if version == 0 {
		index = 0
	}
	extents := 0
	for n := c.uint(width); n > 0 && !c.short; n-- {
		id, method := c.uint(width), uint64(0)
		if version > 0 {
			method = c.uint(2) & 15
		}
		c.uint(2) // which file: this one
		base := c.uint(int(sizes >> 4 & 15))
		kind := m.kinds[id]
		for k := range c.uint(2) {
			c.uint(index)
			from, size := base+c.uint(int(sizes>>12)), c.uint(int(sizes>>8&15))
			if extents++; c.short || extents > partsMax {
				return errPlace
			}
			if kind == "" {
				continue
			}
			if err := m.blot(kind, method, from, size, k == 0); err != nil {
				return err
			}
		}
	}
	if c.short || version > 2 {
		return errPlace
	}
	return nil
}

// blot notes a piece of an item that is metadata.
func (m *metaBox) blot(kind string, method, from, size uint64, first bool) error {
	const inFile, inBox, most = 0, 1, 1 << 48
	if size == 0 || size > most || from > most || len(m.blots) == extentsMax {
		return errPlace
	}
	o := blot{from: int64(from), to: int64(from + size)}
	switch method {
	case inFile:
		if o.from < m.at {
			return errPlace // It has passed.
		}
	case inBox:
		if o.from, o.to = o.from+m.idat, o.to+m.idat; o.to > m.end {
			return errPlace
		}
	default:
		return errPlace
	}
	if kind == "Exif" && first && size >= uint64(len(emptyExif)) {
		o.own = emptyExif
	}
	m.blots = append(m.blots, o)
	return nil
}

// cursor reads numbers.
type cursor struct {
	b     []byte
	short bool // there were too few bytes
}

// uint reads a number of so many bytes, 0 to 8.
func (c *cursor) uint(size int) (n uint64) {
	if size > 8 || size > len(c.b) {
		c.b, c.short = nil, true
		return 0
	}
	for _, b := range c.b[:size] {
		n = n<<8 | uint64(b)
	}
	c.b = c.b[size:]
	return n
}
