package fanout

import (
	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/internal/presence"
)

// input is one log that the router reads. What differs between them is here; all
// the rest, above all what happens when a road is blocked, they share.
type input struct {
	group    bus.Group
	producer bus.Producer
	heads    bool // what it says of large conversations becomes heads
	// parse returns what the records hold that was not seen before.
	parse   func(records []bus.Record, seen *bus.Deduper) []matter
	lookups *lookups

	batch *metrics.Histogram
	// The way of a batch through the router, in this order; the look-up of its
	// people lies between the first two.
	wait    *metrics.Histogram // from the oldest record's timestamp to the batch's begin
	writes  *metrics.Histogram // from the look-up's answer to the last acknowledgement
	seconds *metrics.Histogram // all of it, without the wait
}

// matter is something that concerns people on servers.
type matter interface {
	// concerns returns whose places must be known.
	concerns() []chat.UserID
	// plan says what follows from where they are.
	plan(partition int32, places map[chat.UserID]presence.Places) *plan
}

// metered gives an input its look-ups and its metrics, whose names begin with
// prefix.
func (r *Router) metered(in *input, prefix string) *input {
	in.lookups = newLookups(r.cfg, prefix)
	in.batch = r.cfg.Metrics.Histogram(prefix + "_batch_records")
	in.wait = r.cfg.Metrics.Histogram(prefix + "_wait_seconds")
	in.writes = r.cfg.Metrics.Histogram(prefix + "_produce_seconds")
	in.seconds = r.cfg.Metrics.Histogram(prefix + "_batch_seconds")
	return in
}

// outcome is what became of an inbound record.
type outcome struct{ bus.Accepted }

func (o *outcome) concerns() []chat.UserID { return o.Recipients }

func (o *outcome) plan(partition int32, places map[chat.UserID]presence.Places) *plan {
	return newPlan(&o.Accepted, partition, places)
}

// accepted is the log of outcomes.
func (r *Router) accepted() *input {
	return r.metered(&input{
		group: r.cfg.Accepted, producer: r.cfg.Producer, heads: r.cfg.Roster != nil,
		parse: func(records []bus.Record, seen *bus.Deduper) []matter {
			matters := make([]matter, 0, len(records))
			for i := range records {
				o := new(outcome)
				if err := bus.ParseAccepted(records[i].Value, &o.Accepted); err != nil {
					r.cannotRead(&records[i], err)
				} else if seen.New(o.Position) {
					matters = append(matters, o)
				}
			}
			return matters
		},
	}, "switchboard_router")
}

// cannotRead notes a record that only a foreign writer can cause, and that no
// waiting can heal.
func (r *Router) cannotRead(record *bus.Record, err error) {
	r.unreadable.Inc()
	r.cfg.Logger.Error("unreadable record",
		"topic", record.Topic, "partition", record.Partition, "offset", record.Offset, "error", err)
}

// concerned returns everybody whom the matters concern, each once.
func concerned(matters []matter) []chat.UserID {
	var (
		users []chat.UserID
		seen  = make(map[chat.UserID]struct{})
	)
	for _, m := range matters {
		for _, u := range m.concerns() {
			if _, ok := seen[u]; !ok {
				seen[u] = struct{}{}
				users = append(users, u)
			}
		}
	}
	return users
}
