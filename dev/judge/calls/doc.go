// Package calls makes requests out of docs/openapi.yaml, for tests that drive a
// running system with them: for each operation those that the document allows, with
// every property at its limits, and those that it forbids, each wrong in one way.
//
//	openapi.yaml ──Operations──▶ Operation ──Plan──▶ []Call ──▶ a server, package judge
//	                               Links ──────▶
//
// A document cannot say which conversation there is; Links say it by the names of
// parameters and properties. Nothing here sends anything, and nothing is known of
// any operation: one that is new in the document has its calls at once. The same
// seed makes the same calls.
//
// Of JSON Schema it knows the keywords that openapi.yaml uses for requests, which a test
// holds it to. Of the others, as oneOf or uniqueItems, it would make nothing.
package calls
