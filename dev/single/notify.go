package single

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"path/filepath"

	"switchboard/internal/bus"
	"switchboard/internal/bus/kafka"
	"switchboard/internal/daemon"
	"switchboard/internal/devices/sqlite"
	"switchboard/router/push"
)

// pushSubject is what push services are told of who runs a demonstration.
const pushSubject = "https://localhost"

// openDevices opens the tables of who is notified how, and the key of Web Push,
// which is made at the first start: subscriptions are bound to it.
func (s *System) openDevices(ctx context.Context) error {
	file := url.URL{
		Scheme: "file", Opaque: url.PathEscape(filepath.Join(s.cfg.Data, "devices.db")),
		RawQuery: "_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)",
	}
	db, err := sql.Open("sqlite", file.String())
	if err != nil {
		return fmt.Errorf("open the tables of devices: %w", err)
	}
	s.onClose(func() { _ = db.Close() })
	if s.devices, err = sqlite.New(ctx, db); err != nil {
		return err
	}
	key, err := push.KeepKey(filepath.Join(s.cfg.Data, "push-key.pem"))
	if err != nil {
		return err
	}
	s.webPush, err = push.NewWebPush(key, pushSubject, s.cfg.PushPrivate)
	return err
}

// notify adds what notifies who is away to the parts that run.
func (s *System) notify(group *daemon.Group) {
	producer := s.client.Producer(kafka.ProducerConfig{})
	sender := push.New(push.Config{
		Log: s.client.Log(), Producer: producer, Partitions: Partitions, Devices: s.devices, WebPush: s.webPush,
		Pushes:   s.client.Group(bus.TopicPush, bus.PushGroup, kafka.GroupConfig{}),
		Statuses: s.client.Group(bus.TopicStatus, bus.PushReadGroup, kafka.GroupConfig{}),
		Logger:   s.cfg.Logger, Metrics: s.set,
	})
	group.Go(producer.Run)
	group.Go(sender.Run)
	group.Go(sender.RunReads)
}
