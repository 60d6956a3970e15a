// Package uplink takes what clients send to the log: one record of `inbound` per
// send_message, keyed by conversation, with the server and session to answer to;
// and marks, merged for a moment, see marks.go.
//
//	session ──Send──▶ bus.Inbound ──▶ chat.inbound[partition of the conversation]
//	        ──Mark──▶ wait, merge ──▶ chat.receipts[the same]
//	        ──Note──▶ bus.Hint ──▶ chat.signals[the same, or of the user]
//
// It answers nothing: that a message is stored is known when the outcome comes
// back on the delivery topic, not when the log has the wish. Here a message can
// only be refused, because too much waits for the log.
//
// What is fleeting goes beside all that, see hints.go.
package uplink

import (
	"errors"
	"time"

	"switchboard/gateway/session"
	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/mediaurl"
	"switchboard/internal/metrics"
	"switchboard/internal/wire"
)

// retryAfter is what a sender is told while too much waits for the log.
const retryAfter = time.Second

// Config is what an Uplink needs.
type Config struct {
	Producer   bus.Producer // of messages
	Receipts   bus.Producer // of marks, so that many of them cost no message its place
	Signals    bus.Producer // of what is fleeting, which needs no more than acks=1; nil: it is dropped
	Server     string       // this gateway's slot
	Boot       uint64
	Generation uint32
	Partitions int32
	Links      *mediaurl.Links // says which media_url was issued to whom; nil: none is taken
	Metrics    *metrics.Set
}

// Uplink is the [session.Uplink] of a gateway. It is safe for concurrent use.
type Uplink struct {
	cfg   Config
	topic string
	marks *marks
	log   *backlog

	sent, overloaded, unknown *metrics.Counter
	hinted, lost              *metrics.Counter
	seconds                   *metrics.Histogram
}

var _ session.Uplink = (*Uplink)(nil)

// New returns an uplink.
func New(cfg Config) *Uplink {
	return &Uplink{
		cfg:        cfg,
		topic:      bus.InboundTopic(cfg.Generation),
		marks:      newMarks(cfg),
		log:        newBacklog(),
		sent:       cfg.Metrics.Counter("switchboard_gateway_kafka_records_total"),
		overloaded: cfg.Metrics.Counter(`switchboard_gateway_kafka_produce_errors_total{reason="overloaded"}`),
		unknown:    cfg.Metrics.Counter(`switchboard_gateway_kafka_produce_errors_total{reason="unknown"}`),
		hinted:     cfg.Metrics.Counter("switchboard_gateway_hints_total"),
		lost:       cfg.Metrics.Counter("switchboard_gateway_hints_lost_total"),
		seconds:    cfg.Metrics.Histogram("switchboard_gateway_kafka_produce_seconds"),
	}
}

// Send puts a message on the inbound log. Without a client_message_id it gets
// one here, so that whatever repeats the record from now on repeats one message.
func (u *Uplink) Send(from session.Sender, ev *wire.ClientEvent) error {
	media := ev.MediaURL
	if media != "" {
		var err error
		if media, err = u.cfg.Links.Claim(media, from.User); err != nil {
			return err
		}
	}
	record := bus.Inbound{
		Conversation: ev.Conversation,
		Sender:       from.User,
		Request:      ev.Request,
		ReplyTo:      bus.ReplyTo{Server: u.cfg.Server, Boot: u.cfg.Boot, Session: from.Number, ID: ev.ID},
		Send:         &bus.Send{Kind: ev.Kind, Content: ev.Content, MediaURL: media, ReplyTo: ev.ReplyTo},
	}
	if record.Request.IsZero() {
		record.Request = chat.NewRequestID()
	}
	// Key and value lie in one piece of memory, which the producer keeps.
	const idBytes, overhead = 16, 192
	buffer := append(make([]byte, 0, idBytes+overhead+len(ev.Content)), ev.Conversation[:]...)
	buffer = record.Append(buffer)
	began := time.Now()
	u.log.asked()
	err := u.cfg.Producer.Produce(bus.Message{
		Topic:     u.topic,
		Partition: bus.PartitionOf(ev.Conversation, u.cfg.Partitions),
		Key:       buffer[:idBytes:idBytes],
		Value:     buffer[idBytes:],
	}, func(_ int64, err error) {
		u.log.answered()
		u.produced(began, err)
	})
	if err != nil {
		u.log.refused(errors.Is(err, bus.ErrOverloaded))
	}
	return u.refusal(err)
}

// Stalled reports whether too many messages wait for the log, or the log has
// acknowledged none of those that wait for logPatience.
func (u *Uplink) Stalled() bool { return u.log.stalled() }

// produced hears what became of a record. A record whose fate is unknown is not
// answered: the client's own timeout and retry settle it.
func (u *Uplink) produced(began time.Time, err error) {
	if err != nil {
		u.unknown.Inc()
		return
	}
	u.sent.Inc()
	u.seconds.UpdateDuration(began)
}

// refusal translates what Produce said at once.
func (u *Uplink) refusal(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bus.ErrOverloaded):
		u.overloaded.Inc()
		return &chat.Error{Code: chat.Unavailable, Message: "too many messages wait for the log", RetryAfter: retryAfter}
	case errors.Is(err, bus.ErrTooLarge):
		return chat.Errorf(chat.TooLarge, "the message is too large for the log")
	}
	return err
}
