package session

import (
	"fmt"

	"switchboard/internal/metrics"
	"switchboard/internal/wire"
)

// counters are the metrics of sessions, looked up once.
type counters struct {
	refused map[string]*metrics.Counter // upgrades, by reason
	events  [wire.TypeRefreshToken + 1]*metrics.Counter
	errors  *metrics.Counter
	limited *metrics.Counter
	// unlimited counts events of users of whom too many were remembered.
	unlimited *metrics.Counter
	hasty     *metrics.Counter // typing that came too soon
	pushes    *metrics.Counter
	skipped   map[string]*metrics.Counter // pushes not written, by reason
	behind    map[string]*metrics.Counter
	replaced  map[string]*metrics.Counter
	looks     *metrics.Counter // users whose other sessions were looked for
	told      *metrics.Counter // sessions that other gateways were told to close
	unlooked  *metrics.Counter // users who were not looked at, or not again
	answers   *metrics.Counter
	gone      *metrics.Counter // answers whose session is not here any more
	retries   *metrics.Counter // presence round trips that failed
	written   *metrics.Counter // presence changes acknowledged
	missing   *metrics.Counter // registrations that the directory had lost
}

func newCounters(set *metrics.Set) counters {
	family := func(name string, reasons ...string) map[string]*metrics.Counter {
		m := make(map[string]*metrics.Counter)
		for _, v := range reasons {
			m[v] = set.Counter(fmt.Sprintf("switchboard_gateway_%s{reason=%q}", name, v))
		}
		return m
	}
	c := counters{
		refused: family("handshake_failures_total",
			"path", "origin", "protocol", "device", "token", "opens", "draining", "verifier_full", "presence_full", "presence_silent", "log_stalled"),
		errors:    set.Counter("switchboard_gateway_client_errors_total"),
		limited:   set.Counter("switchboard_gateway_rate_limited_total"),
		unlimited: set.Counter("switchboard_gateway_user_limits_skipped_total"),
		hasty:     set.Counter("switchboard_gateway_typing_dropped_total"),
		pushes:    set.Counter("switchboard_gateway_pushes_total"),
		skipped:   family("pushes_skipped_total", "not_connected", "slow", "fleeting"),
		behind:    family("behind_total", "slow", "routing", "check"),
		replaced:  family("replaced_total", "device", "count", "elsewhere"),
		looks:     set.Counter("switchboard_gateway_rival_looks_total"),
		told:      set.Counter("switchboard_gateway_rivals_told_total"),
		unlooked:  set.Counter("switchboard_gateway_rivals_dropped_total"),
		answers:   set.Counter("switchboard_gateway_answers_total"),
		gone:      set.Counter("switchboard_gateway_answers_gone_total"),
		retries:   set.Counter("switchboard_gateway_presence_errors_total"),
		written:   set.Counter("switchboard_gateway_presence_changes_total"),
		missing:   set.Counter("switchboard_gateway_presence_missing_total"),
	}
	for i, name := range []string{"unknown", "connect", "send_message", "mark_delivered", "mark_read", "typing", "heartbeat", "refresh_token"} {
		c.events[i] = set.Counter(fmt.Sprintf(`switchboard_gateway_events_total{type=%q}`, name))
	}
	return c
}

// served is how many frames came from those who are connected or were pushed to them.
func (c *counters) served() uint64 {
	n := c.pushes.Get() - c.events[wire.TypeConnect].Get()
	for _, events := range c.events {
		n += events.Get()
	}
	return n
}
