package crowd

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"switchboard/bench/live"
	"switchboard/bench/load"
	"switchboard/bench/result"
	"switchboard/internal/chat"
	"switchboard/internal/daemon"
	"switchboard/internal/wire"
)

const fanoutManual = `bench fanout has a crowd connected to one gateway and sends each of them one message,
again and again: a delivery record as a router writes it, with the frame encoded once
and all recipients. Measured is when each, and when the last of them has read it,
counted from the message's time; each must read each message once and in order.

A record holds -batch recipients at most, since the log bounds a record; more are
several records with the same frame.` + plan

// fanout is one run of `bench fanout`.
type fanout struct {
	*options
	messages int
	every    time.Duration
	bytes    int
	batch    int

	sent int
}

// Fanout is `bench fanout`.
func Fanout(ctx context.Context, args, worker []string, screen *live.Screen) error {
	flags := daemon.NewFlags("bench fanout", fanoutManual)
	f := &fanout{options: newOptions(flags, worker, 1, 10000)}
	flags.IntVar(&f.messages, "messages", 30, "messages")
	flags.DurationVar(&f.every, "every", time.Second, "time between them")
	flags.IntVar(&f.bytes, "bytes", 100, "bytes of a message's content, at least")
	flags.IntVar(&f.batch, "batch", 10000, "recipients of a record, at most")
	f.out = result.NewOutput(flags.FlagSet, append(metricNames("last", "delivery", "open", "lag"), "incomplete", "delivery_cpu")...)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if f.gateways != 1 || f.messages < 1 || f.every <= 0 || f.batch < 1 || f.batch > 40000 {
		return daemon.Usagef("one gateway, at least one message, and records of 1 to 40000 recipients")
	}
	r, err := begin(ctx, "fanout", f.options, screen, 0)
	if err != nil {
		return err
	}
	defer r.end()
	r.result.Headlines = []string{"connections", "last.p50", "last.max", "delivery.p50", "delivery_cpu", "wrong", "incomplete"}
	err = f.phases(ctx, r)
	last, incomplete := f.last(r)
	r.result.Add("incomplete", float64(incomplete), result.Count, result.Lower, "messages that not everybody read once")
	all := r.crew.All()
	if err := r.finish(ctx, err, last, all.Timing(load.TimeDelivery, ""), all.Timing(load.TimeOpen, ""), all.Timing(load.TimeLag, "")); err != nil {
		return err
	}
	if incomplete > 0 {
		return fmt.Errorf("%d messages were not read by everybody", incomplete)
	}
	return nil
}

func (f *fanout) phases(ctx context.Context, r *run) error {
	if err := r.open(ctx); err != nil {
		return err
	}
	r.result.Set("messages", fmt.Sprintf("%d, one every %v, to all", f.messages, f.every))
	recipients := make([]chat.UserID, f.connections)
	for i := range recipients {
		recipients[i] = load.UserOf(r.user, i)
	}
	entry := &chat.Entry{
		Conversation: chat.ConversationID(chat.NewRequestID()), Sender: load.UserOf(r.user, f.connections), Kind: chat.KindText,
	}
	r.view.now("one message to all, again and again", time.Duration(f.messages)*f.every)
	before, start := r.cpu(), time.Now().Add(f.every)
	for i := range f.messages {
		at := start.Add(time.Duration(i) * f.every)
		if err := rest(ctx, time.Until(at)); err != nil {
			return err
		}
		entry.Seq++
		entry.Content = fmt.Sprintf("%s %0*d", load.Content(int64(i+1), at), max(f.bytes-40, 1), 0)
		frame := wire.AppendEntry(nil, entry, false)
		for some := range slices.Chunk(recipients, f.batch) {
			if err := r.rig.Deliver(ctx, 0, frame, some); err != nil {
				return err
			}
		}
		f.sent++
	}
	read := func() bool { return r.crew.All().Count(load.CountReceived) >= f.sent*f.connections }
	if err := r.crew.Hold(ctx, read, 10*time.Second); err != nil {
		return err
	}
	r.result.Add("delivery_cpu", (r.cpu()-before).Seconds()/float64(f.sent*f.connections), result.Seconds, result.Lower,
		"gateway's processor time of a message to one receiver")
	return nil
}

// last is when the last receiver had each message, and how many messages somebody
// did not have.
func (f *fanout) last(r *run) (*result.Timing, int) {
	timing := result.NewTiming("last", "from a message's time until the last has read it")
	reads := r.crew.All().Reads()
	complete := 0
	for i, number := range slices.Sorted(maps.Keys(reads)) {
		read := reads[number]
		if read.Count == f.connections {
			complete++
			timing.Record(i, time.Duration(read.Last-read.Due))
		}
	}
	return timing, f.sent - complete
}
