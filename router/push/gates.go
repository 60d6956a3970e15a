package push

import (
	"net/url"
	"slices"
	"strings"

	"switchboard/internal/chat"
	"switchboard/internal/devices"
)

// place is what takes a limited number of requests at the same time: all devices of
// a kind, a host, a user, a device. The fields that do not name it are empty.
type place struct {
	kind   devices.Kind
	host   string
	user   chat.UserID
	device string
}

// room is how many requests a place takes.
func (at *place) room() int {
	switch {
	case at.host != "":
		return HostMax
	case at.kind != "":
		return UnderWayMax
	case at.device != "":
		return DeviceMax
	}
	return UserMax
}

// placesOf are those of a request to a device. All of the operator's webhook is one
// host.
func placesOf(to *devices.Registration) []place {
	all := []place{{user: to.User, device: to.Device}, {user: to.User}, {kind: to.Kind}}
	if to.Kind == devices.WebPush {
		if at, err := url.Parse(to.Address); err == nil && at.Host != "" {
			all = append(all, place{kind: to.Kind, host: strings.ToLower(at.Host)})
		}
	}
	return all
}

// gate counts the requests of a place, and has those in line for which there is no
// room.
type gate struct {
	busy int
	line []*task
	open bool // it is among those that are open
}

// gates are all places that are in use. Open are those that may have room for
// somebody in their line.
type gates struct {
	all  map[place]*gate
	open []place
}

// enter takes room in each place, or in none; then the task is in the line of the
// first that is full.
func (g *gates) enter(t *task, places []place) bool {
	for _, at := range places {
		full := g.all[at]
		if full == nil || full.busy < at.room() {
			continue
		}
		if !slices.Contains(t.waits, full) {
			t.waits, full.line = append(t.waits, full), append(full.line, t)
		}
		return false
	}
	for _, at := range places {
		if g.all[at] == nil {
			g.all[at] = new(gate)
		}
		g.all[at].busy++
	}
	return true
}

// leave gives the room back.
func (g *gates) leave(places []place) {
	for _, at := range places {
		left := g.all[at]
		left.busy--
		switch {
		case len(left.line) == 0 && left.busy == 0:
			if !left.open {
				delete(g.all, at)
			}
		case len(left.line) > 0 && !left.open:
			left.open = true
			g.open = append(g.open, at)
		}
	}
}

// awake takes tasks out of line for which there is room, [LookMax] at most. Who does not
// use it leaves it to the next, whom the next call returns.
func (g *gates) awake() (tasks []*task) {
	still := g.open[:0]
	for _, at := range g.open {
		o := g.all[at]
		room := at.room() - o.busy
		for room > 0 && len(o.line) > 0 && len(tasks) < LookMax {
			t := o.line[0]
			o.line[0] = nil
			o.line = o.line[1:]
			t.waits = slices.DeleteFunc(t.waits, func(w *gate) bool { return w == o })
			if !t.done {
				tasks = append(tasks, t)
				room--
			}
		}
		if o.open = len(o.line) > 0 && o.busy < at.room(); o.open {
			still = append(still, at)
		} else if len(o.line) == 0 && o.busy == 0 {
			delete(g.all, at)
		}
	}
	clear(g.open[len(still):])
	g.open = still
	return tasks
}
