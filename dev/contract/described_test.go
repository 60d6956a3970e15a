package contract

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"switchboard/dev/judge"
)

// Whatever the tests of this package are answered must be as docs/openapi.yaml and
// docs/asyncapi.yaml describe it, routes, statuses, types, bodies and frames: here
// each answer and each frame passes by.

// judged is the judge of all tests.
var judged = sync.OnceValues(judge.New)

func described(t *testing.T) *judge.Judge {
	t.Helper()
	j, err := judged()
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// described judges an answer, and the request that it was given to if that was
// taken for good.
func (a answer) described(method, path string, body any) {
	a.t.Helper()
	path, query, _ := strings.Cut(path, "?")
	if !strings.HasPrefix(path, "/api/") || method == http.MethodOptions {
		return
	}
	j := described(a.t)
	given := judge.Answer{Method: method, Path: path, Status: a.status, ContentType: a.header.Get("Content-Type"), Body: a.body}
	if err := j.Answer(given); err != nil {
		a.t.Errorf("%s is not as described: %v\n%s", a.what, err, a.body)
	}
	if a.status/100 != 2 || method == http.MethodHead {
		return
	}
	text, err := json.Marshal(body)
	if raw, ok := body.(string); ok {
		text = []byte(raw)
	} else if body == nil {
		text = nil
	}
	if err != nil {
		a.t.Fatal(err)
	}
	// What is not known is ignored, and tests say such things on purpose.
	if err := j.Request(judge.Request{Method: method, Path: path, Query: query, Body: text}); err != nil && !slices.Contains(liberties, a.t.Name()) {
		a.t.Errorf("what was asked of %s is not as described: %v\n%s", a.what, err, text)
	}
	if path == "/api/v1/sync" {
		a.events(j)
	}
}

// liberties are tests which send what a client need not know of and must not lean
// on.
var liberties = []string{"TestFrameUnknownFields"}

// events judges those in the answer of a sync: they are as they were pushed.
func (a answer) events(j *judge.Judge) {
	a.t.Helper()
	var missed struct {
		Events []json.RawMessage `json:"events"`
	}
	if err := json.Unmarshal(a.body, &missed); err != nil {
		a.t.Fatal(err)
	}
	for _, event := range missed.Events {
		if err := j.ServerFrame(event); err != nil {
			a.t.Errorf("an event of %s is not as described: %v\n%s", a.what, err, event)
		}
	}
}
