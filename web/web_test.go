package web

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A change of the sources without `npm run build` is seen without Node: the build
// writes down what it was made from. That it really was, the stage `web` of make
// test shows.
func TestThePageIsBuiltFromTheseSources(t *testing.T) {
	names := []string{"build.mjs", "package-lock.json"}
	for _, folder := range []string{"sdk/src", "src"} {
		files, err := filepath.Glob(folder + "/*")
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, files...)
	}
	slices.Sort(names)
	hash := sha256.New()
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(hash, "%s %d\n", name, len(text))
		hash.Write(text)
	}
	got, want := hex.EncodeToString(hash.Sum(nil)), strings.TrimSpace(read(t, "dist/sources.sha256"))
	if got != want {
		t.Errorf("web/dist was built from other sources (%s, not %s): run `npm ci && npm run build` in web/ and commit it", want[:8], got[:8])
	}
}

func TestThePageIsServedWithAStrictPolicy(t *testing.T) {
	page := open(t)
	for path, kind := range map[string]string{
		"/": "text/html", "/index.html": "text/html", "/app.js": "text/javascript", "/sw.js": "text/javascript", "/app.css": "text/css", "/icon.svg": "image/svg+xml",
	} {
		w := get(page, path, "")
		if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), kind) {
			t.Errorf("%s: got %d %q, want %s", path, w.Code, w.Header().Get("Content-Type"), kind)
		}
		policy := w.Header().Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self';", "connect-src 'self' ws://127.0.0.1:8081", "img-src 'self' blob: https://media.example.com"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: the policy %q lacks %q", path, policy, want)
			}
		}
		if strings.Contains(policy, "unsafe") || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers %v", path, w.Header())
		}
		if again := get(page, path, w.Header().Get("ETag")); again.Code != http.StatusNotModified {
			t.Errorf("%s with its tag: got %d, want 304", path, again.Code)
		}
	}
}

func TestThePageServesNothingElse(t *testing.T) {
	page := open(t)
	for _, r := range []*http.Request{
		httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil),
		httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/gateway", nil),
		httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/sources.sha256", nil),
		httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/../web.go", nil),
	} {
		if page.Serves(r) {
			t.Errorf("%s %s is the page's", r.Method, r.URL.Path)
		}
	}
	if w := get(page, "/web.go", ""); w.Code != http.StatusNotFound {
		t.Errorf("got %d, want 404", w.Code)
	}
}

// What the policy forbids would not run: nothing of it may be in the page.
func TestThePageHasNothingInline(t *testing.T) {
	html := read(t, "dist/index.html")
	for _, bad := range []string{`<script>`, `<style`, ` style=`, ` on[a-z]+=`, `https?://`} {
		if found := regexp.MustCompile(bad).FindString(html); found != "" {
			t.Errorf("index.html has %q", found)
		}
	}
	for _, m := range regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(html, -1) {
		if w := get(open(t), "/"+m[1], ""); w.Code != http.StatusOK {
			t.Errorf("index.html asks for %s, which is %d", m[1], w.Code)
		}
	}
}

func open(t *testing.T) *Page {
	t.Helper()
	page, err := New([]string{"ws://127.0.0.1:8081"}, []string{"https://media.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	return page
}

func get(page *Page, path, tag string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	if tag != "" {
		r.Header.Set("If-None-Match", tag)
	}
	w := httptest.NewRecorder()
	page.ServeHTTP(w, r)
	return w
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
