package reference_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"switchboard/dev/reference"
	"switchboard/docs"
)

func get(t *testing.T, method, path string) *httptest.ResponseRecorder {
	t.Helper()
	h, err := reference.New()
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w
}

func TestThePageShowsAllOfBoth(t *testing.T) {
	page := get(t, "GET", "/docs").Body.String()
	for _, document := range []string{docs.OpenAPI, docs.AsyncAPI} {
		for _, found := range regexp.MustCompile(`(?m)^ +(?:operationId|title): (\w+)$`).FindAllStringSubmatch(document, -1) {
			if !strings.Contains(page, found[1]) {
				t.Errorf("the page lacks %s", found[1])
			}
		}
		for _, found := range regexp.MustCompile(`(?m)^  (/api/.*):$`).FindAllStringSubmatch(document, -1) {
			if !strings.Contains(page, "<code>"+found[1]+"</code>") {
				t.Errorf("the page lacks %s", found[1])
			}
		}
	}
	for _, text := range []string{"4504 session_replaced", "&lt;tag&gt;"} {
		if !strings.Contains(page, text) {
			t.Errorf("the page lacks %q", text)
		}
	}
}

// Every link leads to a place of the page or to one of its files.
func TestThePageHasNoLooseLink(t *testing.T) {
	page := get(t, "GET", "/docs/").Body.String()
	ids := make(map[string]bool)
	for _, found := range regexp.MustCompile(` id="([^"]+)"`).FindAllStringSubmatch(page, -1) {
		if ids[found[1]] {
			t.Errorf("two places are called %s", found[1])
		}
		ids[found[1]] = true
	}
	links := regexp.MustCompile(` href="([^"]+)"`).FindAllStringSubmatch(page, -1)
	for _, found := range links {
		place, inside := strings.CutPrefix(found[1], "#")
		switch {
		case inside && !ids[place]:
			t.Errorf("%s leads nowhere", found[1])
		case !inside && get(t, "GET", found[1]).Code != http.StatusOK:
			t.Errorf("%s is not there", found[1])
		}
	}
	if len(links) < 50 {
		t.Errorf("the page has %d links", len(links))
	}
}

// The page runs nothing, and the policy says so.
func TestThePageNeedsNothingFromElsewhere(t *testing.T) {
	r := get(t, "GET", "/docs")
	page := r.Body.String()
	for _, bad := range []string{"<script", "<style", " style=", "http-equiv", "<img", "<iframe"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %s", bad)
		}
	}
	const policy = "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
	if got := r.Header().Get("Content-Security-Policy"); got != policy {
		t.Errorf("the policy is %q", got)
	}
}

func TestTheDocumentsThemselves(t *testing.T) {
	for path, want := range map[string]string{"/docs/openapi.yaml": docs.OpenAPI, "/docs/asyncapi.yaml": docs.AsyncAPI} {
		r := get(t, "GET", path)
		if got := r.Body.String(); got != want || r.Header().Get("Content-Type") != "application/yaml" || r.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s is not the document: %v", path, r.Header())
		}
	}
	for method, path := range map[string]string{"GET": "/docs/nothing", "POST": "/docs"} {
		want := map[string]int{"GET": http.StatusNotFound, "POST": http.StatusMethodNotAllowed}[method]
		if got := get(t, method, path).Code; got != want {
			t.Errorf("%s %s: got %d, want %d", method, path, got, want)
		}
	}
	if !reference.Handles("/docs") || !reference.Handles("/docs/x") || reference.Handles("/docsx") {
		t.Error("other paths are taken, or its own are not")
	}
}
