package switchboard_test

import (
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// sheet is docs/capacity.md as numbers: each table row whose first cell is a name
// in backquotes, with the second cell as its value.
type sheet struct {
	t      *testing.T
	values map[string]float64
	used   map[string]bool
}

var sheetRow = regexp.MustCompile("^\\| `([a-z0-9_]+)` \\| ([0-9.,]+) ")

func openSheet(t *testing.T) *sheet {
	t.Helper()
	text, err := os.ReadFile("docs/capacity.md")
	if err != nil {
		t.Fatal(err)
	}
	s := &sheet{t: t, values: make(map[string]float64), used: make(map[string]bool)}
	for line := range strings.Lines(string(text)) {
		row := sheetRow.FindStringSubmatch(line)
		if row == nil {
			continue
		}
		v, err := strconv.ParseFloat(strings.ReplaceAll(row[2], ",", ""), 64)
		if err != nil {
			t.Fatalf("%s: %v", row[1], err)
		}
		if _, twice := s.values[row[1]]; twice {
			t.Errorf("%s stands there twice", row[1])
		}
		s.values[row[1]] = v
	}
	return s
}

// of returns what is given.
func (s *sheet) of(name string) float64 {
	s.t.Helper()
	v, ok := s.values[name]
	if !ok {
		s.t.Fatalf("docs/capacity.md does not say %s", name)
	}
	s.used[name] = true
	return v
}

// is compares what is concluded with what follows from what is given, to the
// digits that a reader needs.
func (s *sheet) is(name string, want float64) {
	s.t.Helper()
	if got := s.of(name); math.Abs(got-want) > 0.03*want {
		s.t.Errorf("%s: docs/capacity.md says %v, and it is %.4g", name, got, want)
	}
}

// What docs/capacity.md concludes follows from what it measured and assumed.
func TestCapacityIsArithmetic(t *testing.T) {
	s := openSheet(t)
	messages, connections := s.of("messages_per_second"), s.of("connections")
	copies := s.of("direct_share")*2 + (1-s.of("direct_share"))*s.of("group_members")
	s.is("copies_per_message", copies)

	gateways := connections / s.of("connections_per_gateway")
	s.is("gateways", gateways)
	s.is("gateway_memory_gb", s.of("connections_per_gateway")*(s.of("kernel_bytes")+s.of("user_bytes"))/1e9)
	s.is("gateway_cores", (messages*s.of("gateway_us")/gateways+s.of("connections_per_gateway")*s.of("idle_us"))/1e6)
	s.is("gateway_mbit", messages*copies*s.of("frame_bytes")*8/gateways/1e6)

	s.is("worker_cores", messages*s.of("worker_us")/1e6)
	s.is("router_cores", messages*s.of("router_us")/1e6)

	records := s.of("inbound_bytes") + s.of("accepted_bytes") + copies*s.of("delivery_bytes")
	appended := messages * records / 1e9
	s.is("log_gb_per_second", appended)
	s.is("log_disk_gb_per_second", appended*s.of("replicas"))
	s.is("log_disk_tb", messages/s.of("peak_to_mean")*86400*s.of("log_days")*
		(s.of("inbound_bytes")+s.of("accepted_bytes"))*s.of("replicas")/1e12)
	fold := messages / s.of("fold_batch")
	deliveries := math.Min(messages*copies, gateways*s.of("routers")/s.of("router_cycle_ms")*1000)
	s.is("log_batches_per_second", messages+fold+deliveries)
	s.is("brokers", math.Max(
		appended*s.of("replicas")/s.of("broker_gb_per_second"),
		(messages+fold+deliveries)*s.of("replicas")*s.of("batch_us")/1e6/s.of("cores_per_host")/s.of("load")))

	rows := copies + s.of("rows_beside_index")
	s.is("rows_per_second_m", messages*rows/1e6)
	s.is("archive_hosts", messages*(rows*s.of("replicas")+2)/s.of("rows_per_core")/s.of("cores_per_host")/s.of("load"))
	mean := messages / s.of("peak_to_mean")
	s.is("history_tb_per_day", mean*86400*s.of("row_bytes")*s.of("replicas")/1e12)
	s.is("keys_tb", mean*86400*8*s.of("key_bytes")*s.of("replicas")/1e12)
	s.is("index_tb", s.of("users")*s.of("conversations_per_user")*s.of("index_bytes")*s.of("replicas")/1e12)

	presence := connections * (s.of("presence_bytes") + s.of("notice_bytes") + s.of("aboard_bytes")) / 1e9
	sweeps := connections / s.of("sweep_seconds") * s.of("redis_us_sweep") / 1e6
	s.is("presence_gb", presence)
	s.is("presence_sweep_cores", sweeps)
	s.is("presence_masters", math.Max(presence/s.of("presence_gb_per_master"),
		(messages*copies*s.of("redis_us_per_command")/1e6+sweeps)/s.of("load")))
	s.crowds()
	for name := range s.values {
		if !s.used[name] {
			t.Errorf("%s is in docs/capacity.md for nothing", name)
		}
	}
}

// crowds are large conversations, and readers that do not read.
func (s *sheet) crowds() {
	s.t.Helper()
	online := s.of("large_members") * s.of("large_online")
	s.is("large_redis_cores", s.of("head_commands")*s.of("redis_us_head")/1e6)
	s.is("large_router_cores", s.of("router_us_head")/1e6)
	s.is("large_delivery_kb", online*16/1000)
	s.is("large_push_mb", s.of("pushes_per_second")*s.of("push_bytes")*s.of("replicas")/1e6)
	s.is("large_pages", online)
	s.is("large_archive_cores", online*s.of("questions_per_page")*2/s.of("rows_per_core"))
	s.is("slow_gateway_gb", s.of("connections_per_gateway")*s.of("slow_share")*s.of("slow_bytes")/1e9)
}
