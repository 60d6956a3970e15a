package switchboard_test

import (
	"encoding/json"
	"go/ast"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"switchboard/dev/judge"
	"switchboard/internal/chat"
	"switchboard/internal/metrics"
	"switchboard/internal/wire"
	"switchboard/storage-worker/rest"
)

// docs/openapi.yaml and docs/asyncapi.yaml against the code: what is served is
// described, and what is described is served. Whether the answers of a running
// system are as described, dev/contract asks.

const goldenFrames = "internal/wire/testdata"

func documents(t *testing.T) *judge.Judge {
	t.Helper()
	j, err := judge.New()
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestEveryRouteIsDescribed(t *testing.T) {
	served := rest.New(rest.Config{Logger: slog.New(slog.DiscardHandler), Metrics: metrics.New()}).Routes()
	sameList(t, "routes of storage-worker/rest and of openapi.yaml", served, documents(t).Routes())
}

func TestEveryEventIsDescribed(t *testing.T) {
	j := documents(t)
	sameList(t, "events that package wire decodes, and of asyncapi.yaml", wire.ClientEvents(), j.ClientEvents())
	sameList(t, "events that package wire encodes, and of asyncapi.yaml", serverEvents(t), j.ServerEvents())
	for i, table := range [][]string{j.ClientEvents(), j.ServerEvents()} {
		var page []string
		for _, row := range rowsOf(t, protocolPage, "Frames", i+1) {
			if name, _, _ := strings.Cut(row[0], " "); row[len(row)-1] == "now" && !slices.Contains(page, name) {
				page = append(page, name)
			}
		}
		for _, name := range page {
			if !slices.Contains(table, name) {
				t.Errorf("asyncapi.yaml lacks %s, which %s has", name, protocolPage)
			}
		}
		same(t, "events of the page", len(page), len(table))
	}
}

// serverEvents are the cases of wire.ServerEvent.target, which makes room for the
// data of each.
func serverEvents(t *testing.T) (names []string) {
	t.Helper()
	for _, s := range sources(t, os.DirFS(".")) {
		if s.path != "internal/wire/server.go" {
			continue
		}
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); !ok || f.Name.Name != "target" {
				continue
			}
			ast.Inspect(d, func(n ast.Node) bool {
				if text, ok := n.(*ast.BasicLit); ok {
					name, err := strconv.Unquote(text.Value)
					if err != nil {
						t.Fatal(err)
					}
					names = append(names, name)
				}
				return true
			})
		}
	}
	return names
}

func sameList(t *testing.T, what string, code, described []string) {
	t.Helper()
	for _, one := range code {
		if !slices.Contains(described, one) {
			t.Errorf("%s: %s is not described", what, one)
		}
	}
	for _, one := range described {
		if !slices.Contains(code, one) {
			t.Errorf("%s: %s is described and not there", what, one)
		}
	}
	if len(code) == 0 {
		t.Errorf("%s: there is nothing", what)
	}
}

