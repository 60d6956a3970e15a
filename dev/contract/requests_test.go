package contract

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"switchboard/dev/judge"
	"switchboard/dev/judge/calls"
)

// Requests that are made out of docs/openapi.yaml, for each operation in it: package
// calls makes them, and here they are sent and their answers judged. What the document
// allows must not be refused for its shape, what it forbids must be refused, and nothing
// may fail.

var (
	requestsSeed = flag.Uint64("requests.seed", 1, "the `SEED` of the requests that are made out of openapi.yaml")
	requestsMost = flag.Int("requests.max", 150, "about how many `REQUESTS` are made of each operation")
)

// callsOfACast is after how many calls of an operation others make the next ones: what
// they had may be gone, and nobody may call too fast.
const callsOfACast = 40

// causes are why something may be refused with 400 or 413 that the schemas of the
// document allow: each is said in the document or in docs/protocol.md in words.
var causes = map[string]string{
	"listConversations":  "the cursor is not one of this list",
	"createConversation": "a direct conversation has exactly one other member",
	"listMessages":       "there is more than one cursor",
	"postMessage":        "only an image or a file with a media_url may have none|media_url was not issued to you|conversation_id is not that of the path",
	"postRead":           "the mark is beyond the newest event",
	"putPush":            "^endpoint or token is empty|^endpoint is no https URL|^keys.p256dh and keys.auth are not|^provider is empty",
	"search":             "the query has no words and no filter|the cursor is not one of this search|the query has another|a phrase has more than|the query has more than",
}

// unreached are operations that some systems do not have: each says so by the code of
// its refusals.
var unreached = map[string]string{
	"beginUpload":    "not_found", // The store takes no files from clients.
	"completeUpload": "not_found", // So there is nothing to complete.
}

// tally is how the calls of one operation were answered.
type tally struct {
	statuses map[int]int
	codes    map[string]int // of refusals of what is allowed
}

func TestRequestsOfTheDocument(t *testing.T) {
	here(t)
	all := calls.Operations(described(t).Document("openapi"))
	t.Logf("-requests.seed %d -requests.max %d", *requestsSeed, *requestsMost)
	var mu sync.Mutex
	tallies := map[string]tally{}
	t.Run("of", func(t *testing.T) {
		for _, operation := range all {
			t.Run(operation.ID, func(t *testing.T) {
				t.Parallel()
				told := drive(t, operation)
				mu.Lock()
				defer mu.Unlock()
				tallies[operation.ID] = told
			})
		}
	})
	for _, operation := range all {
		told, ran := tallies[operation.ID]
		if !ran {
			continue // It was not asked for, or has failed.
		}
		var row strings.Builder
		for _, status := range slices.Sorted(maps.Keys(told.statuses)) {
			fmt.Fprintf(&row, "  %d × %d", status, told.statuses[status])
		}
		t.Logf("%-20s%s", operation.ID, row.String())
		told.complete(t, operation)
	}
}

// drive sends all calls of an operation.
func drive(t *testing.T, operation *calls.Operation) tally {
	told := tally{map[int]int{}, map[string]int{}}
	var c *cast
	var plan []*calls.Call
	for i := 0; i == 0 || i < len(plan); i++ {
		if i%callsOfACast == 0 {
			c = newCast(t)
			plan = operation.Plan(*requestsSeed, *requestsMost, c.links)
		}
		call := plan[i]
		a := c.sends(call)
		told.statuses[a.status]++
		if problem := judgement(call, a); problem != "" {
			t.Errorf("%s: %s\n%s %s?%s %v\n%.500q\n%d %s", call, problem, call.Method, call.Path, call.Query, call.Header, call.Body, a.status, a.body)
		}
		if call.Kind == calls.Taken && a.status >= http.StatusBadRequest {
			told.codes[a.code()]++
		}
	}
	return told
}

