package fold

import (
	"fmt"
	"slices"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
)

// deliveryFaults are mistakes of the delivery that the model can make on
// purpose, as faults are those of the fold.
type deliveryFaults struct {
	filterByAccepted   bool // a gateway filters by the offset on the accepted log
	connectedFirst     bool // `connected` is said before the registration is acknowledged
	unordered          bool // deliveries are keyed so that two of a partition may change places
	routerCommitsFirst bool // the router commits what it has read, then produces
	presenceCached     bool // the router remembers where users are
	behindFirst        bool // `behind` is said before pushing works again
	positionAfterClaim bool // a gateway looks for the end of its topic once it serves
	leaverGetsHandOver bool // who left is a recipient of the second event as well
	syncSkipsHoles     bool // /sync answers with what is there, also beyond a missing row
}

// route is where one session of a user is.
type route struct {
	slot    int
	boot    uint64
	session uint64
}

// presenceModel is the directory. Its epoch counts how often it forgot.
type presenceModel struct {
	routes map[chat.UserID][]route
	boots  map[int]uint64
	epoch  int
}

// where returns the routes of a user that lie on the current boot of their slot.
func (p *presenceModel) where(u chat.UserID) (routes []route) {
	for _, r := range p.routes[u] {
		if p.boots[r.slot] == r.boot {
			routes = append(routes, r)
		}
	}
	return routes
}

func (p *presenceModel) register(u chat.UserID, r route) {
	if !slices.Contains(p.routes[u], r) {
		p.routes[u] = append(p.routes[u], r)
	}
}

// losePresence makes the directory forget a user, or everything.
func (w *world) losePresence() {
	w.presence.epoch++
	w.tell("presence is lost, epoch %d", w.presence.epoch)
	if w.chance(2) {
		delete(w.presence.routes, user(1+w.rng.IntN(modelUsers)))
		return
	}
	clear(w.presence.routes)
	clear(w.presence.boots)
}

// delivery is one record of a server's topic.
type delivery struct {
	class     bus.Class
	partition int32
	offset    int64 // of the inbound record
	accepted  int64 // of the outcome
	frames    []deliveredFrame
	answer    *frame
	boot      uint64
	session   uint64
}

// String says what a delivery is, for the trace.
func (d *delivery) String() string {
	s := ""
	for _, f := range d.frames {
		s += fmt.Sprintf("%s %x %d to ", f.kind, f.entry.Conversation[:2], f.entry.Seq)
		for _, u := range f.to {
			s += fmt.Sprint(u[15], " ")
		}
	}
	return s
}

// deliveredFrame is one frame and whom it is for.
type deliveredFrame struct {
	frame
	to     []chat.UserID
	except uint64
}

// frame is what one connection is sent.
type frame struct {
	kind  string // event, head, behind, answer
	entry chat.Entry
	large bool

	// answer
	outcome bus.Outcome
	request chat.RequestID
	seq     chat.Seq
	id      chat.MessageID

	epoch int // behind
}

// startRouter starts a router of one partition. It carries on where the last
// commit was, and knows nothing else.
func (w *world) startRouter(p int32) {
	w.routers[p] = w.start("router", func(a *actor) {
		var seen bus.Deduper
		known := map[chat.UserID][]route{}
		at := w.routed[p]
		for {
			a.wait(func() bool { return at < len(w.accepted[p]) })
			n := 1 + w.rng.IntN(min(3, len(w.accepted[p])-at))
			first := at
			at += n
			if w.faults.delivery.routerCommitsFirst {
				w.routed[p] = at
			}
			w.fanOut(a, p, first, at, &seen, known)
			a.step()
			w.routed[p] = at // Also of a zombie: a commit that goes back repeats.
		}
	})
}

