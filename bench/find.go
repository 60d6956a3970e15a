package main

import (
	"context"
	"errors"
	"fmt"

	"switchboard/bench/live"
	"switchboard/bench/result"
)

const (
	// promised is the latency within which a message is to be delivered, in
	// milliseconds.
	promised = 500
	// mostSteps bounds the search; a quarter more each time is 23-fold by then.
	mostSteps = 14
)

// find drives the road at higher and higher rates, with new users each time, and
// reports the highest rate that kept the promise.
func (r *road) find(ctx context.Context, screen *live.Screen, file string, results *result.Output) error {
	var steps []*roadReport
	var held *roadReport
	for n := range mostSteps {
		step := &road{
			target: r.target, users: r.users, groups: r.groups, rate: r.rate, warmup: r.warmup, duration: r.duration,
			settle: r.settle, seed: r.seed + uint64(n),
		}
		report, err := step.drive(ctx, screen)
		if err != nil {
			return fmt.Errorf("at %d/s: %w", step.rate, err)
		}
		steps = append(steps, report)
		fmt.Fprintf(screen, "%6d/s  %s  late %d  complete %t\n", report.Rate, report.Delivery, report.Late, report.Complete())
		if report.Delivery.P99 >= promised || !report.Complete() {
			break
		}
		held = report
		r.rate += max(r.rate/4, 1)
	}
	if err := writeJSON(file, steps); err != nil {
		return err
	}
	if held == nil {
		return errors.New("the first rate did not hold")
	}
	fmt.Fprintf(screen, "\nthe highest rate with p99 < %d ms and nothing lost:\n", promised)
	held.print(screen)
	return results.Finish(held.result(), screen)
}
