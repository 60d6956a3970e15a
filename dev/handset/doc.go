// Package handset is a device for tests: the client library on a network that
// counts what the device needed, and that can stop bringing what is sent to it.
//
//	system ⇄ network ⇄ client library ──▶ Device: what was applied, what was pushed
//
// Whether nothing was lost is judged by comparing what a device applied with
// history; how it got there, by what was pushed, synced and connected anew. It
// judges nothing itself.
package handset
