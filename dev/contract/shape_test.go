package contract

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"testing"
	"time"
)

// shape says what each field of a JSON object must be: a value, a rule, or a
// shape again. A field whose name ends in ? may be missing; one that is not named
// must be.
type shape map[string]any

// rule is what holds of a value that is not known before.
type rule struct {
	name string
	ok   func(any) bool
}

var (
	uuid   = match("a UUID", `^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	tuid   = match("a UUID of version 1", `^[0-9a-f]{8}-[0-9a-f]{4}-1[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	text   = match("text", `(?s).`)
	whole  = rule{"a whole number above 0", func(v any) bool { n, ok := v.(float64); return ok && n > 0 && n == math.Trunc(n) }}
	recent = rule{"about the present, in seconds", func(v any) bool {
		n, ok := v.(float64)
		return ok && n == math.Trunc(n) && time.Since(time.Unix(int64(n), 0)).Abs() < time.Hour
	}}
)

func match(name, pattern string) rule {
	expression := regexp.MustCompile(pattern)
	return rule{name, func(v any) bool { s, ok := v.(string); return ok && expression.MatchString(s) }}
}

// after is a time in seconds that is so far from now, give or take a minute.
func after(d time.Duration) rule {
	return rule{fmt.Sprintf("in %v, in seconds", d), func(v any) bool {
		n, ok := v.(float64)
		return ok && n == math.Trunc(n) && (time.Until(time.Unix(int64(n), 0))-d).Abs() < time.Minute
	}}
}

// object is a JSON object as it came.
type object = map[string]any

// parse reads JSON.
func parse(t *testing.T, text []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%q is no JSON: %v", text, err)
	}
	return v
}

// plain returns v as it comes out of JSON, so that numbers of all kinds are equal.
func plain(v any) (out any) {
	encoded, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(encoded, &out)
	}
	if err != nil {
		panic(err) // the test's own value
	}
	return out
}

// compare reports how got differs from want.
func compare(t *testing.T, what string, got, want any) {
	t.Helper()
	switch want := want.(type) {
	case rule:
		if !want.ok(got) {
			t.Errorf("%s is %#v, want %s", what, got, want.name)
		}
	case shape:
		fields, ok := got.(object)
		if !ok {
			t.Errorf("%s is %#v, want an object", what, got)
			return
		}
		want.compare(t, what, fields)
	case []shape:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			t.Errorf("%s is %v, want a list of %d", what, got, len(want))
			return
		}
		for i := range want {
			compare(t, fmt.Sprintf("%s[%d]", what, i), list[i], want[i])
		}
	default:
		if g, w := plain(got), plain(want); !reflect.DeepEqual(g, w) {
			t.Errorf("%s is %#v, want %#v", what, g, w)
		}
	}
}

func (s shape) compare(t *testing.T, what string, got object) {
	t.Helper()
	var known []string
	for name, want := range s {
		name, optional := cutOptional(name)
		known = append(known, name)
		value, there := got[name]
		switch {
		case there:
			compare(t, what+"."+name, value, want)
		case !optional:
			t.Errorf("%s has no %s: %v", what, name, got)
		}
	}
	for name, value := range got {
		if !slices.Contains(known, name) {
			t.Errorf("%s has %s, of which nobody spoke: %v", what, name, value)
		}
	}
}

func cutOptional(name string) (string, bool) {
	if name[len(name)-1] == '?' {
		return name[:len(name)-1], true
	}
	return name, false
}

// with returns s with other fields.
func (s shape) with(more shape) shape {
	all := make(shape)
	for _, part := range []shape{s, more} {
		maps.Copy(all, part)
	}
	return all
}
