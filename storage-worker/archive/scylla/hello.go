package scylla

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
)

// driverLog takes what the driver says of connections that come and go. While a
// session is being opened it says of each attempt what the error then says, too.
type driverLog struct {
	log  *slog.Logger
	open atomic.Bool // the session
}

func (d *driverLog) say(text string) {
	level := slog.LevelDebug
	if d.open.Load() {
		level = slog.LevelWarn
	}
	d.log.Log(context.Background(), level, "cql driver", slog.String("text", strings.TrimSpace(text)))
}

// Print implements the driver's logger.
func (d *driverLog) Print(v ...any) { d.say(fmt.Sprint(v...)) }

// Printf implements the driver's logger.
func (d *driverLog) Printf(format string, v ...any) { d.say(fmt.Sprintf(format, v...)) }

// Println implements the driver's logger.
func (d *driverLog) Println(v ...any) { d.say(fmt.Sprintln(v...)) }

// refusal returns why no host took us. The driver keeps nothing but a text, which
// tells at length what it was about to do and ends with a line break; a host that
// expects TLS hangs up without a word.
func refusal(err error, encrypted bool) error {
	text := strings.TrimSpace(err.Error())
	if _, last, ok := strings.Cut(text, "unable to connect to initial hosts: "); ok {
		text = "no host takes us: " + last
	}
	if !encrypted && (strings.Contains(text, "connection reset") || strings.HasSuffix(text, "EOF")) {
		text += " (does it expect TLS?)"
	}
	return errors.New(text)
}
