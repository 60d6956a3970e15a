package calls

import (
	"bytes"
	"encoding/json"
	"maps"
	"mime/multipart"
	"slices"
	"strings"

	"switchboard/dev/judge"
)

// randomBodies is how many bodies have some of what they may have.
const randomBodies = 6

// say adds a call with a body that is JSON.
func (p *planner) say(kind Kind, what string, body any) *Call {
	d := p.base.copied()
	d.body = body
	return p.add(kind, what, d)
}

// objects are calls with bodies of JSON.
func (p *planner) objects() {
	for _, base := range p.bases {
		p.say(Taken, "a body of "+base.what, p.anew(base.value, "")).core = true
	}
	for _, name := range p.names() {
		base := p.baseFor(name)
		narrow := Object{"properties": Object{name: p.of.body["properties"].(Object)[name]}}
		for _, v := range p.variations(narrow, base, 0) {
			p.say(Taken, v.what, p.anew(v.value, name))
		}
		for _, v := range p.brokenObjects(narrow, base, 0) {
			p.say(Refused, v.what, p.anew(v.value, name))
		}
		p.lenient(name, base)
	}
	for _, name := range judge.Required(p.of.body) {
		base := p.baseFor(name)
		p.say(Refused, "without "+name, p.anew(without(base, name), name)).core = true
		p.say(Refused, name+": null", p.anew(with(base, name, nil), name))
	}
	for range randomBodies {
		p.say(Taken, "some of what may be", p.random())
	}
	first, _ := p.base.body.(Object)
	p.say(Lenient, "a field that nobody knows", p.anew(with(first, "later", []any{Object{"a": 1.5}}), ""))
	p.wrongText()
}

// names are those of the body's properties.
func (p *planner) names() []string { return slices.Sorted(maps.Keys(p.properties(p.of.body))) }

// lenient adds what a server ignores in a property.
func (p *planner) lenient(name string, base Object) {
	schema := p.properties(p.of.body)[name]
	if !slices.Contains(judge.Required(p.of.body), name) && !slices.Contains(kinds(schema), "null") {
		p.say(Lenient, name+": null", p.anew(with(base, name, nil), name))
	}
	if kind(schema) == "string" && p.base.body != nil {
		p.say(Malformed, name+": half a surrogate pair", with(base, name, json.RawMessage(`"\ud83d"`)))
		if schema["pattern"] == nil && schema["enum"] == nil {
			p.say(Odd, name+": U+0000", p.anew(with(base, name, "a\x00b"), name))
		}
	}
}

// baseFor is the first base that has a property, since what is said of it may depend on
// the others there.
func (p *planner) baseFor(name string) Object {
	for _, base := range p.bases {
		if object, ok := base.value.(Object); ok {
			if _, has := object[name]; has {
				return object
			}
		}
	}
	first, _ := p.base.body.(Object)
	return first
}

// anew replaces what must be another one in each call, except one property.
func (p *planner) anew(body any, except string) any {
	object, ok := body.(Object)
	if !ok {
		return body
	}
	all := maps.Clone(object)
	for name := range object {
		if _, changes := p.links[name].(func() any); changes && name != except {
			all[name], _ = p.linked(name)
		}
	}
	return all
}

// random is a body with what must be and some of the rest.
func (p *planner) random() Object {
	all := Object{}
	properties := p.properties(p.of.body)
	for _, name := range p.names() {
		v, ok := p.one(properties[name], name, 1)
		if ok && (slices.Contains(judge.Required(p.of.body), name) || p.dice.IntN(2) == 0) {
			all[name] = v
		}
	}
	return all
}

// wrongText are bodies that are not what they must be before any schema is asked.
func (p *planner) wrongText() {
	whole, _ := json.Marshal(p.base.body) // It came from JSON.
	raw := func(kind Kind, what string, body []byte) *Call {
		c := p.say(kind, what, p.base.body)
		c.Body, c.core = body, true
		return c
	}
	for _, wrong := range []named{
		{"no JSON", "no JSON"},
		{"half of the JSON", string(whole[:len(whole)-1])},
		{"two bodies", string(whole) + string(whole)},
		{"no UTF-8", `{"later":"` + "\xff" + `"}`},
		{"a name without quotes", `{later:1}`},
	} {
		raw(Malformed, wrong.what, []byte(text(wrong.value)))
	}
	for _, wrong := range []string{`[]`, `null`, `"x"`, `7`} {
		raw(Refused, "a body that is "+wrong, []byte(wrong))
	}
	if p.of.required {
		raw(Refused, "an empty body", []byte{})
		bare := p.base.copied()
		bare.body = nil
		p.add(Refused, "no body", bare).core = true
	} else {
		raw(Taken, "an empty body", []byte{})
	}
	for _, says := range [][2]string{
		{"Content-Type", "text/xml"}, {"Content-Type", "application/json; charset=iso-8859-1"}, {"Content-Encoding", "gzip"},
	} {
		raw(Unsupported, says[0]+": "+says[1], whole).Header.Set(says[0], says[1])
	}
	raw(TooLarge, "too long a body", append(bytes.Repeat([]byte(" "), bodyBytes), whole...))
	for _, depth := range []int{60, 1000, 15_000} {
		deep := `{"later":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + `,` + string(whole[1:])
		raw(Odd, "deep nesting", []byte(strings.Replace(deep, ",}", "}", 1)))
	}
}

// forms are calls with a form of one file. Files that are not linked are text.
func (p *planner) forms() {
	files := []named{{"text", "hello"}, {"one byte", "\x00"}, {"text of other letters", p.word(foreign, 50)}}
	if there, ok := p.linked("file"); ok {
		files = append([]named{{"what there is", text(there)}}, files...)
	}
	name := p.file()
	for _, file := range files {
		p.form(Taken, "a file of "+file.what, []named{{name, file.value}}).core = true
	}
	p.form(Taken, "a field before the file", []named{{"later", "x"}, {name, "hello"}})
	p.form(Refused, "no file", []named{{"later", "x"}}).core = true
	whole := p.form(Malformed, "half a form", []named{{name, "hello"}})
	whole.Body = whole.Body[:len(whole.Body)/2]
	p.form(Malformed, "an empty body", []named{{name, "hello"}}).Body = []byte{}
	for _, kind := range []string{"application/json", "multipart/form-data", "text/plain"} {
		p.form(Unsupported, kind, []named{{name, "hello"}}).Header.Set("Content-Type", kind)
	}
}

// file is the name of the file in a form.
func (p *planner) file() string {
	if must := judge.Required(p.of.body); len(must) > 0 {
		return must[0]
	}
	return "file"
}

// form adds a call with a form of some files.
func (p *planner) form(kind Kind, what string, files []named) *Call {
	c := p.add(kind, what, p.base)
	c.fill(files)
	return c
}

// fill gives a call a form of some files, by their names in it.
func (c *Call) fill(files []named) {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	_ = form.SetBoundary("the-boundary-of-a-form") // It is a good one.
	for _, file := range files {
		part, _ := form.CreateFormFile(file.what, "a file.txt") // No buffer fails.
		_, _ = part.Write([]byte(text(file.value)))
	}
	_ = form.Close()
	c.Body = body.Bytes()
	c.Header.Set("Content-Type", form.FormDataContentType())
}
