package judge_test

import (
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"switchboard/dev/judge"
)

func open(t *testing.T) *judge.Judge {
	t.Helper()
	j, err := judge.New()
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// published compiles a schema of a specification, as its authors publish it: see
// testdata/README.md.
func published(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	text, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("https://published.invalid/schema", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("https://published.invalid/schema")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func TestTheDocumentsAreWhatTheySay(t *testing.T) {
	j := open(t)
	for name, specification := range map[string]string{"openapi": "openapi-3.1.json.gz", "asyncapi": "asyncapi-3.0.0.json.gz"} {
		schema := published(t, specification)
		if err := schema.Validate(j.Document(name)); err != nil {
			t.Errorf("%s.yaml: %#v", name, err)
		}
		broken := judge.Object{"openapi": "3.1.0", "asyncapi": "3.0.0", "info": judge.Object{"title": "no version"}}
		if schema.Validate(broken) == nil {
			t.Errorf("%s takes a document without a version", specification)
		}
	}
}

// refs returns every reference in a document.
func refs(v any) (all []string) {
	switch v := v.(type) {
	case judge.Object:
		for name, value := range v {
			if ref, ok := value.(string); ok && name == "$ref" {
				all = append(all, ref)
			} else {
				all = append(all, refs(value)...)
			}
		}
	case []any:
		for _, value := range v {
			all = append(all, refs(value)...)
		}
	}
	return all
}

// Every reference leads somewhere, and everything that may be referred to is.
func TestNoReferenceIsLooseAndNoComponentIsIdle(t *testing.T) {
	j := open(t)
	for _, name := range []string{"openapi", "asyncapi"} {
		doc := j.Document(name)
		used := map[string]bool{"#/components/securitySchemes/token": true}
		for _, ref := range refs(doc) {
			used[ref] = true
			if _, ok := judge.At(doc, judge.Pointer(ref)...); !ok {
				t.Errorf("%s.yaml: %s leads nowhere", name, ref)
			}
		}
		components, _ := judge.At(doc, "components")
		for kind, members := range components {
			for member := range members.(judge.Object) {
				if ref := "#/components/" + kind + "/" + member; !used[ref] {
					t.Errorf("%s.yaml: nothing refers to %s", name, ref)
				}
			}
		}
	}
}

// What must be refused, so that the walk through a running system means something.
func TestWhatIsNotDescribedIsFound(t *testing.T) {
	j := open(t)
	const presence = `[{"user_id":"17c43426-d780-5e57-b88e-bcc975610551","status":"online"}]`
	const problem = `{"type":"about:blank","title":"Not Found","status":404,"code":"not_found","temporary":false}`
	good := judge.Answer{Method: "GET", Path: "/api/v1/presence", Status: 200, ContentType: "application/json", Body: []byte(presence)}
	if err := j.Answer(good); err != nil {
		t.Fatal(err)
	}
	head, nowhere := good, judge.Answer{Method: "GET", Path: "/api/v1/nowhere", Status: 404, ContentType: "application/problem+json", Body: []byte(problem)}
	head.Method, head.Body = "HEAD", nil
	for _, a := range []judge.Answer{head, nowhere} {
		if err := j.Answer(a); err != nil {
			t.Error(err)
		}
	}
	for name, change := range map[string]func(a *judge.Answer){
		"a status":          func(a *judge.Answer) { a.Status = 202 },
		"a type":            func(a *judge.Answer) { a.ContentType = "text/plain" },
		"a route":           func(a *judge.Answer) { a.Path = "/api/v1/presences" },
		"a method":          func(a *judge.Answer) { a.Method = "POST" },
		"a field":           func(a *judge.Answer) { a.Body = []byte(strings.Replace(presence, `"status"`, `"mood":1,"status"`, 1)) },
		"a value":           func(a *judge.Answer) { a.Body = []byte(strings.Replace(presence, "online", "here", 1)) },
		"a field too few":   func(a *judge.Answer) { a.Body = []byte(`[{"status":"online"}]`) },
		"a body of HEAD":    func(a *judge.Answer) { a.Method = "HEAD" },
		"a code of another": func(a *judge.Answer) { *a = nowhere; a.Path = good.Path },
		"no JSON":           func(a *judge.Answer) { a.Body = []byte("[") },
		"something that is not there and is answered": func(a *judge.Answer) { *a = nowhere; a.Status = 200 },
	} {
		a := good
		change(&a)
		if j.Answer(a) == nil {
			t.Errorf("%s that is not described passes", name)
		}
	}
	for name, err := range map[string]error{
		"an event":            j.ServerFrame([]byte(`{"type":"react","data":{}}`)),
		"one of the client's": j.ServerFrame([]byte(`{"type":"mark_read","data":{}}`)),
		"a field of an event": j.ServerFrame([]byte(`{"type":"heartbeat_ack","data":{"time":1,"zone":"UTC"}}`)),
		"a mark of both":      j.ClientFrame([]byte(`{"type":"mark_read","data":{"conversation_id":"17c43426-d780-5e57-b88e-bcc975610551"}}`)),
		"a parameter":         ask(j, "GET", "/api/v1/presence", "user_ids="+somebody+"&mood=1", ""),
		"none":                ask(j, "GET", "/api/v1/presence", "", ""),
		"a wrong one":         ask(j, "GET", "/api/v1/presence", "user_ids="+somebody+",x", ""),
		"too much":            ask(j, "GET", "/api/v1/conversations", "limit=201", ""),
		"no number":           ask(j, "GET", "/api/v1/conversations", "limit=x", ""),
		"a path":              ask(j, "GET", "/api/v1/conversations/x", "", ""),
		"a long name":         ask(j, "DELETE", "/api/v1/devices/"+strings.Repeat("%C3%BC", 33)+"/push", "", ""),
		"a body":              ask(j, "GET", "/api/v1/presence", "user_ids="+somebody, "{}"),
		"a wrong body":        ask(j, "POST", "/api/v1/sync", "", `{"have":[]}`),
		"no body":             ask(j, "POST", "/api/v1/sync", "", ""),
	} {
		if err == nil {
			t.Errorf("%s that is not described passes", name)
		}
	}
	for name, err := range map[string]error{
		"a list":      ask(j, "GET", "/api/v1/presence", "user_ids="+somebody+","+somebody, ""),
		"a number":    ask(j, "GET", "/api/v1/conversations", "limit=200", ""),
		"a long name": ask(j, "DELETE", "/api/v1/devices/"+strings.Repeat("%C3%BC", 32)+"/push", "", ""),
		"a body":      ask(j, "POST", "/api/v1/sync", "", `{"have":{"`+somebody+`":1}}`),
	} {
		if err != nil {
			t.Errorf("%s that is described: %v", name, err)
		}
	}
}

const somebody = "17c43426-d780-5e57-b88e-bcc975610551"

func ask(j *judge.Judge, method, path, query, body string) error {
	return j.Request(judge.Request{Method: method, Path: path, Query: query, Body: []byte(body)})
}
