package result

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Threshold is a condition on one metric, such as delivery.p99<500ms.
type Threshold struct {
	text  string
	name  string
	op    string
	value float64
}

// Verdict is what became of a threshold.
type Verdict struct {
	Threshold string  `json:"threshold"`
	Value     float64 `json:"value"`
	Unit      string  `json:"unit,omitempty"`
	Passed    bool    `json:"passed"`
}

// operators are tried in this order: the longer one first.
var operators = [...]string{"<=", ">=", "==", "!=", "<", ">"}

// units of values, in base units. Bytes have those of the SI and of the IEC.
var units = map[string]float64{
	"": 1, "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60,
	"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30,
	"%": 0.01, "/s": 1, "k": 1e3, "M": 1e6,
}

// ParseThreshold reads NAME OP VALUE, blanks allowed. The value may have a unit:
// ns, us, ms, s, m; B, KB, KiB and so on; %, k, M.
func ParseThreshold(text string) (Threshold, error) {
	for _, op := range operators {
		name, value, ok := strings.Cut(text, op)
		if !ok {
			continue
		}
		t := Threshold{text: strings.ReplaceAll(text, " ", ""), name: strings.TrimSpace(name), op: op}
		var err error
		if t.name == "" {
			err = errors.New("no metric is named")
		} else {
			t.value, err = parseValue(strings.TrimSpace(value))
		}
		if err != nil {
			return t, fmt.Errorf("threshold %q: %w", text, err)
		}
		return t, nil
	}
	return Threshold{}, fmt.Errorf("threshold %q: want NAME OP VALUE, such as delivery.p99<500ms", text)
}

func parseValue(text string) (float64, error) {
	end := strings.LastIndexAny(text, "0123456789.") + 1
	factor, ok := units[strings.TrimSpace(text[end:])]
	number, err := strconv.ParseFloat(text[:end], 64)
	if !ok || err != nil || math.IsNaN(number) {
		return 0, fmt.Errorf("%q is no number with a unit", text)
	}
	return number * factor, nil
}

// judge decides on a value. Times and shares are compared as they are written, so
// rounding of a hundred-millionth does not count.
func (t Threshold) judge(value float64) bool {
	same := math.Abs(value-t.value) <= 1e-8*max(math.Abs(value), math.Abs(t.value))
	switch t.op {
	case "<":
		return value < t.value && !same
	case "<=":
		return value < t.value || same
	case ">":
		return value > t.value && !same
	case ">=":
		return value > t.value || same
	case "==":
		return same
	default:
		return !same
	}
}

// known reports whether a run has the metric, among names that end in '*' where
// what follows shows only in the run.
func (t Threshold) known(names []string) bool {
	for _, name := range names {
		if prefix, open := strings.CutSuffix(name, "*"); name == t.name || open && strings.HasPrefix(t.name, prefix) {
			return true
		}
	}
	return false
}

// Judge decides on all thresholds. A metric that the run does not have did not
// pass.
func (r *Result) Judge(thresholds []Threshold) {
	for _, t := range thresholds {
		m, ok := r.metric(t.name)
		r.Thresholds = append(r.Thresholds, Verdict{t.text, m.Value, m.Unit, ok && t.judge(m.Value)})
	}
}

// Passed reports whether all thresholds did.
func (r *Result) Passed() bool {
	for _, v := range r.Thresholds {
		if !v.Passed {
			return false
		}
	}
	return true
}