// The golden frames are as described, and are the examples: each of them, byte for
// byte but for white space.
func TestTheGoldenFramesAreTheExamples(t *testing.T) {
	j := documents(t)
	shown := examples(t, j)
	files, err := filepath.Glob(goldenFrames + "/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden frames: %v", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		switch of, _, _ := strings.Cut(name, "_"); {
		case name == "rest_event":
			err = j.Value("Message", text) // It is part of a page.
			shown[name] = decoded(t, text)
		case of == "client":
			err = j.ClientFrame(text)
		case of == "server":
			err = j.ServerFrame(text)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if example, ok := shown[name]; !ok {
			t.Errorf("%s is no example", name)
		} else if !reflect.DeepEqual(example, decoded(t, text)) {
			t.Errorf("the example %s is not %s: %v", name, file, example)
		}
		delete(shown, name)
	}
	for name := range shown {
		t.Errorf("the example %s is no golden frame", name)
	}
}

func decoded(t *testing.T, text []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// examples returns all of both documents by their names.
func examples(t *testing.T, j *judge.Judge) map[string]any {
	t.Helper()
	found := make(map[string]any)
	note := func(name string, value any) {
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		found[name] = decoded(t, text)
	}
	messages, _ := judge.At(j.Document("asyncapi"), "components", "messages")
	for _, message := range messages {
		list, _ := message.(judge.Object)["examples"].([]any)
		for _, example := range list {
			note(example.(judge.Object)["name"].(string), example.(judge.Object)["payload"])
		}
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case judge.Object:
			if list, ok := v["examples"].(judge.Object); ok {
				for name, example := range list {
					value := example.(judge.Object)["value"]
					note(name, value)
					schema, _ := v["schema"].(judge.Object)
					ref, _ := schema["$ref"].(string)
					if text, err := json.Marshal(value); err != nil {
						t.Fatal(err)
					} else if name := strings.TrimPrefix(ref, "#/components/schemas/"); name != "" {
						if err := j.Value(name, text); err != nil {
							t.Errorf("an example of %s: %v", name, err)
						}
					}
				}
			}
			for _, value := range v {
				walk(value)
			}
		case []any:
			for _, value := range v {
				walk(value)
			}
		}
	}
	walk(j.Document("openapi"))
	return found
}

// Each described object has the fields that the code writes, and needs those that
// are always written.
func TestDescribedFieldsAreThoseOfTheCode(t *testing.T) {
	j := documents(t)
	for name, code := range map[string]any{
		"Gateway": wire.GatewayInfo{}, "Conversation": wire.Conversation{}, "ConversationList": wire.ConversationList{},
		"Member": wire.Member{}, "MemberList": wire.MemberList{}, "Message": wire.Message{}, "Event": wire.Event{},
		"MessagePage": wire.MessagePage{}, "MessageSent": wire.MessageSent{}, "SyncAnswer": wire.SyncResponse{},
		"Head": wire.Head{}, "Presence": wire.Presence{}, "Upload": wire.Upload{}, "DirectUpload": wire.DirectUpload{}, "Device": wire.Device{}, "DeviceList": wire.DeviceList{}, "SearchPage": wire.SearchPage{},
		"SearchResult": wire.SearchResult{}, "Highlight": wire.Highlight{}, "Problem": wire.Problem{},
	} {
		sameFields(t, name, j.Document("openapi"), code, "components", "schemas", name)
	}
	sameFields(t, "Limits", j.Document("asyncapi"), wire.Limits{}, "components", "schemas", "Limits")
	for name, code := range map[string]any{
		"connected": wire.Connected{}, "message_sent": wire.MessageSent{}, "conversation_updated": wire.ConversationUpdated{},
		"error": wire.Error{}, "heartbeat_ack": wire.Stamp{}, "token_refreshed": wire.Expiry{}, "token_expiring": wire.Expiry{},
		"behind": wire.Behind{}, "reconnect": wire.Reconnect{}, "message_status": wire.MessageStatus{},
		"someone_typing": wire.Typing{}, "presence_update": wire.Presence{},
	} {
		sameFields(t, name, j.Document("asyncapi"), code, "components", "messages", name, "payload", "properties", "data")
	}
	// Requests are lenient: their fields are the same, what is needed is not.
	for name, code := range map[string]any{
		"CreateConversation": wire.CreateConversation{}, "PatchConversation": wire.PatchConversation{}, "PutMember": wire.PutMember{},
		"SendMessage": wire.SendMessage{}, "BeginUpload": wire.BeginUpload{}, "PutPush": wire.PutPush{}, "PushKeys": wire.PushKeys{}, "Mute": wire.Mute{}, "MarkRead": wire.MarkRead{}, "SyncRequest": wire.SyncRequest{},
	} {
		schema, _ := judge.At(j.Document("openapi"), "components", "schemas", name)
		fields, _ := fieldsOf(code)
		sameList(t, name, fields, slices.Collect(maps.Keys(schema["properties"].(judge.Object))))
	}
	told, _ := judge.At(j.Document("openapi"), "components", "schemas", "Device", "properties", "mute")
	_, always := fieldsOf(wire.Mute{})
	sameList(t, "what is always told of mute", always, judge.Required(told))
}

// fieldsOf returns the names of a struct in JSON, and which are always there.
func fieldsOf(code any) (all, always []string) {
	for field := range reflect.TypeOf(code).Fields() {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		all = append(all, name)
		if options == "" {
			always = append(always, name)
		}
	}
	return all, always
}

func sameFields(t *testing.T, what string, doc judge.Object, code any, at ...string) {
	t.Helper()
	schema, ok := judge.At(doc, at...)
	properties, _ := schema["properties"].(judge.Object)
	if !ok || properties == nil {
		t.Fatalf("%s is not described", what)
	}
	all, always := fieldsOf(code)
	sameList(t, "fields of "+what, all, slices.Collect(maps.Keys(properties)))
	if what == "conversation_updated" { // What else is needed depends on the change.
		always = []string{"conversation_id", "change"}
	}
	sameList(t, "fields that are always in "+what, always, judge.Required(schema))
}

// Codes, statuses, closes and limits are those of package chat and of the page.
func TestDescribedCodesAndLimits(t *testing.T) {
	j := documents(t)
	var codes []string
	for _, row := range rowsOf(t, protocolPage, "Errors", 0) {
		codes = append(codes, row[0])
	}
	for _, name := range []string{"openapi", "asyncapi"} {
		schema, _ := judge.At(j.Document(name), "components", "schemas", "Code")
		var described []string
		for _, code := range schema["enum"].([]any) {
			described = append(described, code.(string))
		}
		sameList(t, "codes of "+name+".yaml", codes, described)
	}
	responses, _ := judge.At(j.Document("openapi"), "components", "responses")
	for name := range responses {
		refusal, _ := judge.At(responses, name, "content", "application/problem+json", "schema", "properties")
		status := refusal["status"].(judge.Object)["const"]
		for _, code := range refusal["code"].(judge.Object)["enum"].([]any) {
			same(t, "status of "+code.(string), status, chat.Code(code.(string)).Status())
		}
	}
	socket, _ := judge.At(j.Document("asyncapi"), "channels", "socket")
	var closes, refusals []string
	for _, c := range socket["x-closes"].([]any) {
		one := c.(judge.Object)
		code := number(t, one["code"].(json.Number).String())
		closes = append(closes, one["code"].(json.Number).String())
		same(t, "reason of "+one["code"].(json.Number).String(), one["reason"], chat.CloseCode(code).Reason())
		same(t, "whether to come again after "+one["reason"].(string), one["again"] == true, code >= 4000 && code < 4500)
	}
	for _, r := range socket["x-refusals"].([]any) {
		refusals = append(refusals, r.(judge.Object)["status"].(json.Number).String())
	}
	sameList(t, "closes", slices.Concat(firsts(t, "Close codes", 0), firsts(t, "Close codes", 1)), closes)
	sameList(t, "refusals of an upgrade", firsts(t, "The socket", 2), refusals)
	limits, _ := judge.At(j.Document("asyncapi"), "components", "schemas", "Limits", "properties")
	for name, limit := range map[string]int{
		"frame_bytes": chat.FrameBytes, "content_bytes": chat.ContentBytes, "device_id_bytes": chat.DeviceIDBytes,
		"connections": chat.ConnectionsPerUser, "sends_per_second": chat.SendsPerSecond, "send_burst": chat.SendBurst,
		"typing_interval_ms": int(chat.TypingInterval.Milliseconds()),
	} {
		same(t, name, limits[name].(judge.Object)["const"], limit)
	}
}

// firsts are the first cells of a table of the page.
func firsts(t *testing.T, section string, table int) (cells []string) {
	t.Helper()
	for _, row := range rowsOf(t, protocolPage, section, table) {
		cells = append(cells, row[0])
	}
	return cells
}
