// Package faults holds tests that break servers under the packages that use
// them: brokers and nodes are killed, frozen and started again on their data
// while records and rows are written.
//
//	dev/servers ──▶ three brokers ──▶ internal/bus/kafka   is every acknowledged record there, once, in order?
//	            ──▶ three nodes   ──▶ archive/scylla       is every acknowledged row there, and do writes go on?
//	            ──▶ one of each   ──▶ storage-worker       do migrations wait for each other, and for the dead?
//
// What programs do to each other is tested in package system. The tests start
// their own servers and run only with SWITCHBOARD_TEST_SERVERS set.
package faults
