package main

import (
	"switchboard/internal/daemon"
	"switchboard/internal/presence/redis"
)

// openRedis opens the directory of who is online, which connects when it is
// asked. Nothing waits for it: while Redis is away one REST call says so.
func (w *worker) openRedis() error {
	if !w.redis.Given() || !w.serves(partREST) {
		return nil
	}
	at, err := w.redis.Access()
	if err != nil {
		return err
	}
	w.directory, err = redis.Open(redis.Config{
		Addrs: at.Addrs, Username: at.User, Password: at.Password, TLS: at.TLS, Metrics: w.set,
	})
	if err != nil {
		return daemon.Usagef("-redis: %v", err)
	}
	return nil
}

// closeRedis closes what openRedis opened; nothing hangs on it.
func (w *worker) closeRedis() {
	if w.directory == nil {
		return
	}
	if err := w.directory.Close(); err != nil {
		w.log.Warn("closing the connections to Redis", "error", err)
	}
}
