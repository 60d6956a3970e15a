package session

import (
	"fmt"

	"switchboard/internal/metrics"
	"switchboard/internal/wire"
)

// counters are the metrics of sessions, looked up once.
type counters struct {
	refused  map[string]*metrics.Counter // upgrades, by reason
	events   [wire.TypeRefreshToken + 1]*metrics.Counter
	errors   *metrics.Counter
	limited  *metrics.Counter
	hasty    *metrics.Counter // typing that came too soon
	pushes   *metrics.Counter
	skipped  map[string]*metrics.Counter // pushes not written, by reason
	behind   map[string]*metrics.Counter
	replaced map[string]*metrics.Counter
	answers  *metrics.Counter
	gone     *metrics.Counter // answers whose session is not here any more
	retries  *metrics.Counter // presence round trips that failed
	written  *metrics.Counter // presence changes acknowledged
	missing  *metrics.Counter // registrations that the directory had lost
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
			"path", "origin", "protocol", "device", "token", "draining", "verifier_full", "presence_full"),
		errors:   set.Counter("switchboard_gateway_client_errors_total"),
		limited:  set.Counter("switchboard_gateway_rate_limited_total"),
		hasty:    set.Counter("switchboard_gateway_typing_dropped_total"),
		pushes:   set.Counter("switchboard_gateway_pushes_total"),
		skipped:  family("pushes_skipped_total", "not_connected", "slow", "fleeting"),
		behind:   family("behind_total", "slow", "routing", "check"),
		replaced: family("replaced_total", "device", "count"),
		answers:  set.Counter("switchboard_gateway_answers_total"),
		gone:     set.Counter("switchboard_gateway_answers_gone_total"),
		retries:  set.Counter("switchboard_gateway_presence_errors_total"),
		written:  set.Counter("switchboard_gateway_presence_changes_total"),
		missing:  set.Counter("switchboard_gateway_presence_missing_total"),
	}
	for i, name := range []string{"unknown", "connect", "send_message", "mark_delivered", "mark_read", "typing", "heartbeat", "refresh_token"} {
		c.events[i] = set.Counter(fmt.Sprintf(`switchboard_gateway_events_total{type=%q}`, name))
	}
	return c
}
