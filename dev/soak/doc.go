// Package soak lives in a running system: people with two devices each talk in pairs
// and in groups of 8, 100, 101 and 500, come and go, read and type, their networks
// break, and meanwhile programs and servers are killed under them. Whatever every
// device was told is handed to package audit, which judges it.
//
//	plan ──▶ Crowd ──▶ client.Client, two for each person ──▶ the system
//	          │             │ network: every byte is looked at, some are cut off
//	          │             ▼
//	faults    └──────▶ audit.Evidence ──▶ audit.Check
//	  │
//	  └──▶ Site: pid files, hold files and signals
//
// Everything that chance decides – who says what to whom, whose network breaks,
// which program dies when – follows from one seed. The moments do not: they are
// the machine's. The system is met as an outsider meets it, so the same load runs
// on one process and on a cluster.
package soak
