// Package judge holds what a running system says against the two contracts in
// docs: requests and answers over HTTP against openapi.yaml, frames of the WebSocket against
// asyncapi.yaml. It is for tests. It is stricter than a client may be: a field that
// is not described is an error, since somebody forgot to describe it.
package judge
