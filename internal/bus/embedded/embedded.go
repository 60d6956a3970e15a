// Package embedded is a Kafka broker inside this process, for the developer's
// one-command system and for tests. Clients reach it over TCP on the loopback
// interface exactly as they reach a real cluster; package bus/kafka does not
// know the difference. It is the home of kfake.
//
// With a directory, topics, records, producer sequences and committed offsets
// are on disk and survive kill -9: what was acknowledged before is there
// afterwards, as long as the machine itself keeps running. Config.Sync makes
// it survive a power cut too, at 1.6 ms a write. A lock keeps a second process
// out of the directory, since two brokers would destroy it.
//
// It is not for production: one goroutine serves everything, and there is one
// copy of the data.
//
// Tests make it fail with the methods in faults.go.
package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// ErrInUse says that another process has the directory open.
var ErrInUse = errors.New("directory is in use by another process")

const (
	// segmentBytes is how much of a partition is dropped at once when its
	// retention is over; the default of 100 MB would keep a laptop's disk full.
	segmentBytes = "16777216"
	// retentionMillis is how often retention is enforced; kfake's default is an
	// hour, in which a load test keeps everything in memory.
	retentionMillis = "10000"
	// sessionFloor is the shortest session timeout that a consumer group may
	// ask for. Kafka's is 6 s; tests of hand-over cannot wait for that.
	sessionFloor = 100 * time.Millisecond
)

// Config says what to start.
type Config struct {
	// Dir keeps the data; empty means memory. It is created when missing.
	Dir string
	// Port is the TCP port on 127.0.0.1; 0 chooses a free one.
	Port int
	// Sync calls fsync before each acknowledgement.
	Sync bool
	// Brokers is how many brokers share the partitions, for tests of leader
	// changes; 0 means 1. Only one broker may have a fixed port.
	Brokers int
}

// Cluster is a running broker, or a few.
type Cluster struct {
	kfake *kfake.Cluster
	addrs []string
	wire  *wire
	close sync.Once
}

// Start starts a broker. It answers clients when Start returns.
func Start(config Config) (*Cluster, error) {
	brokers := max(config.Brokers, 1)
	if brokers > 1 && config.Port != 0 {
		return nil, errors.New("start embedded broker: only one broker can have a fixed port")
	}
	c := &Cluster{wire: newWire()}
	options := []kfake.Opt{
		kfake.NumBrokers(brokers),
		kfake.ClusterID("embedded"),
		kfake.GroupMinSessionTimeout(sessionFloor),
		kfake.ListenFn(c.wire.listen),
		kfake.BrokerConfigs(map[string]string{
			"log.cleaner.backoff.ms": retentionMillis,
			"log.segment.bytes":      segmentBytes,
		}),
	}
	if brokers == 1 {
		options = append(options, kfake.Ports(config.Port))
	}
	if config.Sync {
		options = append(options, kfake.SyncWrites())
	}
	if config.Dir != "" {
		lock, err := lockDir(config.Dir)
		if err != nil {
			return nil, fmt.Errorf("start embedded broker: %w", err)
		}
		c.wire.lock = lock
		options = append(options, kfake.DataDir(filepath.Join(config.Dir, "log")))
	}
	var err error
	if c.kfake, err = kfake.NewCluster(options...); err != nil {
		c.unlock()
		return nil, fmt.Errorf("start embedded broker: %w", err)
	}
	c.addrs = c.kfake.ListenAddrs()
	return c, nil
}

// Addr returns the host:port that a client starts from. With several brokers
// it is the comma-separated list of all.
func (c *Cluster) Addr() string { return strings.Join(c.addrs, ",") }

// Close ends the broker, writes what a restart needs, and lets the directory
// go. It may be called again.
func (c *Cluster) Close() {
	c.close.Do(func() {
		c.wire.close()
		c.kfake.Close()
		c.unlock()
	})
}

// lockDir creates dir and takes its lock, which ends with the process however
// the process ends.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	name := filepath.Join(dir, "lock")
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close() // Nothing was written.
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", dir, ErrInUse)
		}
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return file, nil
}

func (c *Cluster) unlock() {
	if c.wire.lock != nil {
		_ = c.wire.lock.Close() // Closing is what unlocks; nothing was written.
	}
}
