// Package push notifies people who are away: it takes what chat.push says to the
// devices that asked for it, by Web Push or through the operator's webhook.
//
//	chat.push ───▶ Sender ──▶ wait a moment, keep the newest of each conversation
//	                 │  ▲           │
//	             devices └─ later ──┤ read meanwhile, or muted: nothing
//	                 ▲              ├──▶ push service of a browser ─┬─ gone: the device is removed
//	chat.status ─ what was read     └──▶ webhook ───────────────────┴─ refused, or too often: chat.undelivered
//
// A record is committed when each device of its user has it, or something newer of
// the same conversation, or when it is on chat.undelivered. So nothing is lost when
// the process is killed, and what was under way is said again. A device that fails
// is tried again by itself: the others hear what is new. Those that do not answer
// take what [UserMax], [HostMax] and [UnderWayMax] give them and no more.
//
// A notification says that there is something, where, and of whom: never what.
package push

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"switchboard/internal/bus"
	"switchboard/internal/chat"
	"switchboard/internal/devices"
	"switchboard/internal/metrics"
)

// The limits of a sender.
const (
	// WaitingMax bounds how many conversations of people wait on a partition; then
	// nothing more is read from it.
	WaitingMax = 10_000
	// LookMax bounds for how many of these the tables are asked at once.
	LookMax = 64
	// UnderWayMax bounds the requests of one partition to one kind of device at the
	// same time, HostMax those to one host of Web Push, UserMax those to the devices
	// of one user and DeviceMax those to one of them. What is beyond waits in line.
	UnderWayMax = 64
	HostMax     = 16
	UserMax     = 4
	DeviceMax   = 2
	// RefusalsMax is how often in a row a push service refuses before a device is
	// taken for gone; RefusalsKept bounds for how many devices that is counted.
	RefusalsMax  = 8
	RefusalsKept = 10_000
	// AgeMax is how old a record may be when it is read, by its producer's clock:
	// after an outage nobody is told of what was longer ago. FirstAgeMax is the same
	// where nothing was ever committed: whoever turns notifying on tells of what is
	// said from then on.
	AgeMax      = 2 * time.Hour
	FirstAgeMax = 5 * time.Minute
	// AnswerTimeout is how long a push service or a webhook may take.
	AnswerTimeout = 10 * time.Second
	// AnswerBytes bounds what is read of an answer.
	AnswerBytes = 4 << 10
	// RetryAfterMax bounds what an answer may ask to wait.
	RetryAfterMax = 5 * time.Minute
	// CommitEvery is how often progress is noted.
	CommitEvery = time.Second
)

// Config is what a [Sender] stands on. Fields without a remark are required.
type Config struct {
	Log        bus.Log
	Pushes     bus.Group    // of chat.push
	Statuses   bus.Group    // of chat.status
	Producer   bus.Producer // to chat.undelivered
	Partitions int32        // of it
	Devices    devices.Store
	WebPush    Carrier // nil: devices of that kind are left out
	Webhook    Carrier // nil: the same

	Gather time.Duration // how long news of a conversation is gathered; 0 = 1 s
	First  time.Duration // the wait before the second try, doubled for each more; 0 = 1 s
	Last   time.Duration // the longest wait; 0 = 1 min
	Tries  int           // then it goes to chat.undelivered; 0 = 8

	Logger  *slog.Logger
	Metrics *metrics.Set
}

// Verdict is what became of a try.
type Verdict uint8

// The verdicts.
const (
	Delivered Verdict = iota
	Gone              // there is no such device any more
	Later             // it may work another time
	Refused           // it will not
)

// Notice is what a device is told.
type Notice struct {
	Type           string              `json:"type"` // message
	ConversationID chat.ConversationID `json:"conversation_id"`
	MessageID      chat.MessageID      `json:"message_id"`
	Seq            chat.Seq            `json:"seq"`
	SenderID       chat.UserID         `json:"sender_id"`
	Kind           string              `json:"kind"` // text, image or file
	Timestamp      int64               `json:"timestamp"`
}

func noticeOf(p *bus.Push) *Notice {
	return &Notice{
		Type: "message", ConversationID: p.Conversation, MessageID: p.ID, Seq: p.Seq,
		SenderID: p.Sender, Kind: p.Kind.String(), Timestamp: chat.ClockOf(p.ID).Unix(),
	}
}

