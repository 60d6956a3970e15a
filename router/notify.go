package main

import (
	"log/slog"
	"os"

	"switchboard/internal/bus"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/daemon"
	"switchboard/internal/devices"
	"switchboard/internal/metrics"
	"switchboard/router/push"
)

// notices are the flags of notifying who is away.
type notices struct {
	key, subject, hook, secret string
	private                    bool
}

func noticeFlags(flags *daemon.Flags) *notices {
	n := new(notices)
	flags.StringVar(&n.key, "push-key", "", "`FILE` with the private key of Web Push (VAPID), a key of P-256 in PEM: openssl ecparam -name prime256v1 -genkey -noout;\nempty: no Web Push")
	flags.StringVar(&n.subject, "push-subject", "", "`URL` by which push services reach the operator, mailto: or https:")
	flags.StringVar(&n.hook, "push-webhook", "", "`URL` of the operator's sender, which takes notices to devices with tokens; empty: none")
	flags.StringVar(&n.secret, "push-webhook-secret", "", "`FILE` with the secret, 24 bytes or more, that calls of -push-webhook are signed with")
	flags.BoolVar(&n.private, "push-private", false, "let Web Push go to addresses that are not public, and without TLS: for tests, since users choose these addresses")
	return n
}

// given reports whether anybody is to be notified.
func (n *notices) given() bool { return n.key != "" || n.hook != "" }

// carriers opens what the flags name.
func (n *notices) carriers(cfg *push.Config) error {
	if n.key != "" {
		key, err := os.ReadFile(n.key)
		if err != nil {
			return daemon.Usagef("-push-key: %v", err)
		}
		web, err := push.NewWebPush(key, n.subject, n.private)
		if err != nil {
			return daemon.Usagef("-push-key, -push-subject: %v", err)
		}
		cfg.WebPush = web
	}
	if n.hook != "" {
		secret, err := os.ReadFile(n.secret)
		if err != nil {
			return daemon.Usagef("-push-webhook-secret: %v", err)
		}
		hook, err := push.NewHook(n.hook, secret)
		if err != nil {
			return daemon.Usagef("-push-webhook, -push-webhook-secret: %v", err)
		}
		cfg.Webhook = hook
	}
	return nil
}

// notifier returns what notifies, nil when nothing is to.
func (n *notices) notifier(store devices.Store, client *kafka.Client, log *slog.Logger, set *metrics.Set) (*notifier, error) {
	if !n.given() {
		return nil, nil //nolint:nilnil // None is wanted.
	}
	if store == nil {
		return nil, daemon.Usagef("-push-key and -push-webhook need -postgres, where devices are registered")
	}
	producer := client.Producer(kafka.ProducerConfig{})
	cfg := push.Config{
		Log: client.Log(), Producer: producer, Devices: store, Logger: log, Metrics: set,
		Pushes:   client.Group(bus.TopicPush, bus.PushGroup, kafka.GroupConfig{}),
		Statuses: client.Group(bus.TopicStatus, bus.PushReadGroup, kafka.GroupConfig{}),
	}
	if err := n.carriers(&cfg); err != nil {
		return nil, err
	}
	if web, ok := cfg.WebPush.(*push.WebPush); ok {
		log.Info("browsers subscribe with this key: -push-public-key of storage workers that serve REST", "key", web.PublicKey())
	}
	return &notifier{cfg, producer}, nil
}

// notifier is what notifies; nil does not.
type notifier struct {
	cfg      push.Config
	producer *kafka.Producer
}

// start adds it to the parts that run.
func (n *notifier) start(group *daemon.Group, partitions int32) {
	if n == nil {
		return
	}
	n.cfg.Partitions = partitions
	sender := push.New(n.cfg)
	group.Go(n.producer.Run)
	group.Go(sender.Run)
	group.Go(sender.RunReads)
}
