package main

import (
	"fmt"
	"io"
	"slices"

	"switchboard/bench/scrape"
)

// roadHops are the parts of a message's way, in their order; the last is all of
// it. docs/operations.md says from where to where each goes.
func roadHops() [][2]string {
	return [][2]string{
		{"gateway: frame → acknowledged by the log", "switchboard_gateway_kafka_produce_seconds"},
		{"fold: on the log → batch begun", "switchboard_fold_wait_seconds"},
		{"fold: keys, cold conversations read", "switchboard_fold_read_seconds"},
		{"fold: decided", "switchboard_fold_decide_seconds"},
		{"fold: rows acknowledged", "switchboard_fold_write_seconds"},
		{"fold: outcomes acknowledged", "switchboard_fold_append_seconds"},
		{"router: on the log → batch begun", "switchboard_router_wait_seconds"},
		{"router: people found", "switchboard_router_lookup_seconds"},
		{"router: deliveries acknowledged", "switchboard_router_produce_seconds"},
		{"gateway: on the log → sockets", "switchboard_gateway_delivery_seconds"},
		{"whole: inbound record → sockets", "switchboard_gateway_whole_seconds"},
	}
}

// cost is something that is paid for by the message.
type cost struct {
	Name       string  `json:"name"`
	PerMessage float64 `json:"per_message"`
}

// costs divides counters by messages.
func costs(s scrape.Samples, messages int) []cost {
	var all []cost
	add := func(name string, total float64) {
		all = append(all, cost{name, total / float64(messages)})
	}
	const statements, requests = "switchboard_archive_statements_total", "switchboard_archive_request_seconds_count"
	add("CQL rows written", s.Sum(statements, `op="write"`))
	for _, table := range []string{"messages", "message_keys", "heads", "conversations_of", "watermarks"} {
		add("CQL rows written, "+table, s.Sum(statements, `op="write"`, `table="`+table+`"`))
	}
	add("CQL questions asked", s.Sum(statements, `op="read"`))
	add("CQL requests", s.Sum(requests))
	add("CQL requests that are batches", s.Sum(requests, `op="batch"`))
	for _, topic := range []string{"inbound", "accepted", "delivery", "push", "receipts", "status"} {
		label := `topic="` + topic + `"`
		if records := s.Sum("switchboard_bus_produce_records_total", label); records > 0 {
			add("Kafka records, "+topic, records)
			add("Kafka batches, "+topic, s.Sum("switchboard_bus_produce_batches_total", label))
			add("Kafka bytes, "+topic, s.Sum("switchboard_bus_produce_bytes_total", label))
		}
	}
	add("Kafka produce requests", s.Sum("switchboard_bus_produce_seconds_count"))
	add("Kafka fetch requests", s.Sum("switchboard_bus_fetch_requests_total"))
	add("Redis commands", s.Sum("switchboard_presence_commands_total"))
	add("Redis round trips", s.Sum("switchboard_presence_round_trip_seconds_count"))
	return all
}

// batchSizes are mean records of a batch, by what works in batches.
func batchSizes(s scrape.Samples) []cost {
	var all []cost
	for _, b := range [][2]string{
		{"fold: records of a batch", "switchboard_fold_batch_records"},
		{"router: outcomes of a batch", "switchboard_router_batch_records"},
	} {
		if n := s.Sum(b[1] + "_count"); n > 0 {
			all = append(all, cost{b[0], s.Sum(b[1]+"_sum") / n})
		}
	}
	return all
}

// inside is what the programs themselves say of the measured time.
type inside struct {
	Hops    []scrape.Hop `json:"hops"`
	Costs   []cost       `json:"costs_per_message"`
	Batches []cost       `json:"batches"`
}

func newInside(s scrape.Samples, messages int) *inside {
	in := &inside{Costs: costs(s, messages), Batches: batchSizes(s)}
	for _, h := range roadHops() {
		in.Hops = append(in.Hops, s.Hop(h[0], h[1]))
	}
	return in
}

func (in *inside) write(w io.Writer) {
	fmt.Fprintf(w, "\n%-44s %8s %8s %8s %9s\n", "hop", "p50 ms", "p99 ms", "mean ms", "count")
	for _, h := range in.Hops {
		fmt.Fprintf(w, "%-44s %8.2f %8.2f %8.2f %9.0f\n", h.Name, h.P50, h.P99, h.Mean, h.Count)
	}
	fmt.Fprintf(w, "\n%-44s %8s\n", "per message", "")
	for _, c := range slices.Concat(in.Costs, in.Batches) {
		fmt.Fprintf(w, "%-44s %8.2f\n", c.Name, c.PerMessage)
	}
}
