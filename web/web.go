// Package web is the web client: the page, built, and how a server of the page
// has to send it. The sources beside it are TypeScript; dist is what esbuild
// makes of them and is committed, so that Go alone builds everything.
//
//	src, sdk ──▶ build.mjs ──▶ dist ──▶ this package, or any static host
//
// The page finds REST where it came from and asks REST for the WebSocket.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed dist
var dist embed.FS

// types are the kinds of file that a page consists of.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
}

// Page serves the files of the page.
type Page struct {
	files  map[string]file // by path
	policy string
}

type file struct {
	name, kind, tag string
	text            []byte
}

// New returns the page for a server whose sockets are elsewhere: connect names the
// origins, such as wss://chat.example.com, to which the page may connect besides its
// own; media those from which it may show images: REST's, and the store's where REST
// sends browsers there.
func New(connect, media []string) (*Page, error) {
	p := &Page{files: make(map[string]file), policy: Policy(connect, media)}
	entries, err := fs.ReadDir(dist, "dist")
	if err != nil {
		return nil, fmt.Errorf("read the page: %w", err)
	}
	for _, e := range entries {
		kind, served := types[path.Ext(e.Name())]
		if !served {
			continue
		}
		text, err := dist.ReadFile("dist/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("read the page: %w", err)
		}
		sum := sha256.Sum256(text)
		p.files["/"+e.Name()] = file{e.Name(), kind, `"` + hex.EncodeToString(sum[:8]) + `"`, text}
	}
	p.files["/"] = p.files["/index.html"]
	return p, nil
}

// Allowing returns the page with other origins than those of New.
func (p *Page) Allowing(connect, media []string) *Page {
	return &Page{files: p.files, policy: Policy(connect, media)}
}

// Policy is the Content-Security-Policy of the page: scripts, styles and calls of its
// own origin and nothing else, no plug-ins, no frames, no markup from text, and no
// address of a script from text but that of the service worker. A static host sends
// the same, with its own origins.
func Policy(connect, media []string) string {
	list := func(name string, sources ...string) string { return name + " " + strings.Join(sources, " ") }
	return strings.Join([]string{
		"default-src 'none'", "script-src 'self'", "style-src 'self'",
		list("img-src", append([]string{"'self'", "blob:"}, media...)...),
		list("connect-src", append([]string{"'self'"}, connect...)...),
		"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
		"require-trusted-types-for 'script'", "trusted-types worker",
	}, "; ")
}

// Serves reports whether a request is for the page: by GET or HEAD, for one of its
// files.
func (p *Page) Serves(r *http.Request) bool {
	_, ok := p.files[r.URL.Path]
	return ok && (r.Method == http.MethodGet || r.Method == http.MethodHead)
}

// ServeHTTP answers what Serves says is the page's. A browser asks each time whether
// its copy is still good, so a new page is there at the next load.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, ok := p.files[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("Content-Security-Policy", p.policy)
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", f.tag)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	http.ServeContent(w, r, f.name, time.Time{}, bytes.NewReader(f.text))
}