// fanOut looks up where everybody is whom some outcomes concern, in one round
// trip, and writes one record for each server and outcome, in order.
func (w *world) fanOut(a *actor, p int32, from, to int, seen *bus.Deduper, known map[chat.UserID][]route) {
	a.step()
	where := func(u chat.UserID) []route {
		if w.faults.delivery.presenceCached {
			if _, ok := known[u]; !ok {
				known[u] = w.presence.where(u)
			}
			return known[u]
		}
		return w.presence.where(u)
	}
	type send struct {
		slot int
		d    delivery
	}
	var sends []send
	for i := from; i < to; i++ {
		out := &w.accepted[p][i].out
		if !seen.New(out.Position) {
			continue
		}
		for slot := range w.gateways {
			if d, any := w.deliveryFor(slot, p, int64(i), out, where); any {
				sends = append(sends, send{slot, d})
			}
		}
	}
	for _, s := range sends {
		a.step()
		w.tell("router: offset %d to server %d: %s", s.d.offset, s.slot, &s.d)
		topic := &w.topics[s.slot]
		*topic = append(*topic, s.d)
		if n := len(*topic); w.faults.delivery.unordered && n-1 > w.gateways[s.slot].at && w.chance(2) {
			(*topic)[n-1], (*topic)[n-2] = (*topic)[n-2], (*topic)[n-1]
		}
	}
	w.heads(a, p, from, to)
}

// deliveryFor returns what an outcome means for one server.
func (w *world) deliveryFor(slot int, p int32, at int64, out *bus.Accepted, where func(chat.UserID) []route) (d delivery, any bool) {
	d = delivery{class: bus.Durable, partition: p, offset: out.Position.Offset, accepted: at}
	asked := out.ReplyTo.Server == serverName(slot)
	if asked {
		d.boot, d.session = out.ReplyTo.Boot, out.ReplyTo.Session
		d.answer = &frame{
			kind: "answer", outcome: out.Outcome, request: out.Request, seq: out.Seq, id: out.ID, large: out.Large,
		}
		if out.Outcome == bus.Stored {
			d.answer.entry = out.Events[0].Entry
			d.answer.seq, d.answer.id = out.Events[0].Seq, out.Events[0].ID
		}
	}
	for i := range out.Events {
		f := deliveredFrame{frame: frame{kind: "event", entry: out.Events[i].Entry, large: out.Large}}
		if asked {
			f.except = d.session
		}
		for _, u := range out.Recipients {
			if i > 0 && u == out.Events[0].User && !w.faults.delivery.leaverGetsHandOver {
				continue // Whoever left does not see what came after.
			}
			if slices.ContainsFunc(where(u), func(r route) bool { return r.slot == slot }) {
				f.to = append(f.to, u)
			}
		}
		if len(f.to) > 0 {
			d.frames = append(d.frames, f)
		}
	}
	return d, asked || len(d.frames) > 0
}

// heads tells the members of large conversations how far they are. Who is a
// member is taken from the archive as it is: stale is harmless here.
func (w *world) heads(a *actor, p int32, from, to int) {
	for i := from; i < to; i++ {
		out := &w.accepted[p][i].out
		if !out.Large || out.Outcome != bus.Stored {
			continue
		}
		a.step()
		d := delivery{class: bus.Latest}
		d.frames = []deliveredFrame{{frame: frame{kind: "head", entry: out.Events[len(out.Events)-1].Entry, large: true}}}
		servers := map[int]bool{}
		for _, s := range w.archive.spansOf(out.Conversation) {
			if s.Left == 0 {
				d.frames[0].to = append(d.frames[0].to, s.User)
				for _, r := range w.presence.where(s.User) {
					servers[r.slot] = true
				}
			}
		}
		for slot := range w.gateways {
			if servers[slot] {
				a.step()
				w.topics[slot] = append(w.topics[slot], d)
			}
		}
	}
}

