package main

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

// scrapeTimeout bounds one look at a program's metrics.
const scrapeTimeout = 5 * time.Second

// samples are counters and buckets by name and labels, as Prometheus writes them,
// added up over programs.
type samples map[string]float64

// scrape reads the metrics of all programs of a cluster.
func (c *cluster) scrape(ctx context.Context) (samples, error) {
	all := make(samples)
	for _, name := range c.programs() {
		if err := all.read(ctx, c.Ops[name]+"/metrics"); err != nil {
			return nil, fmt.Errorf("metrics of %s: %w", name, err)
		}
	}
	return all, nil
}

func (s samples) read(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, scrapeTimeout)
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

// parse adds the samples of one program that are ours.
func (s samples) parse(text io.Reader) error {
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		at := strings.LastIndexByte(line, ' ')
		if at < 0 || !strings.HasPrefix(line, "switchboard_") {
			continue
		}
		if v, err := strconv.ParseFloat(line[at+1:], 64); err == nil {
			s[line[:at]] += v
		}
	}
	return lines.Err()
}

// since returns what was added after before. A program that was started again
// began at 0, and what it had counted earlier is lost.
func (s samples) since(before samples) samples {
	added := make(samples, len(s))
	for name, v := range s {
		added[name] = v
		if v >= before[name] {
			added[name] = v - before[name]
		}
	}
	return added
}

// sum adds all samples of a metric that have all the labels.
func (s samples) sum(name string, labels ...string) (total float64) {
	for sample, v := range s {
		base, rest, _ := strings.Cut(sample, "{")
		if base == name && !slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(rest, l) }) {
			total += v
		}
	}
	return total
}

// hop is the latency of one part of the road, in milliseconds, from a histogram:
// exact to the width of its buckets.
type hop struct {
	Name   string  `json:"hop"`
	Metric string  `json:"metric"`
	Count  float64 `json:"count"`
	Mean   float64 `json:"mean_ms"`
	P50    float64 `json:"p50_ms"`
	P99    float64 `json:"p99_ms"`
}

// hop reads a histogram.
func (s samples) hop(name, metric string) hop {
	h := hop{Name: name, Metric: metric, Count: s.sum(metric + "_count")}
	if h.Count > 0 {
		h.Mean = s.sum(metric+"_sum") / h.Count * 1000
		h.P50, h.P99 = s.quantile(metric, 0.5)*1000, s.quantile(metric, 0.99)*1000
	}
	return h
}

// bucket is how many observations were at most the bound.
type bucket struct{ bound, count float64 }

// quantile interpolates inside a bucket, as histogram_quantile of Prometheus does.
func (s samples) quantile(metric string, q float64) float64 {
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