// Carrier takes a notice to a device. The error says why a verdict is not
// [Delivered]; after is how long the other side asks to wait, 0 if it does not.
type Carrier interface {
	Carry(ctx context.Context, to *devices.Registration, n *Notice) (v Verdict, after time.Duration, err error)
}

// Sender notifies.
type Sender struct {
	cfg Config // fixed after New

	waiting                                     atomic.Int64
	collapsed, retries, gone, buried, noDevices *metrics.Counter
	seen, muted, old, unreadable, jumps         *metrics.Counter
	sent, refused                               map[devices.Kind]*metrics.Counter
	delay                                       *metrics.Histogram
}

// New returns a sender that has not begun.
func New(cfg Config) *Sender {
	for _, wait := range []struct {
		given   *time.Duration
		instead time.Duration
	}{{&cfg.Gather, time.Second}, {&cfg.First, time.Second}, {&cfg.Last, time.Minute}} {
		if *wait.given == 0 {
			*wait.given = wait.instead
		}
	}
	if cfg.Tries == 0 {
		cfg.Tries = 8
	}
	s := &Sender{
		cfg:        cfg,
		collapsed:  cfg.Metrics.Counter("switchboard_push_collapsed_total"),
		retries:    cfg.Metrics.Counter("switchboard_push_retries_total"),
		gone:       cfg.Metrics.Counter("switchboard_push_devices_gone_total"),
		buried:     cfg.Metrics.Counter("switchboard_push_undelivered_total"),
		noDevices:  cfg.Metrics.Counter(`switchboard_push_skipped_total{reason="no_device"}`),
		seen:       cfg.Metrics.Counter(`switchboard_push_skipped_total{reason="read"}`),
		muted:      cfg.Metrics.Counter(`switchboard_push_skipped_total{reason="muted"}`),
		old:        cfg.Metrics.Counter(`switchboard_push_skipped_total{reason="old"}`),
		unreadable: cfg.Metrics.Counter("switchboard_push_unreadable_total"),
		jumps:      cfg.Metrics.Counter("switchboard_push_jumps_total"),
		sent: map[devices.Kind]*metrics.Counter{
			devices.WebPush: cfg.Metrics.Counter(`switchboard_push_sent_total{kind="web_push"}`),
			devices.Webhook: cfg.Metrics.Counter(`switchboard_push_sent_total{kind="webhook"}`),
		},
		refused: map[devices.Kind]*metrics.Counter{
			devices.WebPush: cfg.Metrics.Counter(`switchboard_push_refused_total{kind="web_push"}`),
			devices.Webhook: cfg.Metrics.Counter(`switchboard_push_refused_total{kind="webhook"}`),
		},
		delay: cfg.Metrics.Histogram("switchboard_push_delay_seconds"),
	}
	cfg.Metrics.Gauge("switchboard_push_waiting", func() float64 { return float64(s.waiting.Load()) })
	return s
}

// Run notifies until ctx ends.
func (s *Sender) Run(ctx context.Context) error {
	err := s.cfg.Pushes.Run(ctx, func(ctx context.Context, claim bus.Claim) error { return quiet(ctx, newPassage(s, claim).run(ctx)) })
	return quiet(ctx, err)
}

// RunReads notes what was read until ctx ends.
func (s *Sender) RunReads(ctx context.Context) error {
	err := s.cfg.Statuses.Run(ctx, func(ctx context.Context, claim bus.Claim) error { return quiet(ctx, s.follow(ctx, claim)) })
	return quiet(ctx, err)
}

// quiet is no error when ctx has ended.
func quiet(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// carrier returns what reaches a kind of device, nil if nothing does.
func (s *Sender) carrier(k devices.Kind) Carrier {
	switch k {
	case devices.WebPush:
		return s.cfg.WebPush
	case devices.Webhook:
		return s.cfg.Webhook
	}
	return nil
}

// pause is the wait after so many tries, or what was asked for, give or take a
// fifth.
func (s *Sender) pause(tries int, asked time.Duration) time.Duration {
	wait := s.cfg.First
	for range tries - 1 {
		wait = min(2*wait, s.cfg.Last)
	}
	wait = max(wait, min(asked, RetryAfterMax))
	return wait - wait/5 + rand.N(2*wait/5+1)
}

// repeat does what may fail for a while until it works or ctx ends.
func (s *Sender) repeat(ctx context.Context, what string, try func() error) error {
	for tries := 1; ; tries++ {
		err := try()
		if err == nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		s.cfg.Logger.Warn("notifications wait", "for", what, "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(s.pause(tries, 0)):
		}
	}
}
