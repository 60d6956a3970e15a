// Package reference shows the two contracts of docs, the calls and the events, as
// one page for people, and beside it the documents as they are, for machines. The
// page is made once, on the server; it needs no script and nothing from elsewhere.
package reference

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"strings"

	"switchboard/docs"
)

//go:embed page.html
var layout string

//go:embed style.css
var style string

// policy lets the page use its own style sheet and nothing else.
const policy = "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

// file is one answer.
type file struct {
	mediaType string
	body      []byte
}

// Handler answers /docs and what lies below.
type Handler struct {
	files map[string]file // fixed after New
}

// New makes the page; it fails only if a document is broken.
func New() (*Handler, error) {
	page, err := render()
	if err != nil {
		return nil, fmt.Errorf("make the reference: %w", err)
	}
	html := file{"text/html; charset=utf-8", page}
	return &Handler{files: map[string]file{
		"/docs": html, "/docs/": html,
		"/docs/style.css":     {"text/css; charset=utf-8", []byte(style)},
		"/docs/openapi.yaml":  {"application/yaml", []byte(docs.OpenAPI)},
		"/docs/asyncapi.yaml": {"application/yaml", []byte(docs.AsyncAPI)},
	}}, nil
}

// Handles reports whether a path is one of the reference.
func Handles(path string) bool { return path == "/docs" || strings.HasPrefix(path, "/docs/") }

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, ok := h.files[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "there is nothing to change here", http.StatusMethodNotAllowed)
		return
	}
	head := w.Header()
	head.Set("Content-Type", f.mediaType)
	head.Set("Content-Security-Policy", policy)
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Referrer-Policy", "no-referrer")
	_, _ = w.Write(f.body) // the client is gone if this fails
}

// render makes the page.
func render() ([]byte, error) {
	rest, err := parse(docs.OpenAPI)
	if err != nil {
		return nil, err
	}
	events, err := parse(docs.AsyncAPI)
	if err != nil {
		return nil, err
	}
	t, err := template.New("page").Funcs(template.FuncMap{"prose": prose}).Parse(layout)
	if err != nil {
		return nil, err
	}
	var page bytes.Buffer
	err = t.Execute(&page, struct{ Rest, Events contract }{restContract(rest), eventContract(events)})
	return page.Bytes(), err
}

// prose turns a description into paragraphs, with `code` and *words* marked.
func prose(text string) template.HTML {
	var html strings.Builder
	for paragraph := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		if paragraph == "" {
			continue
		}
		html.WriteString("<p>")
		for i, part := range strings.Split(template.HTMLEscapeString(paragraph), "`") {
			if i%2 == 1 {
				html.WriteString("<code>" + part + "</code>")
				continue
			}
			for i, word := range strings.Split(part, "*") {
				if i%2 == 1 {
					word = "<em>" + word + "</em>"
				}
				html.WriteString(word)
			}
		}
		html.WriteString("</p>")
	}
	return template.HTML(html.String())
}
