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
	latest   bool // what it says has no position by which gateways would drop what comes again
	// parse reads a record; nil says that it was seen before.
	parse   func(record *bus.Record, seen *bus.Deduper) (matter, error)
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
		parse: func(record *bus.Record, seen *bus.Deduper) (matter, error) {
			o := new(outcome)
			if err := bus.ParseAccepted(record.Value, &o.Accepted); err != nil || !seen.New(o.Position) {
				return nil, err
			}
			for i := range o.Events {
				o.Events[i].MediaURL = r.cfg.Links.Signed(o.Events[i].MediaURL)
			}
			return o, nil
		},
	}, "switchboard_router")
}

// matters returns what the records hold that was not seen before. A record that
// cannot be read is noted and left out: only a foreign writer can cause it, and no
// waiting can heal it.
func (r *Router) matters(in *input, records []bus.Record, seen *bus.Deduper) []matter {
	matters := make([]matter, 0, len(records))
	for i := range records {
		record := &records[i]
		m, err := in.parse(record, seen)
		if err != nil {
			r.unreadable.Inc()
			r.cfg.Logger.Error("unreadable record",
				"topic", record.Topic, "partition", record.Partition, "offset", record.Offset, "error", err)
		} else if m != nil {
			matters = append(matters, m)
		}
	}
	return matters
}

// concerned returns whom the matters concern; the look-up asks for each once.
func concerned(matters []matter) []chat.UserID {
	var users []chat.UserID
	for _, m := range matters {
		users = append(users, m.concerns()...)
	}
	return users
}
