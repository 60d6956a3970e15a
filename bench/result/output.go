package result

import (
	"encoding/csv"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go"

	"switchboard/internal/daemon"
)

// The exit statuses of the benchmark beside 0, 1 (it failed) and 2 (usage). 99 and
// 105 are those of k6.
const (
	StatusUnfit     = 3   // the plan does not fit the host
	StatusSaturated = 4   // the generator was the bottleneck: the run is invalid
	StatusThreshold = 99  // a threshold was not kept
	StatusAborted   = 105 // a signal ended the run; the report is of the time until then
)

// Output is where a result goes and what it must keep.
type Output struct {
	dir        *string
	thresholds []Threshold
}

// NewOutput adds -out and -threshold to the flags of a command. names are the
// metrics of its results, so that a threshold on anything else is refused before
// the run and not after it; a name that ends in '*' stands for all with that
// beginning.
func NewOutput(flags *flag.FlagSet, names ...string) *Output {
	o := &Output{dir: flags.String("out", "", "`DIR` for result.json, series.csv, latency.hlog and report.html")}
	flags.Func("threshold", "`CONDITION,…` on the result, such as p99<50ms or wrong==0; exit status 99 when one is not kept.\n"+
		"Metrics: "+strings.Join(names, " "), func(text string) error {
		o.thresholds = nil
		for item := range strings.SplitSeq(text, ",") {
			if strings.TrimSpace(item) == "" {
				continue
			}
			t, err := ParseThreshold(item)
			if err != nil {
				return err
			}
			if !t.known(names) {
				return fmt.Errorf("threshold %q: no metric %s", item, t.name)
			}
			o.thresholds = append(o.thresholds, t)
		}
		return nil
	})
	return o
}

// TimingNames are the metrics of a timing; those of the command's first may be
// given without its name.
func TimingNames(names ...string) (all []string) {
	for i, name := range names {
		suffixes := []string{"max", "count"}
		for _, q := range quantiles() {
			suffixes = append(suffixes, q.name)
		}
		for _, suffix := range suffixes {
			all = append(all, name+"."+suffix)
			if i == 0 {
				all = append(all, suffix)
			}
		}
	}
	return all
}

// Finish judges the result, writes the files and says on w what became of the
// thresholds. The error carries the exit status, if that is not 0.
func (o *Output) Finish(r *Result, w io.Writer) error {
	r.Judge(o.thresholds)
	if *o.dir != "" {
		if err := Write(*o.dir, r); err != nil {
			return err
		}
	}
	for _, v := range r.Thresholds {
		state := "kept"
		if !v.Passed {
			state = "NOT KEPT"
		}
		fmt.Fprintf(w, "threshold %s: %s, it is %s\n", v.Threshold, state, Format(v.Value, v.Unit))
	}
	for _, why := range r.Invalid {
		fmt.Fprintf(w, "INVALID: %s\n", why)
	}
	for _, note := range r.Notes {
		fmt.Fprintf(w, "note: %s\n", note)
	}
	switch {
	case r.Aborted:
		return daemon.Status(StatusAborted)
	case len(r.Invalid) > 0:
		return daemon.Status(StatusSaturated)
	case !r.Passed():
		return daemon.Status(StatusThreshold)
	}
	return nil
}

// Write writes all files of a result into a folder, which it makes.
func Write(dir string, r *Result) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("folder of the result: %w", err)
	}
	for _, file := range []struct {
		name  string
		write func(w io.Writer) error
	}{
		{fileName, r.writeJSON},
		{"series.csv", r.writeCSV},
		{"latency.hlog", r.writeLog},
		{"report.html", r.writePage},
	} {
		if err := writeFile(filepath.Join(dir, file.name), file.write); err != nil {
			return fmt.Errorf("write the result: %w", err)
		}
	}
	return nil
}

func writeFile(name string, write func(w io.Writer) error) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := write(file); err != nil {
		_ = file.Close() // What failed first is told.
		return fmt.Errorf("%s: %w", name, err)
	}
	return file.Close()
}

func (r *Result) writeJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", " ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(r)
}

// length is the number of seconds of which something is known.
func (r *Result) length() (n int) {
	for _, t := range r.Timings {
		n = max(n, len(t.seconds))
	}
	for _, s := range r.Series {
		n = max(n, len(s.Values))
	}
	return n
}

// writeCSV writes a row a second: the series, then of each timing the count, the
// median, the 99th percentile and the longest, in seconds.
func (r *Result) writeCSV(w io.Writer) error {
	out := csv.NewWriter(w)
	head := []string{"second"}
	for _, s := range r.Series {
		head = append(head, s.Name)
	}
	for _, t := range r.Timings {
		head = append(head, t.Name+".count", t.Name+".p50", t.Name+".p99", t.Name+".max")
	}
	_ = out.Write(head) // Error tells.
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', 10, 64) }
	for second := range r.length() {
		row := []string{strconv.Itoa(second)}
		for _, s := range r.Series {
			cell := ""
			if second < len(s.Values) {
				cell = number(s.Values[second])
			}
			row = append(row, cell)
		}
		for _, t := range r.Timings {
			if second >= len(t.seconds) || t.seconds[second].TotalCount() == 0 {
				row = append(row, "0", "", "", "")
				continue
			}
			h := t.seconds[second]
			row = append(row, number(float64(h.TotalCount())), number(float64(h.ValueAtPercentile(50))/1e6),
				number(float64(h.ValueAtPercentile(99))/1e6), number(float64(h.Max())/1e6))
		}
		_ = out.Write(row) // Error tells.
	}
	out.Flush()
	return out.Error()
}

// writeLog writes HdrHistogram's log: an interval a second, tagged with the name
// of its timing, in microseconds.
func (r *Result) writeLog(w io.Writer) error {
	log := hdrhistogram.NewHistogramLogWriter(w)
	start := r.Started.UnixMilli()
	for _, write := range []func() error{
		func() error { return log.OutputComment("[bench " + r.Bench + ", values in microseconds]") },
		log.OutputLogFormatVersion,
		func() error { return log.OutputStartTime(start) },
		log.OutputLegend,
	} {
		if err := write(); err != nil {
			return err
		}
	}
	log.SetBaseTime(start)
	for second := range r.length() {
		for _, t := range r.Timings {
			if second >= len(t.seconds) || t.seconds[second].TotalCount() == 0 {
				continue
			}
			h := t.seconds[second]
			h.SetTag(t.Name)
			h.SetStartTimeMs(start + int64(second)*1000)
			h.SetEndTimeMs(start + int64(second+1)*1000)
			if err := log.OutputIntervalPackedHistogram(h); err != nil {
				return err
			}
		}
	}
	return nil
}
