package soak

import (
	"slices"
	"strings"
	"testing"
	"time"

	"switchboard/dev/audit"
)

// line is a run in which every second has one delivery that takes as long as
// given.
func line(took ...time.Duration) *delays {
	d := &delays{started: time.Unix(1_800_000_000, 0)}
	for i, t := range took {
		d.add(d.started.Add(time.Duration(i)*time.Second), t)
	}
	return d
}

func TestRecoveryIsFromWhenDeliveryStaysQuick(t *testing.T) {
	const fast, slow = 10 * time.Millisecond, 2 * time.Second
	for name, c := range map[string]struct {
		took  []time.Duration
		after int
		ok    bool
	}{
		"never slow":      {[]time.Duration{fast, fast, fast, fast}, 0, true},
		"slow, then fast": {[]time.Duration{slow, slow, fast, fast}, 2, true},
		"slow once more":  {[]time.Duration{slow, fast, slow, fast}, 3, true},
		"slow to the end": {[]time.Duration{slow, fast, fast, slow}, 4, false},
	} {
		d := line(c.took...)
		h := happened{begun: d.started, until: d.started.Add(time.Duration(len(c.took)) * time.Second)}
		if after, ok := d.recovered(h); after != c.after || ok != c.ok {
			t.Errorf("%s: after %d s %t, want %d s %t", name, after, ok, c.after, c.ok)
		}
	}
}

func TestRunThatDidNothingFails(t *testing.T) {
	never := idle(audit.Check(&audit.Evidence{}))
	if !slices.Contains(never, "never checked: "+string(audit.Delivered)) {
		t.Errorf("an empty run fails with %q", never)
	}
}

func TestVerdictIsPrintedForJudgedFaults(t *testing.T) {
	d := line(10*time.Millisecond, 3*time.Second, 20*time.Millisecond)
	var b strings.Builder
	d.write(&b, []happened{{
		Fault: Fault{Name: "kafka-2 killed", Judged: true, Calm: calmAfter},
		begun: d.started.Add(time.Second), over: d.started.Add(2 * time.Second), until: d.started.Add(3 * time.Second),
	}})
	for _, want := range []string{"kafka-2 killed", "after 1 s: within 15s: true", "10ms | fault: 3s 20ms"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in:\n%s", want, b.String())
		}
	}
}
