package calls

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strings"

	"switchboard/dev/judge"
)

// others are values of each type.
var others = []named{
	{"a number instead", 7}, {"a truth instead", true}, {"a list instead", []any{}}, {"an object instead", Object{}}, {"text instead", "x"},
}

// typeOf names the type of one of them.
func typeOf(v any) string {
	switch v.(type) {
	case int:
		return "integer"
	case bool:
		return "boolean"
	case []any:
		return "array"
	case string:
		return "string"
	}
	return "object"
}

// breaks are values that a schema forbids, each in one way; good is one that it
// allows.
func (m *maker) breaks(schema Object, good any, name string, depth int) (all []named) {
	if depth > depthMax {
		return nil
	}
	types := kinds(schema)
	if slices.Contains(types, "number") {
		types = append(types, "integer")
	}
	for _, other := range others {
		if len(types) > 0 && !slices.Contains(types, typeOf(other.value)) {
			all = append(all, other)
		}
	}
	if list, ok := schema["enum"].([]any); ok {
		return append(all, m.besides(list)...)
	}
	switch kind(schema) {
	case "string":
		all = append(all, m.brokenTexts(schema)...)
	case "integer", "number":
		all = append(all, brokenNumbers(schema)...)
	case "array":
		all = append(all, m.brokenLists(schema, name, depth)...)
	case "object":
		all = append(all, m.brokenObjects(schema, good, depth)...)
	}
	return all
}

// besides are words that are none of some.
func (m *maker) besides(list []any) []named {
	all := []named{{"none of some", m.word(plain, 12)}}
	if up := strings.ToUpper(text(list[len(list)-1])); !slices.Contains(list, any(up)) {
		all = append(all, named{"one of some in upper case", up})
	}
	return all
}

func (m *maker) brokenTexts(schema Object) (all []named) {
	if least := int(limit(schema, "minLength", 0)); least > 0 {
		all = append(all, named{"a letter too few", m.word(plain, least-1)})
	}
	if most := int(limit(schema, "maxLength", 0)); most > 0 {
		all = append(all, named{"a letter too many", m.word(plain, most+1)})
	}
	if bytes := int(limit(schema, judge.BytesKeyword, 0)); bytes > 0 {
		all = append(all, named{"a byte too many", m.filled(bytes, bytes) + "x"})
	}
	pattern := text(schema["pattern"])
	if pattern == "" {
		return all
	}
	good := m.matching(pattern)
	tries := []named{{"nothing of its pattern", ""}, {"longer than its pattern", good + "0"}, {"spaces about its pattern", " " + good}}
	if len(good) > 1 {
		tries = append(tries, named{"shorter than its pattern", good[:len(good)-1]})
	}
	places := m.dice.Perm(len(good))
	for _, with := range []string{"!", "f"} { // A digit of ids, which is wrong in some places.
		for _, at := range places {
			if wrong := good[:at] + with + good[at+1:]; !matches(pattern, wrong) {
				tries = append(tries, named{"a letter of its pattern is wrong", wrong})
				if with == "!" {
					break
				}
			}
		}
	}
	for _, try := range tries {
		if !matches(pattern, text(try.value)) {
			all = append(all, try)
		}
	}
	return all
}

func brokenNumbers(schema Object) (all []named) {
	if kind(schema) == "integer" {
		all = append(all, named{"half a number", 1.5})
	}
	if low := limit(schema, "minimum", math.MinInt64); low > math.MinInt64 {
		all = append(all, named{"one too little", low - 1})
	}
	if high := limit(schema, "maximum", math.MaxInt64); high < math.MaxInt64 {
		all = append(all, named{"one too much", high + 1})
	}
	return all
}

func (m *maker) brokenLists(schema Object, name string, depth int) (all []named) {
	items := m.of.resolve(schema["items"])
	if least := limit(schema, "minItems", 0); least > 0 {
		all = append(all, named{"too short a list", []any{}})
	}
	if most := limit(schema, "maxItems", 0); most > 0 {
		long := Object{"minItems": number(most + 1), "maxItems": number(most + 1), "items": schema["items"]}
		all = append(all, named{"too long a list", m.lists(long, name, depth)[0].value})
	}
	good, _ := m.one(items, name+"[]", depth+1)
	for _, wrong := range m.breaks(items, good, name+"[]", depth+1) {
		all = append(all, named{"in a list " + wrong.what, []any{good, wrong.value}})
	}
	if !slices.Contains(kinds(items), "null") && len(items) > 0 {
		all = append(all, named{"in a list null", []any{nil}})
	}
	return all
}

func number(n int64) json.Number {
	encoded, _ := json.Marshal(n) // It is a number.
	return json.Number(encoded)
}

// brokenObjects lack what must be, have null in its place, or something wrong in one
// property.
func (m *maker) brokenObjects(schema Object, good any, depth int) (all []named) {
	properties := m.properties(schema)
	if len(properties) == 0 {
		return m.brokenMaps(schema, depth)
	}
	whole, _ := good.(Object)
	for _, name := range judge.Required(schema) {
		all = append(all, named{"without " + name, without(whole, name)})
		if !slices.Contains(kinds(properties[name]), "null") {
			all = append(all, named{name + ": null", with(whole, name, nil)})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		for _, wrong := range m.breaks(properties[name], m.part(whole, properties[name], name, depth), name, depth+1) {
			all = append(all, named{name + ": " + wrong.what, with(whole, name, wrong.value)})
		}
	}
	return all
}

func (m *maker) brokenMaps(schema Object, depth int) (all []named) {
	names, values := m.of.resolve(schema["propertyNames"]), m.of.resolve(schema["additionalProperties"])
	if values == nil || names == nil {
		return nil
	}
	name, _ := m.one(asText(names), "", depth+1)
	good, _ := m.one(values, "", depth+1)
	for _, wrong := range m.brokenTexts(names) {
		all = append(all, named{"a name has " + wrong.what, Object{text(wrong.value): good}})
	}
	for _, wrong := range m.breaks(values, good, "", depth+1) {
		all = append(all, named{"an entry has " + wrong.what, Object{text(name): wrong.value}})
	}
	return all
}

// part is what a property of an object is, or might be.
func (m *maker) part(whole Object, schema Object, name string, depth int) any {
	if v, ok := whole[name]; ok && v != nil {
		return v
	}
	v, _ := m.one(schema, name, depth+1)
	return v
}

// variations are an object in which one property is at a limit of its own.
func (m *maker) variations(schema Object, whole Object, depth int) (all []named) {
	properties := m.properties(schema)
	if depth > depthMax {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		for _, v := range m.values(properties[name], name, depth+1) {
			all = append(all, named{name + ": " + v.what, with(whole, name, v.value)})
		}
		if inner, ok := m.part(whole, properties[name], name, depth).(Object); ok {
			for _, v := range m.variations(properties[name], inner, depth+1) {
				all = append(all, named{name + "." + v.what, with(whole, name, v.value)})
			}
		}
	}
	return all
}

func with(whole Object, name string, v any) Object {
	all := maps.Clone(whole)
	if all == nil {
		all = Object{}
	}
	all[name] = v
	return all
}

func without(whole Object, name string) Object {
	all := maps.Clone(whole)
	delete(all, name)
	return all
}
