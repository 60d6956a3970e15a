package single

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
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
	key, err := pushKey(filepath.Join(s.cfg.Data, "push-key.pem"))
	if err != nil {
		return err
	}
	s.webPush, err = push.NewWebPush(key, pushSubject, s.cfg.PushPrivate)
	return err
}

// pushKey returns the key of a file, which is made if it is missing.
func pushKey(file string) ([]byte, error) {
	key, err := os.ReadFile(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if key, err = push.GenerateKey(); err != nil {
		return nil, err
	}
	if err := os.WriteFile(file, key, 0o600); err != nil {
		return nil, fmt.Errorf("keep the key of Web Push: %w", err)
	}
	return key, nil
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
