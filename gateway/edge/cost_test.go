package edge

import (
	"io"
	"net"
	"runtime"
	"testing"
	"time"
	"unsafe"
)

// TestSlotStaysSmall fails when an idle connection gets dearer: its slot, and a
// word in the table of descriptors.
func TestSlotStaysSmall(t *testing.T) {
	if got := unsafe.Sizeof(slot{}); got > 20 {
		t.Errorf("a slot has %d bytes, want at most 20", got)
	}
	if got := unsafe.Sizeof(chunk{}); got != 4096 {
		t.Errorf("a chunk has %d bytes, want 4096", got)
	}
}

// TestMemoryOfIdleConnections opens many and looks at the heap: at most 60 bytes
// and no object each.
func TestMemoryOfIdleConnections(t *testing.T) {
	const many = 2000
	s := start(t, &echo{}, func(c *Config) { c.Loops = 2 })
	conns := make([]*net.TCPConn, 0, many)
	// What exists once does not count: let it come into being.
	warm := upgrade(t, s)
	send(t, warm, frame(0x81, "x"))
	expect(t, warm, text("x"))
	for range many {
		conns = append(conns, upgrade(t, s))
	}
	slots, tables := 0, 0
	for _, l := range s.loops {
		answer := make(chan [2]int, 1)
		s.Post(int(l.number), func(any) {
			busy := 0
			for i := range l.slots.used {
				if l.slots.at(i).extra != 0 {
					busy++
				}
			}
			answer <- [2]int{len(l.slots.pages) * int(unsafe.Sizeof([pageSlots]slot{})), busy}
		}, nil)
		got := <-answer
		slots += got[0]
		if got[1] != 0 {
			t.Errorf("loop %d: %d idle connections have an extra", l.number, got[1])
		}
	}
	for i := range s.fds.pages {
		if s.fds.pages[i].Load() != nil {
			tables += pageFDs * 4
		}
	}
	t.Logf("%d connections: %d bytes of slots, %d of descriptors, %d B each", many, slots, tables, (slots+tables)/many)
	if (slots+tables)/many > 60 {
		t.Errorf("%d bytes each, want at most 60", (slots+tables)/many)
	}
	runtime.KeepAlive(conns)
}

// allocations returns the mallocs of the whole process per run of f on the loop.
func allocations(s *Server, c Conn, f func()) (each float64) {
	onLoop(s, c, func() { each = testing.AllocsPerRun(500, f) })
	return each
}

func TestHotPathAllocatesNothing(t *testing.T) {
	frameOut := AppendText(nil, []byte("a frame that was encoded once"))
	var scratch []byte
	h := &echo{}
	h.message = func(c Conn, _ bool, payload []byte) {
		scratch = AppendText(scratch[:0], payload)
		h.server.Write(c, scratch)
	}
	s, conn, c := openOne(t, h, nil)
	discarded := make(chan struct{})
	go func() {
		defer close(discarded)
		_, _ = io.Copy(io.Discard, conn)
	}()
	l := s.loops[c.Loop]
	in, ping, buf := frame(0x81, "hello from a client"), frame(0x89, "are you there"), make([]byte, 256)
	for _, tt := range []struct {
		name string
		run  func()
	}{
		{"ping sent", func() { s.Ping(c) }},
		{"frame written", func() { s.Write(c, frameOut) }},
		{"frame echoed", func() { l.feed(c.Slot, l.slots.at(c.Slot), buf[:copy(buf, in)]) }},
		{"ping answered", func() { l.feed(c.Slot, l.slots.at(c.Slot), buf[:copy(buf, ping)]) }},
		{"message in two pieces", func() {
			n := copy(buf, in)
			l.feed(c.Slot, l.slots.at(c.Slot), buf[:9])
			l.feed(c.Slot, l.slots.at(c.Slot), buf[9:n])
		}},
	} {
		if got := allocations(s, c, tt.run); got != 0 {
			t.Errorf("%s: %v allocations, want 0", tt.name, got)
		}
	}
	conn.Close()
	<-discarded
}

func TestPostAllocatesNothing(t *testing.T) {
	s := start(t, &echo{}, func(c *Config) { c.Loops = 1 })
	done := make(chan struct{}, 1)
	task, arg := func(any) { done <- struct{}{} }, any(s)
	if got := testing.AllocsPerRun(1000, func() { s.Post(0, task, arg); <-done }); got > 1 {
		t.Errorf("%v allocations a task, want at most 1", got)
	}
}

// BenchmarkEcho is one client that waits for each echo: the whole round trip,
// the client's half included.
func BenchmarkEcho(b *testing.B) {
	var scratch []byte
	h := &echo{}
	h.message = func(c Conn, _ bool, payload []byte) {
		scratch = AppendText(scratch[:0], payload)
		h.server.Write(c, scratch)
	}
	s := start(b, h, func(c *Config) { c.Loops = 1 })
	conn := upgrade(b, s)
	out, in := []byte(frame(0x81, string(make([]byte, 100)))), make([]byte, 102)
	if err := conn.SetDeadline(time.Time{}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		send(b, conn, out)
		if _, err := io.ReadFull(conn, in); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParse is the loop's own part of a frame: parse, unmask, check, echo
// into the cork.
func BenchmarkParse(b *testing.B) {
	shared := &buffers{bound: 1 << 20}
	r := reader{buffers: shared, maxMessage: 4096}
	var in inbound
	one := []byte(frame(0x81, string(make([]byte, 200))))
	buf := make([]byte, len(one))
	b.ReportAllocs()
	for b.Loop() {
		copy(buf, one)
		if _, op, _, _ := r.next(&in, buf); op == 0 {
			b.Fatal("no frame")
		}
	}
}
