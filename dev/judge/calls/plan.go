package calls

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Kind says what must become of a call.
type Kind string

// The kinds.
const (
	// Taken is what the document allows. Whether there is such a thing, and whether
	// the caller may, the document cannot know.
	Taken Kind = "allowed"
	// Lenient is what the document does not describe and a server ignores: fields and
	// parameters that nobody knows, null where a property may be absent.
	Lenient Kind = "ignored"
	// Refused is what the document forbids.
	Refused Kind = "forbidden"
	// Malformed is no JSON in UTF-8, which no schema speaks of.
	Malformed Kind = "malformed"
	// Unauthorized has no token that is good.
	Unauthorized Kind = "unauthorized"
	// Unsupported has a body that says it is something else.
	Unsupported Kind = "unsupported"
	// TooLarge has a body that is longer than any may be.
	TooLarge Kind = "too large"
	// Odd may be taken or refused, as the document lists it.
	Odd Kind = "odd"
)

// bodyBytes is how long the longest body may be that a document speaks of.
const bodyBytes = 1 << 20

// Call is a request.
type Call struct {
	Operation *Operation
	Kind      Kind
	What      string // in which way it is special
	Method    string
	Path      string // escaped
	Query     string
	Header    http.Header // without a token, which the sender knows
	Body      []byte      // nil: none
	InPath    bool        // what is wrong with it is in its path

	core bool // is in every plan
}

// String names it.
func (c *Call) String() string { return c.Operation.ID + " " + string(c.Kind) + ": " + c.What }

// BadToken is in the header Authorization of calls that bear one which is no good.
const BadToken = "Bearer eyJhbGciOiJIUzI1NiJ9.e30.AAAA"

// draft is a call that is being made.
type draft struct {
	path, query, header map[string]any
	body                any // nil: none
}

// planner makes the calls of one operation.
type planner struct {
	*maker
	base  draft   // what must be, as there is of it
	bases []named // bodies that are allowed; those of examples go first
	calls []*Call
}

// Plan makes the calls of an operation, most of them at random where there would be
// more than most. The same seed and the same names of links make the same calls, but
// for what is linked.
func (o *Operation) Plan(seed uint64, most int, links Links) []*Call {
	of := fnv.New64a()
	_, _ = of.Write([]byte(o.ID)) // never fails
	p := &planner{maker: &maker{of: o, dice: rand.New(rand.NewPCG(seed, of.Sum64())), links: links}}
	p.base = draft{path: map[string]any{}, query: map[string]any{}, header: map[string]any{}}
	for _, parameter := range o.parameters {
		_, own := links[o.ID+"."+parameter.name] // It belongs to each call of this one.
		if parameter.required || own {
			v, _ := p.one(parameter.schema, parameter.name, 0)
			p.base.of(parameter.in)[parameter.name] = v
		}
	}
	p.bodies()
	p.parameters()
	p.wrongParameters()
	switch {
	case o.form:
		p.forms()
	case o.body != nil:
		p.objects()
	}
	p.strangers()
	return p.some(most)
}

func (d *draft) of(in string) map[string]any {
	switch in {
	case "path":
		return d.path
	case "header":
		return d.header
	}
	return d.query
}

// copied returns a draft that may be changed.
func (d *draft) copied() draft {
	return draft{path: maps.Clone(d.path), query: maps.Clone(d.query), header: maps.Clone(d.header), body: d.body}
}

// bodies finds what the base may say.
func (p *planner) bodies() {
	if !p.of.TakesJSON() {
		return
	}
	for _, example := range p.of.examples {
		p.bases = append(p.bases, named{example.what, p.real(example.value)})
	}
	p.bases = append(p.bases, p.maker.objects(p.of.body, 0)...)
	p.base.body = p.bases[0].value
}

// real puts what there is in the place of what an example has.
func (p *planner) real(v any) any {
	object, ok := v.(Object)
	if !ok {
		return v
	}
	all := Object{}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if there, linked := p.linked(name); linked {
			all[name] = there
		} else {
			all[name] = p.real(object[name])
		}
	}
	return all
}

// add adds a call.
func (p *planner) add(kind Kind, what string, d draft) *Call {
	c := &Call{Operation: p.of, Kind: kind, What: what, Method: p.of.Method, Header: http.Header{}}
	c.Path = p.of.Pattern
	for name, v := range d.path {
		c.Path = strings.ReplaceAll(c.Path, "{"+name+"}", url.PathEscape(written(v)))
	}
	query := url.Values{}
	for name, v := range d.query {
		query.Set(name, written(v))
	}
	c.Query = query.Encode()
	for name, v := range d.header {
		c.Header.Set(name, written(v))
	}
	if d.body != nil {
		c.Header.Set("Content-Type", "application/json")
		c.Body, _ = json.Marshal(d.body) // It came from JSON.
	}
	if p.of.form {
		c.fill([]named{{p.file(), "hello"}})
	}
	p.calls = append(p.calls, c)
	return c
}

