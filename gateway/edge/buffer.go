package edge

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// buffer is a pooled slice of bytes.
type buffer struct{ b []byte }

// Buffers of 512 B to 64 KiB are pooled, by powers of two; larger ones are left
// to the garbage collector.
const (
	smallestBuffer = 9
	largestBuffer  = 16
)

// buffers lends out the memory of unfinished requests, frames and messages, and
// of input that has to wait, and bounds it for the whole server: peers decide
// when they finish, so the bound must not be the number of peers.
type buffers struct {
	pools [largestBuffer - smallestBuffer + 1]sync.Pool
	lent  atomic.Int64
	bound int64
}

// extend appends p to buf, which may be nil, and returns the buffer to use from
// now on. false says that the bound is reached; buf is then as before.
func (p *buffers) extend(buf *buffer, data []byte) (*buffer, bool) {
	if buf != nil && len(buf.b)+len(data) <= cap(buf.b) {
		buf.b = append(buf.b, data...)
		return buf, true
	}
	have := 0
	if buf != nil {
		have = len(buf.b)
	}
	larger, ok := p.get(max(have+len(data), 2*have))
	if !ok {
		return buf, false
	}
	if buf != nil {
		larger.b = append(larger.b, buf.b...)
		p.put(buf)
	}
	larger.b = append(larger.b, data...)
	return larger, true
}

func (p *buffers) get(size int) (*buffer, bool) {
	class := max(bits.Len(uint(size-1)), smallestBuffer)
	if class <= largestBuffer {
		size = 1 << class
	}
	if p.lent.Add(int64(size)) > p.bound {
		p.lent.Add(-int64(size))
		return nil, false
	}
	if class > largestBuffer {
		return &buffer{b: make([]byte, 0, size)}, true
	}
	if buf, _ := p.pools[class-smallestBuffer].Get().(*buffer); buf != nil {
		return buf, true
	}
	return &buffer{b: make([]byte, 0, size)}, true
}

// put takes a buffer back; nil is none.
func (p *buffers) put(buf *buffer) {
	if buf == nil {
		return
	}
	size := cap(buf.b)
	p.lent.Add(-int64(size))
	if class := bits.Len(uint(size - 1)); class <= largestBuffer {
		buf.b = buf.b[:0]
		p.pools[class-smallestBuffer].Put(buf)
	}
}
