package system

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"switchboard/dev/handset"
	"switchboard/internal/bus"
	"switchboard/internal/chat"
)

// handover is a system that grows by a program and shrinks again, while people talk
// in groups that lie on every other partition.
type handover struct {
	*cluster
	t      *testing.T
	crowds []*handset.Crowd
}

// The partitions of a cluster, and how many groups there are.
const (
	clusterPartitions = 16
	groups            = clusterPartitions / 2
)

// What each program counts when it does its work.
const (
	folded = `switchboard_fold_outcomes_total{outcome="stored"}`
	routed = "switchboard_router_deliveries_total"
)

// A second worker and a second router join, take half of the work, and give it back
// when they are told to end. Nothing is lost, repeated or out of order, and hardly
// anything is even done twice.
func TestHandOverOnRealServers(t *testing.T) {
	h := &handover{cluster: newCluster(t, "-gateways=1", "-routers=1", "-workers=1"), t: t}
	at := h.servers(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	hush := h.begin(ctx)
	h.talk(ctx, "one of each")

	worker := h.instance(t, "storage-worker", "second worker",
		"-kafka", at.Kafka, "-cql", at.CQL, "-redis", at.Redis, "-postgres", at.Postgres, "-archive", "",
		"-auth-keys", at.AuthKeys, "-server", "rest-9", "-listen", freePorts(t, 1)[0], "-gateway-url", h.WS[0])
	h.shares(ctx, worker, folded, "worker-1")
	h.leave(worker)
	h.talk(ctx, "the worker has left")

	router := h.instance(t, "router", "second router", "-kafka", at.Kafka, "-redis", at.Redis, "-postgres", at.Postgres)
	h.shares(ctx, router, routed, "router-1")
	h.leave(router)
	h.talk(ctx, "the router has left")

	hush()
	h.judge(ctx)
}

// begin gathers the groups and lets them talk.
func (h *handover) begin(ctx context.Context) (hush func()) {
	h.t.Helper()
	var hushes []func()
	for i := range groups {
		name := fmt.Sprint("group ", i)
		id := chat.NewRequestID()
		for bus.PartitionOf(chat.GroupConversation(handset.Person(name, 0), id), clusterPartitions) != int32(2*i) {
			id = chat.NewRequestID()
		}
		h.crowds = append(h.crowds, h.gather(h.t, name, 3, id, hostOf(h.t, h.WS[0])))
	}
	for _, c := range h.crowds {
		hushes = append(hushes, c.Begin(ctx))
	}
	return func() {
		for _, hush := range hushes {
			hush()
		}
	}
}

// shares lets people talk while a program has joined, and checks that both do some
// of the work.
func (h *handover) shares(ctx context.Context, i *instance, work, other string) {
	h.t.Helper()
	i.await("to have work", func() bool { return h.metric(h.t, i.ops, work) > 0 })
	its, others := h.metric(h.t, i.ops, work), h.metric(h.t, h.Ops[other], work)
	h.talk(ctx, "a "+i.name+" has joined")
	its, others = h.metric(h.t, i.ops, work)-its, h.metric(h.t, h.Ops[other], work)-others
	h.t.Logf("the %s does %v of it, %s %v", i.name, its, other, others)
	if its == 0 || others == 0 {
		h.t.Errorf("the %s does %v of the work and %s %v, want both some", i.name, its, other, others)
	}
}

// leave has a program end.
func (h *handover) leave(i *instance) {
	h.t.Helper()
	begun := time.Now()
	i.signal(syscall.SIGTERM)
	if status := i.ends(); status != 0 {
		h.t.Errorf("the %s ended with status %d, want 0", i.name, status)
	}
	h.t.Logf("the %s ended after %v", i.name, time.Since(begun).Round(time.Millisecond))
}

// talk lets people talk for a while, and says how long no answer came, in one group
// at least, since the last time.
func (h *handover) talk(ctx context.Context, what string) {
	h.t.Helper()
	var before []int
	for _, c := range h.crowds {
		before = append(before, c.Answered())
	}
	rest(ctx, 3*time.Second)
	all, longest := 0, time.Duration(0)
	for i, c := range h.crowds {
		acked, silence := c.Silence()
		if acked == before[i] {
			h.t.Errorf("%s: nobody in group %d is answered", what, i)
		}
		all, longest = all+acked-before[i], max(longest, silence)
	}
	repeated := h.metric(h.t, h.Ops["gateway-1"], "switchboard_gateway_deliveries_repeated_total")
	h.t.Logf("%s: %d sends answered, none in some group for %v; %v repeated deliveries so far",
		what, all, longest.Round(time.Millisecond), repeated)
}

// judge checks what everybody was told.
func (h *handover) judge(ctx context.Context) {
	h.t.Helper()
	events, devices := 0, 0
	for i, c := range h.crowds {
		n, err := c.Judge(ctx)
		if err != nil {
			h.t.Errorf("group %d: %v", i, err)
		}
		events += n
		for _, d := range c.Devices {
			devices++
			if n := len(d.Opened()); n != 1 {
				h.t.Errorf("a device connected %d times, want once", n)
			}
		}
	}
	repeated := h.metric(h.t, h.Ops["gateway-1"], "switchboard_gateway_deliveries_repeated_total")
	delivered := h.metric(h.t, h.Ops["gateway-1"], "switchboard_gateway_deliveries_total")
	h.t.Logf("%d events, %d devices complete; %v deliveries, and %v that were repeated", events, devices, delivered, repeated)
	if repeated > groups {
		h.t.Errorf("%v of %v deliveries were repeated: who ends does not say how far it came", repeated, delivered)
	}
}
