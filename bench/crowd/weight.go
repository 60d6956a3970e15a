package crowd

import (
	"context"

	"switchboard/bench/host"
	"switchboard/bench/result"
)

// step is what the gateways and the kernel hold at one number of connections.
type step struct {
	connections int
	user        host.Memory
	kernel      int64
	heap        int64 // 0: nobody knows
}

// weigh looks at gateways and kernel. The heaps come last: to ask for them costs some.
func (r *run) weigh(ctx context.Context, connections int) (s step, err error) {
	s = step{connections: connections, kernel: host.Slabs()}
	if s.user, err = r.memory(); err == nil {
		s.heap = r.heap(ctx)
	}
	return s, err
}

// memory is that of the gateways that run.
func (r *run) memory() (total host.Memory, err error) {
	for _, p := range r.rig.Processes() {
		m, err := host.MemoryOf(p.PID)
		if err != nil {
			return total, err
		}
		total.PSS, total.Anonymous = total.PSS+m.PSS, total.Anonymous+m.Anonymous
	}
	return total, nil
}

// heap is what the heaps of the gateways that run have in use. A gateway that does not
// answer ends no run: the result says that it did not.
func (r *run) heap(ctx context.Context) int64 {
	heap, err := r.rig.Heap(ctx)
	if err != nil {
		r.result.Set("heap not seen", err)
		return 0
	}
	return heap
}

// addHeap adds the heaps to the result, at the end.
func (r *run) addHeap(ctx context.Context) {
	if heap := r.heap(context.WithoutCancel(ctx)); heap > 0 { // After a signal as well.
		r.result.Add("gateways.heap", float64(heap), result.Bytes, result.Neither, "heap that the gateways had in use at the end")
	}
}

// addKernel adds what the kernel holds for an end of a connection: of some more than of
// none, so it is worth something from thousands on. prefix is that of a phase.
func (r *run) addKernel(prefix string, connections int) {
	if now := host.Slabs(); now > 0 && connections > 0 {
		r.result.Add(prefix+"kernel_bytes", float64(now-r.bare)/float64(connections)/r.ends(), result.Bytes, result.Lower,
			"kernel memory of a connection's end: growth of the socket slabs")
	}
}

// ends of a connection are on this host, unless the clients are on others.
func (o *options) ends() float64 {
	if len(o.agents) > 0 {
		return 1
	}
	return 2
}

// kept adds what the gateways have not given back after the messages.
func (c *conn) kept(ctx context.Context, r *run) error {
	if c.full.user.PSS == 0 {
		return nil
	}
	r.view.now("gateways come to rest", c.settle)
	if err := rest(ctx, c.settle); err != nil {
		return err
	}
	after, err := r.memory()
	if err != nil {
		return err
	}
	c.addKept(r.result, after)
	return nil
}

// addKept adds the difference between memory now and at the end of the climb.
func (c *conn) addKept(r *result.Result, after host.Memory) {
	n := float64(c.full.connections)
	r.Add("after_bytes", float64(after.PSS-c.full.user.PSS)/n, result.Bytes, result.Lower,
		"gateway memory that a connection has kept after the messages: PSS to that before")
	r.Add("after_anon_bytes", float64(after.Anonymous-c.full.user.Anonymous)/n, result.Bytes, result.Lower,
		"what of it is no page of a file")
}
