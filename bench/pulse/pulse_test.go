package pulse

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"switchboard/bench/host"
	"switchboard/bench/live"
)

// rows are the rows of a view, a line each.
func rows(s live.State) string {
	var b strings.Builder
	for _, row := range s.Rows {
		fmt.Fprintf(&b, "%s: %s\n", row.Name, row.Text)
	}
	return b.String()
}

func TestALookTellsWhatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Pulse
		e := &eye{
			pulse: &p, title: "bench road", began: time.Now(), processes: func() []host.Process { return []host.Process{{Name: "me", PID: os.Getpid()}} },
			more: func() []live.Row { return []live.Row{{Name: "own", Text: "a row"}} },
		}
		p.Now("connecting", 0)
		p.Open.Add(3)
		time.Sleep(time.Second)
		s := e.look()
		if s.Title != "bench road" || s.Phase != "connecting" || s.Passed != time.Second || s.Ends != 0 || s.Line != "3 open" {
			t.Errorf("got %+v", s)
		}
		if got, want := rows(s), `^connections: 3 open\nown: a row\nservers: 0.00 cores, \S+ .iB resident\n$`; !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("got\n%swant %s", got, want)
		}
		p.Now("measured load", time.Minute)
		p.Sent.Add(10)
		p.Owed.Add(20)
		p.Got.Add(15)
		p.Took(10 * time.Millisecond)
		time.Sleep(2 * time.Second)
		s = e.look()
		if want := "3 open  10 sent, 0 of them late, 15 of 20 arrivals  p50 10.0 ms, p99 10.0 ms"; s.Line != want || s.Ends != 61*time.Second {
			t.Errorf("got %q, until %v, want %q", s.Line, s.Ends, want)
		}
		for _, want := range []string{
			"messages: 5/s out, 7.50/s in; 10 sent, 15 of 20 arrivals\n",
			"latency: p50 10.0 ms, p99 10.0 ms in the last second; p50 10.0 ms, p99 10.0 ms in this phase\n",
			"generator: 0 of 10 sends late\n", "cores: me ",
		} {
			if !strings.Contains(rows(s), want) {
				t.Errorf("want %q in\n%s", want, rows(s))
			}
		}
		// Nothing in the last second is not the same as nothing.
		if got := rows(e.look()); !strings.Contains(got, "latency: p50 10.0 ms, p99 10.0 ms in this phase\n") {
			t.Errorf("got\n%s", got)
		}
		p.Now("last deliveries", 0)
		p.Late.Add(1)
		s = e.look()
		if got := rows(s); strings.Contains(got, "latency") || !strings.Contains(got, "generator: 1 of 10 sends late\n") {
			t.Errorf("got\n%s", got)
		}
		for _, row := range s.Rows {
			if row.Bad != (row.Name == "generator") {
				t.Errorf("%q: bad is %t", row.Name, row.Bad)
			}
		}
	})
}

func TestItIsShownEverySecondUntilItIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Pulse
		var out strings.Builder
		p.Now("all", 0)
		stop := p.Show(live.Open(&out, func(string) string { return "" }), "bench", func() []host.Process { return nil }, nil)
		time.Sleep(2500 * time.Millisecond)
		stop()
		if got, want := out.String(), "    1 s  all: 0 open\n    2 s  all: 0 open\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
