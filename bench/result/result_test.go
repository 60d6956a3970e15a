package result

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// sample is a run of three seconds: 1 to 100 ms in the first, one of 2 s in the
// third.
func sample(t *testing.T) *Result {
	t.Helper()
	r := New("road")
	timing := NewTiming("delivery", "from <here> to there")
	for i := 1; i <= 100; i++ {
		timing.Record(0, time.Duration(i)*time.Millisecond)
	}
	timing.Record(2, 2*time.Second)
	r.Seconds = 3
	r.AddTiming(timing)
	r.Add("wrong", 0, Count, Lower, "")
	r.Add("rate", 34, PerSecond, Higher, "")
	r.Series = []Series{{Name: "open", Values: []float64{10, 20}}}
	r.Set("seed", 7)
	return r
}

func TestThresholds(t *testing.T) {
	for text, want := range map[string]bool{
		"p99<101ms": true, "p99 < 100 ms": false, "delivery.p50<=52ms": true, "max>=2s": true, "max>2100ms": false,
		"wrong==0": true, "wrong!=0": false, "rate>=34/s": true, "rate>0.1k": false, "count==101": true,
	} {
		threshold, err := ParseThreshold(text)
		if err != nil {
			t.Fatal(err)
		}
		r := sample(t)
		r.Judge([]Threshold{threshold})
		if got := r.Passed(); got != want || len(r.Thresholds) != 1 {
			t.Errorf("%s: got %t, want %t, of %+v", text, got, want, r.Thresholds)
		}
	}
	for _, bad := range []string{"", "p99", "p99<", "<5", "p99<x", "p99<5 parsec", "p99<ms", "p99=5", "p99<NaN"} {
		if _, err := ParseThreshold(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestThresholdOnWhatARunDoesNotHaveIsNotKept(t *testing.T) {
	threshold, err := ParseThreshold("cpu.gateway<1s")
	if err != nil {
		t.Fatal(err)
	}
	r := sample(t)
	r.Judge([]Threshold{threshold})
	if r.Passed() {
		t.Error("it passed")
	}
}

// output parses flags as a command does.
func output(t *testing.T, args ...string) (*Output, error) {
	t.Helper()
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	o := NewOutput(flags, append(TimingNames("delivery"), "wrong", "cpu.*")...)
	return o, flags.Parse(args)
}

func TestMetricsAreKnownBeforeTheRun(t *testing.T) {
	for text, right := range map[string]bool{
		"p99<1s,wrong==0": true, "delivery.p999<1s": true, "cpu.gateway-1<1ms": true, "": true,
		"answer.p99<1s": false, "p98<1s": false, "cpu<1ms": false,
	} {
		if _, err := output(t, "-threshold", text); (err == nil) != right {
			t.Errorf("%s: got %v", text, err)
		}
	}
}

func TestEndsHaveTheirStatus(t *testing.T) {
	for name, tt := range map[string]struct {
		threshold string
		change    func(r *Result)
		want      string // of the error, that is to say of its status
		says      string
	}{
		"all is well":                    {"p99<1s", func(*Result) {}, "", "threshold p99<1s: kept, it is 100 ms\n"},
		"no threshold":                   {"", func(*Result) {}, "", ""},
		"a threshold is not kept":        {"p99<1ms,wrong==0", func(*Result) {}, "exit status 99", "NOT KEPT"},
		"the generator was late":         {"p99<1ms", func(r *Result) { r.Invalidate("late %d times", 7) }, "exit status 4", "INVALID: late 7 times\n"},
		"a signal ended it":              {"p99<1ms", func(r *Result) { r.Aborted = true }, "exit status 105", ""},
		"a signal, and it was late also": {"", func(r *Result) { r.Aborted = true; r.Invalidate("late") }, "exit status 105", ""},
	} {
		o, err := output(t, "-threshold", tt.threshold)
		if err != nil {
			t.Fatal(err)
		}
		r := sample(t)
		tt.change(r)
		var out strings.Builder
		got := ""
		if err := o.Finish(r, &out); err != nil {
			got = err.Error()
		}
		if got != tt.want || !strings.Contains(out.String(), tt.says) {
			t.Errorf("%s: got %q, want %q, and %q", name, got, tt.want, out.String())
		}
	}
}

// written writes the sample and returns its folder.
func written(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "new")
	if err := Write(dir, sample(t)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestResultIsReadAsItWasWritten(t *testing.T) {
	dir := written(t)
	for _, name := range []string{dir, filepath.Join(dir, "result.json")} {
		r, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		m, ok := r.metric("p99")
		if !ok || math.Abs(m.Value-0.1) > 0.001 || m.Unit != Seconds || len(r.Timings) != 1 {
			t.Errorf("got %+v of %+v", m, r)
		}
		if !r.Timings[0].Total().Equals(sample(t).Timings[0].Total()) {
			t.Error("the histogram is another")
		}
	}
	other := filepath.Join(dir, "other.json")
	if err := os.WriteFile(other, []byte(`{"schema":2,"bench":"road"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{other, filepath.Join(dir, "series.csv"), filepath.Join(dir, "nothing")} {
		if _, err := Load(name); err == nil {
			t.Errorf("%s was read as a result", name)
		}
	}
}

func TestSeriesAreRowsOfSeconds(t *testing.T) {
	file, err := os.Open(filepath.Join(written(t), "series.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	want := [][]string{
		{"second", "open", "delivery.count", "delivery.p50", "delivery.p99", "delivery.max"},
		{"0", "10", "100", "0.050015", "0.099007", "0.100031"},
		{"1", "20", "0", "", "", ""},
		{"2", "", "1", "2.000895", "2.000895", "2.000895"},
	}
	if got, want := encode(t, rows), encode(t, want); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func encode(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestLogIsHdrHistograms(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(written(t), "latency.hlog"))
	if err != nil {
		t.Fatal(err)
	}
	reader := hdrhistogram.NewHistogramLogReader(bytes.NewReader(text))
	all := hdrhistogram.New(1, longest.Microseconds(), digits)
	intervals := 0
	for {
		h, err := reader.NextIntervalHistogram()
		if err != nil {
			t.Fatal(err)
		}
		if h == nil {
			break
		}
		if h.Tag() != "delivery" {
			t.Errorf("got an interval of %q", h.Tag())
		}
		intervals++
		all.Merge(h)
	}
	if intervals != 2 || !all.Equals(sample(t).Timings[0].Total()) {
		t.Errorf("got %d intervals with %d values of the timing, want 2 with %d", intervals, all.TotalCount(), 101)
	}
}

// The page is one file: it names nothing else, and nothing in it runs.
func TestPageNeedsNothing(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(written(t), "report.html"))
	if err != nil {
		t.Fatal(err)
	}
	if found := regexp.MustCompile(`(?i)<script|src=|href=|@import|url\(|//[a-z]|\son\w+=`).Find(text); found != nil {
		t.Errorf("the page has %q", found)
	}
	page := string(text)
	for _, want := range []string{
		"<title>bench road", ">valid<", "from &lt;here&gt; to there, by the second", "<polyline", "<code>delivery.p99</code>", "100 ms", "<code>seed</code>",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page, "<here>") || strings.Contains(page, "NaN") {
		t.Error("the page has text that is not escaped, or a point that is none")
	}
}

func TestHeadlinesAreShownLarge(t *testing.T) {
	r := sample(t)
	if tiles := r.tiles(); len(tiles) != 3 || tiles[0].Name != "delivery.p99" {
		t.Errorf("got %v", tiles)
	}
	r.Headlines = []string{"rate", "nothing", "wrong"}
	if tiles := r.tiles(); len(tiles) != 2 || tiles[0].Name != "rate" {
		t.Errorf("got %v", tiles)
	}
}

func TestTicksOfBytesAreRound(t *testing.T) {
	c := &chart{unit: Bytes}
	ticks := c.yTicks(0, 900<<20)
	if len(ticks) != 5 || ticks[1].label != "200 MiB" {
		t.Errorf("got %v", ticks)
	}
}

func TestChartsOfNothing(t *testing.T) {
	r := New("conn")
	r.AddTiming(NewTiming("open", "opening"))
	r.Series = []Series{{Name: "flat", Values: []float64{0, 0, 0}}, {Name: "one", Values: []float64{4}}}
	var page strings.Builder
	if err := r.writePage(&page); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(page.String(), "NaN") || strings.Contains(page.String(), "Inf") {
		t.Error("a point is none")
	}
}

func TestIntervalsOfWorkersAddUp(t *testing.T) {
	one, two := NewInterval(), NewInterval()
	_, _ = one.RecordValue(1000), two.RecordValue(3000)
	timing := NewTiming("open", "")
	timing.Merge(0, one)
	timing.Merge(4, two)
	if timing.Count() != 2 || len(timing.Intervals()) != 5 || timing.Max() < 3*time.Millisecond {
		t.Errorf("got %d in %d seconds", timing.Count(), len(timing.Intervals()))
	}
	copied := timing.Clone("later")
	timing.Merge(5, one)
	if copied.Name != "later" || copied.Count() != 2 || len(copied.Intervals()) != 5 || copied.Max() != timing.Max() || copied.Intervals()[4].TotalCount() != 1 {
		t.Errorf("the copy has %d in %d seconds", copied.Count(), len(copied.Intervals()))
	}
}

func TestFormat(t *testing.T) {
	for want, got := range map[string]string{
		"12.3 ms": Format(0.01234, Seconds), "250 µs": Format(0.00025, Seconds), "2 s": Format(2, Seconds), "0": Format(0, Seconds),
		"100 µs": Format(1e-4*0.9999999, Seconds), "1.50 KiB": Format(1536, Bytes), "300 B": Format(300, Bytes), "16,000": Format(16000, Count), "-1,234": Format(-1234, Count),
		"10,000/s": Format(10000, PerSecond), "1,000,000": Format(1e6, Count), "0.177": Format(0.1766, Count),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
