// Package docs holds the two contracts that a machine reads, so that programs can
// show them and tests can hold the servers to them. The pages beside them are for
// people; protocol.md says what the contracts promise.
package docs

import _ "embed"

// OpenAPI describes the HTTP calls, in OpenAPI 3.1.
//
//go:embed openapi.yaml
var OpenAPI string

// AsyncAPI describes the events of the WebSocket, in AsyncAPI 3.0, from the
// gateway's side.
//
//go:embed asyncapi.yaml
var AsyncAPI string
