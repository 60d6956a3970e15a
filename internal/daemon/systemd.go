package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
)

// What is said to systemd.
const (
	stateReady    = sd.SdNotifyReady
	stateStopping = sd.SdNotifyStopping
	stateAlive    = sd.SdNotifyWatchdog
	stateStatus   = "STATUS="
)

// notify tells systemd state; without systemd it does nothing.
func notify(state string) error {
	if _, err := sd.SdNotify(false, state); err != nil {
		return fmt.Errorf("tell systemd %q: %w", state, err)
	}
	return nil
}

// stateReloading carries the time, which Type=notify-reload asks for.
func stateReloading() string {
	return sd.SdNotifyReloading + "\n" + sd.SdNotifyMonotonicUsec()
}

// watchdogInterval returns how often systemd wants to hear that the program is
// alive, halved so that one late tick kills nobody; 0 when it does not ask.
func watchdogInterval() (time.Duration, error) {
	period, err := sd.SdWatchdogEnabled(false)
	if err != nil {
		return 0, Usagef("WATCHDOG_USEC: %v", err)
	}
	return period / 2, nil
}

// OnHangup returns a part for a Group that calls reload at each SIGHUP. A reload
// that fails is logged and leaves things as they were: a running program does
// not end because of a bad file.
func OnHangup(log *slog.Logger, reload func() error) func(ctx context.Context) error {
	hangups := make(chan os.Signal, 1)
	// From here on and not only from Run, since SIGHUP would end the process.
	signal.Notify(hangups, syscall.SIGHUP)
	return func(ctx context.Context) error {
		defer signal.Stop(hangups)
		for {
			select {
			case <-hangups:
				reloadOnce(log, reload)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

func reloadOnce(log *slog.Logger, reload func() error) {
	if err := notify(stateReloading()); err != nil {
		log.Warn("systemd does not listen", "error", err)
	}
	if err := reload(); err != nil {
		log.Error("reload failed, everything stays as it was", "error", err)
	} else {
		log.Info("reloaded")
	}
	if err := notify(stateReady); err != nil {
		log.Warn("systemd does not listen", "error", err)
	}
}