// complete says what never happened and must have.
func (told tally) complete(t *testing.T, operation *calls.Operation) {
	t.Helper()
	want := []int{http.StatusUnauthorized}
	if operation.HasPath() {
		want = append(want, http.StatusNotFound)
	}
	if operation.TakesJSON() {
		want = append(want, http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	for _, status := range want {
		if operation.Has(strconv.Itoa(status)) && told.statuses[status] == 0 {
			t.Errorf("%s was never answered with %d", operation.ID, status)
		}
	}
	for status := range told.statuses {
		if status/100 == 2 || status == http.StatusFound {
			return
		}
	}
	if code, may := unreached[operation.ID]; !may || told.codes[code] == 0 || len(told.codes) > 1 {
		t.Errorf("no call of %s did what it should: %v", operation.ID, told.codes)
	}
}

// judgement says what is wrong with the answer of a call.
func judgement(call *calls.Call, a answer) string {
	given := judge.Answer{Method: call.Method, Path: call.Path, Status: a.status, ContentType: a.header.Get("Content-Type"), Body: a.body}
	if err := described(a.t).Answer(given); err != nil {
		return err.Error()
	}
	if a.status >= http.StatusInternalServerError {
		return "it failed"
	}
	var may []int
	switch call.Kind {
	case calls.Taken, calls.Lenient:
		return untaken(call, a)
	case calls.Refused, calls.Malformed:
		may = []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge}
		if _, nowhere := unreached[call.Operation.ID]; nowhere || call.InPath {
			may = append(may, http.StatusNotFound)
		}
	case calls.Unauthorized:
		may = []int{http.StatusUnauthorized}
	case calls.Unsupported:
		may = []int{http.StatusUnsupportedMediaType}
	case calls.TooLarge:
		may = []int{http.StatusRequestEntityTooLarge}
	case calls.Odd:
		return ""
	}
	if !slices.Contains(may, a.status) {
		return fmt.Sprintf("it must be refused with one of %v", may)
	}
	return ""
}

// untaken says why something that the document allows must not have been refused so.
// That there is no such thing, that somebody may not, or that a key was used is nothing
// that a document could know.
func untaken(call *calls.Call, a answer) string {
	switch {
	case a.status < http.StatusBadRequest:
		if strings.HasSuffix(call.Path, "/sync") {
			a.events(described(a.t))
		}
		return ""
	case slices.Contains([]int{http.StatusForbidden, http.StatusNotFound, http.StatusConflict}, a.status):
		return ""
	}
	cause, known := causes[call.Operation.ID]
	if known && regexp.MustCompile(cause).MatchString(a.detail()) {
		return ""
	}
	return "the document allows it"
}

// problemOf reads a refusal.
func (a answer) problemOf() (p struct{ Code, Detail string }) {
	if a.header.Get("Content-Type") == "application/problem+json" {
		if err := json.Unmarshal(a.body, &p); err != nil {
			a.t.Fatal(err)
		}
	}
	return p
}

func (a answer) code() string   { return a.problemOf().Code }
func (a answer) detail() string { return a.problemOf().Detail }

// cast is a person, and what there is for her.
type cast struct {
	*person
	links calls.Links
}

// newCast makes a person with a friend, a group of them with a message, a picture and a
// device.
func newCast(t *testing.T) *cast {
	t.Helper()
	alice, bob := newcomer(t), newcomer(t)
	group := alice.group("Friday", bob.id)
	id := alice.post(group, "hello")["message_id"]
	file := picture(t)
	up := alice.uploads("cat.png", file).good()
	alice.call("PUT", "/api/v1/devices/phone/push", subscription()).good()
	another := func() any { return fresh() }
	links := calls.Links{
		"conversation": group, "user": bob.id, "media": up["media_id"], "device": "phone",
		"conversation_id": group, "from": alice.id, "before_id": id, "after_id": id, "reply_to": id,
		"media_url": up["media_url"], "member_ids": []any{bob.id}, "have": object{group: 1}, "user_ids": []any{alice.id, bob.id},
		"seq": 1, "search.q": "hello", "conversation_ids": []any{group}, "file": string(file),
		"client_message_id": another, "client_conversation_id": another, "Idempotency-Key": another,
		"endpoint": func() any { return "https://push.example.net/" + fresh() },
	}
	signed, err := url.Parse(up["media_url"].(string))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"exp", "sig", "own"} {
		links[name] = signed.Query().Get(name)
	}
	if begun, ok := alice.begins(len(file)); ok {
		compare(t, "the bytes", puts(t, begun, file), http.StatusOK)
		links["completeUpload.media"] = begun["upload_id"]
	}
	return &cast{alice, links}
}

// tooSoonMost is how often a call may come too soon.
const tooSoonMost = 20

// sends sends a call, again where it came too soon.
func (c *cast) sends(call *calls.Call) answer {
	c.t.Helper()
	var header []string
	if call.Kind != calls.Unauthorized {
		header = append(header, "Authorization", "Bearer "+c.token)
	}
	for name := range call.Header {
		header = append(header, name, call.Header.Get(name))
	}
	at := c.site.REST[0] + call.Path
	if call.Query != "" {
		at += "?" + call.Query
	}
	for try := 1; ; try++ {
		var body any
		if call.Body != nil {
			body = string(call.Body)
		}
		a := request(c.t, call.Method, at, body, header...)
		if a.status != http.StatusTooManyRequests {
			return a
		}
		seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
		if err != nil || a.code() != "rate_limited" || try == tooSoonMost {
			c.t.Fatalf("%s: %d %s", call, a.status, a.body)
		}
		time.Sleep(time.Duration(cmp.Or(seconds, 1)) * time.Second)
	}
}
