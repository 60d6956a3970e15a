package advice

import (
	"switchboard/tuning/host"
	"switchboard/tuning/load"
)

// What should be, from connections and memory. Each formula gives the least that
// is enough; what a host has beyond it stays.

const (
	kernelBacklog = 4096  // what Linux allows without being asked
	mostBacklog   = 65535 // more is not needed by anybody who published numbers
	// A gateway that dies sends all of its clients elsewhere; a second in which
	// nobody accepts then finds a sixteenth of them in the queue, if they come
	// back within a quarter of a minute.
	backlogShare = 16
)

// backlog is the room for connections that nobody has accepted yet.
func backlog(w load.Wish) int64 {
	return min(max(powerOfTwo(w.Connections/backlogShare), kernelBacklog), mostBacklog)
}

// powerOfTwo returns the least one that is not less than n.
func powerOfTwo(n int64) int64 {
	power := int64(1)
	for power < n {
		power *= 2
	}
	return power
}

// packets is the room for packets that a CPU has not come to yet, between the
// kernel's default of 1,000 and 10,000, which both suit the flow limit.
func packets(w load.Wish) int64 { return min(max(w.Connections/100, 1000), 10_000) }

// sockets is how many there are when all is well.
func sockets(w load.Wish) int64 { return w.Connections * w.Role.Sockets() }

// tenthMore leaves room for what is no client: logs, the bus, profiles.
func tenthMore(n int64) int64 { return n + (n+9)/10 }

// halfMore leaves room for a storm, and for everybody else on the host.
func halfMore(n int64) int64 { return n + (n+1)/2 }

// descriptors is the limit of one process.
func descriptors(w load.Wish) int64 { return tenthMore(w.PerProcess() * w.Role.Sockets()) }

// tcpPages is tcp_mem: 64 KiB for each connection, which is its send queue in
// both directions, but no more than 30 % of the memory; the kernel saves from half
// of it on, and throttles from two thirds on. Of the memory whole steps count, so
// that another kernel, which keeps a little more for itself, asks for no more.
func (m machine) tcpPages() goal {
	if m.memoryErr != nil {
		return unknowable{m.memoryErr}
	}
	const step = 1 << 16
	most := m.memory / 10 * 3 / host.PageSize
	if most > step {
		most -= most % step
	}
	most = min(most, sockets(m.wish)*(64<<10)/host.PageSize)
	return atLeast{most / 2, most / 3 * 2, most}
}

// timeWait is how many closed sockets may wait for late packets: all, since a
// gateway that drains closes all of them within the minute that they wait; but no
// more than 2 % of the memory, at 256 bytes each.
func (m machine) timeWait() goal {
	if m.memoryErr != nil {
		return unknowable{m.memoryErr}
	}
	return atLeast{min(sockets(m.wish), m.memory/50/256)}
}

// orphans is how many sockets may still have something to send after their
// program closed them: a quarter of all, but no more than a quarter of the memory,
// at 64 KiB each.
func (m machine) orphans() goal {
	if m.memoryErr != nil {
		return unknowable{m.memoryErr}
	}
	return atLeast{min(sockets(m.wish)/4, m.memory/4/(64<<10))}
}

// MemoryHigh is the memory at which the kernel begins to take pages from one
// process: its share of four fifths of the host.
func MemoryHigh(memory int64, w load.Wish) int64 { return memory / 5 * 4 / w.Processes }

// HeapLimit is GOMEMLIMIT: nine tenths of what MemoryHigh leaves, since the
// kernel's memory for sockets counts against that, too, and Go does not see it.
func HeapLimit(memory int64, w load.Wish) int64 {
	kernel := w.PerProcess() * w.Role.Sockets() * (load.KernelBytes + w.SlowBuffersEach())
	return max(MemoryHigh(memory, w)-kernel, MemoryHigh(memory, w)/10) / 10 * 9
}

// Descriptors is LimitNOFILE of one process.
func Descriptors(w load.Wish) int64 { return descriptors(w) }
