package calls

import (
	"maps"
	"slices"
	"strings"

	"switchboard/dev/judge"
)

// Object is a JSON object.
type Object = map[string]any

// Operation is one of the document's.
type Operation struct {
	ID              string
	Method, Pattern string
	Statuses        []string // those that it may be answered with

	doc        Object
	parameters []parameter
	body       Object // its schema; nil: none
	form       bool   // of multipart/form-data, otherwise JSON
	required   bool   // the body is
	examples   []named
	open       bool // without a token
}

// parameter is one of an operation.
type parameter struct {
	name, in string
	required bool
	schema   Object
}

// named is a value, and what it is.
type named struct {
	what  string
	value any
}

// methods are the names of operations, in the order in which they are best tried:
// what takes away comes last.
var methods = []string{"get", "head", "post", "put", "patch", "delete"}

// Operations lists those of a document, by path.
func Operations(doc Object) (all []*Operation) {
	paths, _ := judge.At(doc, "paths")
	for _, pattern := range slices.Sorted(maps.Keys(paths)) {
		item, _ := paths[pattern].(Object)
		for _, method := range methods {
			if operation, ok := item[method].(Object); ok {
				all = append(all, read(doc, pattern, method, item, operation))
			}
		}
	}
	return all
}

func read(doc Object, pattern, method string, item, operation Object) *Operation {
	o := &Operation{Method: strings.ToUpper(method), Pattern: pattern, doc: doc}
	o.ID, _ = operation["operationId"].(string)
	responses, _ := judge.At(operation, "responses")
	o.Statuses = slices.Sorted(maps.Keys(responses))
	security, own := operation["security"].([]any)
	o.open = own && len(security) == 0
	for _, list := range []any{item["parameters"], operation["parameters"]} {
		some, _ := list.([]any)
		for _, entry := range some {
			p := o.resolve(entry)
			o.parameters = append(o.parameters, parameter{
				name: text(p["name"]), in: text(p["in"]), required: p["required"] == true, schema: o.resolve(p["schema"]),
			})
		}
	}
	o.readBody(operation)
	return o
}

func (o *Operation) readBody(operation Object) {
	request, ok := judge.At(operation, "requestBody")
	if !ok {
		return
	}
	content, _ := judge.At(request, "content")
	media, isJSON := content["application/json"].(Object)
	if !isJSON {
		media, o.form = content["multipart/form-data"].(Object)
	}
	o.body, o.required = o.resolve(media["schema"]), request["required"] == true
	examples, _ := judge.At(media, "examples")
	for _, name := range slices.Sorted(maps.Keys(examples)) {
		example, _ := judge.At(examples, name)
		o.examples = append(o.examples, named{"the example " + name, example["value"]})
	}
}

// resolve returns what a schema or a parameter is, with what stands beside a
// reference.
func (o *Operation) resolve(v any) Object {
	object, _ := v.(Object)
	ref, refers := object["$ref"].(string)
	if !refers {
		return object
	}
	target, _ := judge.At(o.doc, judge.Pointer(ref)...)
	all := maps.Clone(o.resolve(target))
	for name, value := range object {
		if name != "$ref" {
			all[name] = value
		}
	}
	return all
}

// Schemas are those of the parameters, by their names, and that of the body.
func (o *Operation) Schemas() map[string]Object {
	all := map[string]Object{"the body": o.body}
	for _, p := range o.parameters {
		all[p.name] = p.schema
	}
	return all
}

// Has reports whether the document lists a status.
func (o *Operation) Has(status string) bool { return slices.Contains(o.Statuses, status) }

// HasPath reports whether something in the path is a parameter.
func (o *Operation) HasPath() bool { return strings.Contains(o.Pattern, "{") }

// TakesJSON reports whether there is a body of JSON.
func (o *Operation) TakesJSON() bool { return o.body != nil && !o.form }

func text(v any) string {
	s, _ := v.(string)
	return s
}
