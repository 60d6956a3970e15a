package judge

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"switchboard/docs"
)

// The names under which the documents refer to themselves.
const (
	openAPI  = "https://docs.invalid/openapi.json"
	asyncAPI = "https://docs.invalid/asyncapi.json"
)

// Object is a JSON object.
type Object = map[string]any

// Judge knows both documents. It may be used by many goroutines.
type Judge struct {
	// Fixed after New.
	rest, events Object
	messages     map[direction]map[string]string // where the payload of a type is

	mu       sync.Mutex
	compiler *jsonschema.Compiler
	compiled map[string]*jsonschema.Schema
}

// direction says whose frames: those that the server sends, or that it receives.
type direction string

const (
	fromClient direction = "receive"
	fromServer direction = "send"
)

// New reads both documents.
func New() (*Judge, error) {
	rest, err := Read(docs.OpenAPI)
	if err != nil {
		return nil, fmt.Errorf("read openapi.yaml: %w", err)
	}
	events, err := Read(docs.AsyncAPI)
	if err != nil {
		return nil, fmt.Errorf("read asyncapi.yaml: %w", err)
	}
	j := &Judge{rest: rest, events: events, compiler: jsonschema.NewCompiler(), compiled: make(map[string]*jsonschema.Schema)}
	j.compiler.DefaultDraft(jsonschema.Draft2020)
	j.compiler.RegisterVocabulary(&jsonschema.Vocabulary{URL: "https://docs.invalid/bytes", Compile: maxBytes})
	j.compiler.AssertVocabs()
	if err := errors.Join(j.compiler.AddResource(openAPI, closed(rest)), j.compiler.AddResource(asyncAPI, closed(events))); err != nil {
		return nil, err
	}
	j.messages, err = messagesOf(events)
	return j, err
}

// Read turns a document in YAML into what JSON would have brought.
func Read(text string) (Object, error) {
	var doc any
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		return nil, err
	}
	encoded, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	plain, err := jsonschema.UnmarshalJSON(bytes.NewReader(encoded))
	if err != nil {
		return nil, err
	}
	object, ok := plain.(Object)
	if !ok {
		return nil, errors.New("it is no object")
	}
	return object, nil
}

// closed returns a copy in which no object has fields that are not described.
func closed(v any) any {
	switch v := v.(type) {
	case Object:
		all := make(Object, len(v)+1)
		for name, value := range v {
			all[name] = closed(value)
		}
		_, lists := v["properties"]
		_, says := v["additionalProperties"]
		if lists && v["type"] == "object" && !says {
			all["additionalProperties"] = false
		}
		return all
	case []any:
		all := make([]any, len(v))
		for i := range v {
			all[i] = closed(v[i])
		}
		return all
	}
	return v
}

// At follows a path of names through a document, and the references on the way.
func At(doc Object, names ...string) (Object, bool) {
	at := doc
	for _, name := range names {
		next, ok := at[name].(Object)
		if ref, refers := next["$ref"].(string); refers && len(next) == 1 {
			next, ok = At(doc, Pointer(ref)...)
		}
		if !ok {
			return nil, false
		}
		at = next
	}
	return at, true
}

// Pointer splits a reference within a document.
func Pointer(ref string) (names []string) {
	for name := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		names = append(names, strings.NewReplacer("~1", "/", "~0", "~").Replace(name))
	}
	return names
}

// Required are the names of the properties that a schema needs.
func Required(schema Object) (names []string) {
	list, _ := schema["required"].([]any)
	for _, name := range list {
		text, _ := name.(string)
		names = append(names, text)
	}
	return names
}

// reference joins names to one.
func reference(names ...string) string {
	var ref strings.Builder
	ref.WriteByte('#')
	for _, name := range names {
		ref.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name))
	}
	return ref.String()
}

