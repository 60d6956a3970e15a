// Package scrape reads the metrics of programs, as Prometheus would, and answers
// questions about what was counted between two looks.
package scrape

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// timeout bounds one look at a program's metrics.
const timeout = 5 * time.Second

// Heap is what the heap of a program in Go has in use, in bytes.
const Heap = "go_memstats_heap_inuse_bytes"

// Samples are counters and buckets by name and labels, as Prometheus writes them,
// added up over programs.
type Samples map[string]float64

// Read adds what the programs at some URLs of /metrics say.
func (s Samples) Read(ctx context.Context, urls ...string) error {
	for _, url := range urls {
		if err := s.read(ctx, url); err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
	}
	return nil
}

func (s Samples) read(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, response.Status)
	}
	return s.parse(response.Body)
}

// parse adds the samples of one program that are ours, and its heap.
func (s Samples) parse(text io.Reader) error {
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		at := strings.LastIndexByte(line, ' ')
		if at < 0 || !strings.HasPrefix(line, "switchboard_") && line[:at] != Heap {
			continue
		}
		if v, err := strconv.ParseFloat(line[at+1:], 64); err == nil {
			s[line[:at]] += v
		}
	}
	return lines.Err()
}

// Since returns what was added after before. A program that was started again
// began at 0, and what it had counted earlier is lost.
func (s Samples) Since(before Samples) Samples {
	added := make(Samples, len(s))
	for name, v := range s {
		added[name] = v
		if v >= before[name] {
			added[name] = v - before[name]
		}
	}
	return added
}

// Sum adds all samples of a metric that have all the labels.
func (s Samples) Sum(name string, labels ...string) (total float64) {
	for sample, v := range s {
		base, rest, _ := strings.Cut(sample, "{")
		if base == name && !slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(rest, l) }) {
			total += v
		}
	}
	return total
}

// Hop is the latency of one part of the road, in milliseconds, from a histogram:
// exact to the width of its buckets.
type Hop struct {
	Name   string  `json:"hop"`
	Metric string  `json:"metric"`
	Count  float64 `json:"count"`
	Mean   float64 `json:"mean_ms"`
	P50    float64 `json:"p50_ms"`
	P99    float64 `json:"p99_ms"`
}

// Hop reads a histogram.
func (s Samples) Hop(name, metric string) Hop {
	h := Hop{Name: name, Metric: metric, Count: s.Sum(metric + "_count")}
	if h.Count > 0 {
		h.Mean = s.Sum(metric+"_sum") / h.Count * 1000
		h.P50, h.P99 = s.quantile(metric, 0.5)*1000, s.quantile(metric, 0.99)*1000
	}
	return h
}

// bucket is how many observations were at most the bound.
type bucket struct{ bound, count float64 }

// quantile interpolates inside a bucket, as histogram_quantile of Prometheus does.
func (s Samples) quantile(metric string, q float64) float64 {
	counts := make(map[float64]float64)
	for sample, v := range s {
		base, labels, _ := strings.Cut(sample, "{")
		if base != metric+"_bucket" {
			continue
		}
		_, bound, _ := strings.Cut(labels, `le="`)
		bound, _, _ = strings.Cut(bound, `"`)
		if b, err := strconv.ParseFloat(bound, 64); err == nil { // "+Inf" is one.
			counts[b] += v
		}
	}
	var buckets []bucket
	for bound, n := range counts {
		buckets = append(buckets, bucket{bound, n})
	}
	slices.SortFunc(buckets, func(a, b bucket) int {
		if a.bound < b.bound {
			return -1
		}
		return 1
	})
	if len(buckets) == 0 {
		return 0
	}
	rank := q * buckets[len(buckets)-1].count
	var below bucket
	for _, b := range buckets {
		if b.count < rank {
			below = b
			continue
		}
		if math.IsInf(b.bound, 1) || b.count == below.count {
			return below.bound
		}
		return below.bound + (b.bound-below.bound)*(rank-below.count)/(b.count-below.count)
	}
	return below.bound
}
