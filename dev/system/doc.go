// Package system holds the tests of the system as its users meet it: programs in
// processes of their own, killed without warning, and an audit over what clients
// saw and history says. It has no code but tests.
package system
