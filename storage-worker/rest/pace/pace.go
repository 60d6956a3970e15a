// Package pace says how fast somebody may go on: the numbers as flags have them, and
// the bucket that counts.
package pace

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Pace is how fast one user may call one server: so many times a second, and so
// many at once after a pause. The zero value sets no limit.
type Pace struct{ PerSecond, AtOnce int }

// paceMax bounds both numbers of a pace.
const paceMax = 1_000_000

// String returns the pace as a flag has it: 50/200, or 0.
func (p *Pace) String() string {
	if p.PerSecond == 0 {
		return "0"
	}
	return fmt.Sprintf("%d/%d", p.PerSecond, p.AtOnce)
}

// Set reads a flag: 50/200 is 50 a second and 200 at once, 0 no limit.
func (p *Pace) Set(text string) error {
	if text == "0" {
		*p = Pace{}
		return nil
	}
	rate, burst, _ := strings.Cut(text, "/")
	perSecond, bad := strconv.Atoi(rate)
	atOnce, worse := strconv.Atoi(burst)
	if bad != nil || worse != nil || min(perSecond, atOnce) < 1 || max(perSecond, atOnce) > paceMax {
		return fmt.Errorf("want 0, or two numbers of 1 to %d as in 50/200: that many a second, and at once", paceMax)
	}
	*p = Pace{perSecond, atOnce}
	return nil
}

// Interval is the time in which a bucket gets one call back.
func (p *Pace) Interval() time.Duration { return time.Second / time.Duration(p.PerSecond) }

// Window is the time in which an empty bucket fills.
func (p *Pace) Window() time.Duration { return p.Interval() * time.Duration(p.AtOnce) }

// Bucket is the time at which it will be full again, counted from any moment that stays
// the same.
type Bucket time.Duration

// Take takes one call and returns 0, or returns how long it will be until there is
// one to take.
func (b *Bucket) Take(now time.Duration, p *Pace) (wait time.Duration) {
	full := max(time.Duration(*b), now)
	if wait = full + p.Interval() - p.Window() - now; wait > 0 {
		return wait
	}
	*b = Bucket(full + p.Interval())
	return 0
}