// written is a parameter as it stands in a URL or a header.
func written(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case []any:
		var all []string
		for _, one := range v {
			all = append(all, written(one))
		}
		return strings.Join(all, ",")
	}
	return fmt.Sprint(v)
}

// parameters are calls with each parameter at its limits, the first with no more than
// must be.
func (p *planner) parameters() {
	p.add(Taken, "what must be", p.base).core = true
	all := p.base.copied()
	for _, parameter := range p.of.parameters {
		values := p.values(parameter.schema, parameter.name, 0)
		if there, ok := p.linked(parameter.name); ok {
			values = append(values, named{"what there is", there})
			all.of(parameter.in)[parameter.name] = there
		}
		for i, v := range values {
			if parameter.in == "path" && written(v.value) == "" {
				continue
			}
			d := p.base.copied()
			if parameter.in == "header" {
				d.body = p.keyless()
			}
			d.of(parameter.in)[parameter.name] = v.value
			p.add(Taken, parameter.name+": "+v.what, d).core = parameter.in == "path" && i == 0
		}
	}
	p.add(Taken, "every parameter that there is", all)
	unknown := p.base.copied()
	unknown.query["later"] = "1"
	p.add(Lenient, "a parameter that nobody knows", unknown)
}

// wrongParameters are calls with one parameter that is wrong. Where the document
// lists no 400, what is wrong in a query says nothing.
func (p *planner) wrongParameters() {
	for _, parameter := range p.of.parameters {
		if parameter.in != "path" && !p.of.Has("400") {
			continue
		}
		from := p.base.copied()
		if parameter.in == "header" {
			from.body = p.keyless()
		}
		good, _ := p.one(parameter.schema, parameter.name, 0)
		wrongs := p.breaks(parameter.schema, good, parameter.name, 0)
		if kind(parameter.schema) != "string" {
			wrongs = append(wrongs, named{"nothing", ""})
		}
		for _, wrong := range wrongs {
			if !p.expressible(parameter, wrong.value) {
				continue
			}
			d := from.copied()
			d.of(parameter.in)[parameter.name] = wrong.value
			c := p.add(Refused, parameter.name+": "+wrong.what, d)
			c.InPath = parameter.in == "path"
			c.core = !c.InPath
		}
		if parameter.required && parameter.in != "path" {
			d := from.copied()
			delete(d.of(parameter.in), parameter.name)
			p.add(Refused, "without "+parameter.name, d).core = true
		}
	}
}

// keyless is the body of the base without what must be another one in each call: such
// a key goes before that of a header.
func (p *planner) keyless() any {
	object, ok := p.base.body.(Object)
	if !ok {
		return p.base.body
	}
	all := maps.Clone(object)
	for name := range object {
		if _, changes := p.links[name].(func() any); changes {
			delete(all, name)
		}
	}
	return all
}

// expressible reports whether a parameter can be wrong in this way: all are text, one of
// a path is not empty, and nobody sees the spaces about one of a header.
func (p *planner) expressible(parameter parameter, v any) bool {
	switch v := v.(type) {
	case string:
		return parameter.in != "path" && parameter.in != "header" || v != "" && strings.TrimSpace(v) == v
	case []any:
		return kind(parameter.schema) == "array" && len(v) > 0 && !slices.Contains(v, nil) && allText(v)
	case int, int64, float64, bool:
		return kind(parameter.schema) == "integer"
	}
	return false
}

// allText reports whether a list says in a URL what it is.
func allText(list []any) bool {
	return !slices.ContainsFunc(list, func(v any) bool { _, ok := v.(string); return !ok })
}

// strangers are calls without a token that is good.
func (p *planner) strangers() {
	if p.of.open {
		return
	}
	for _, token := range []named{{"no token", ""}, {"a token of nobody", BadToken}, {"no bearer", "Basic eDp5"}} {
		c := p.add(Unauthorized, token.what, p.base)
		c.core = true
		if token.value != "" {
			c.Header.Set("Authorization", text(token.value))
		}
	}
}

// some leaves out calls at random until there are at most so many, but for the core.
func (p *planner) some(most int) []*Call {
	spare := len(p.calls) - most
	drop := map[*Call]bool{}
	for _, i := range p.dice.Perm(len(p.calls)) {
		if c := p.calls[i]; len(drop) < spare && !c.core {
			drop[c] = true
		}
	}
	return slices.DeleteFunc(p.calls, func(c *Call) bool { return drop[c] })
}
