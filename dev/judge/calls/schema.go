package calls

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"

	"switchboard/dev/judge"
)

// The limits of what is made where the document has none.
const (
	wholeMax = 1<<53 - 1 // the largest that every reader of JSON has
	textMax  = 40        // characters
	itemsMax = 3
	depthMax = 8 // of schemas within each other
)

// maker makes values by schemas.
type maker struct {
	of    *Operation
	dice  *rand.Rand
	links Links
}

// Links say what there is, by the name of a parameter or a property, or by that of an
// operation, a dot and such a name, which goes first. A list or a map is linked as a
// whole; what must be another one in each request is a func() any.
type Links map[string]any

// linked returns what there is under a name.
func (m *maker) linked(name string) (any, bool) {
	v, ok := m.links[m.of.ID+"."+name]
	if !ok {
		v, ok = m.links[name]
	}
	if another, changes := v.(func() any); changes {
		return another(), true
	}
	return v, ok
}

// kinds are the types that a schema allows.
func kinds(schema Object) (all []string) {
	switch t := schema["type"].(type) {
	case string:
		return []string{t}
	case []any:
		for _, one := range t {
			all = append(all, text(one))
		}
	}
	return all
}

// kind is the type of most values of a schema.
func kind(schema Object) string {
	if all := kinds(schema); len(all) > 0 {
		return all[0]
	}
	return ""
}

// limit reads a whole number of a schema.
func limit(schema Object, keyword string, otherwise int64) int64 {
	n, ok := schema[keyword].(json.Number)
	if !ok {
		return otherwise
	}
	whole, err := n.Int64()
	if err != nil {
		return otherwise
	}
	return whole
}

// values are the limits of a schema, the shortest first: what each of them is, and it.
func (m *maker) values(schema Object, name string, depth int) []named {
	if depth > depthMax {
		return nil
	}
	if v, ok := schema["const"]; ok {
		return []named{{"the only one", v}}
	}
	if list, ok := schema["enum"].([]any); ok {
		var all []named
		for _, v := range list {
			all = append(all, named{"one of some", v})
		}
		return all
	}
	var all []named
	switch kind(schema) {
	case "string":
		all = m.texts(schema)
	case "integer", "number":
		low, high := limit(schema, "minimum", -wholeMax), limit(schema, "maximum", wholeMax)
		all = []named{{"the least", low}, {"the most", high}, {"something between", low + m.dice.Int64N(high/2-low/2+1)}}
	case "boolean":
		all = []named{{"true", true}, {"false", false}}
	case "array":
		all = m.lists(schema, name, depth)
	case "object":
		all = m.objects(schema, depth)
	}
	if slices.Contains(kinds(schema), "null") {
		all = append(all, named{"null", nil})
	}
	return all
}

// one is some value of a schema that says something: the one that there is, if the name
// is linked.
func (m *maker) one(schema Object, name string, depth int) (any, bool) {
	if v, ok := m.linked(name); ok {
		return v, true
	}
	all := m.values(schema, name, depth)
	all = slices.DeleteFunc(all, func(n named) bool { return n.value == nil || n.value == any("") })
	if len(all) == 0 {
		return nil, false
	}
	return all[m.dice.IntN(len(all))].value, true
}

func (m *maker) lists(schema Object, name string, depth int) (all []named) {
	items := m.of.resolve(schema["items"])
	of := func(n int64) []any {
		list := []any{}
		for range n {
			if v, ok := m.one(items, name+"[]", depth+1); ok {
				list = append(list, v)
			}
		}
		return list
	}
	least := limit(schema, "minItems", 0)
	most := limit(schema, "maxItems", max(least, itemsMax))
	return []named{{"the fewest", of(least)}, {"one", of(max(least, 1))}, {"the most", of(most)}}
}

// objects are what an object may be: with what must be, and with all.
func (m *maker) objects(schema Object, depth int) []named {
	properties := m.properties(schema)
	if len(properties) == 0 {
		return m.maps(schema, depth)
	}
	must := judge.Required(schema)
	least, most := Object{}, Object{}
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		v, ok := m.one(properties[name], name, depth+1)
		if !ok {
			continue
		}
		most[name] = v
		if slices.Contains(must, name) {
			least[name] = v
		}
	}
	return []named{{"what must be", least}, {"everything", most}}
}

// maps are objects whose names are not known before.
func (m *maker) maps(schema Object, depth int) []named {
	all := []named{{"an empty one", Object{}}}
	names, values := m.of.resolve(schema["propertyNames"]), m.of.resolve(schema["additionalProperties"])
	if values == nil {
		return all
	}
	if names == nil {
		names = Object{"type": "string"}
	}
	for i, what := range []string{"one entry", "some entries"} {
		entries := Object{}
		for range 1 + i*itemsMax {
			name, _ := m.one(asText(names), "", depth+1)
			if v, ok := m.one(values, "", depth+1); ok {
				entries[text(name)] = v
			}
		}
		all = append(all, named{what, entries})
	}
	return all
}

// asText is a schema of names, which are strings without saying so.
func asText(schema Object) Object {
	all := maps.Clone(schema)
	all["type"] = "string"
	return all
}

// properties are those of an object, resolved.
func (m *maker) properties(schema Object) map[string]Object {
	listed, _ := schema["properties"].(Object)
	all := make(map[string]Object, len(listed))
	for name, property := range listed {
		all[name] = m.of.resolve(property)
	}
	return all
}
