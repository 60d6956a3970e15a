package judge

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// Request is what is asked of a server.
type Request struct {
	Method, Path string // the path as it stands in the URL, without its query
	Query        string
	Header       http.Header // those that the document speaks of
	Body         []byte
}

// Request says what is wrong with a call that was answered as it should be. Of bodies
// it judges those that are JSON.
func (j *Judge) Request(r Request) error {
	pattern, item := j.item(r.Path)
	method := strings.ToLower(r.Method)
	operation, ok := item[method].(Object)
	if !ok {
		return fmt.Errorf("openapi.yaml does not describe %s %s", r.Method, r.Path)
	}
	if err := j.parameters(pattern, method, r); err != nil {
		return err
	}
	if _, takes := operation["requestBody"]; !takes {
		if len(r.Body) > 0 {
			return fmt.Errorf("openapi.yaml describes no body of %s %s", r.Method, pattern)
		}
		return nil
	}
	request, _ := At(operation, "requestBody")
	content, _ := At(request, "content")
	if _, isJSON := content["application/json"]; !isJSON || len(r.Body) == 0 && request["required"] != true {
		return nil
	}
	return j.check(openAPI, reference("paths", pattern, method, "requestBody", "content", "application/json", "schema"), r.Body)
}

// parameters judges those of a path, a query and a header.
func (j *Judge) parameters(pattern, method string, r Request) error {
	query, err := url.ParseQuery(r.Query)
	if err != nil {
		return err
	}
	given := map[string]url.Values{"query": query, "path": inPath(pattern, r.Path), "header": url.Values(r.Header)}
	for _, at := range [][]string{{"paths", pattern}, {"paths", pattern, method}} {
		item, _ := At(j.rest, at...)
		list, _ := item["parameters"].([]any)
		for i, entry := range list {
			ref := reference(append(at, "parameters", fmt.Sprint(i))...)
			parameter, _ := entry.(Object)
			if target, refers := parameter["$ref"].(string); refers {
				ref = target
				parameter, _ = At(j.rest, Pointer(target)...)
			}
			in, _ := parameter["in"].(string)
			if err := j.parameter(ref, parameter, given[in]); err != nil {
				return fmt.Errorf("a parameter of %s: %w", pattern, err)
			}
			query.Del(parameter["name"].(string))
		}
	}
	for name := range query {
		return fmt.Errorf("openapi.yaml does not describe the parameter %s of %s", name, pattern)
	}
	return nil
}

// inPath returns what a path says for the parameters of its pattern.
func inPath(pattern, path string) url.Values {
	given := url.Values{}
	parts := strings.Split(path, "/")
	for i, name := range strings.Split(pattern, "/") {
		if strings.HasPrefix(name, "{") {
			value, err := url.PathUnescape(parts[i])
			if err != nil {
				value = parts[i]
			}
			given.Set(strings.Trim(name, "{}"), value)
		}
	}
	return given
}

// parameter judges one, which is text that may stand for something else.
func (j *Judge) parameter(ref string, parameter Object, given url.Values) error {
	name, _ := parameter["name"].(string)
	values := given[name]
	switch {
	case len(values) == 0 && parameter["required"] == true:
		return fmt.Errorf("%s is not there", name)
	case len(values) == 0:
		return nil
	case len(values) > 1:
		return fmt.Errorf("%s is there more than once", name)
	}
	schema, _ := At(parameter, "schema")
	encoded, err := json.Marshal(meaning(schema, values[0]))
	if err == nil {
		err = j.check(openAPI, ref+"/schema", encoded)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// meaning is what a text stands for by its schema: a list, or a number if it is one.
func meaning(schema Object, text string) any {
	switch schema["type"] {
	case "integer":
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n
		}
	case "array":
		return strings.Split(text, ",")
	}
	return text
}

// BytesKeyword limits a string by its bytes in UTF-8, which JSON Schema cannot.
const BytesKeyword = "x-max-bytes"

// byteLimit is that limit.
type byteLimit int

func maxBytes(_ *jsonschema.CompilerContext, schema map[string]any) (jsonschema.SchemaExt, error) {
	value, has := schema[BytesKeyword]
	if !has {
		return nil, nil //nolint:nilnil // That is how the library hears that there is none.
	}
	limit, _ := value.(json.Number) // What is no number is empty, and not whole.
	n, err := limit.Int64()
	if err != nil {
		return nil, errors.New(BytesKeyword + " is no whole number")
	}
	return byteLimit(n), nil
}

// Validate implements [jsonschema.SchemaExt].
func (b byteLimit) Validate(ctx *jsonschema.ValidatorContext, v any) {
	if s, ok := v.(string); ok && len(s) > int(b) {
		ctx.AddError(&kind.MaxLength{Got: len(s), Want: int(b)})
	}
}
