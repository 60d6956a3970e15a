package advice

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"switchboard/tuning/host"
)

// A goal is what a setting should be. Values are the kernel's text, its fields
// separated by single blanks.
type goal interface {
	// met reports whether a value will do; an error says that it is no value.
	met(current string) (bool, error)
	// improved returns what to make of a value that has been through met: itself,
	// when that was content. Where more is better it is never less.
	improved(current string) string
	// String says it to people.
	String() string
}

// atLeast asks for a least number in each field; 0 asks for nothing.
type atLeast []int64

func (g atLeast) met(current string) (bool, error) {
	values, err := numbers(current, len(g))
	if err != nil {
		return false, err
	}
	for i := range g {
		if values[i] < g[i] {
			return false, nil
		}
	}
	return true, nil
}

func (g atLeast) improved(current string) string {
	values, err := numbers(current, len(g))
	if err != nil {
		return current
	}
	for i := range g {
		values[i] = max(values[i], g[i])
	}
	return join(values)
}

func (g atLeast) String() string { return "≥ " + join(g) }

// atMost asks for a number that is no more: of times and shares, never amounts.
type atMost int64

func (g atMost) met(current string) (bool, error) {
	values, err := numbers(current, 1)
	return err == nil && values[0] <= int64(g), err
}

func (g atMost) improved(current string) string {
	if met, err := g.met(current); err != nil || met {
		return current
	}
	return strconv.FormatInt(int64(g), 10)
}

func (g atMost) String() string { return "≤ " + strconv.FormatInt(int64(g), 10) }

// between asks for a time that is neither too short nor too long.
type between struct{ low, high int64 }

func (g between) met(current string) (bool, error) {
	values, err := numbers(current, 1)
	return err == nil && values[0] >= g.low && values[0] <= g.high, err
}

func (g between) improved(current string) string {
	values, err := numbers(current, 1)
	if err != nil {
		return current
	}
	return strconv.FormatInt(min(max(values[0], g.low), g.high), 10)
}

func (g between) String() string { return fmt.Sprintf("%d to %d", g.low, g.high) }

// oneOf asks for one of some values, best the first.
type oneOf []string

func (g oneOf) met(current string) (bool, error) { return slices.Contains(g, current), nil }

func (g oneOf) improved(current string) string {
	if slices.Contains(g, current) {
		return current
	}
	return g[0]
}

func (g oneOf) String() string { return strings.Join(g, " or ") }

// wide asks for a range that covers another one.
type wide struct{ low, high int64 }

func (g wide) met(current string) (bool, error) {
	values, err := numbers(current, 2)
	return err == nil && values[0] <= g.low && values[1] >= g.high, err
}

func (g wide) improved(current string) string {
	values, err := numbers(current, 2)
	if err != nil {
		return current
	}
	return join([]int64{min(values[0], g.low), max(values[1], g.high)})
}

func (g wide) String() string { return fmt.Sprintf("%d %d, or wider", g.low, g.high) }

// holds asks for a set of numbers that has some members, and leaves the others.
type holds []int

func (g holds) met(current string) (bool, error) {
	values, err := host.ParseList(current)
	if err != nil {
		return false, err
	}
	for _, n := range g {
		if !slices.Contains(values, n) {
			return false, nil
		}
	}
	return true, nil
}

func (g holds) improved(current string) string {
	values, err := host.ParseList(current)
	if err != nil {
		return current
	}
	values = append(values, g...)
	slices.Sort(values)
	return host.FormatList(slices.Compact(values))
}

func (g holds) String() string { return host.FormatList(g) + ", and whatever else" }

// anything asks for nothing; the item is there to say so.
type anything struct{}

func (anything) met(string) (bool, error)       { return true, nil }
func (anything) improved(current string) string { return current }
func (anything) String() string                 { return "leave it" }

// unknowable is a goal whose formula lacks a number.
type unknowable struct{ err error }

func (g unknowable) met(string) (bool, error)     { return false, g.err }
func (unknowable) improved(current string) string { return current }
func (unknowable) String() string                 { return "depends on the host's memory" }

// numbers reads n fields.
func numbers(text string, n int) ([]int64, error) {
	fields := strings.Fields(text)
	if len(fields) != n {
		return nil, fmt.Errorf("it has %d fields and not %d", len(fields), n)
	}
	values := make([]int64, n)
	for i, field := range fields {
		value, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is no number", field)
		}
		values[i] = value
	}
	return values, nil
}

// number returns a value that is one number.
func number(text string) *int64 {
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return nil
	}
	return &value
}

func join(values []int64) string {
	fields := make([]string, len(values))
	for i, v := range values {
		fields[i] = strconv.FormatInt(v, 10)
	}
	return strings.Join(fields, " ")
}
