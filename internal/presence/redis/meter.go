package redis

import (
	"context"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"switchboard/internal/metrics"
)

// meter counts what is asked of Redis: commands, which it pays for, and round
// trips, which we wait for. A pipeline is one round trip of many commands.
type meter struct {
	commands *metrics.Counter
	seconds  *metrics.Histogram
}

func newMeter(set *metrics.Set) *meter {
	if set == nil {
		set = metrics.New()
	}
	return &meter{
		commands: set.Counter("switchboard_presence_commands_total"),
		seconds:  set.Histogram("switchboard_presence_round_trip_seconds"),
	}
}

// DialHook implements the client's hook; connections are not counted.
func (m *meter) DialHook(next goredis.DialHook) goredis.DialHook { return next }

// ProcessHook implements the client's hook for single commands.
func (m *meter) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook {
	return func(ctx context.Context, command goredis.Cmder) error {
		defer m.count(1, time.Now())
		return next(ctx, command)
	}
}

// ProcessPipelineHook implements the client's hook for pipelines.
func (m *meter) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, commands []goredis.Cmder) error {
		defer m.count(len(commands), time.Now())
		return next(ctx, commands)
	}
}

func (m *meter) count(commands int, began time.Time) {
	m.commands.Add(commands)
	m.seconds.UpdateDuration(began)
}
