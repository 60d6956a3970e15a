package calls_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"switchboard/dev/judge"
	"switchboard/dev/judge/calls"
)

const (
	somebody = "17c43426-d780-5e57-b88e-bcc975610551"
	message  = "98fc0014-b5c6-11f1-8001-010000000007"
)

var links = calls.Links{
	"conversation": somebody, "user": somebody, "conversation_id": somebody, "reply_to": message,
	"member_ids": []any{somebody}, "have": calls.Object{somebody: 1}, "search.q": "hello", "file": "hello",
	"client_message_id": func() any { return somebody },
}

func open(t *testing.T) *judge.Judge {
	t.Helper()
	j, err := judge.New()
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// each calls f for each call of each operation.
func each(j *judge.Judge, seed uint64, most int, f func(*calls.Call)) {
	for _, o := range calls.Operations(j.Document("openapi")) {
		for _, c := range o.Plan(seed, most, links) {
			f(c)
		}
	}
}

// What is said to be allowed is, and what is said to be forbidden is.
func TestTheJudgeSaysTheSame(t *testing.T) {
	j := open(t)
	for seed := range uint64(5) {
		each(j, seed, 1000, func(c *calls.Call) {
			err := j.Request(judge.Request{Method: c.Method, Path: c.Path, Query: c.Query, Header: c.Header, Body: c.Body})
			isForm := strings.HasPrefix(c.Header.Get("Content-Type"), "multipart/form-data")
			switch {
			case c.Kind == calls.Taken && err != nil:
				t.Errorf("%s: %s?%s %.300q: %v", c, c.Path, c.Query, c.Body, err)
			case c.Kind == calls.Refused && err == nil && !isForm:
				t.Errorf("%s: %s?%s %v %.300q passes", c, c.Path, c.Query, c.Header, c.Body)
			}
		})
	}
}

func TestEveryOperationIsTriedInEveryWay(t *testing.T) {
	j := open(t)
	of := map[string]map[calls.Kind]int{}
	each(j, 1, 100, func(c *calls.Call) {
		if of[c.Operation.ID] == nil {
			of[c.Operation.ID] = map[calls.Kind]int{}
		}
		of[c.Operation.ID][c.Kind]++
	})
	operations := calls.Operations(j.Document("openapi"))
	if len(of) != len(j.Routes()) {
		t.Errorf("there are calls of %d operations, want %d", len(of), len(j.Routes()))
	}
	for _, o := range operations {
		want := []calls.Kind{calls.Taken, calls.Lenient, calls.Unauthorized}
		if o.TakesJSON() {
			want = append(want, calls.Refused, calls.Malformed, calls.Unsupported, calls.TooLarge, calls.Odd)
		}
		if o.HasPath() {
			want = append(want, calls.Refused)
		}
		for _, kind := range want {
			if of[o.ID][kind] == 0 {
				t.Errorf("%s has no call that is %s: %v", o.ID, kind, of[o.ID])
			}
		}
	}
}

func TestTheSameSeedMakesTheSameCalls(t *testing.T) {
	j := open(t)
	plan := func(seed uint64) (all []string) {
		each(j, seed, 60, func(c *calls.Call) {
			all = append(all, fmt.Sprint(c, " ", c.Method, c.Path, c.Query, c.Header, string(c.Body)))
		})
		return all
	}
	if one, other := plan(7), plan(7); !reflect.DeepEqual(one, other) {
		t.Error("they are not the same")
	}
	if reflect.DeepEqual(plan(7), plan(8)) {
		t.Error("another seed makes the same calls")
	}
}

// known are the keywords of schemas that calls are made by, and those that say nothing
// of what is allowed.
var known = strings.Fields(`type enum const pattern minLength maxLength x-max-bytes minimum maximum minItems maxItems items properties
	required propertyNames additionalProperties description default examples format contentEncoding contentMediaType`)

// What a schema of a request says in another way would not be tried, and nobody would
// notice.
func TestNoSchemaSaysWhatIsNotKnown(t *testing.T) {
	doc := open(t).Document("openapi")
	var walk func(at string, v any)
	seen := 0
	walk = func(at string, v any) {
		schema, _ := v.(calls.Object)
		if ref, refers := schema["$ref"].(string); refers {
			target, _ := judge.At(doc, judge.Pointer(ref)...)
			walk(ref, target)
		}
		for name, value := range schema {
			seen++
			switch name {
			case "properties":
				for property, of := range value.(calls.Object) {
					walk(at+"/"+property, of)
				}
			case "items", "propertyNames", "additionalProperties":
				walk(at+"/"+name, value)
			case "$ref":
			default:
				if !slices.Contains(known, name) {
					t.Errorf("%s has %s", at, name)
				}
			}
		}
	}
	for _, o := range calls.Operations(doc) {
		for at, schema := range o.Schemas() {
			walk(o.ID+" "+at, schema)
		}
	}
	if seen < 100 {
		t.Errorf("only %d keywords were looked at", seen)
	}
}

// small is a document with one operation that has everything which openapi.yaml lacks
// today.
const small = `
paths:
  /things/{thing}:
    parameters:
      - {name: thing, in: path, required: true, schema: {type: integer, minimum: 3, maximum: 5}}
    put:
      operationId: putThing
      security: []
      parameters:
        - {name: tags, in: query, required: true, schema: {type: array, minItems: 1, maxItems: 2, items: {type: string, pattern: "^[ab]+$"}}}
      requestBody:
        required: true
        content:
          application/json:
            schema:
              type: object
              required: [size]
              properties:
                size: {type: number, minimum: 0}
                old: {type: boolean}
                parts: {type: array, minItems: 1, items: {type: object, required: [name], properties: {name: {type: string, maxLength: 3}}}}
      responses: {"204": {description: Done.}, "400": {description: Wrong.}}
`

func TestWhatIsMadeOfADocument(t *testing.T) {
	doc, err := judge.Read(small)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range calls.Operations(doc) {
		for _, c := range o.Plan(1, 1000, nil) {
			got = append(got, string(c.Kind)+": "+c.What)
			if c.Kind == calls.Unauthorized {
				t.Errorf("%s, of an operation that wants no token", c)
			}
		}
	}
	all := strings.Join(got, "\n")
	for _, want := range []string{
		"allowed: thing: the least", "forbidden: thing: one too much", "forbidden: without tags", "forbidden: tags: too long a list",
		"forbidden: tags: in a list a letter of its pattern is wrong", "forbidden: size: one too little", "forbidden: without size",
		"forbidden: size: null", "ignored: old: null", "allowed: old: true", "forbidden: parts: too short a list",
		"forbidden: parts: in a list without name", "forbidden: parts: in a list name: a letter too many", "forbidden: no body", "malformed: no JSON",
	} {
		if !strings.Contains(all+"\n", want+"\n") {
			t.Errorf("nothing is %s", want)
		}
	}
	if strings.Contains(all, "forbidden: size: a number instead") {
		t.Error("a whole number is said to be none")
	}
	if t.Failed() {
		t.Log(all)
	}
}
