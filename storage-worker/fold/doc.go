// Package fold decides what becomes of every record of the inbound log: its
// place in the conversation, its id, whether it is a retry, who gets it. It is
// a left fold in the word's mathematical sense: the outcome of the record at
// offset o is a function of the records 0 … o of its partition and of nothing
// else. So a crash, a rebalance or a zombie repeats outcomes and never changes
// them, and neither transactions nor fencing are needed.
//
//	chat.inbound[p] ──▶ read what the archive knew before the batch
//	                    decide each record, in order, in memory
//	                    archive.Write the batch, until it is acknowledged,
//	                    ends of memberships before all else
//	                    append the outcomes to chat.accepted[p], in order
//	                    note the progress, at most once a second
//
// Save, then answer, then push: what is on the accepted log is in the archive.
//
// # What decides
//
// A predecessor that died may have left rows of records that come after the one
// being decided. Nothing of that future may be seen: the newest event is asked
// for below the border of the batch's first possible id, membership counts as of
// the candidate seq ([archive.Span.Counts]), and a key row counts only if its
// record stands before the one at hand; at its own position it is the
// predecessor's unfinished work, which is done again with the same result.
// Limits that an operator may configure travel in the record. The host's clock
// paces retries and notes of progress and decides nothing.
//
// What [bus.Send.ReplyTo] points to is not looked up, here or anywhere: it is
// displayed, and a client that does not find the entry shows the bare message.
// An anchor, which begins a generation of the log, has the outcome
// [bus.Duplicate] with no seq and no id, since each record must have one.
//
// The package does not read the accepted log (beyond its last record, at the
// start of a partition), does not know where users are connected, and does not
// encode what clients see.
package fold
