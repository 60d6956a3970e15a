package soak

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// zombieFor is how long a program is stopped: well over the session time-out of
	// its group, after which others have its partitions, and over a gateway's lease.
	zombieFor = 20 * time.Second
	// stallFor is how long a server is stopped: longer than routers wait for a road,
	// and shorter than it takes until other brokers lead its partitions or its
	// groups lose their members. A long pause of its collector or its disk is such.
	stallFor = 5 * time.Second
	// backWithin bounds how long a killed process may take to come back.
	backWithin = 2 * time.Minute
	// calmAfter is how long the system is left alone after a fault. In it the
	// recovery is measured.
	calmAfter = 16 * time.Second
	// calmAfterProgram is the same after the end of a program: shorter, since
	// there are many of them.
	calmAfterProgram = 8 * time.Second
)

// Fault is something that is done to the system while people talk.
type Fault struct {
	Name string
	// Do makes the fault and returns when it is over: the process is back.
	Do func(ctx context.Context) error
	// Calm is how long nothing else happens afterwards.
	Calm time.Duration
	// Held is for how long somebody who is stopped keeps what then comes at once.
	Held time.Duration
	// Judged says that delivery must be quick again soon, not only complete.
	Judged bool
}

// Faults returns everything that can be done to a site, in an order that the seed
// decides. Without pid files that is nothing.
func (s *Site) Faults(seed uint64) []Fault {
	random := newPlan(seed, 2).faults
	var all []Fault
	for _, kind := range []string{"gateway", "router", "worker"} {
		for _, name := range s.Names(kind) {
			all = append(all, s.killing(name, calmAfterProgram))
		}
	}
	for _, kind := range []string{"gateway", "router", "worker"} {
		if names := s.Names(kind); len(names) > 1 {
			all = append(all, stopping(s, random, names, zombieFor, calmAfter))
		}
	}
	for _, kind := range []string{"kafka", "cassandra"} {
		if names := s.Names(kind); len(names) > 0 {
			f := s.killing(names[random.IntN(len(names))], calmAfter)
			f.Judged = len(names) > 1
			all = append(all, f)
		}
	}
	for _, kind := range []string{"kafka", "cassandra", "redis"} {
		if names := s.Names(kind); len(names) > 0 {
			all = append(all, stopping(s, random, names, stallFor, calmAfterProgram))
		}
	}
	if names := s.Names("redis"); len(names) > 0 {
		all = append(all, s.killing(names[0], calmAfter), s.flush())
	}
	shuffle(random, all)
	return all
}

func shuffle(random *rand.Rand, all []Fault) {
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
}

// Pick returns the faults whose names begin with one of the prefixes, in the
// order of the prefixes.
func Pick(all []Fault, prefixes ...string) []Fault {
	var picked []Fault
	for _, p := range prefixes {
		for _, f := range all {
			if strings.HasPrefix(f.Name, p) {
				picked = append(picked, f)
			}
		}
	}
	return picked
}

func (s *Site) killing(name string, calm time.Duration) Fault {
	return Fault{Name: name + " killed", Calm: calm, Do: func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, backWithin)
		defer cancel()
		return s.Kill(ctx, name)
	}}
}

// stopping stops one of the processes for a time and lets it go on as if nothing had
// happened.
func stopping(s *Site, random *rand.Rand, names []string, pausing, calm time.Duration) Fault {
	name := names[random.IntN(len(names))]
	return Fault{Name: name + " stopped and woken", Calm: calm, Held: pausing, Do: func(ctx context.Context) error {
		if err := s.signal(name, syscall.SIGSTOP); err != nil {
			return err
		}
		return errors.Join(pause(ctx, pausing), s.signal(name, syscall.SIGCONT))
	}}
}

// flush makes Redis forget everything.
func (s *Site) flush() Fault {
	return Fault{Name: "redis flushed", Calm: calmAfter, Do: func(ctx context.Context) error {
		options, err := s.redisOptions()
		if err != nil {
			return err
		}
		c := redis.NewClient(options)
		defer c.Close()
		if err := c.FlushAll(ctx).Err(); err != nil {
			return fmt.Errorf("flush redis: %w", err)
		}
		return nil
	}}
}

func (s *Site) redisOptions() (*redis.Options, error) {
	o := &redis.Options{Addr: s.Redis}
	if s.RedisLogin != "" {
		text, err := os.ReadFile(s.RedisLogin)
		if err != nil {
			return nil, fmt.Errorf("log in to redis: %w", err)
		}
		o.Username, o.Password, _ = strings.Cut(strings.TrimSpace(string(text)), ":")
	}
	if s.RedisCA != "" {
		text, err := os.ReadFile(s.RedisCA)
		if err != nil {
			return nil, fmt.Errorf("trust redis: %w", err)
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(text)
		o.TLSConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return o, nil
}

// happened is a fault that was made.
type happened struct {
	Fault
	begun, over, until time.Time // made, process back, calm over
}

// Outage keeps PostgreSQL down for a while, beside everything else: nothing of
// the road may need it.
type outage struct{ begun, over time.Time }

// hold takes PostgreSQL away for d.
func (s *Site) hold(ctx context.Context, d time.Duration) (outage, error) {
	o := outage{begun: time.Now()}
	release, err := s.Hold("postgres")
	if err != nil {
		return o, err
	}
	err = pause(ctx, d)
	o.over = time.Now()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), backWithin)
	defer cancel()
	return o, errors.Join(err, release(ctx))
}
