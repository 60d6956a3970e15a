package edge

import (
	"fmt"
	"strconv"

	"switchboard/internal/chat"
	"switchboard/internal/metrics"
)

// meter holds the metrics of a server.
type meter struct {
	set       *metrics.Set
	opens     *metrics.Counter
	framesIn  *metrics.Counter
	framesOut *metrics.Counter
	bytesIn   *metrics.Counter
	bytesOut  *metrics.Counter
}

func newMeter(s *Server) *meter {
	set := s.cfg.Metrics
	set.Gauge("switchboard_gateway_connections", func() float64 { return float64(s.opened.Load()) })
	set.Gauge("switchboard_gateway_room", func() float64 { return float64(s.maxConnections) })
	set.Gauge("switchboard_gateway_sockets", func() float64 { return float64(s.live.Load()) })
	set.Gauge("switchboard_gateway_partial_bytes", func() float64 { return float64(s.buffers.lent.Load()) })
	set.Gauge("switchboard_gateway_queued_bytes", func() float64 { return float64(s.chunks.queued.Load()) })
	return &meter{
		set:       set,
		opens:     set.Counter("switchboard_gateway_opens_total"),
		framesIn:  set.Counter(`switchboard_gateway_frames_total{direction="in"}`),
		framesOut: set.Counter(`switchboard_gateway_frames_total{direction="out"}`),
		bytesIn:   set.Counter(`switchboard_gateway_bytes_total{direction="in"}`),
		bytesOut:  set.Counter(`switchboard_gateway_bytes_total{direction="out"}`),
	}
}

// close counts a closed WebSocket. Codes that we do not know by a word are one
// label: peers choose among thousands.
func (m *meter) close(code chat.CloseCode, local bool) {
	label, side := "other", "peer"
	if code.Reason() != "" || code == chat.CloseNormal || code == closeNoStatus || code == closeAbnormal {
		label = strconv.Itoa(int(code))
	}
	if local {
		side = "server"
	}
	m.set.Counter(fmt.Sprintf(`switchboard_gateway_closes_total{code=%q,side=%q}`, label, side)).Inc()
}

// failed counts a connection that did not become a WebSocket.
func (m *meter) failed(reason string) {
	m.set.Counter(fmt.Sprintf(`switchboard_gateway_handshake_failures_total{reason=%q}`, reason)).Inc()
}

func (m *meter) acceptError(errno string) {
	m.set.Counter(fmt.Sprintf(`switchboard_gateway_accept_errors_total{errno=%q}`, errno)).Inc()
}

// counts are what a loop counts for itself and reports at each tick: atomic
// additions to shared lines would cost more than the counting.
type counts struct{ framesIn, framesOut, bytesIn, bytesOut int }

func (l *loop) report() {
	m := l.server.meter
	m.framesIn.Add(l.counts.framesIn)
	m.framesOut.Add(l.counts.framesOut)
	m.bytesIn.Add(l.counts.bytesIn)
	m.bytesOut.Add(l.counts.bytesOut)
	l.counts = counts{}
}
