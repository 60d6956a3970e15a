package single

import (
	"html/template"
	"net/http"
)

// welcome is the page at `/dev`: where everything is, and what to type next.
var page = template.Must(template.New("welcome").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Switchboard</title>
<style>
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 42rem; margin: 3rem auto; padding: 0 1rem }
code, pre { font-family: ui-monospace, monospace }
pre { overflow-x: auto; padding: .75rem 1rem; border: 1px solid; border-radius: .5rem }
dt { font-weight: 600 }
dd { margin: 0 0 .5rem }
</style>
</head>
<body>
<h1>Switchboard is running</h1>
<dl>
<dt>REST</dt><dd><code>{{.REST}}/api/v1/</code></dd>
<dt>WebSocket</dt><dd><code>{{.WebSocket}}</code></dd>
<dt>Health and metrics</dt><dd><code>{{.Ops}}/readyz</code>, <code>{{.Ops}}/metrics</code></dd>
</dl>
<p>Talk to yourself <a href="/">in two browser windows</a>, or in two terminals:</p>
<pre>go run ./dev chat -user alice -with bob -rest {{.REST}}
go run ./dev chat -user bob -with alice -rest {{.REST}}</pre>
<p>A token for a program of your own:</p>
<pre>curl -d '{"user_id":"00000000-0000-4000-8000-000000000001"}' {{.REST}}/dev/token</pre>
<p>The protocol is in <code>docs/protocol.md</code>; its <a href="/docs">calls and events</a>.</p>
</body>
</html>
`))

func (s *System) welcome(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_ = page.Execute(w, s.urlsFor(r)) // the client is gone if this fails
}
