// Package contract is docs/protocol.md in the form of tests: each row of its
// tables and each thing that a client can rely on has a test of its name, which
// speaks to a running system over sockets and HTTP as a client in any language
// would, frame by frame. The page lists them; a test at the root of the
// repository derives their names from the page and fails where one is missing.
//
//	docs/protocol.md, "What you send": `mark_read`  ──▶  TestEventMarkRead
//
// One test has its cases from docs/openapi.yaml instead: for each operation there it
// sends requests that the document allows, and ones that it forbids.
//
// The tests share one embedded system and keep out of each other's way by being
// different users each. `go test ./dev/contract -site DATA/run/addresses.json`
// walks a system that runs already, such as one of `dev cluster`, and leaves out
// what needs settings of its own. They say nothing about faults: those are the
// matter of dev/system.
package contract