// messagesOf returns where the payload of each event is, by the operations that
// send or receive it.
func messagesOf(events Object) (map[direction]map[string]string, error) {
	all := map[direction]map[string]string{fromClient: {}, fromServer: {}}
	operations, _ := At(events, "operations")
	for name := range operations {
		operation, _ := At(operations, name)
		action, _ := operation["action"].(string)
		to := all[direction(action)]
		if to == nil {
			return nil, fmt.Errorf("the operation %s has the action %q", name, action)
		}
		if err := collect(events, operation["messages"], to); err != nil {
			return nil, err
		}
		if reply, ok := operation["reply"].(Object); ok {
			if err := collect(events, reply["messages"], all[fromServer]); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// collect notes the messages of a list of references to a channel's.
func collect(events Object, list any, to map[string]string) error {
	refs, _ := list.([]any)
	for _, item := range refs {
		ref, _ := item.(Object)["$ref"].(string)
		inChannel := Pointer(ref)
		channel, _ := At(events, inChannel[:len(inChannel)-1]...)
		entry, _ := channel[inChannel[len(inChannel)-1]].(Object)
		target, _ := entry["$ref"].(string)
		payload, ok := At(events, append(Pointer(target), "payload", "properties", "type")...)
		kind, named := payload["const"].(string)
		if !ok || !named {
			return fmt.Errorf("%s leads to no message with a type", ref)
		}
		to[kind] = target + "/payload"
	}
	return nil
}

// schema returns the schema at a reference.
func (j *Judge) schema(document, ref string) (*jsonschema.Schema, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if s := j.compiled[document+ref]; s != nil {
		return s, nil
	}
	s, err := j.compiler.Compile(document + (&url.URL{Fragment: strings.TrimPrefix(ref, "#")}).String())
	if err == nil {
		j.compiled[document+ref] = s
	}
	return s, err
}

// check holds JSON against a schema.
func (j *Judge) check(document, ref string, text []byte) error {
	schema, err := j.schema(document, ref)
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

// ClientEvents lists the types of what clients may send.
func (j *Judge) ClientEvents() []string { return slices.Sorted(maps.Keys(j.messages[fromClient])) }

// ServerEvents lists the types of what clients get.
func (j *Judge) ServerEvents() []string { return slices.Sorted(maps.Keys(j.messages[fromServer])) }

// ClientFrame says what is wrong with a frame from a client.
func (j *Judge) ClientFrame(text []byte) error { return j.frame(fromClient, text) }

// ServerFrame says what is wrong with a frame from a server.
func (j *Judge) ServerFrame(text []byte) error { return j.frame(fromServer, text) }

func (j *Judge) frame(of direction, text []byte) error {
	var envelope struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(text, &envelope); err != nil {
		return err
	}
	ref, ok := j.messages[of][envelope.Type]
	if !ok {
		return fmt.Errorf("asyncapi.yaml does not describe %q", envelope.Type)
	}
	return j.check(asyncAPI, ref, text)
}

// Routes lists the described calls, as in "GET /api/v1/conversations/{conversation}".
func (j *Judge) Routes() (routes []string) {
	paths, _ := At(j.rest, "paths")
	for path, item := range paths {
		for name := range item.(Object) {
			if name != "parameters" {
				routes = append(routes, strings.ToUpper(name)+" "+path)
			}
		}
	}
	slices.Sort(routes)
	return routes
}

// Answer is what a call brought.
type Answer struct {
	Method, Path string // the path without its query
	Status       int
	ContentType  string
	Body         []byte // that of HEAD is not there
}

// Answer says what is wrong with an answer.
func (j *Judge) Answer(a Answer) error {
	path, item := j.item(a.Path)
	method := a.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	_, known := item[strings.ToLower(method)]
	switch {
	case item == nil:
		return j.refusal(a, http.StatusNotFound)
	case !known:
		return j.refusal(a, http.StatusMethodNotAllowed)
	}
	status := strconv.Itoa(a.Status)
	responses, _ := At(j.rest, "paths", path, strings.ToLower(method), "responses")
	response, described := responses[status].(Object)
	if !described {
		return fmt.Errorf("openapi.yaml does not describe the status %d of %s %s", a.Status, method, path)
	}
	ref := reference("paths", path, strings.ToLower(method), "responses", status)
	if target, refers := response["$ref"].(string); refers {
		ref = target
		response, _ = At(j.rest, Pointer(target)...)
	}
	content, _ := At(response, "content")
	if len(content) == 0 || a.Method == http.MethodHead {
		if len(a.Body) > 0 {
			return fmt.Errorf("the answer of %s %s has a body: %s", a.Method, path, a.Body)
		}
		return nil
	}
	if _, whatever := content["*/*"]; whatever {
		return nil
	}
	if _, ok := content[a.ContentType]; !ok {
		return fmt.Errorf("openapi.yaml describes no %q as the answer of %s %s", a.ContentType, method, path)
	}
	return j.check(openAPI, ref+reference("content", a.ContentType, "schema")[1:], a.Body)
}

// refusal judges the answer to what is not described.
func (j *Judge) refusal(a Answer, status int) error {
	if a.Status != status && a.Status != http.StatusServiceUnavailable {
		return fmt.Errorf("openapi.yaml does not describe %s %s, which was answered with %d", a.Method, a.Path, a.Status)
	}
	if a.Method == http.MethodHead {
		return nil
	}
	return j.check(openAPI, reference("components", "schemas", "Problem"), a.Body)
}

// item returns the described path that a path is one of.
func (j *Judge) item(path string) (string, Object) {
	paths, _ := At(j.rest, "paths")
	parts := strings.Split(path, "/")
	var best string
	for pattern := range paths {
		if matches(strings.Split(pattern, "/"), parts) && (best == "" || strings.Count(pattern, "{") < strings.Count(best, "{")) {
			best = pattern
		}
	}
	if best == "" {
		return "", nil
	}
	item, _ := At(paths, best)
	return best, item
}

func matches(pattern, parts []string) bool {
	return slices.EqualFunc(pattern, parts, func(want, got string) bool {
		return want == got || strings.HasPrefix(want, "{") && got != ""
	})
}

// Document returns one of the two as it was read: openapi or asyncapi.
func (j *Judge) Document(name string) Object {
	if name == "openapi" {
		return j.rest
	}
	return j.events
}

// Value says what is wrong with JSON as a schema of openapi.yaml.
func (j *Judge) Value(schema string, text []byte) error {
	return j.check(openAPI, reference("components", "schemas", schema), text)
}