// gateway is one life of a server that holds sockets.
type gateway struct {
	slot     int
	boot     uint64
	open     bool // accepts connections
	dead     bool
	at       int // in its topic
	epoch    int // of the directory, when it last registered everybody
	last     map[int32]int64
	sessions []*session
	actors   []*actor
}

func serverName(slot int) string { return "gw-" + string(rune('0'+slot)) }

// session is one connection.
type session struct {
	g       *gateway
	id      uint64
	user    chat.UserID
	closed  bool
	told    bool // `connected` was said
	out     []frame
	covered int // epoch of the directory for which this connection misses nothing
	pushed  map[chat.ConversationID]chat.Seq
}

// startGateway starts the next life of a slot: first its place in the topic,
// then the lease, then connections.
func (w *world) startGateway(slot int) {
	w.boots++
	g := &gateway{slot: slot, boot: w.boots, last: map[int32]int64{}}
	w.gateways[slot] = g
	reader := w.start("gateway", func(a *actor) {
		a.step()
		g.at = len(w.topics[slot])
		a.step()
		g.epoch = w.presence.epoch
		w.presence.boots[slot] = max(w.presence.boots[slot], g.boot)
		g.open = true
		w.tell("server %d serves, boot %d", slot, g.boot)
		if w.faults.delivery.positionAfterClaim {
			a.step()
			a.step()
			g.at = len(w.topics[slot])
		}
		for {
			a.wait(func() bool { return g.at < len(w.topics[slot]) })
			d := &w.topics[slot][g.at]
			g.at++
			w.push(g, d)
		}
	})
	sweep := w.start("sweep", func(a *actor) {
		for {
			a.wait(func() bool { return g.open && g.epoch != w.presence.epoch })
			w.sweep(a, g)
		}
	})
	g.actors = []*actor{reader, sweep}
}

// push gives the connections of a gateway what a record has for them, unless
// its like was there before.
func (w *world) push(g *gateway, d *delivery) {
	if d.class == bus.Durable {
		place := d.offset
		if w.faults.delivery.filterByAccepted {
			place = d.accepted
		}
		if last, ok := g.last[d.partition]; ok && place <= last {
			w.tell("server %d drops offset %d", g.slot, d.offset)
			return
		}
		w.tell("server %d pushes offset %d", g.slot, d.offset)
		g.last[d.partition] = place
	}
	for _, f := range d.frames {
		for _, s := range g.sessions {
			if !s.closed && slices.Contains(f.to, s.user) && (d.boot != g.boot || s.id != f.except) {
				s.out = append(s.out, f.frame)
			}
		}
	}
	if d.answer != nil && d.boot == g.boot {
		for _, s := range g.sessions {
			if s.id == d.session && !s.closed {
				s.out = append(s.out, *d.answer)
			}
		}
	}
}

// sweep registers everybody again after the directory forgot, and says so when
// that has worked.
func (w *world) sweep(a *actor, g *gateway) {
	epoch := w.presence.epoch
	w.tell("server %d sweeps for epoch %d", g.slot, epoch)
	a.step()
	behind := func() {
		for _, s := range g.sessions {
			s.out = append(s.out, frame{kind: "behind", epoch: epoch})
		}
	}
	if w.faults.delivery.behindFirst {
		behind()
		a.step()
		a.step()
	}
	w.presence.boots[g.slot] = max(w.presence.boots[g.slot], g.boot)
	for _, s := range g.sessions {
		w.presence.register(s.user, route{g.slot, g.boot, s.id})
	}
	w.tell("server %d registered everybody, boot %d", g.slot, g.boot)
	a.step()
	g.epoch = epoch
	if !w.faults.delivery.behindFirst {
		behind()
	}
}

// crashGateway ends a life: its connections break, its routes stay behind.
func (w *world) crashGateway(g *gateway) {
	for _, a := range g.actors {
		w.kill(a)
	}
	g.dead, g.open = true, false
	for _, s := range g.sessions {
		s.closed = true
	}
	w.startGateway(g.slot)
}
